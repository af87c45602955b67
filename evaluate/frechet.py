r"""The Frechet distance between Gaussians fitted to two sets of features, in float64 NumPy.

    d(1, 2) = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr((S_1 S_2)^(1/2))

with S the unbiased covariance (Heusel et al. 2017; the FID when the features are Inception's
pool_3). For any factors with S_i = F_i^T F_i the last trace is the nuclear norm of F_1 F_2^T:

    tr((S_1 S_2)^(1/2)) = sum of singular values of F_1 F_2^T

because S_1 S_2 = F_1^T (F_1 F_2^T) F_2 has the non-zero eigenvalues of (F_1 F_2^T)(F_1 F_2^T)^T.
Singular values are found to rounding error, where square roots of eigenvalues near zero keep only
half the digits; so covariances without full rank (fewer images than features) need no offset and
no complex arithmetic, and the result is real by construction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluate.checks import as_feature_pair, as_features


class Statistics(NamedTuple):
    """Mean (d,) and unbiased covariance (d, d) of n feature vectors, float64."""

    mean: np.ndarray
    cov: np.ndarray
    n: int


def statistics(features: np.ndarray) -> Statistics:
    """Return the mean and unbiased covariance of ``features`` (n, d), any float dtype.

    Raises:
        ValueError: not 2-D, n < 2, or a value that is not finite.
    """
    features = as_features(features, "features")
    mean, centred = _centre(features)
    return Statistics(mean, centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance between feature sets ``a`` (n, d) and ``b`` (m, d).

    Computed in float64 from the features themselves, without forming a covariance; never
    negative. Identical sets give 0 to rounding error (relative to the features' variance).

    Raises:
        ValueError: not 2-D, different d, fewer than two rows, or a value that is not finite.
    """
    a, b = as_feature_pair(a, b)
    mean_a, centred_a = _centre(a)
    mean_b, centred_b = _centre(b)
    factor_a = _reduce(centred_a) / np.sqrt(len(a) - 1)
    factor_b = _reduce(centred_b) / np.sqrt(len(b) - 1)
    traces = np.sum(np.square(factor_a)) + np.sum(np.square(factor_b))
    return _combine(mean_a - mean_b, traces, factor_a @ factor_b.T)


def frechet_from_statistics(a: Statistics, b: Statistics) -> float:
    """Return the Frechet distance between two Gaussians given by mean and covariance.

    Eigenvalues of a covariance below d * eps * its largest one count as 0: they are rounding
    error of a singular covariance, and their square roots would not be small.

    Raises:
        ValueError: means and covariances whose shapes do not fit, or that are not finite.
    """
    for name, one in (("first", a), ("second", b)):
        if one.cov.shape != (one.mean.size, one.mean.size) or one.mean.shape != a.mean.shape:
            raise ValueError(
                f"{name} statistics: expected mean (d,) and covariance (d, d) with d = "
                f"{a.mean.size}, got {one.mean.shape} and {one.cov.shape}"
            )
        if not (np.isfinite(one.mean).all() and np.isfinite(one.cov).all()):
            raise ValueError(f"{name} statistics: NaN or infinite values")
    traces = np.trace(a.cov) + np.trace(b.cov)
    return _combine(a.mean - b.mean, traces, _factor(a.cov) @ _factor(b.cov).T)


def _centre(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and the features less their mean (n, d)."""
    # Subtracting the first row before averaging keeps the digits of features far from 0 and
    # makes a constant feature exactly constant.
    shifted = features - features[0]
    offset = shifted.mean(axis=0)
    return features[0] + offset, shifted - offset


def _reduce(centred: np.ndarray) -> np.ndarray:
    """Return R with R^T R = C^T C and no more than d rows, for C (n, d)."""
    n, d = centred.shape
    return centred if n <= d else np.linalg.qr(centred, mode="r")


def _factor(cov: np.ndarray) -> np.ndarray:
    """Return F (r, d) with F^T F = cov, r its numerical rank."""
    values, vectors = np.linalg.eigh(cov)
    kept = values > len(cov) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _combine(mean_gap: np.ndarray, traces: float, cross: np.ndarray) -> float:
    """Return |mean_gap|^2 + traces - 2 |cross|_*, not below 0."""
    nuclear_norm = np.linalg.svd(cross, compute_uv=False).sum()
    return max(0.0, float(mean_gap @ mean_gap + traces - 2.0 * nuclear_norm))
