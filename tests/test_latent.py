"""MMD against a double loop, its statistics, spectra by hand, and active dimensions."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.latent import (
    KERNELS,
    SCALES,
    active_dimensions,
    kernel_name,
    mmd,
    prior_mmd,
    singular_values,
)


def draw(seed, n, m, kappa=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, kappa)), 0.8 * rng.normal(size=(m, kappa)) + 0.3


def direct(a, b, kernel, bandwidth=None):
    """The unbiased estimate of the squared MMD, pair by pair."""
    c = 2 * a.shape[1] if bandwidth is None else bandwidth
    n, m = len(a), len(b)

    def k(x, y):
        d = sum((p - q) ** 2 for p, q in zip(x.tolist(), y.tolist(), strict=True))
        if kernel == "imq":
            return sum(s * c / (s * c + d) for s in SCALES)
        return sum(math.exp(-d / (s * c)) for s in SCALES)

    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


@pytest.mark.parametrize("bandwidth", [None, 3.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_equals_a_double_loop(kernel, bandwidth):
    a, b = draw(0, 13, 9)
    expected = direct(a, b, kernel, bandwidth)
    assert mmd(a, b, kernel, bandwidth) == pytest.approx(expected, rel=1e-10)
    # far from the origin, where |x|^2 + |y|^2 - 2 x.y alone would lose all digits
    assert mmd(a + 1e6, b + 1e6, kernel, bandwidth) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 30),
    st.integers(2, 30),
    st.integers(1, 35),
    st.sampled_from(KERNELS),
)
def test_blocks_do_not_change_the_value(seed, n, m, block_size, kernel):
    a, b = draw(seed, n, m)
    whole = mmd(a, b, kernel, block_size=64)
    assert mmd(a, b, kernel, block_size=block_size) == pytest.approx(whole, abs=1e-12)


def test_by_hand():
    # kappa = 1, C = 2: distances 1 within a, 1 within b, and 2, 3, 1, 2 across.
    a, b = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])

    def k(d):
        return sum(2 * s / (2 * s + d * d) for s in SCALES)

    assert mmd(a, b) == pytest.approx(2 * k(1) - (2 * k(2) + k(3) + k(1)) / 2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_unbiased_on_samples_of_one_distribution(kernel):
    rng = np.random.default_rng(1)
    found = [
        mmd(rng.standard_normal((20, 4)), rng.standard_normal((15, 4)), kernel) for _ in range(1500)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / math.sqrt(len(found))
    assert min(found) < 0 < max(found)


@pytest.mark.parametrize("kernel", KERNELS)
def test_detects_shift_scale_and_dependence(kernel):
    rng = np.random.default_rng(2)
    z, prior = rng.standard_normal((2, 400, 4))
    tied = np.hstack([z[:, :2], z[:, :2]])  # every marginal is N(0, 1)
    for other in (z + 0.3, 1.3 * z, 0.7 * z, tied):
        assert mmd(other, prior, kernel) > 5 * abs(mmd(z, prior, kernel))


def test_symmetric():
    a, b = draw(3, 20, 11)
    assert mmd(a, b) == pytest.approx(mmd(b, a), rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((5, 5), {"kernel": "linear"}, "'linear'"),
        ((5, 5), {"bandwidth": 0.0}, r"above 0, got 0\.0"),
        ((5, 1), {}, r"second set.*\(1, 5\)"),
    ],
)
def test_unusable_input_is_refused(sizes, options, words):
    with pytest.raises(ValueError, match=words):
        mmd(*draw(4, *sizes), **options)


def test_prior_samples_lie_within_the_floor_and_others_above():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((300, 8))
    same, far = prior_mmd(z, seed=7), prior_mmd(1.3 * z, seed=7)
    assert abs(same.mmd - same.floor) < 4 * same.floor_std
    assert far.mmd - far.floor > 10 * far.floor_std
    assert same.floor_std > 0
    assert (far.floor, far.floor_std) == (same.floor, same.floor_std)
    assert abs(same.floor) < 4 * same.floor_std / math.sqrt(10)  # unbiased: the mean is 0


def test_prior_mmd_follows_its_seed():
    z = np.random.default_rng(6).standard_normal((50, 3))
    assert prior_mmd(z, 0, repeats=3) == prior_mmd(z.copy(), 0, repeats=3)
    assert prior_mmd(z, 0, repeats=3).mmd != prior_mmd(z, 1, repeats=3).mmd
    with pytest.raises(ValueError, match="got 1"):
        prior_mmd(z, 0, repeats=1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_prior_mmd_and_its_floor_are_mmds_of_the_kernel(kernel):
    z = np.random.default_rng(7).standard_normal((20, 3))
    found = prior_mmd(z, 4, kernel, repeats=3)
    prior = np.random.default_rng([4, 1]).standard_normal(z.shape)
    assert found.mmd == mmd(z, prior, kernel)
    rng = np.random.default_rng(0)
    pairs = [rng.standard_normal((2, 20, 3)) for _ in range(3)]
    values = [mmd(*pair, kernel) for pair in pairs]
    assert found.floor == pytest.approx(statistics.mean(values))
    assert found.floor_std == pytest.approx(statistics.stdev(values))


def test_kernel_name_states_kernel_and_bandwidth():
    assert kernel_name("imq", 64).startswith("IMQ: ")
    assert "C = 2 kappa = 128" in kernel_name("imq", 64)
    assert "0.1, 0.2, 0.5, 1, 2, 5, 10" in kernel_name("rbf")
    assert kernel_name("rbf").endswith("C = 2 kappa")
    with pytest.raises(ValueError, match="'linear'"):
        kernel_name("linear")


def test_singular_values_by_hand():
    # rows (3, 0), (0, 4), (0, 0): orthogonal columns of length 3 and 4
    np.testing.assert_allclose(singular_values([[3, 0], [0, 4], [0, 0]]), [4, 3])
    # all rows the same: one value, |row| sqrt(n) = 5 * 2, that centring would take away
    np.testing.assert_allclose(singular_values(np.tile([3.0, 4.0], (4, 1))), [10, 0], atol=1e-12)
    np.testing.assert_allclose(singular_values([[1, 0, 0], [0, 2, 0]]), [2, 1])  # n below kappa


def test_singular_values_of_the_prior_lie_where_theory_says():
    n, kappa = 2000, 20
    values = singular_values(np.random.default_rng(8).standard_normal((n, kappa)))
    assert values.shape == (kappa,)
    assert (np.diff(values) <= 0).all()
    assert math.sqrt(n) - math.sqrt(kappa) - 2 < values[-1]
    assert values[0] < math.sqrt(n) + math.sqrt(kappa) + 2


def test_active_dimensions_by_hand():
    sd_z = np.array([[0.1, 1.0, 0.8], [0.3, 1.0, 0.6]])
    mu_z = np.array([[1.0, 0.0, 0.5], [-1.0, 0.0, 0.5]])
    found = active_dimensions(sd_z, mu_z)
    np.testing.assert_allclose(found.variance, [0.05, 1.0, 0.5])
    np.testing.assert_allclose(found.spread, [1.0, 0.0, 0.0])
    assert found.active.tolist() == [True, False, False]  # 0.5 itself is not below 0.5
    assert found.count == 1
    assert active_dimensions(sd_z, mu_z, threshold=0.6).count == 2


@pytest.mark.parametrize(
    ("sd_z", "mu_z", "words"),
    [
        (np.ones((3, 2)), np.ones((3, 3)), "one shape"),
        (-np.ones((3, 2)), np.ones((3, 2)), "logarithm"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "sd_z: 3 of 3"),
    ],
)
def test_unusable_posteriors_are_refused(sd_z, mu_z, words):
    with pytest.raises(ValueError, match=words):
        active_dimensions(sd_z, mu_z)
