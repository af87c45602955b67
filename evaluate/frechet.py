r"""The Frechet distance between Gaussians fitted to two sets of features, in float64 NumPy.

    d(1, 2) = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr((S_1 S_2)^(1/2))

with S the unbiased covariance (Heusel et al. 2017; the FID when the features are Inception's
pool_3). For any factors with S_i = F_i^T F_i the last trace is the nuclear norm of F_1 F_2^T:

    tr((S_1 S_2)^(1/2)) = sum of singular values of F_1 F_2^T

because S_1 S_2 = F_1^T (F_1 F_2^T) F_2 has the non-zero eigenvalues of (F_1 F_2^T)(F_1 F_2^T)^T.
Singular values are found to rounding error, where square roots of eigenvalues near zero keep only
half the digits; so covariances without full rank (fewer images than features) need no offset and
no complex arithmetic, and the result is real by construction.

That way costs two QR and one singular value decomposition. Where both covariances have full rank
their Cholesky factors do instead, and the singular values are square roots of the eigenvalues of
F_1 S_2 F_1^T, some five times faster. It is taken if the rounding error of those roots, which is
estimated from the eigenvalues themselves, is negligible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from evaluate.checks import as_feature_pair, as_features

BLOCK = 1024  # rows that are added to streamed statistics at a time
NEGLIGIBLE = (
    1e-8  # rounding error of the fast way, relative to the distance, above which it is left
)


class Statistics(NamedTuple):
    """Mean (d,) and unbiased covariance (d, d) of n feature vectors, float64."""

    mean: np.ndarray
    cov: np.ndarray
    n: int

    def update(self, features: np.ndarray) -> Statistics:
        """Return the statistics of these n feature vectors and of ``features`` (m, d) together.

        By the sums of squares around each part's own mean (Chan, Golub and LeVeque 1983), which
        cancels no digits however far the features lie from 0.

        Raises:
            ValueError: as ``statistics``, or another d.
        """
        more = statistics(features)
        if more.mean.shape != self.mean.shape:
            raise ValueError(f"expected {self.mean.size} features, got {more.mean.size}")
        n = self.n + more.n
        gap = more.mean - self.mean
        squares = (self.n - 1) * self.cov + (more.n - 1) * more.cov
        squares += np.outer(gap, gap * (self.n * more.n / n))
        return Statistics(self.mean + gap * (more.n / n), squares / (n - 1), n)


def statistics(features: np.ndarray) -> Statistics:
    """Return the mean and unbiased covariance of ``features`` (n, d), any float dtype.

    Raises:
        ValueError: not 2-D, n < 2, or a value that is not finite.
    """
    features = as_features(features, "features")
    mean, centred = _centre(features)
    return Statistics(mean, _covariance(centred), len(features))


def streamed_statistics(batches: Iterable[np.ndarray], block: int = BLOCK) -> Statistics:
    """Return the ``statistics`` of features that come in batches (m, d) of any size.

    No more than ``2 * block`` rows and one batch are held at a time, however many there are.

    Raises:
        ValueError: as ``statistics``.
    """
    total = None
    for rows in _blocks(batches, block):
        total = statistics(rows) if total is None else total.update(rows)
    if total is None:
        raise ValueError("expected at least 2 feature vectors, got none")
    return total


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance between feature sets ``a`` (n, d) and ``b`` (m, d).

    Computed in float64, where rounding matters without forming a covariance; never negative.
    Identical sets give 0 to rounding error (relative to the features' variance).

    Raises:
        ValueError: not 2-D, different d, fewer than two rows, or a value that is not finite.
    """
    a, b = as_feature_pair(a, b)
    mean_a, centred_a = _centre(a)
    mean_b, centred_b = _centre(b)
    if min(len(a), len(b)) > a.shape[1]:
        distance = _fast_distance(mean_a - mean_b, _covariance(centred_a), _covariance(centred_b))
        if distance is not None:
            return distance
    factor_a = _reduce(centred_a) / np.sqrt(len(a) - 1)
    factor_b = _reduce(centred_b) / np.sqrt(len(b) - 1)
    traces = np.sum(np.square(factor_a)) + np.sum(np.square(factor_b))
    return _combine(mean_a - mean_b, traces, factor_a @ factor_b.T)


def frechet_from_statistics(a: Statistics, b: Statistics) -> float:
    """Return the Frechet distance between two Gaussians given by mean and covariance.

    For real images whose statistics are kept this saves their part of ``frechet_distance``.
    Eigenvalues of a covariance below d * eps * its largest one count as 0: they are rounding error
    of a singular covariance, and their square roots would not be small.

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
    distance = _fast_distance(a.mean - b.mean, a.cov, b.cov)
    if distance is not None:
        return distance
    traces = np.trace(a.cov) + np.trace(b.cov)
    return _combine(a.mean - b.mean, traces, _factor(a.cov) @ _factor(b.cov).T)


def _blocks(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Regroup rows into blocks of ``size``, the last one longer: no block is a single row."""
    held: list[np.ndarray] = []
    for batch in batches:
        held.append(np.asarray(batch))
        if sum(map(len, held)) >= 2 * size:
            rows = np.concatenate(held)
            last = len(rows) // size - 1
            yield from (rows[i * size : (i + 1) * size] for i in range(last))
            held = [rows[last * size :].copy()]
    if held:
        yield np.concatenate(held)


def _fast_distance(mean_gap: np.ndarray, cov_a: np.ndarray, cov_b: np.ndarray) -> float | None:
    """Return the distance by eigenvalues, or None where they would cost digits.

    An eigenvalue of F_a S_b F_a^T is wrong by up to eps |F_a|^2 |S_b|, at random, and its root by
    that over the root: what matters in proportion to the distance is the sum over all roots.
    """
    try:
        lower = np.linalg.cholesky(cov_a)  # F_a is its transpose
    except np.linalg.LinAlgError:
        return None
    values = np.linalg.eigvalsh(lower.T @ cov_b @ lower)
    delta = np.finfo(np.float64).eps * np.linalg.norm(cov_a) * np.linalg.norm(cov_b)
    if not delta > 0.0:
        return None
    roots = np.sqrt(np.maximum(values, delta))
    traces = np.trace(cov_a) + np.trace(cov_b)
    distance = float(mean_gap @ mean_gap + traces - 2.0 * roots.sum())
    error = 2.0 * delta * np.sqrt(np.sum(1.0 / np.square(roots)))
    return distance if error <= NEGLIGIBLE * distance else None


def _covariance(centred: np.ndarray) -> np.ndarray:
    """Return the unbiased covariance (d, d) of features (n, d) less their mean."""
    return centred.T @ centred / (len(centred) - 1)


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
