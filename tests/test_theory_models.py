"""The project's models on vectors, and the theory's training and measuring of them."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest

from models import vector
from models.baselines.joint import MergedVAE
from models.two_stage import LatentVAE, TwoStageVAE
from models.vae import VAE
from theory import closed_form, fitting
from theory.experiments import NOISE_FACTORS, Cell, run_cell

RNG = np.random.default_rng(0)
X = RNG.standard_normal((512, 4)).astype("float32")


def dense(h, layer, activation=None):
    kernel, bias = (np.asarray(w, "float64") for w in layer.get_weights())
    h = h @ kernel + bias
    return h / (1 + np.exp(-h)) if activation == "silu" else h


def test_networks_are_numpys():
    encoder = vector.build(4, 2, units=8, seed=1).encoder
    h = dense(dense(X, encoder.get_layer("dense1"), "silu"), encoder.get_layer("dense2"), "silu")
    h = np.concatenate([h, X], axis=1)
    mu, sd = encoder(X)
    np.testing.assert_allclose(mu, dense(h, encoder.get_layer("mu")), atol=1e-5)
    np.testing.assert_allclose(sd, np.exp(dense(h, encoder.get_layer("log_sd"))), rtol=1e-4)


def test_vectors_are_not_scaled_and_are_checked():
    model = vector.build(4, 2, units=8)
    assert isinstance(model, VAE)
    np.testing.assert_array_equal(model.scale(X), X)
    mu_z, sd_z = model.encode(-300 * X)
    assert mu_z.shape == sd_z.shape == (512, 2)
    assert model.decode(mu_z).shape == (512, 4)
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        model.encode(X[:, :3])


@pytest.mark.parametrize("form", ["vae", "fused", "merged"])
def test_models_round_trip_and_save(form, tmp_path):
    if form == "vae":
        model = vector.build(4, 2, units=8, gamma_speed=0.5)
    else:
        model = vector.build_joint(4, 2, form, units=8, second_units=8, gamma_speed=0.5)
        assert isinstance(model, MergedVAE) == (form == "merged")
    fitting.fit(model, X, 2, chunk=2)
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.sample(5, seed=0), model.sample(5, seed=0), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    np.testing.assert_allclose(loaded.sample(5, seed=0), model.sample(5, seed=0), atol=1e-6)


def test_two_stages_are_the_projects_own():
    model = vector.build_two_stage(4, 2, units=8, second_units=8, second_initial_log_gamma=-1.0)
    assert isinstance(model, TwoStageVAE)
    assert type(model.second) is LatentVAE
    assert float(model.second.log_gamma) == pytest.approx(-1.0)
    assert model.sample(6, stage=2, seed=0).shape == (6, 4)
    with pytest.raises(ValueError, match="form"):
        vector.build_joint(4, 2, "glued")


def test_learning_rate_holds_then_falls():
    assert fitting.learning_rate(0.0) == fitting.learning_rate(fitting.HOLD)
    assert fitting.learning_rate(0.0) == fitting.LEARNING_RATE
    assert fitting.learning_rate(1.0) == pytest.approx(fitting.LAST_LEARNING_RATE)


def test_cost_is_the_elbo():
    model = vector.build(4, 2, units=8, initial_log_gamma=-0.5)
    found = fitting.cost(model, X, repeats=1, seed=3)
    mu_z, sd_z = model.encode(X)
    eps = np.random.default_rng(3).standard_normal(mu_z.shape)
    x_hat = model.decode((mu_z + sd_z * eps).astype("float32"))
    kl = 0.5 * (mu_z**2 + sd_z**2 - 2 * np.log(sd_z) - 1).sum(1).mean()
    error = ((X - x_hat) ** 2).sum(1).mean() / (2 * math.exp(-1.0))
    assert found["kl"] == pytest.approx(kl, rel=1e-4)
    expected = error + 4 * (-0.5 + 0.5 * math.log(2 * math.pi))
    assert found["reconstruction"] == pytest.approx(expected, rel=1e-4)
    assert found["loss"] == pytest.approx(found["kl"] + found["reconstruction"])


def test_a_gaussian_on_a_plane_reaches_probabilistic_pca():
    """The whole pipeline against a closed form: costs at fixed gammas, slope, dimensions."""
    cell = Cell(
        "levels", "linear", "gaussian", 1, 4, 2, 0, 400, (("exponents", (0.0, -0.5, -1.0)),)
    )
    found = run_cell(cell)
    costs = [c["loss"] for c in found["costs"]]
    np.testing.assert_allclose(costs[1:], found["closed_form"][1:], atol=0.1)
    slope = (costs[2] - costs[1]) / (found["log_gammas"][2] - found["log_gammas"][1])
    assert slope == pytest.approx(3, rel=0.05)
    assert found["active"] == 1
    # And the closed form is that of unit variance along one of four dimensions.
    ideal = closed_form.optimal_cost(np.array([1.0, 0, 0, 0]), 2, 0.1)
    assert found["closed_form"][2] == pytest.approx(ideal, abs=0.1)


SMALL = {
    "noise": (("noise", 0.1),),
    "few": (),
    "stages": (("second", 5),),
    "joint": (("form", "merged"),),
}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(fitting, "POOL", 512)
    monkeypatch.setattr(fitting, "CHUNK", 5)
    for name, value in (("N", 20), ("REPEATS", 2), ("PERMUTATIONS", 19)):
        monkeypatch.setattr(f"theory.twosample.{name}", value)


@pytest.mark.parametrize("kind", SMALL)
def test_every_kind_of_cell_is_json(kind, short):
    found = run_cell(Cell(kind, "curved", "mixture", 1, 3, 2, 0, 5, SMALL[kind]))
    json.dumps(found, allow_nan=False)
    if kind == "few":
        errors = found["relative_error_by_factor"]
        assert len(errors) == len(NOISE_FACTORS)
        assert errors[0] <= errors[-1]  # noise never helps
    if kind == "stages":
        assert found["truth"]["distance_90"] < 1e-6


def test_a_density_cell(short, monkeypatch):
    monkeypatch.setitem(__import__("theory.density").density.NODES, 2, 51)
    found = run_cell(Cell("density", "identity", "mixture", 1, 1, 2, 0, 10))
    assert found["checks"][-1]["mass"] == pytest.approx(1, abs=1e-3)
    # Untrained: the bound KL <= cost - entropy holds all the same.
    assert found["checks"][-1]["kl"] < found["checks"][-1]["cost"] - found["entropy"] + 0.1


def test_the_same_cell_gives_the_same_numbers(short):
    cell = Cell("grid", "linear", "skewed", 1, 3, 2, 4, 5)
    found = run_cell(cell)
    json.dumps(found, allow_nan=False)
    assert found["variances"] == pytest.approx(run_cell(cell)["variances"])
