"""Do two samples come from one distribution? The permutation test of the energy distance.

The energy distance between samples a ``(m, k)`` and b ``(n, k)`` (Szekely and Rizzo 2013) is

    E = 2 mean |a_i - b_j| - mean |a_i - a_j| - mean |b_i - b_j|

which is zero only for equal distributions and has no bandwidth to choose. Under the hypothesis that
both have one distribution every split of the pooled sample is as likely as the one observed: p is
the fraction of random splits (the observed one counted in) with at least its E. p is valid for any
n and any distribution; how small a difference it finds depends on n, which is stated everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PERMUTATIONS = 199
N = 700  # vectors in each of the two samples of a test
REPEATS = 15  # tests with fresh samples; p is their median


def _distances(pooled: np.ndarray) -> np.ndarray:
    norms = (pooled**2).sum(1)
    squared = norms[:, None] + norms - 2 * pooled @ pooled.T
    np.fill_diagonal(squared, 0)
    return np.sqrt(np.maximum(squared, 0))


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """E as above, the means over all pairs, i = j included: at least 0."""
    pooled = np.concatenate([a, b]).astype(float)
    sign = np.concatenate([np.full(len(a), 1 / len(a)), np.full(len(b), -1 / len(b))])
    return float(-sign @ _distances(pooled - pooled.mean(0)) @ sign)


def energy_test(
    a: np.ndarray, b: np.ndarray, seed, permutations: int | None = None
) -> tuple[float, float]:
    """E of ``a`` ``(m, k)`` and ``b`` ``(n, k)``, and its p, at least 1 / (permutations + 1).

    ``permutations`` is ``PERMUTATIONS`` if None.
    """
    permutations = PERMUTATIONS if permutations is None else permutations
    pooled = np.concatenate([a, b]).astype(float)
    distances = _distances(pooled - pooled.mean(0))
    sign = np.concatenate([np.full(len(a), 1 / len(a)), np.full(len(b), -1 / len(b))])
    rng = np.random.default_rng(seed)
    splits = np.stack([sign, *(rng.permutation(sign) for _ in range(permutations))], axis=1)
    energies = -np.einsum("is,is->s", splits, distances @ splits)
    # Splits that are the same but for the order of sums may differ in the last digit.
    as_far = energies >= energies[0] - 1e-12 * abs(energies[0])
    return float(energies[0]), float(as_far.mean())


class Verdict(NamedTuple):
    """Of repeated tests: the median p, the fraction of tests with p < 0.05, and the median E."""

    p: float
    rejected: float
    energy: float


def repeated_test(
    a: np.ndarray, b: np.ndarray, seed, n: int | None = None, repeats: int | None = None
) -> Verdict:
    """Tests of ``repeats`` disjoint pieces of n rows of ``a`` and ``b`` against each other.

    ``n`` and ``repeats`` are ``N`` and ``REPEATS`` if None.

    One test of a perfect model falls below p = 0.05 one time in twenty, by definition. The median
    over pieces does not: it is near 1/2 for a perfect model and near 0 for one whose error this n
    shows more often than not. Rows must be independent draws.

    Raises:
        ValueError: if there are too few rows.
    """
    n, repeats = N if n is None else n, REPEATS if repeats is None else repeats
    if min(len(a), len(b)) < n * repeats:
        raise ValueError(f"expected {n * repeats} rows in each sample, got {len(a)} and {len(b)}.")
    found = [
        energy_test(a[i * n : (i + 1) * n], b[i * n : (i + 1) * n], [seed, i])
        for i in range(repeats)
    ]
    energies, ps = np.array(found).T
    return Verdict(float(np.median(ps)), float((ps < 0.05).mean()), float(np.median(energies)))
