"""The kernel distance (KID on Inception features): squared MMD with a polynomial kernel.

Binkowski et al., *Demystifying MMD GANs* (2018), k(x, y) = (gamma x.y + coef)^degree, estimated
without bias on consecutive blocks of the two sets and averaged, which is the estimator of
TF-GAN's ``kernel_classifier_distance_and_std_from_activations``. Nothing is drawn at random, but
both sets must be in random order. Float64 NumPy.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from evaluate.checks import as_feature_pair

ESTIMATORS = ("unbiased", "u-statistic")


def kernel_distance(
    a: np.ndarray,
    b: np.ndarray,
    block_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    estimator: str = "unbiased",
) -> tuple[float, float]:
    """Return the kernel distance between ``a`` (n, d) and ``b`` (m, d), and its standard error.

    Args:
        a, b: features, any float dtype, each in random order.
        block_size: the most rows of a set in one block. The larger set sets the number of blocks;
            both are then cut into that many parts of (almost) equal size, as TF-GAN does.
        degree, gamma, coef: of the kernel; ``degree`` is 1 or more, ``gamma`` None means 1 / d.
        estimator: of one block, with x of m and y of n rows. Both are unbiased.
            ``"unbiased"``: mean k(x_i, x_j) over i != j, plus the same for y, less twice the mean
            of k(x_i, y_j) over all i, j. Two samples of one distribution give a value around 0,
            and a set against itself gives a slightly negative one, since only the cross term
            keeps the pairs i = j.
            ``"u-statistic"``: the cross term leaves out i = j too (Gretton et al. 2012, equation
            4), so a set against itself gives exactly 0. Needs n = m.

    Returns:
        (mean, standard error) over blocks; the standard error is NaN for a single block.

    Raises:
        ValueError: not 2-D, different d, values that are not finite, an unknown estimator, a
            degree below 1, a block with fewer than two rows of a set, or sets of different size for
            ``"u-statistic"``.
    """
    a, b = as_feature_pair(a, b)
    if estimator not in ESTIMATORS:
        raise ValueError(f"expected an estimator of {', '.join(ESTIMATORS)}, got {estimator!r}")
    if estimator == "u-statistic" and len(a) != len(b):
        raise ValueError(
            f"the u-statistic pairs the two sets: expected equal sizes, got {len(a)} and {len(b)}"
        )
    if degree < 1:
        raise ValueError(f"expected a degree of 1 or more, got {degree}")
    if block_size < 2:
        raise ValueError(f"expected a block size of 2 or more, got {block_size}")
    blocks = math.ceil(max(len(a), len(b)) / block_size)
    if min(len(a), len(b)) < 2 * blocks:
        raise ValueError(
            f"sets of {len(a)} and {len(b)} rows in {blocks} blocks of at most {block_size} leave "
            "fewer than 2 rows of one set in a block: balance the sets or raise the block size"
        )
    if gamma is None:
        gamma = 1.0 / a.shape[1]
    one_block = _unbiased if estimator == "unbiased" else _u_statistic

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        base = x @ y.T
        base *= gamma
        base += coef
        return _power(base, degree)

    estimates = np.array(
        [
            one_block(a[rows_a], b[rows_b], kernel)
            for rows_a, rows_b in zip(
                block_slices(len(a), blocks), block_slices(len(b), blocks), strict=True
            )
        ]
    )
    error = estimates.std(ddof=1) / math.sqrt(blocks) if blocks > 1 else math.nan
    return float(estimates.mean()), float(error)


def block_slices(n: int, blocks: int) -> list[slice]:
    """Cut n rows into consecutive ``blocks`` of n // blocks rows, the last ones with one more."""
    size, longer = divmod(n, blocks)
    sizes = [size] * (blocks - longer) + [size + 1] * longer
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _power(base: np.ndarray, degree: int) -> np.ndarray:
    """base^degree by products, which take a twentieth of the time of NumPy's power."""
    result = base.copy() if degree > 1 else base
    for _ in range(degree - 1):
        result *= base
    return result


def _unbiased(x: np.ndarray, y: np.ndarray, kernel) -> float:
    within = _mean_off_diagonal(kernel(x, x)) + _mean_off_diagonal(kernel(y, y))
    return within - 2.0 * kernel(x, y).mean()


def _u_statistic(x: np.ndarray, y: np.ndarray, kernel) -> float:
    if np.array_equal(x, y):
        return 0.0  # Every term cancels; different BLAS routines would leave rounding error.
    within = _mean_off_diagonal(kernel(x, x)) + _mean_off_diagonal(kernel(y, y))
    return within - 2.0 * _mean_off_diagonal(kernel(x, y))


def _mean_off_diagonal(k: np.ndarray) -> float:
    n = len(k)
    return (k.sum() - np.trace(k)) / (n * (n - 1))
