"""Re-normalised latents: the variances of q(z), and samples that have them."""

from __future__ import annotations

import numpy as np
import pytest

import models
from models.renormalised import aggregate_deviation, sample_both, sample_first, stretched
from models.vae import standard_normal

KAPPA = 4


@pytest.fixture(scope="module")
def model():
    return models.build("two-stage", (8, 8, 1), latent_dim=KAPPA)


def test_variance_of_the_aggregate_posterior_is_that_of_its_draws():
    rng = np.random.default_rng(0)
    mu_z = rng.normal(size=(200, 3)) * [0.0, 1.0, 3.0] + [5.0, 0.0, -1.0]
    sd_z = rng.uniform(0.1, 1.0, size=(200, 3))
    z = mu_z + sd_z * rng.standard_normal((2000, 200, 3))
    np.testing.assert_allclose(
        aggregate_deviation(mu_z, sd_z), z.reshape(-1, 3).std(axis=0), rtol=5e-3
    )


def test_variance_by_hand():
    mu_z, sd_z = [[0.0, 2.0], [4.0, 2.0]], [[1.0, 3.0], [1.0, 1.0]]
    # dimension 1: Var[mu] = 4, E[sd^2] = 1; dimension 2: 0 and (9 + 1) / 2
    np.testing.assert_allclose(aggregate_deviation(mu_z, sd_z), np.sqrt([5.0, 5.0]))


def test_the_first_stage_is_sampled_with_these_variances(model):
    deviation = np.array([0.5, 1.0, 2.0, 0.0], "float32")
    noise = standard_normal(6, KAPPA, 3)
    made = sample_first(model.first, 6, deviation, seed=3)
    np.testing.assert_allclose(made, model.first.decode(noise * deviation), atol=1e-6)
    ones = np.ones(KAPPA, "float32")
    np.testing.assert_array_equal(
        sample_first(model.first, 6, ones, seed=3), model.first.sample(6, seed=3)
    )


def test_stretching_gives_the_deviation_and_keeps_the_mean():
    z = np.random.default_rng(1).normal(2.0, 0.3, size=(500, KAPPA)).astype("float32")
    z[:, 3] = 7.0  # nothing to stretch
    deviation = np.array([1.0, 0.1, 2.0, 1.0])
    wide = stretched(z, deviation)
    np.testing.assert_allclose(wide.std(axis=0)[:3], deviation[:3], rtol=1e-4)
    np.testing.assert_allclose(wide.mean(axis=0), z.mean(axis=0), atol=1e-4)
    np.testing.assert_array_equal(wide[:, 3], z[:, 3])
    assert wide.dtype == np.float32


def test_both_stages_are_sampled_without_noise(model):
    u = standard_normal(16, KAPPA, 5)[:8]
    z_hat = model.second.decode(u)
    made = sample_both(model, 8, z_hat.std(axis=0), seed=5)  # a stretch of 1
    np.testing.assert_allclose(made, model.first.decode(z_hat), atol=1e-5)
    wide = sample_both(model, 8, 3 * z_hat.std(axis=0), seed=5)
    assert np.abs(wide - made).max() > 1e-4  # untrained, all images are nearly grey
