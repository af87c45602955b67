"""VAE, LatentVAE and TwoStageVAE: the objective against NumPy, counts, training, saving."""

from __future__ import annotations

import errno
import gc
import os
import re
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import models
from models.networks import dense, infogan
from models.optimizer import FusedAdam, adam
from tests import reference

SHAPE = (8, 8, 1)
KAPPA = 4

pytestmark = pytest.mark.usefixtures("narrow_second_stage")


def small(seed=0, **kwargs):
    """A two-stage model small enough for a test: 8 x 8 images, 4 latent dimensions."""
    return models.build("two-stage", SHAPE, latent_dim=KAPPA, seed=seed, **kwargs)


def images(n=64, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def ramps(n=128, seed=0):
    """8 x 8 images along a line: one ramp, more or less bright."""
    t = np.random.default_rng(seed).random((n, 1, 1, 1))
    return (np.linspace(0, 255, 64).reshape(1, *SHAPE) * t).astype("uint8")


def named(network):
    """The network's weights in float64 by "layer/weight"; spectral norm's u under its layer."""
    found = {}
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        for variable in inner.weights:
            found[f"{inner.name}/{variable.name}"] = variable.numpy().astype("float64")
        if inner is not layer:
            found[f"{inner.name}/u"] = layer.u.numpy().astype("float64")
    return found


def scrambled(model, seed=0):
    """Moves every weight off its initial value, so that biases and scales count in the test."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        noise = rng.normal(size=variable.shape, scale=0.05).astype("float32")
        variable.assign(variable.numpy() + noise)
    return model


def noise_of(sampler, shape):
    """The noise that ``sampler`` will draw next, without drawing it."""
    twin = keras.random.SeedGenerator(0)
    twin.state.assign(sampler.seed_generator.state)
    return ops.convert_to_numpy(keras.random.normal(shape, seed=twin)).astype("float64")


@pytest.mark.parametrize("log_gamma", [0.0, -1.3])
def test_first_stage_objective_is_numpys(log_gamma):
    vae = scrambled(small().first)
    vae.log_gamma_weight.assign(log_gamma)
    batch = images(6)
    x = batch / 255.0
    eps = noise_of(vae.sampler, (6, KAPPA))

    mu, sd = reference.infogan_encoder(x, named(vae.encoder))
    x_hat = reference.infogan_decoder(mu + sd * eps, named(vae.decoder), SHAPE)
    kl, rec = reference.kl(mu, sd), reference.gaussian(x, x_hat, log_gamma)
    gradient = reference.gaussian_gradient(x, x_hat, log_gamma).mean()

    with tf.GradientTape() as tape:
        seen = vae.observe(batch)
        mu_z, sd_z, decoded = vae.forward(seen, training=True)
        terms = vae.negative_elbo(seen, decoded, mu_z, sd_z)
        loss = ops.mean(terms.loss)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-5)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-5)
    computed = tape.gradient(loss, vae.log_gamma_weight.value)
    assert float(computed) == pytest.approx(gradient, rel=1e-5)


def test_cross_entropy_objective_is_numpys():
    vae = scrambled(
        models.VAE(
            infogan.encoder(SHAPE, KAPPA),
            infogan.decoder(SHAPE, KAPPA),
            likelihood="cross-entropy",
            initial_log_gamma=-1.0,  # must not matter
            seed=0,
        )
    )
    assert all(v is not vae.log_gamma_weight for v in vae.trainable_variables)
    batch = images(6)
    x = batch / 255.0
    eps = noise_of(vae.sampler, (6, KAPPA))
    mu, sd = reference.infogan_encoder(x, named(vae.encoder))
    x_hat = reference.infogan_decoder(mu + sd * eps, named(vae.decoder), SHAPE)
    kl = reference.kl(mu, sd)
    rec = -(x * np.log(x_hat) + (1 - x) * np.log(1 - x_hat)).sum(axis=(1, 2, 3))

    terms = vae.objective(vae.observe(batch), training=True)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-5)


def test_cross_entropy_trains_without_gamma():
    vae = models.VAE(
        infogan.encoder(SHAPE, KAPPA), infogan.decoder(SHAPE, KAPPA), likelihood="cross-entropy"
    )
    vae.compile(optimizer=adam(1e-3))
    history = vae.fit(ramps(), batch_size=32, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert vae.gamma == 1.0


def test_second_stage_objective_is_numpys():
    vae = scrambled(small().second, seed=1)
    vae.log_gamma_weight.assign(-0.7)
    rng = np.random.default_rng(2)
    mu_z = rng.normal(size=(6, KAPPA)).astype("float32")
    sd_z = rng.uniform(0.1, 1.0, (6, KAPPA)).astype("float32")
    of_z, eps = (noise_of(s, (6, KAPPA)) for s in (vae.latent_sampler, vae.sampler))
    assert np.abs(of_z - eps).max() > 0.1  # two streams
    z = mu_z + sd_z * of_z

    mu, sd = reference.second_encoder(z, named(vae.encoder))
    z_hat = reference.second_decoder(mu + sd * eps, named(vae.decoder))
    kl, rec = reference.kl(mu, sd), reference.gaussian(z, z_hat, -0.7)

    with tf.GradientTape() as tape:
        seen = vae.observe(np.stack([mu_z, sd_z], axis=1))
        mu_u, sd_u, decoded = vae.forward(seen, training=True)
        terms = vae.negative_elbo(seen, decoded, mu_u, sd_u)
        loss = ops.mean(terms.loss)
    np.testing.assert_allclose(seen, z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-5)
    np.testing.assert_allclose(terms.reconstruction, rec, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, kl + rec, rtol=1e-5)
    gradient = reference.gaussian_gradient(z, z_hat, -0.7).mean()
    computed = tape.gradient(loss, vae.log_gamma_weight.value)
    assert float(computed) == pytest.approx(gradient, rel=1e-5)


def test_train_step_takes_the_gradient_of_the_mean_loss():
    """Plain gradient descent with rate r moves log gamma by -r times the derivative."""
    vae = small().first
    batch = images(16)
    twin = small().first
    seen = twin.observe(batch)
    x_hat = twin.forward(seen, training=True)[-1]
    slope = reference.gaussian_gradient(
        batch / 255.0, ops.convert_to_numpy(x_hat).astype("float64"), 0.0
    ).mean()
    vae.compile(optimizer=keras.optimizers.SGD(1e-3))
    logs = vae.train_on_batch(batch, return_dict=True)
    assert float(vae.log_gamma) == pytest.approx(-1e-3 * slope, rel=1e-4)
    assert set(logs) == {"loss", "kl", "reconstruction", "log_gamma"}
    assert logs["loss"] == pytest.approx(logs["kl"] + logs["reconstruction"], rel=1e-5)


def test_adam_moves_log_gamma_by_the_learning_rate_times_its_speed():
    for speed in (1.0, 10.0):
        vae = small(gamma_speed=speed).first
        vae.compile(optimizer=adam(1e-3))
        vae.train_on_batch(images(16))
        assert float(vae.log_gamma) == pytest.approx(-1e-3 * speed, rel=1e-2)


def test_fixed_gamma_stays():
    vae = models.build("vae-fixed-gamma", SHAPE, latent_dim=KAPPA)
    vae.compile(optimizer=adam(1e-2))
    vae.fit(images(), batch_size=32, epochs=2, verbose=0)
    assert float(vae.log_gamma) == 0.0
    assert vae.gamma == 1.0


def test_fit_trains_one_stage_after_the_other():
    model = small()
    first, second = model.fit(images(), 2, 3, verbose=0)
    assert [len(h.history["loss"]) for h in (first, second)] == [2, 3]
    assert float(model.first.log_gamma) < 0
    assert float(model.second.log_gamma) != 0  # up or down: z may spread by more than 1 at first


def test_fit_trains_both_stages_as_it_is_told():
    model = small()
    model.fit(images(), 1, 2, batch_size=16, learning_rate=3e-4, verbose=0)
    for stage, steps in ((model.first, 4), (model.second, 8)):
        assert float(stage.optimizer.learning_rate) == pytest.approx(3e-4)
        assert int(stage.optimizer.iterations) == steps


@pytest.mark.parametrize("stage", ["first", "second"])
def test_training_lowers_the_loss(stage):
    vae = getattr(small(), stage)
    t = np.random.default_rng(0).random(512).astype("float32")
    if stage == "first":
        ramp = np.linspace(0, 255, 64).reshape(1, 8, 8, 1)
        seen = (ramp * t[:, None, None, None]).astype("uint8")
    else:  # posteriors along a curve
        mu_z = np.stack([np.cos(6 * t), np.sin(6 * t), t, 0 * t], axis=1)
        seen = np.stack([mu_z, np.full_like(mu_z, 0.05)], axis=1)
    vae.compile(optimizer=adam(1e-3))
    loss = vae.fit(seen, batch_size=64, epochs=8 if stage == "first" else 30, verbose=0).history[
        "loss"
    ]
    assert loss[-1] < 0.9 * loss[0]


def test_kernels_have_unit_norm_after_training():
    vae = small().first
    vae.compile(optimizer=adam(1e-3))
    vae.fit(images(256), batch_size=32, epochs=12, verbose=0)
    normalised = [layer for layer in vae.encoder.layers if hasattr(layer, "sigma")]
    assert len(normalised) == 4
    for layer in normalised:
        kernel = layer.layer.kernel.numpy()
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        assert largest / float(layer.sigma()[0]) == pytest.approx(1.0, abs=0.01)


def test_fused_adam_is_adam():
    start = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    plain, fused = keras.Variable(start), keras.Variable(start)
    optimizers = (
        keras.optimizers.Adam(1e-2, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
        adam(1e-2),
    )
    for step in range(20):
        gradient = np.random.default_rng(step).normal(size=(5, 4)).astype("float32")
        for optimizer, variable in zip(optimizers, (plain, fused), strict=True):
            optimizer.apply([tf.constant(gradient)], [variable])
    np.testing.assert_allclose(fused.numpy(), plain.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(fused.numpy() - start).max() > 0.05
    config = adam().get_config()
    papers = {"learning_rate": 1e-4, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    assert {k: config[k] for k in papers} == pytest.approx(papers)
    assert config["amsgrad"] is False
    assert config["weight_decay"] is None
    config = keras.saving.serialize_keras_object(fused_twin := FusedAdam(3e-4))
    assert keras.saving.deserialize_keras_object(config).get_config() == fused_twin.get_config()


def test_shapes_and_ranges():
    model = small()
    batch = images(5)
    mu_z, sd_z = model.encode(batch)
    assert mu_z.shape == sd_z.shape == (5, KAPPA)
    assert (sd_z > 0).all()
    assert model.second.encode(mu_z)[0].shape == (5, KAPPA)
    for made in (model.sample(3), model.sample(3, stage=1), model.reconstruct(batch)[:3]):
        assert made.shape == (3, *SHAPE)
        assert made.dtype == np.float32
        assert made.min() >= 0
        assert made.max() <= 1


def test_seeds():
    model = small()
    for stage in (1, 2):
        one = model.sample(4, stage=stage, seed=7)
        np.testing.assert_array_equal(one, model.sample(4, stage=stage, seed=7))
        assert np.abs(one - model.sample(4, stage=stage, seed=8)).max() > 1e-4
        assert np.abs(model.sample(4, stage=stage) - model.sample(4, stage=stage)).max() > 1e-4
    np.testing.assert_array_equal(model.sample(4, 1, seed=1), small().sample(4, 1, seed=1))
    assert np.abs(small(1).sample(4, 1, seed=1) - model.sample(4, 1, seed=1)).max() > 1e-4


def test_second_stage_adds_its_own_noise_and_the_first_none():
    model = small()
    u, eps = np.split(models.vae.standard_normal(8, KAPPA, 3), 2)
    model.second.log_gamma_weight.assign(np.log(0.25))
    z = ops.convert_to_numpy(model.second.decoder(u)) + 0.25 * eps
    np.testing.assert_allclose(model.second.sample(4, seed=3), z, rtol=1e-5, atol=1e-6)
    model.first.log_gamma_weight.assign(3.0)  # would drown the image if pixel noise were added
    np.testing.assert_allclose(model.sample(4, seed=3), model.first.decode(z), atol=1e-6)


def test_reconstructions_are_of_a_sampled_z():
    vae = scrambled(small().first)
    batch = images(5)
    mu_z, sd_z = vae.encode(batch)
    expected = vae.decode(mu_z + sd_z * models.vae.standard_normal(5, KAPPA, 3))
    np.testing.assert_array_equal(vae.reconstruct(batch, seed=3), expected)
    assert np.abs(expected - vae.decode(mu_z)).max() > 1e-3


def test_evaluation_is_in_inference_mode():
    vae = scrambled(small().first)
    batch = images(16)
    seen = vae.observe(batch)
    mu_z, sd_z = vae.encode(batch)
    x_hat = vae.decode(mu_z + sd_z * noise_of(vae.sampler, mu_z.shape).astype("float32"))
    expected = ops.mean(vae.negative_elbo(seen, x_hat, mu_z, sd_z).loss)
    before = vae.get_weights()
    vae.compile()
    found = vae.test_on_batch(batch, return_dict=True)["loss"]
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    for a, b in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", models.METHODS)
def test_every_method_normalises_with_the_momentum_it_is_given(method):
    model = models.build(method, SHAPE, latent_dim=KAPPA, momentum=0.75)
    first = getattr(model, "first", model)
    layers = first._flatten_layers()
    found = [b for b in layers if isinstance(b, keras.layers.BatchNormalization)]
    assert found
    assert {(b.momentum, b.epsilon) for b in found} == {(0.75, 1e-5)}


def test_save_and_load(tmp_path):
    model = small()
    model.fit(images(), 1, 1, batch_size=32, verbose=0)
    model.save(tmp_path / "model")
    again = models.TwoStageVAE.load(tmp_path / "model")
    for stage in (1, 2):
        np.testing.assert_array_equal(
            model.sample(5, stage=stage, seed=0), again.sample(5, stage=stage, seed=0)
        )
    np.testing.assert_array_equal(
        model.reconstruct(images(5), seed=1), again.reconstruct(images(5), seed=1)
    )
    assert again.second.gamma == model.second.gamma


def test_keras_file_of_one_stage(tmp_path):
    vae = small().first
    vae.save(tmp_path / "first.keras")
    again = keras.saving.load_model(tmp_path / "first.keras")
    np.testing.assert_array_equal(vae.sample(4, seed=2), again.sample(4, seed=2))


def test_two_stages_of_different_models_are_never_left_together(tmp_path, monkeypatch):
    small().save(tmp_path)

    def killed_at_the_second(source, target, replace=os.replace):
        if Path(target).name == "second.keras":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("models.two_stage.os.replace", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        small().save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"it lacks second\.keras"):
        models.TwoStageVAE.load(tmp_path)


@pytest.mark.parametrize("stage", ["first", "second"])
def test_two_stages_that_can_not_be_saved_leave_the_earlier_ones(tmp_path, monkeypatch, stage):
    earlier = small()
    earlier.save(tmp_path)

    def full(file):
        if Path(file).name.startswith(f".{stage}."):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models.vae, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        small(seed=1).save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"first.keras", "second.keras"}
    again = models.TwoStageVAE.load(tmp_path)
    np.testing.assert_array_equal(again.sample(3, seed=0), earlier.sample(3, seed=0))


def test_a_model_that_can_not_be_saved_leaves_the_earlier_one_and_nothing_else(
    tmp_path, monkeypatch
):
    path = tmp_path / "first.keras"
    models.save(small().first, path)
    earlier, names = path.read_bytes(), set()

    def full(file):
        names.add(Path(file).name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models.vae, "sync", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            models.save(small().first, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == earlier
    assert len(names) == 2  # two that save at a time don't write into each other's file


def test_what_a_save_killed_long_ago_left_is_removed(tmp_path):
    left = [tmp_path / f".first.{name}.keras" for name in ("old", "new")]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (0, 0))
    models.save(small().first, tmp_path / "first.keras")
    assert {p.name for p in tmp_path.iterdir()} == {".first.new.keras", "first.keras"}


@pytest.mark.parametrize("stage", ["first", "second"])
def test_model_config_round_trip(stage):
    vae = getattr(small(gamma_speed=3.0, initial_log_gamma=-1.5), stage)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(vae))
    assert type(again) is type(vae)
    assert again.get_config() == vae.get_config()
    assert float(again.log_gamma) == pytest.approx(-1.5)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="method must be one of"):
        models.build("gan", SHAPE)
    with pytest.raises(ValueError, match="network must be one of"):
        models.build("two-stage", SHAPE, network="unet")
    with pytest.raises(ValueError, match="multiples of 4"):
        models.build("two-stage", (30, 30, 1))
    with pytest.raises(ValueError, match="likelihood must be one of"):
        models.VAE(infogan.encoder(SHAPE, 2), infogan.decoder(SHAPE, 2), likelihood="poisson")
    with pytest.raises(ValueError, match="second stage models z of 3 dimensions"):
        models.TwoStageVAE(small().first, models.LatentVAE(dense.encoder(3), dense.decoder(3)))
    model = small()
    with pytest.raises(ValueError, match="images must be uint8"):
        model.encode(np.zeros((2, *SHAPE), "float32"))
    with pytest.raises(ValueError, match=r"latent vectors must have shape \(n, 4\)"):
        model.first.decode(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="stage must be 1 or 2"):
        model.sample(1, stage=3)
    with pytest.raises(FileNotFoundError, match="no saved TwoStageVAE"):
        models.TwoStageVAE.load("/nowhere")
    model.save(tmp_path / "run" / "model")
    with pytest.raises(FileNotFoundError, match=re.escape(f"Name {tmp_path / 'run' / 'model'}.")):
        models.TwoStageVAE.load(tmp_path / "run")
    with pytest.raises(ValueError, match="got n = -1"):
        model.sample(-1)


def test_long_arrays_go_through_in_batches(monkeypatch):
    model = small().first
    whole = model.encode(images(7))
    monkeypatch.setattr("models.vae.PREDICT_BATCH", 3)
    for a, b in zip(model.encode(images(7)), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    # As several replicas answer, each the whole batch.
    monkeypatch.setattr(model.decoder, "predict_on_batch", lambda z: np.zeros((2 * len(z), 1)))
    with pytest.raises(RuntimeError, match="14 answers for 7 examples"):
        model.decode(whole[0])


def test_noise_goes_on_where_a_saved_model_stopped(tmp_path):
    model = models.build("two-stage", (8, 8, 1), latent_dim=3, seed=5)
    mu, sd = np.zeros((4, 3), "float32"), np.ones((4, 3), "float32")
    drawn = [ops.convert_to_numpy(model.first.sampler(mu, sd)) for _ in range(2)]
    model.save(tmp_path / "model")
    loaded = models.TwoStageVAE.load(tmp_path / "model")
    again = ops.convert_to_numpy(loaded.first.sampler(mu, sd))
    np.testing.assert_array_equal(again, ops.convert_to_numpy(model.first.sampler(mu, sd)))
    assert all(np.abs(again - before).max() > 1e-3 for before in drawn)
    latent = [ops.convert_to_numpy(m.second.latent_sampler(mu, sd)) for m in (model, loaded)]
    np.testing.assert_array_equal(*latent)


def test_images_that_are_scaled_already_are_refused():
    model = models.build("vae-learned-gamma", (8, 8, 1), latent_dim=3)
    model.compile(optimizer="adam")
    x = np.zeros((4, 8, 8, 1), "float32")
    with pytest.raises(ValueError, match="images as integers from 0 to 255, got float32"):
        model.fit(x, verbose=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.sample(0), "at least one sample"),
        (lambda m: m.sample(2, seed=-1), "not negative"),
        (lambda m: m.encode(np.zeros((0, 8, 8, 1), "uint8")), "at least one example"),
        (lambda m: m.decode(np.zeros((0, 3))), "at least one example"),
    ],
)
def test_what_cannot_be_drawn_or_encoded_is_said(call, words):
    model = models.build("vae-learned-gamma", (8, 8, 1), latent_dim=3)
    with pytest.raises(ValueError, match=words):
        call(model)
    np.testing.assert_array_equal(model.sample(2, seed=np.int64(3)), model.sample(2, seed=3))


def test_a_step_is_traced_once(monkeypatch):
    """Twice, for most of a short training's time, if it made the optimizer's variables itself."""
    vae, traces = small().first, []
    objective = models.VAE.objective

    def counted(self, x, training=False):
        traces.append(training)
        return objective(self, x, training=training)

    monkeypatch.setattr(models.VAE, "objective", counted)
    for _ in range(2):
        vae.compile(optimizer=adam(1e-3))
        vae.fit(images(64), batch_size=32, epochs=2, verbose=0)
        assert int(vae.optimizer.iterations) == 4
    assert traces == [True, True]


def test_a_training_leaves_no_graph_behind(monkeypatch):
    """It would hold weights and moments: gigabytes after some dozen runs of one command."""
    graphs = []
    objective = models.VAE.objective

    def noted(self, x, training=False):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return objective(self, x, training=training)

    monkeypatch.setattr(models.VAE, "objective", noted)
    vae = small().first
    vae.compile(optimizer=adam(1e-3))
    vae.fit(images(64), batch_size=32, verbose=0)
    assert graphs[0]() is not None
    del vae
    gc.collect()
    assert [graph() for graph in graphs] == [None]


def test_a_frozen_batch_normalisation_keeps_its_averages():
    model = models.build("vae-learned-gamma", (8, 8, 1), latent_dim=3)
    averages = [w for w in model.encoder.weights if "moving" in w.name]
    before = [w.numpy() for w in averages]
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    for trainable in (False, True):
        model.encoder.trainable = trainable
        model.compile(optimizer="adam")
        model.fit(images, verbose=0)
        after = [w.numpy() for w in averages]
        same = [np.array_equal(a, b) for a, b in zip(after, before, strict=True)]
        assert len(same) > 0
        assert same == [not trainable] * len(same)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_weights_of_examples_are_refused(method):
    vae = small().first
    vae.compile(optimizer=adam(1e-4))
    with pytest.raises(ValueError, match="the objective weighs all examples alike"):
        # With a y, or Keras would leave the weights out by itself.
        getattr(vae, method)(images(), images(), sample_weight=np.zeros(64), verbose=0)


@pytest.mark.parametrize("how", ["regulariser", "add_loss"])
def test_losses_that_a_layer_adds_are_refused(how):
    @keras.saving.register_keras_serializable("tests")
    class Adds(keras.layers.Layer):
        def call(self, x):
            self.add_loss(ops.mean(x))
            return x

    vae = small().first
    first = keras.layers.Dense(8, kernel_regularizer="l2" if how == "regulariser" else None)
    h = first(Adds()(vae.decoder.input) if how == "add_loss" else vae.decoder.input)
    h = keras.layers.Dense(64, activation="sigmoid")(h)
    decoder = keras.Model(vae.decoder.input, keras.layers.Reshape(SHAPE)(h))
    vae = models.VAE(vae.encoder, decoder)
    vae.compile(optimizer=adam(1e-4))
    with pytest.raises(ValueError, match="adds losses of its own"):
        vae.fit(images(), verbose=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_other_precisions_are_refused_before_anything_is_trained(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        with pytest.raises(ValueError, match=f"has the dtype policy {policy}: these models are"):
            small()
    finally:
        keras.config.set_dtype_policy(before)


def test_predicting_leaves_the_choice_of_xla_as_it_was():
    vae = small().first
    vae.decoder.compile(jit_compile=True)
    vae.sample(1)
    assert vae.decoder.jit_compile is True
