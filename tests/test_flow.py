"""Planar flows against their Jacobian, and the VAE that has them in its posterior."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras import ops

from models import losses, save
from models.baselines import flow
from models.baselines.flow import FlowVAE, planar, planar_flows
from models.networks import infogan, resnet, wae
from models.optimizer import adam
from models.vae import standard_normal
from tests import reference
from tests.test_vae import images, named, noise_of, ramps, scrambled

SHAPE = (8, 8, 1)
KAPPA = 4


def small(seed=0, **kwargs):
    return flow.build(infogan, SHAPE, KAPPA, seed=seed, **{"length": 3, **kwargs})


def drawn(seed, n=3, length=5, kappa=KAPPA, scale=1.5):
    """z and the parameters of flows far from the identity, float64."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, kappa)), scale * rng.normal(size=(n, length, 2 * kappa + 1))


@settings(max_examples=15, deadline=None)
@example(seed=88, length=4, kappa=4)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 4), kappa=st.integers(1, 6))
def test_log_det_is_that_of_the_numerical_jacobian(seed, length, kappa):
    z, parameters = drawn(seed, length=length, kappa=kappa)
    log_det = ops.convert_to_numpy(planar_flows(z, parameters)[1])
    step = 1e-6  # with 1e-5 the difference was wrong by 5e-5 where the flow all but folds (seed 88)
    jacobian = np.empty((len(z), kappa, kappa))
    for j in range(kappa):
        change = step * np.eye(kappa)[j]
        above, below = (
            ops.convert_to_numpy(planar_flows(z + c, parameters)[0]) for c in (change, -change)
        )
        jacobian[:, :, j] = (above - below) / (2 * step)
    sign, numerical = np.linalg.slogdet(jacobian)
    assert (sign > 0).all()
    np.testing.assert_allclose(log_det, numerical, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flows_are_numpys(dtype):
    z, parameters = drawn(0)
    expected, expected_log_det = reference.planar_flows(z, parameters)
    made, log_det = planar_flows(z.astype(dtype), parameters.astype(dtype))
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(made, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=tolerance, atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(st.floats(-12, 12), st.floats(-12, 12), st.floats(-3, 3))
def test_a_flow_is_invertible_whatever_its_parameters(w, u, b):
    """In one dimension an invertible map with positive derivative rises everywhere."""
    z = np.linspace(-5, 5, 401)[:, None]
    made, log_det = planar(z, np.full_like(z, w), np.full_like(z, u), np.full_like(z, b))
    assert np.isfinite(ops.convert_to_numpy(log_det)).all()
    assert (np.diff(ops.convert_to_numpy(made)[:, 0]) >= 0).all()


def test_invertible_where_u_alone_would_fold():
    """w.u = -9: with u itself z + u tanh(w z) falls at 0; with u_hat it rises."""
    z = np.linspace(-1, 1, 21)[:, None]
    w, u, b = np.full_like(z, 3.0), np.full_like(z, -3.0), np.zeros_like(z)
    assert (np.diff((z + u * np.tanh(w * z))[:, 0]) < 0).any()
    assert (np.diff(ops.convert_to_numpy(planar(z, w, u, b)[0])[:, 0]) > 0).all()


def test_u_zero_is_the_identity():
    z, parameters = drawn(1)
    parameters[:, :, KAPPA : 2 * KAPPA] = 0.0
    made, log_det = planar_flows(z, parameters)
    np.testing.assert_allclose(made, z, rtol=1e-12)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-12)
    parameters[:] = 0.0  # w = 0 as well: no division by its norm
    np.testing.assert_array_equal(planar_flows(z, parameters)[0], z)


@pytest.mark.parametrize("log_gamma", [0.0, -1.3])
def test_objective_is_numpys(log_gamma):
    vae = scrambled(small())
    vae.log_gamma_weight.assign(log_gamma)
    batch = images(6)
    x = batch / 255.0
    eps = noise_of(vae.sampler, (6, KAPPA))

    weights = named(vae.encoder)
    mu, sd = reference.infogan_encoder(x, weights)
    kernel, _ = reference.spectral(weights["flow/kernel"], weights["flow/u"])
    parameters = reference.infogan_features(x, weights) @ kernel + weights["flow/bias"]
    parameters = parameters.reshape(6, 3, 2 * KAPPA + 1)
    z0 = mu + sd * eps
    z, log_det = reference.planar_flows(z0, parameters)
    assert np.abs(z - z0).max() > 0.1  # the flows do something
    log_q0 = (-0.5 * ((z0 - mu) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    log_p = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    kl = log_q0 - log_det - log_p
    x_hat = reference.infogan_decoder(z, named(vae.decoder), SHAPE)
    rec = reference.gaussian(x, x_hat, log_gamma)

    terms = vae.objective(vae.observe(batch), training=True)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-4)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-4)


def test_without_flows_the_kl_is_the_gaussian_one_in_expectation():
    vae = scrambled(small())
    for weight in vae.encoder.get_layer("sn_flow").layer.weights:
        of_flows = weight.numpy().reshape(-1, 3, 2 * KAPPA + 1)
        of_flows[:, :, KAPPA : 2 * KAPPA] = 0.0  # u = 0
        weight.assign(of_flows.reshape(weight.shape))
    one = images(1)
    mu, sd = vae.encode(one)
    exact = float(losses.kl_divergence(mu, sd)[0])
    x = vae.observe(np.repeat(one, 4000, axis=0))
    kl = ops.convert_to_numpy(vae.draw(x)[-1])
    assert kl.std() > 0.1
    assert kl.mean() == pytest.approx(exact, abs=4 * kl.std() / np.sqrt(len(kl)))


def test_training_lowers_the_loss_and_moves_the_flows():
    vae = small(gamma_speed=5.0)
    before = vae.encoder.get_layer("sn_flow").layer.kernel.numpy()
    vae.compile(optimizer=adam(1e-3))
    history = vae.fit(ramps(), batch_size=32, epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert float(vae.log_gamma) < 0
    assert np.abs(vae.encoder.get_layer("sn_flow").layer.kernel.numpy() - before).max() > 1e-3


def test_trainable_parameters():
    """The plain VAE's and a dense layer 1024 -> K (2 kappa + 1)."""
    vae = small(length=7)
    plain = infogan.encoder(SHAPE, KAPPA), infogan.decoder(SHAPE, KAPPA)
    count = sum(int(np.prod(v.shape)) for m in plain for v in m.trainable_variables) + 1
    added = sum(int(np.prod(v.shape)) for v in vae.trainable_variables) - count
    assert added == 1025 * 7 * (2 * KAPPA + 1)
    assert vae.length == 7


@pytest.mark.parametrize("network", [infogan, resnet, wae])
def test_every_network_has_the_features_that_flows_need(network):
    encoder = network.encoder(SHAPE, KAPPA)
    with_flows = flow.flow_encoder(encoder, network.FEATURES, length=2)
    mu, sd, parameters = with_flows.outputs
    assert mu.shape == sd.shape == (None, KAPPA)
    assert parameters.shape == (None, 2, 2 * KAPPA + 1)


def test_use_and_seeds():
    vae = scrambled(small())
    batch = images(5)
    mu, sd = vae.encode(batch)
    assert mu.shape == sd.shape == (5, KAPPA)
    _, _, parameters = vae.encoder(vae.scale(batch))
    z0 = mu + sd * standard_normal(5, KAPPA, 3)
    z = reference.planar_flows(z0.astype("float64"), ops.convert_to_numpy(parameters))[0]
    np.testing.assert_allclose(vae.latents(batch, seed=3), z, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(vae.reconstruct(batch, seed=3), vae.decode(z), atol=1e-4)
    assert vae(batch).shape == (5, *SHAPE)
    one = vae.sample(4, seed=7)
    assert one.shape == (4, *SHAPE)
    np.testing.assert_array_equal(one, vae.sample(4, seed=7))
    assert np.abs(one - vae.sample(4, seed=8)).max() > 1e-4
    np.testing.assert_array_equal(small().sample(2, seed=1), small().sample(2, seed=1))
    assert np.abs(small(1).sample(2, seed=1) - small().sample(2, seed=1)).max() > 1e-4


def test_save_and_load(tmp_path):
    vae = scrambled(small())
    save(vae, tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert type(again) is FlowVAE
    np.testing.assert_array_equal(vae.sample(3, seed=2), again.sample(3, seed=2))
    np.testing.assert_array_equal(
        vae.reconstruct(images(3), seed=2), again.reconstruct(images(3), seed=2)
    )


def test_config_round_trip():
    vae = small(gamma_speed=3.0, initial_log_gamma=-1.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(vae))
    assert again.get_config() == vae.get_config()
    assert again.length == 3
    assert float(again.log_gamma) == pytest.approx(-1.5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="length, the number of planar flows, must be at least 1"):
        small(length=0)
    with pytest.raises(ValueError, match="images must be uint8"):
        small().encode(np.zeros((2, *SHAPE), "float32"))
