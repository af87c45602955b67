"""The optimal gamma: the running error against NumPy, what trains it, and what does not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import models
from experiments import presets
from experiments.errors import UserError
from models.networks import infogan
from models.optimizer import adam
from models.vae import ERROR_DECAY
from training.plan import make_plan

pytestmark = pytest.mark.usefixtures("narrow_second_stage")

SHAPE = (8, 8, 1)
KAPPA = 4


def small(method="two-stage", **kwargs):
    return models.build(method, SHAPE, latent_dim=KAPPA, optimal_gamma=True, **kwargs)


def images(n=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def squared_gamma(model):
    return float(np.exp(2.0 * float(model.log_gamma)))


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_the_running_error_is_numpys(speed):
    vae = small(gamma_speed=speed, initial_log_gamma=-0.5).first
    x, x_hats = np.random.default_rng(1).random((3, *SHAPE)), np.zeros((6, 3, *SHAPE))
    x_hats += np.random.default_rng(2).random(x_hats.shape)
    errors = []
    for x_hat in x_hats:
        vae.renew_gamma(tf.constant(x, "float32"), tf.constant(x_hat, "float32"))
        errors.append(np.mean((x - x_hat) ** 2))
        ages = np.arange(len(errors))[::-1]  # the newest is 0 steps old
        expected = np.average(errors, weights=ERROR_DECAY**ages)
        assert squared_gamma(vae) == pytest.approx(expected, rel=1e-4)
    before = vae.gamma
    vae.renew_gamma(tf.constant(x, "float32"), tf.constant(x + 10, "float32"))
    assert vae.gamma > 2 * before  # it rises with the error too


def test_the_running_error_forgets():
    vae = small().first
    x = tf.zeros((1, *SHAPE))
    for error in [1.0] * 5 + [0.1] * 500:
        vae.renew_gamma(x, x + error)
    assert vae.gamma == pytest.approx(0.1, rel=0.03)


def test_the_step_uses_the_renewed_gamma_and_no_gradient_reaches_it():
    vae = small().first
    assert all(v is not vae.log_gamma_weight for v in vae.trainable_variables)
    x = vae.observe(images(8))
    # In a scope where variables' values are tensors, as they are on JAX: an assignment to
    # TensorFlow's own variables would end the tape in any case.
    with tf.GradientTape() as tape, keras.StatelessScope():
        tape.watch(x)
        vae.renew_gamma(x, 0.5 * x)
        gamma = vae.log_gamma + 0.0
    assert float(gamma) != float(vae.log_gamma)
    assert tape.gradient(gamma, x) is None
    vae.renew_gamma(x, 0.5 * x)

    before = squared_gamma(vae)
    vae.compile(optimizer=adam(0.0))
    logs = vae.train_on_batch(images(8), return_dict=True)
    pixels = np.prod(SHAPE)
    squared = squared_gamma(vae)
    weight = (1 - ERROR_DECAY) / (1 - ERROR_DECAY**2)  # of the second batch
    error = (squared - (1 - weight) * before) / weight  # the batch's own
    expected = pixels * (error / squared / 2 + np.log(squared) / 2 + 0.91893)
    assert float(logs["reconstruction"]) == pytest.approx(expected, rel=1e-3)
    assert float(logs["log_gamma"]) == pytest.approx(np.log(squared) / 2, rel=1e-5)


@pytest.mark.parametrize("method", ["two-stage", "vae-flow", "two-stage-joint-merged"])
def test_training_moves_it_and_evaluation_does_not(method):
    model = small(method, initial_log_gamma=-1.0)
    x = tf.constant(images(8) / 255.0, tf.float32)
    stages = [(model, x)]
    if method == "two-stage":
        stages = [(model.first, x), (model.second, tf.ones((8, KAPPA)))]
    for stage, seen in stages:
        stage.objective(seen, training=False)
        assert float(stage.log_gamma) == -1.0
        stage.objective(seen, training=True)
        assert float(stage.log_gamma) != -1.0
    if method == "two-stage-joint-merged":
        assert float(model.second.log_gamma) != -1.0


@pytest.mark.parametrize("stage", ["first", "second"])
def test_config_and_file_round_trip(tmp_path, stage):
    vae = getattr(small(), stage)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(vae))
    assert again.get_config() == vae.get_config()
    assert again.optimal_gamma is True
    vae.log_gamma_weight.assign(-1.25)
    models.save(vae, tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert again.optimal_gamma is True
    assert float(again.log_gamma) == -1.25


def test_a_config_from_before_the_option_has_a_learned_gamma():
    vae = models.build("vae-learned-gamma", SHAPE, latent_dim=KAPPA)
    config = vae.get_config()
    del config["optimal_gamma"]
    assert models.VAE.from_config(config).optimal_gamma is False


@pytest.mark.parametrize("other", [{"learn_gamma": False}, {"likelihood": "cross-entropy"}])
def test_where_no_gamma_is_learned_none_is_optimal(other):
    parts = infogan.encoder(SHAPE, 2), infogan.decoder(SHAPE, 2)
    with pytest.raises(ValueError, match="optimal_gamma needs the Gaussian likelihood"):
        models.VAE(*parts, optimal_gamma=True, **other)


def plan(tmp_path, **options):
    chosen = {"datasets": ["mnist"], "methods": None, "gamma": "optimal", **options}
    return make_plan(preset="quick", out=tmp_path, command="", **chosen)


def test_optimal_runs_and_rows_have_names_of_their_own(tmp_path):
    optimal, learned = plan(tmp_path), plan(tmp_path, gamma="learned")
    (a,), (b,) = optimal.runs, learned.runs
    assert optimal.rows(a) == ("vae-optimal-gamma", "two-stage-optimal-gamma")
    assert learned.rows(b) == presets.DEFAULT_METHODS
    assert a.name == "mnist-infogan-two-stage-optimal-gamma-trial0"
    assert b.name == "mnist-infogan-two-stage-trial0"
    assert (a.gamma, a.model_options) == ("optimal", {"optimal_gamma": True})
    assert (b.gamma, b.model_options) == ("learned", {})
    assert optimal.trains_second(a)
    first = plan(tmp_path, methods=["vae-learned-gamma"])
    assert first.rows(first.runs[0]) == ("vae-optimal-gamma",)
    assert not first.trains_second(first.runs[0])


def test_gammas_that_can_not_be(tmp_path):
    with pytest.raises(UserError, match=r"--gamma optimal is for .* not for vae-fixed-gamma"):
        plan(tmp_path, methods=["vae-fixed-gamma", "two-stage"])
    with pytest.raises(UserError, match="unknown gamma 'best': expected one of learned, optimal"):
        plan(tmp_path, gamma="best")
    with pytest.raises(UserError, match="--extras adds rows to vae-learned-gamma and two-stage"):
        plan(tmp_path, methods=["wae-mmd"], gamma="learned", extras=True)


def test_a_perfect_first_batch_from_a_large_gamma_is_finite():
    model = small("vae-learned-gamma", initial_log_gamma=8.0)
    x = np.zeros((4, *SHAPE), "float32")
    for _ in range(2):
        model.renew_gamma(x, x)
        assert np.isfinite(float(model.log_gamma))
    assert float(model.log_gamma) < 0
