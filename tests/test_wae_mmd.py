"""The MMD estimate, and the autoencoder that is trained with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models import save
from models.baselines import wae_mmd
from models.baselines.wae_mmd import WAE
from models.mmd import unbiased_mmd2
from models.networks import infogan, resnet
from models.optimizer import adam
from tests import reference
from tests.test_vae import images, named, noise_of, ramps, scrambled

SHAPE = (8, 8, 1)
KAPPA = 4


def small(seed=0, **kwargs):
    return wae_mmd.build(infogan, SHAPE, KAPPA, seed=seed, **kwargs)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 7), st.integers(1, 5))
def test_mmd_is_the_double_loop(seed, n, m, dim):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, dim)), 2 * rng.normal(size=(m, dim)) + 1
    value = reference.mmd2(a, b)
    assert float(unbiased_mmd2(a, b)) == pytest.approx(value, rel=1e-9, abs=1e-12)
    single = unbiased_mmd2(a.astype("float32"), b.astype("float32"))
    assert float(single) == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_mmd_by_hand():
    """In one dimension, a = (0, 0) and b = (t, t): k(0) = 7 scales, so 14 - 2 k(t^2)."""
    a, b = np.zeros((2, 1)), np.full((2, 1), 3.0)
    between = sum(2 * s / (2 * s + 9.0) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))
    assert float(unbiased_mmd2(a, b)) == pytest.approx(14 - 2 * between)


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
def test_mmd_is_unbiased(size):
    """Mean over repeats on one distribution within 3 standard errors of 0; with pairs (i, i)
    counted it would be off by many."""
    rng = np.random.default_rng(0)
    values = [
        float(unbiased_mmd2(*(rng.normal(size=(n, KAPPA)) + 0.5 for n in size))) for _ in range(150)
    ]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0 < max(values)
    diagonal = sum(7 / n for n in size) * 0.3  # a lower bound of what the pairs (i, i) would add
    assert diagonal > 10 * error


def test_mmd_tells_distributions_apart():
    rng = np.random.default_rng(0)
    prior, same = rng.normal(size=(2, 200, KAPPA))
    at = [float(unbiased_mmd2(prior, same * sd + mean)) for sd, mean in ((1, 0), (0.5, 0), (1, 1))]
    assert abs(at[0]) < 0.1 * min(at[1:])


def test_objective_is_numpys():
    model = scrambled(small(reconstruction_weight=0.3, penalty_weight=7.0))
    batch = images(6)
    x = batch / 255.0
    prior = noise_of(model.sampler, (6, KAPPA))

    mu, _ = reference.infogan_encoder(x, named(model.encoder))
    x_hat = reference.infogan_decoder(mu, named(model.decoder), SHAPE)
    error = 0.3 * ((x - x_hat) ** 2).sum(axis=(1, 2, 3))
    penalty = 7.0 * reference.mmd2(mu, prior)

    terms = model.objective(model.observe(batch), training=True)
    assert terms.loss.shape == terms.kl.shape == terms.reconstruction.shape == (6,)
    np.testing.assert_allclose(terms.reconstruction, error, rtol=1e-5)
    np.testing.assert_allclose(terms.kl, np.full(6, penalty), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.loss, error + penalty, rtol=1e-4, atol=1e-5)


def test_the_prior_is_drawn_afresh():
    model = small()
    x = model.observe(images(8))
    one, two = (float(model.objective(x).kl[0]) for _ in range(2))
    assert one != two
    model.penalty_weight = 0.0
    assert float(model.objective(x).kl[0]) == 0.0


def test_training_lowers_the_loss_and_brings_the_codes_to_the_prior():
    model = small(penalty_weight=10.0)
    model.compile(optimizer=adam(1e-3))
    history = model.fit(ramps(), batch_size=32, epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["kl"][-1] < 0.7 * history["kl"][0]
    assert history["log_gamma"][-1] == 0.0


def test_gamma_is_no_trainable_weight():
    model = small()
    plain = infogan.encoder(SHAPE, KAPPA), infogan.decoder(SHAPE, KAPPA)
    expected = sum(int(np.prod(v.shape)) for m in plain for v in m.trainable_variables)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == expected
    assert all(v is not model.log_gamma_weight for v in model.trainable_variables)


def test_layers_of_sd_alone_are_left_out():
    """A dense layer less, features -> kappa; every weight left has a gradient."""
    whole = resnet.encoder(SHAPE, KAPPA)
    model = wae_mmd.build(resnet, SHAPE, KAPPA)
    features = whole.get_layer(resnet.FEATURES).output.shape[-1]

    def count(m):
        return sum(int(np.prod(v.shape)) for v in m.trainable_variables)

    assert count(whole) - count(model.encoder) == (features + 1) * KAPPA
    with tf.GradientTape() as tape:
        loss = ops.mean(model.objective(model.observe(images(4)), training=True).loss)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(g is not None for g in gradients)


def test_weights_of_the_authors():
    grey = small()
    assert (grey.reconstruction_weight, grey.penalty_weight) == (0.05, 10.0)
    colour = wae_mmd.build(infogan, (8, 8, 3), KAPPA)
    # On pixels in [-1, 1], as theirs, 0.05 |2x - 2y|^2.
    assert colour.reconstruction_weight == pytest.approx(4 * 0.05)
    assert colour.penalty_weight == 100.0
    assert wae_mmd.build(infogan, (8, 8, 3), KAPPA, penalty_weight=0.0).penalty_weight == 0.0


def test_use_and_seeds():
    model = scrambled(small())
    batch = images(5)
    mu, sd = model.encode(batch)
    assert mu.shape == (5, KAPPA)
    assert mu.dtype == np.float32
    np.testing.assert_array_equal(sd, np.zeros((5, KAPPA)))
    np.testing.assert_array_equal(model.reconstruct(batch), model.decode(mu))
    assert model(batch).shape == (5, *SHAPE)
    one = model.sample(4, seed=7)
    assert one.shape == (4, *SHAPE)
    np.testing.assert_array_equal(one, model.sample(4, seed=7))
    assert np.abs(one - model.sample(4, seed=8)).max() > 1e-4
    np.testing.assert_array_equal(small().sample(2, seed=1), small().sample(2, seed=1))
    assert np.abs(small(1).sample(2, seed=1) - small().sample(2, seed=1)).max() > 1e-4


def test_save_and_load(tmp_path):
    model = scrambled(small(penalty_weight=3.0))
    save(model, tmp_path / "wae.keras")
    again = keras.saving.load_model(tmp_path / "wae.keras")
    assert type(again) is WAE
    assert again.penalty_weight == 3.0
    np.testing.assert_array_equal(model.sample(3, seed=2), again.sample(3, seed=2))
    np.testing.assert_array_equal(model.reconstruct(images(3)), again.reconstruct(images(3)))


def test_config_round_trip():
    model = small(reconstruction_weight=0.7, penalty_weight=3.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config()
    assert (again.reconstruction_weight, again.penalty_weight) == (0.7, 3.0)


@pytest.mark.parametrize("name", ["reconstruction_weight", "penalty_weight"])
def test_mistakes_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        small(**{name: -1.0})
