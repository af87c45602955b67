"""Spectral and batch normalisation, the Gaussian sampler."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.layers import BatchNormalization, GaussianSampler, SpectralNormalization
from tests import reference


def _layer(kind):
    if kind == "dense":
        return SpectralNormalization(keras.layers.Dense(7), seed=3), (5, 11)
    return SpectralNormalization(keras.layers.Conv2D(6, 4, strides=2, padding="same"), seed=3), (
        5,
        8,
        8,
        3,
    )


def _output(kind, x, kernel, bias, u):
    normalised = reference.spectral(kernel, u)[0]
    return (x @ normalised if kind == "dense" else reference.conv2d(x, normalised, 2)) + bias


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_output_is_the_product_with_the_normalised_kernel(kind):
    layer, shape = _layer(kind)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer.build(shape)
    layer.layer.bias.assign(np.arange(layer.layer.bias.shape[0], dtype="float32"))
    kernel, u = layer.layer.kernel.numpy().astype("float64"), layer.u.numpy().astype("float64")
    expected = _output(kind, x, kernel, layer.layer.bias.numpy(), u)
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(layer.layer.kernel.numpy(), kernel.astype("float32"))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_gradient_goes_through_the_normalisation(kind):
    """Against central differences of W / sigma(W) with u and v held where they are."""
    layer, shape = _layer(kind)
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype("float32")
    layer.build(shape)
    kernel, u = layer.layer.kernel.numpy().astype("float64"), layer.u.numpy().astype("float64")
    target = rng.normal(size=layer(x).shape)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(x, training=True) * target)
    gradient = tape.gradient(loss, layer.layer.kernel.value).numpy()

    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = matrix @ u / np.linalg.norm(matrix @ u)
    w = v @ matrix / np.linalg.norm(v @ matrix)

    def value(k):
        normalised = k / (v @ k.reshape(matrix.shape) @ w)
        out = x @ normalised if kind == "dense" else reference.conv2d(x, normalised, 2)
        return (out * target).sum()

    for index in [tuple(rng.integers(s) for s in kernel.shape) for _ in range(5)]:
        step = np.zeros_like(kernel)
        step[index] = 1e-6
        numeric = (value(kernel + step) - value(kernel - step)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_power_iteration_finds_the_largest_singular_value():
    layer, shape = _layer("dense")
    layer.build(shape)
    x = np.zeros(shape, "float32")
    for _ in range(200):
        layer(x, training=True)
    largest = np.linalg.svd(layer.layer.kernel.numpy(), compute_uv=False)[0]
    assert float(layer.sigma()[0]) == pytest.approx(largest, rel=1e-4)


def test_inference_leaves_the_vector_alone():
    layer, shape = _layer("dense")
    x = np.ones(shape, "float32")
    first = layer(x)
    np.testing.assert_array_equal(first, layer(x))
    before = layer.u.numpy()
    layer(x, training=True)
    assert np.abs(layer.u.numpy() - before).max() > 1e-3


def test_only_kernel_and_bias_are_trained():
    layer, shape = _layer("conv")
    layer.build(shape)
    assert {v.name for v in layer.trainable_variables} == {"kernel", "bias"}
    assert [v.name for v in layer.non_trainable_variables] == ["u"]


def test_what_it_can_not_wrap():
    with pytest.raises(ValueError, match="wraps Dense and Conv2D, got ReLU"):
        SpectralNormalization(keras.layers.ReLU())
    with pytest.raises(ValueError, match="without activation, got 'relu'"):
        SpectralNormalization(keras.layers.Dense(2, activation="relu"))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_config_round_trip(kind):
    layer, shape = _layer(kind)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer(x)
    again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(x), again(x))


def test_dense_inputs_may_have_more_axes():
    layer, _ = _layer("dense")
    x = np.random.default_rng(0).normal(size=(3, 4, 11)).astype("float32")
    expected = layer(x.reshape(12, 11)).numpy().reshape(3, 4, 7)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 2, 5)])
def test_fused_batch_normalisation_is_keras_own(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape, loc=2.0, scale=3.0).astype("float32")
    target = rng.normal(size=shape).astype("float32")
    outcomes = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.0, epsilon=1e-5)  # so that the start of the averages is nothing
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2.0, 5))
        layer.beta.assign(np.linspace(-1.0, 1.0, 5))
        x_tensor = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x_tensor)
            outputs = layer(x_tensor, training=True)
            loss = ops.sum(outputs * target)
        gradients = tape.gradient(loss, [x_tensor, layer.gamma.value, layer.beta.value])
        moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
        outcomes.append([outputs, *gradients, *moving, layer(x_tensor)])
    for ours, keras_own in zip(*outcomes, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-4, atol=2e-5)


def test_batch_normalisation_by_hand():
    layer = BatchNormalization(momentum=0.9, epsilon=0.0)
    out = layer(np.array([[1.0], [5.0]], "float32"), training=True)
    np.testing.assert_allclose(out, [[-1.0], [1.0]], rtol=1e-6)  # mean 3, biased variance 4
    np.testing.assert_allclose(layer.moving_mean.numpy(), [3.0], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [4.0], rtol=1e-6)
    layer(np.array([[0.0], [2.0]], "float32"), training=True)  # mean 1, variance 1
    # (0.9 x the first + the second) / 1.9
    np.testing.assert_allclose(layer.moving_mean.numpy(), [(2.7 + 1) / 1.9], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [(3.6 + 1) / 1.9], rtol=1e-6)
    normalised = (5 - 3.7 / 1.9) / np.sqrt(4.6 / 1.9)
    np.testing.assert_allclose(layer(np.array([[5.0]], "float32")), [[normalised]], rtol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@settings(max_examples=20, deadline=None)
@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9, 0.999]),
    steps=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_moving_averages_are_those_of_the_batches_alone(fused, momentum, steps, seed):
    """Against the weighted mean in float64, with no trace of the start at mean 0 and variance 1."""
    layer = BatchNormalization(momentum=momentum)
    if not fused:
        layer._can_be_fused = lambda inputs: False
    rng = np.random.default_rng(seed)
    batches = rng.normal(rng.normal(), 0.1, size=(steps, 8, 3)).astype("float32")
    for batch in batches:
        layer(batch, training=True)
    weights = momentum ** np.arange(steps - 1.0, -1, -1)
    weights /= weights.sum()
    for moving, moments in (
        (layer.moving_mean, batches.astype("float64").mean(1)),
        (layer.moving_variance, batches.astype("float64").var(1)),
    ):
        np.testing.assert_allclose(moving, weights @ moments, rtol=2e-4, atol=1e-6)


def test_batch_normalisation_forgets_nothing_when_saved(tmp_path):
    """The number of steps is saved with the averages; a file without it goes on as Keras would."""
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), BatchNormalization(momentum=0.9)])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for some in (model, again):
        some(2 * x, training=True)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    store = {}
    old = keras.layers.BatchNormalization(momentum=0.9)
    old.build((None, 4))
    old.save_own_variables(store)
    layer = BatchNormalization(momentum=0.9)
    layer.build((None, 4))
    layer.load_own_variables(store)
    for some in (old, layer):
        some(x, training=True)
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(getattr(layer, name), getattr(old, name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("momentum", [1.0, -0.1, 1.5])
def test_momentum_out_of_range(momentum):
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        BatchNormalization(momentum=momentum)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"axis": 1}])
def test_batch_normalisation_with_options_the_kernel_lacks(options):
    x = np.random.default_rng(0).normal(size=(6, 3, 5)).astype("float32")
    ours, keras_own = (
        kind(**options)(x, training=True)
        for kind in (BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_array_equal(ours, keras_own)


def test_batch_normalisation_config_round_trip():
    layer = BatchNormalization(momentum=0.7, epsilon=1e-5, name="bn")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is BatchNormalization
    assert again.get_config() == layer.get_config()


def test_sampler_draws_the_posterior():
    sampler = GaussianSampler(seed=0)
    mu = np.full((20_000, 2), [3.0, -1.0], "float32")
    sd = np.full((20_000, 2), [0.5, 2.0], "float32")
    z = ops.convert_to_numpy(sampler(mu, sd))
    np.testing.assert_allclose(z.mean(0), [3.0, -1.0], atol=0.06)
    np.testing.assert_allclose(z.std(0), [0.5, 2.0], rtol=0.03)
    assert np.abs(ops.convert_to_numpy(sampler(mu, sd)) - z).max() > 0.1  # fresh each time


def test_sampler_config_round_trip():
    sampler = GaussianSampler(seed=5, name="noise")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler))
    assert again.get_config() == sampler.get_config()
    one = np.zeros((3, 2), "float32"), np.ones((3, 2), "float32")
    np.testing.assert_array_equal(sampler(*one), again(*one))
