"""The objective's terms against values worked out by hand and against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models import losses


def test_kl_of_the_prior_is_zero():
    assert losses.kl_divergence(ops.zeros((2, 5)), ops.ones((2, 5))).numpy() == pytest.approx(0.0)


def test_kl_by_hand():
    # mu = (1, -2), sd = (1/2, 2): 1/2 [(1 + 1/4 + 2 ln 2 - 1) + (4 + 4 - 2 ln 2 - 1)] = 29/8.
    value = losses.kl_divergence(ops.array([[1.0, -2.0]]), ops.array([[0.5, 2.0]]))
    assert value.shape == (1,)
    assert float(value[0]) == pytest.approx(29 / 8)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 3))
def test_kl_is_the_integral(mu, sd):
    t = np.linspace(-30, 30, 60_001)
    q = np.exp(-0.5 * ((t - mu) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    log_ratio = -0.5 * ((t - mu) / sd) ** 2 - math.log(sd) + 0.5 * t**2
    integral = (q * log_ratio).sum() * (t[1] - t[0])
    value = losses.kl_divergence(ops.array([[mu]], "float32"), ops.array([[sd]], "float32"))
    assert float(value[0]) == pytest.approx(integral, rel=1e-4, abs=1e-5)


def test_gaussian_by_hand():
    # Two pixels, errors 1/2 and 1, g = 1/2: 1/2 + 2 + 2 (-ln 2 + 0.91893).
    x = ops.array([[[[1.0], [0.0]]]])
    x_hat = ops.array([[[[0.5], [1.0]]]])
    value = losses.gaussian_reconstruction(x, x_hat, math.log(0.5))
    assert value.shape == (1,)
    assert float(value[0]) == pytest.approx(2.5 + 2 * (0.91893 - math.log(2)))


def test_gaussian_is_least_where_gamma_is_the_rmse():
    x = ops.array(np.random.default_rng(0).random((4, 8, 8, 1)), "float32")
    x_hat = ops.array(np.random.default_rng(1).random((4, 8, 8, 1)), "float32")
    rmse = float(ops.sqrt(ops.mean(ops.square(x - x_hat))))
    at = [
        float(ops.mean(losses.gaussian_reconstruction(x, x_hat, math.log(rmse) + step)))
        for step in (-0.05, 0.0, 0.05)
    ]
    assert at[1] < at[0]
    assert at[1] < at[2]


def test_cross_entropy_by_hand_and_at_its_floor():
    # x = (1, 0): -ln 0.8 - ln 0.6; x_hat = 0 where x = 1 costs -ln 1e-8.
    value = losses.cross_entropy_reconstruction(ops.array([[1.0, 0.0]]), ops.array([[0.8, 0.4]]))
    assert float(value[0]) == pytest.approx(-math.log(0.8) - math.log(0.6))
    floor = losses.cross_entropy_reconstruction(ops.array([[1.0]]), ops.array([[0.0]]))
    assert float(floor[0]) == pytest.approx(-math.log(1e-8), rel=1e-5)
