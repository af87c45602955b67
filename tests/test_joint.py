"""The two-stage VAE trained jointly, fused and merged."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import models
from models.baselines import joint
from models.baselines.joint import FORMS, MergedVAE
from models.networks import dense, infogan
from models.optimizer import adam
from models.vae import standard_normal
from tests import reference
from tests.test_vae import images, named, noise_of, ramps, scrambled

SHAPE = (8, 8, 1)
KAPPA = 4

pytestmark = pytest.mark.usefixtures("narrow_second_stage")


def small(form, seed=0, **kwargs):
    return joint.build(infogan, SHAPE, KAPPA, seed=seed, form=form, **kwargs)


def part(model, name):
    """A network nested in a composed one."""
    return next(layer for layer in model.layers if layer.name == name)


def weights_of(model):
    """The four networks' weights: first encoder and decoder, second encoder and decoder."""
    if isinstance(model, MergedVAE):
        parts = (model.encoder, model.decoder, model.second.encoder, model.second.decoder)
    else:
        parts = (
            part(model.encoder, "infogan_encoder_mean"),
            part(model.decoder, "infogan_decoder"),
            part(model.encoder, "second_encoder"),
            part(model.decoder, "second_decoder"),
        )
    return [named(p) for p in parts]


def test_fused_objective_is_numpys():
    model = scrambled(small("fused"))
    model.log_gamma_weight.assign(-0.8)
    batch = images(6)
    x = batch / 255.0
    first_encoder, first_decoder, second_encoder, second_decoder = weights_of(model)

    z, _ = reference.infogan_encoder(x, first_encoder)
    mu, sd = reference.second_encoder(z, second_encoder)
    u = mu + sd * noise_of(model.sampler, (6, KAPPA))
    z_hat = reference.second_decoder(u, second_decoder)
    x_hat = reference.infogan_decoder(z_hat, first_decoder, SHAPE)
    kl, rec = reference.kl(mu, sd), reference.gaussian(x, x_hat, -0.8)

    terms = model.objective(model.observe(batch), training=True)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-4)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-4)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-4)


def test_merged_objective_is_numpys():
    model = scrambled(small("merged"))
    model.log_gamma_weight.assign(-0.8)
    model.second.log_gamma_weight.assign(-0.3)
    batch = images(6)
    x = batch / 255.0
    first_encoder, first_decoder, second_encoder, second_decoder = weights_of(model)

    mu_z, sd_z = reference.infogan_encoder(x, first_encoder)
    z = mu_z + sd_z * noise_of(model.sampler, (6, KAPPA))
    x_hat = reference.infogan_decoder(z, first_decoder, SHAPE)
    mu_u, sd_u = reference.second_encoder(z, second_encoder)
    u = mu_u + sd_u * noise_of(model.second.sampler, (6, KAPPA))
    z_hat = reference.second_decoder(u, second_decoder)
    kl = reference.kl(mu_z, sd_z) + reference.kl(mu_u, sd_u)
    rec = reference.gaussian(x, x_hat, -0.8) + reference.gaussian(z, z_hat, -0.3)

    terms = model.objective(model.observe(batch), training=True)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-4)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-4)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-4)


def test_merged_gradient_of_the_second_objective_reaches_the_first_encoder():
    """With the first stage's own objective alone the encoder's gradient is another."""
    model = small("merged")
    x = model.observe(images(8))
    kernel = model.encoder.get_layer("sn_dense4").layer.kernel
    state = model.sampler.seed_generator.state.numpy()
    gradients = []
    for objective in (model.objective, lambda x: models.VAE.objective(model, x)):
        model.sampler.seed_generator.state.assign(state)  # the same z
        with tf.GradientTape() as tape:
            loss = ops.mean(objective(x).loss)  # in inference mode: the same sigma(W), too
        gradients.append(tape.gradient(loss, kernel.value).numpy())
    assert np.abs(gradients[0] - gradients[1]).max() > 0.01 * np.abs(gradients[1]).max()


