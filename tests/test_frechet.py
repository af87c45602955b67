"""The Frechet distance against independent formulas, cases by hand, and its invariances."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import (
    frechet,
    frechet_distance,
    frechet_from_statistics,
    statistics,
    streamed_statistics,
)
from evaluate.frechet import Statistics

seeds = st.integers(0, 2**32 - 1)


def reference(a, b):
    """The textbook formula: eigenvalues of the product of two covariances, by a general solver."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values = np.linalg.eigvals(cov_a @ cov_b).real
    gap = a.mean(axis=0) - b.mean(axis=0)
    root = np.sqrt(np.clip(values, 0, None)).sum()
    return gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * root


def draw(seed, n, m, d, rank=None):
    """Two correlated feature sets (n, d), (m, d) of different mean and spread."""
    rng = np.random.default_rng(seed)
    rank = rank or d
    a = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + rng.normal(size=d)
    b = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, d)) * 1.5
    return a, b


def gaussian(mean, cov, n=100):
    return Statistics(np.asarray(mean, float), np.asarray(cov, float), n)


@pytest.mark.parametrize(
    ("n", "m", "d", "rank"),
    [(200, 150, 16, None), (25, 120, 24, None), (300, 300, 12, 5), (6, 9, 12, None), (2, 40, 7, 3)],
)
def test_equals_an_independent_eigenvalue_computation(n, m, d, rank):
    for seed in range(3):
        a, b = draw(seed, n, m, d, rank)
        expected = reference(a, b)
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
        from_statistics = frechet_from_statistics(statistics(a), statistics(b))
        assert from_statistics == pytest.approx(expected, rel=1e-6)


def test_full_rank_equals_scipy_to_1e_8():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = draw(0, 400, 300, 40)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    expected = gap @ gap + np.trace(cov_a + cov_b - 2 * linalg.sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_both_ways_agree_without_full_rank():
    a, b = draw(1, 30, 25, 80)
    from_statistics = frechet_from_statistics(statistics(a), statistics(b))
    assert frechet_distance(a, b) == pytest.approx(from_statistics, rel=1e-10)


@pytest.mark.parametrize("n", [5, 60])
def test_identical_sets_give_zero(n):
    a, _ = draw(2, n, n, 20)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-10)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0.0, abs=1e-10)
    assert frechet_from_statistics(statistics(a), statistics(a)) == pytest.approx(0.0, abs=1e-10)
    assert frechet_distance(a, a) >= 0.0


def test_constant_features_give_the_squared_distance():
    a, b = np.full((4, 3), 0.1), np.full((6, 3), 0.4)
    assert frechet_distance(a, b) == pytest.approx(3 * 0.3**2, rel=1e-12)


def test_equal_covariances_give_the_squared_mean_distance():
    a, _ = draw(3, 50, 50, 6)
    shift = np.arange(6.0)
    assert frechet_distance(a, a + shift) == pytest.approx(shift @ shift, rel=1e-10)


def test_diagonal_gaussians():
    # sum (sd_a - sd_b)^2 + |gap|^2 = (1 - 2)^2 + (3 - 5)^2 + 0 + 4^2
    a = gaussian([0, 0, 0], np.diag([1.0, 9.0, 0.0]))
    b = gaussian([0, 4, 0], np.diag([4.0, 25.0, 0.0]))
    assert frechet_from_statistics(a, b) == pytest.approx(21.0, rel=1e-12)


def test_disjoint_supports_give_the_sum_of_the_traces():
    a, b = gaussian([0, 0], np.diag([3.0, 0.0])), gaussian([0, 0], np.diag([0.0, 5.0]))
    assert frechet_from_statistics(a, b) == pytest.approx(8.0, rel=1e-12)


def test_isotropic_gaussians():
    a, b = gaussian(np.zeros(10), 4.0 * np.eye(10)), gaussian(np.ones(10), 9.0 * np.eye(10))
    assert frechet_from_statistics(a, b) == pytest.approx(10 + 10 * (3 - 2) ** 2, rel=1e-12)


def test_one_feature_by_hand():
    # Means 1 and 6; unbiased variances 2 and 8: 25 + (sqrt 8 - sqrt 2)^2 = 27.
    assert frechet_distance([[0.0], [2.0]], [[4.0], [8.0]]) == pytest.approx(27.0, rel=1e-12)


def test_statistics_are_numpys_unbiased_ones():
    a, _ = draw(4, 30, 30, 5)
    found = statistics(a.astype(np.float32))
    exact = a.astype(np.float32).astype(np.float64)
    assert found.n == 30
    assert found.mean.dtype == found.cov.dtype == np.float64
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.cov, np.cov(exact, rowvar=False), rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_the_fast_way_equals_the_exact_one(spread, monkeypatch):
    rng = np.random.default_rng(8)
    scale = np.geomspace(1.0, spread, 60)
    rotation, _ = np.linalg.qr(rng.normal(size=(60, 60)))
    a = rng.normal(size=(300, 60)) * scale @ rotation
    b = rng.normal(size=(200, 60)) * scale[::-1] @ rotation + 0.1
    gap, covs = a.mean(0) - b.mean(0), (np.cov(a, rowvar=False), np.cov(b, rowvar=False))
    fast = frechet._fast_distance(gap, *covs)
    assert frechet_distance(a, b) == pytest.approx(fast, rel=1e-12)
    monkeypatch.setattr(frechet, "_fast_distance", lambda *_: None)
    assert frechet_distance(a, b) == pytest.approx(fast, rel=1e-8)
    assert frechet_from_statistics(statistics(a), statistics(b)) == pytest.approx(fast, rel=1e-8)


