"""The kernel distance against double loops, cases by hand, and its statistical properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import kernel_distance
from evaluate.kernel import block_slices


def draw(seed, n, m, d=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.3


def direct(a, b, degree=3, gamma=None, coef=1.0):
    """The unbiased estimate of the squared MMD, pair by pair."""
    gamma = 1 / a.shape[1] if gamma is None else gamma
    n, m = len(a), len(b)

    def k(x, y):
        return (gamma * float(np.dot(x, y)) + coef) ** degree

    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(k(x, y) for x in a for y in b) / (n * m)
    return within_a + within_b - 2 * between


@pytest.mark.parametrize(
    "kernel", [{}, {"degree": 2, "gamma": 0.5, "coef": 0.0}, {"degree": 1, "gamma": 1.0}]
)
def test_one_block_equals_a_double_loop(kernel):
    a, b = draw(0, 23, 17)
    mean, error = kernel_distance(a, b, **kernel)
    assert mean == pytest.approx(direct(a, b, **kernel), rel=1e-10)
    assert math.isnan(error)


def test_blocks_equal_double_loops_over_tf_gans_parts():
    a, b = draw(1, 26, 19)
    mean, error = kernel_distance(a, b, block_size=10)  # three blocks: 8, 9, 9 and 6, 6, 7 rows
    parts = [
        direct(a[0:8], b[0:6]),
        direct(a[8:17], b[6:12]),
        direct(a[17:26], b[12:19]),
    ]
    assert mean == pytest.approx(np.mean(parts), rel=1e-10)
    assert error == pytest.approx(np.std(parts, ddof=1) / np.sqrt(3), rel=1e-10)


def test_two_blocks_have_an_error_too_and_a_block_is_of_1000_rows():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2000, 3)), rng.normal(size=(1700, 3)) + 0.1
    first, _ = kernel_distance(a[:1000], b[:850])
    second, _ = kernel_distance(a[1000:], b[850:])
    mean, error = kernel_distance(a, b)
    assert mean == pytest.approx((first + second) / 2, rel=1e-12)
    assert error == pytest.approx(abs(first - second) / 2, rel=1e-12)


def test_by_hand():
    a, b = np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])
    # k(1, 2) = 3^3, k(3, 4) = 13^3; across: 4^3, 5^3, 7^3, 9^3.
    assert kernel_distance(a, b)[0] == pytest.approx(27 + 2197 - (64 + 125 + 343 + 729) / 2)
    u_statistic, _ = kernel_distance(a, b, estimator="u-statistic")
    assert u_statistic == pytest.approx(27 + 2197 - (125 + 343))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 40))
def test_block_slices_cover_everything_once_in_almost_equal_parts(n, blocks):
    slices = block_slices(n, blocks)
    sizes = [one.stop - one.start for one in slices]
    assert len(slices) == blocks
    assert np.concatenate([np.arange(n)[one] for one in slices]).tolist() == list(range(n))
    assert sizes == sorted(sizes)
    assert sizes[-1] - sizes[0] <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(1, 40), st.integers(2, 30))
def test_the_u_statistic_of_a_set_with_itself_is_exactly_zero(seed, n, d, block_size):
    a = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    if n < 2 * math.ceil(n / block_size):
        block_size = n
    mean, error = kernel_distance(a, a.copy(), block_size=block_size, estimator="u-statistic")
    assert mean == 0.0
    assert error == 0.0 or math.isnan(error)


def test_the_unbiased_estimate_of_a_set_with_itself_is_below_zero():
    a, _ = draw(2, 50, 50)
    assert kernel_distance(a, a)[0] < 0.0


@pytest.mark.parametrize("estimator", ["unbiased", "u-statistic"])
def test_both_estimators_are_unbiased(estimator):
    # With k(x, y) = x.y the squared MMD is the squared distance of the means, here 4 * 0.5^2 = 1.
    rng = np.random.default_rng(3)
    found = []
    for _ in range(3000):
        a, b = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)) + 0.5
        found.append(kernel_distance(a, b, degree=1, gamma=1.0, coef=0.0, estimator=estimator)[0])
    deviation = (np.mean(found) - 1.0) / (np.std(found) / np.sqrt(len(found)))
    assert abs(deviation) < 4


def test_samples_of_one_distribution_are_near_zero_and_others_are_not():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(1000, 8)), rng.normal(size=(1000, 8))
    mean, error = kernel_distance(a, b, block_size=100)
    assert abs(mean) < 4 * error
    far, error = kernel_distance(a, b + 0.5, block_size=100)
    assert far > 10 * error


def test_symmetric():
    a, b = draw(5, 40, 31)
    assert kernel_distance(a, b, 11) == pytest.approx(kernel_distance(b, a, 11), rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((20, 20), {"estimator": "biased"}, "'biased'"),
        ((20, 19), {"estimator": "u-statistic"}, "20 and 19"),
        ((20, 20), {"block_size": 1}, "got 1"),
        ((20, 20), {"degree": 0}, "degree of 1 or more, got 0"),
        ((100, 5), {"block_size": 25}, "100 and 5 rows in 4 blocks"),
        ((20, 1), {}, r"second set.*\(1, 6\)"),
    ],
)
def test_unusable_input_is_refused(sizes, options, words):
    with pytest.raises(ValueError, match=words):
        kernel_distance(*draw(6, *sizes), **options)