@pytest.mark.parametrize("form", FORMS)
def test_training_lowers_the_loss(form):
    model = small(form, gamma_speed=5.0)
    before = [w.copy() for w in model.get_weights()]
    model.compile(optimizer=adam(1e-3))
    history = model.fit(ramps(), batch_size=32, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history["log_gamma"][-1] < 0
    assert ("log_gamma_z" in history) == (form == "merged")
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(new - old).max() > 0


def test_trainable_parameters():
    """Those of the two stages; fused has one gamma, merged two."""
    two = models.build("two-stage", SHAPE, latent_dim=KAPPA)

    def count(m):
        return sum(int(np.prod(v.shape)) for v in m.trainable_variables)

    stages = count(two.first) + count(two.second)
    assert count(small("merged")) == stages
    assert count(small("fused")) == stages - 1


def test_the_same_seed_starts_as_the_two_stage_vae():
    two, merged = models.build("two-stage", SHAPE, latent_dim=KAPPA, seed=5), small("merged", 5)
    np.testing.assert_array_equal(
        merged.decode(np.ones((2, KAPPA))), two.first.decode(np.ones((2, KAPPA)))
    )
    np.testing.assert_array_equal(merged.sample(3, seed=1), two.sample(3, seed=1))


def test_fused_sample_is_u_to_z_to_x():
    model = scrambled(small("fused"))
    u = standard_normal(4, KAPPA, 3)
    z_hat = part(model.decoder, "second_decoder")(u)
    x_hat = part(model.decoder, "infogan_decoder")(z_hat)
    np.testing.assert_allclose(model.sample(4, seed=3), x_hat, rtol=1e-4, atol=1e-5)


def test_merged_sample_adds_the_noise_of_z():
    model = scrambled(small("merged"))
    model.second.log_gamma_weight.assign(np.log(0.25))
    u, eps = np.split(standard_normal(8, KAPPA, 3), 2)
    z = ops.convert_to_numpy(model.second.decoder(u)) + 0.25 * eps
    np.testing.assert_allclose(model.sample(4, seed=3), model.decode(z), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_use_and_seeds(form):
    model = small(form)
    batch = images(5)
    mu, sd = model.encode(batch)
    assert mu.shape == sd.shape == (5, KAPPA)
    np.testing.assert_array_equal(
        model.reconstruct(batch, seed=1), model.reconstruct(batch, seed=1)
    )
    one = model.sample(4, seed=7)
    assert one.shape == (4, *SHAPE)
    np.testing.assert_array_equal(one, model.sample(4, seed=7))
    assert np.abs(one - model.sample(4, seed=8)).max() > 1e-5
    np.testing.assert_array_equal(one, small(form).sample(4, seed=7))
    assert np.abs(one - small(form, 1).sample(4, seed=7)).max() > 1e-5


def test_merged_checkpoints_hold_both_noises():
    model = small("merged")
    for sampler in (model.sampler, model.second.sampler):
        assert any(v is sampler.seed_generator.state for v in model.variables)


@pytest.mark.parametrize("form", FORMS)
def test_save_and_load(tmp_path, form):
    model = scrambled(small(form))
    models.save(model, tmp_path / "joint.keras")
    again = keras.saving.load_model(tmp_path / "joint.keras")
    assert type(again) is type(model)
    np.testing.assert_array_equal(model.sample(3, seed=2), again.sample(3, seed=2))
    np.testing.assert_array_equal(
        model.reconstruct(images(3), seed=2), again.reconstruct(images(3), seed=2)
    )


@pytest.mark.parametrize("form", FORMS)
def test_config_round_trip(form):
    model = small(form, gamma_speed=3.0, initial_log_gamma=-1.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config()
    assert float(again.log_gamma) == pytest.approx(-1.5)
    if form == "merged":
        assert float(again.second.log_gamma) == pytest.approx(-1.5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="form must be one of fused, merged; got 'both'"):
        small("both")
    second = models.LatentVAE(dense.encoder(3), dense.decoder(3))
    with pytest.raises(ValueError, match="second stage models z of 3 dimensions"):
        MergedVAE(infogan.encoder(SHAPE, KAPPA), infogan.decoder(SHAPE, KAPPA), second)