def test_the_fast_way_is_left_where_it_would_cost_digits():
    a, b = draw(9, 200, 200, 8)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    singular = cov_a.copy()
    singular[0] = singular[:, 0] = 0.0
    gap = np.zeros(8)
    assert frechet._fast_distance(gap, cov_a, cov_b) is not None
    assert frechet._fast_distance(gap, singular, cov_b) is None  # no Cholesky factor
    assert frechet._fast_distance(gap, cov_b, singular) is None  # a root of rounding error
    assert frechet._fast_distance(gap, cov_a, cov_a) is None  # a distance of rounding error


@settings(max_examples=25, deadline=None)
@given(
    seeds,
    st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) >= 2),
    st.integers(2, 9),
)
def test_streamed_statistics_are_those_of_all_features_at_once(seed, sizes, block):
    features = np.random.default_rng(seed).normal(size=(sum(sizes), 5)) + 100.0
    batches = np.split(features, np.cumsum(sizes)[:-1])
    found, expected = streamed_statistics(batches, block), statistics(features)
    assert found.n == expected.n
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-9, atol=1e-11)


def test_update_by_hand():
    # {0, 2} and {4, 8, 9}: mean 23 / 5, sum of squares 165 - 5 (23 / 5)^2 = 59.2
    found = statistics([[0.0], [2.0]]).update(np.array([[4.0], [8.0], [9.0]]))
    assert found.n == 5
    assert found.mean == pytest.approx([4.6])
    assert found.cov == pytest.approx(59.2 / 4)


def test_streaming_holds_a_few_blocks_whatever_the_number_of_images():
    d, block, peaks = 16, 32, []
    for n in (1_000, 5_000):
        rng = np.random.default_rng(0)
        tracemalloc.start()
        streamed_statistics((rng.normal(size=(20, d)) for _ in range(n // 20)), block)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 1_000 * d * 8


def test_unusable_streams_are_refused():
    with pytest.raises(ValueError, match="got none"):
        streamed_statistics([])
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        streamed_statistics([np.zeros((1, 3))])
    with pytest.raises(ValueError, match="expected 2 features, got 3"):
        statistics(np.eye(2)).update(np.eye(3))


def test_float32_and_float16_features_are_scored_in_float64():
    a, b = draw(5, 80, 70, 8)
    for dtype in (np.float32, np.float16):
        low_a, low_b = a.astype(dtype), b.astype(dtype)
        expected = reference(low_a, low_b)
        assert frechet_distance(low_a, low_b) == pytest.approx(expected, rel=1e-8)


def test_a_large_common_offset_costs_no_digits():
    a, b = draw(6, 60, 60, 4)
    a, b = np.round(a, 3), np.round(b, 3)
    expected = frechet_distance(a, b)
    assert frechet_distance(a + 2.0**20, b + 2.0**20) == pytest.approx(expected, rel=1e-7)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 12), st.integers(2, 30), st.integers(2, 30))
def test_symmetric_never_negative_and_blind_to_shifts_and_rotations(seed, d, n, m):
    a, b = draw(seed, n, m, d)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    shift = rng.normal(size=d)
    distance = frechet_distance(a, b)
    tolerance = {"rel": 1e-9, "abs": 1e-9 * (np.var(a) + np.var(b)) * d}
    assert distance >= 0.0
    assert frechet_distance(b, a) == pytest.approx(distance, **tolerance)
    assert frechet_distance(a @ rotation + shift, b @ rotation + shift) == pytest.approx(
        distance, **tolerance
    )
    assert frechet_distance(2 * a, 2 * b) == pytest.approx(4 * distance, **tolerance)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros(4), np.zeros((4, 2)), r"first set.*\(4,\)"),
        (np.zeros((4, 2)), np.zeros((4, 3)), "2 and 3"),
        (np.zeros((4, 2)), np.zeros((1, 2)), r"second set.*\(1, 2\)"),
        (np.array([[1.0, np.nan], [0, 0]]), np.zeros((4, 2)), "1 of 2"),
        (np.zeros((4, 2)), np.full((3, 2), np.inf), "3 of 3"),
        (np.zeros((4, 2), complex), np.zeros((4, 2)), "complex"),
    ],
)
def test_unusable_features_are_refused(a, b, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(a, b)


def test_unusable_statistics_are_refused():
    good = gaussian([0, 0], np.eye(2))
    with pytest.raises(ValueError, match=r"second statistics.*\(3, 3\)"):
        frechet_from_statistics(good, gaussian([0, 0], np.eye(3)))
    with pytest.raises(ValueError, match="first statistics: NaN"):
        frechet_from_statistics(gaussian([0, np.nan], np.eye(2)), good)


def test_importing_the_package_does_not_import_tensorflow():
    program = "import sys, evaluate, evaluate.scoring; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
