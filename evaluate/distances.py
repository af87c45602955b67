"""Squared Euclidean distances between the rows of two arrays, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 2048  # rows; 2048 x 2048 float64 distances are 34 MB


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Cut n rows into consecutive slices of ``size`` rows, the last one shorter."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def squared_norms(x: np.ndarray) -> np.ndarray:
    """|x_i|^2, float64 (n,), of the rows of ``x`` (n, d)."""
    return np.einsum("ij,ij->i", x, x, dtype=np.float64)


def squared_distances(
    x: np.ndarray, y: np.ndarray, x_norms: np.ndarray, y_norms: np.ndarray
) -> np.ndarray:
    """|x_i - y_j|^2, float64 (n, m), of ``x`` (n, d) and ``y`` (m, d), both float32 or float64.

    By |x|^2 + |y|^2 - 2 x.y, in the arrays' own precision for the product. Its rounding error is
    some eps sqrt(d) (|x|^2 + |y|^2), so the rows should lie around 0; what is below that counts as
    0, so that a row lies at 0 from itself and nothing is negative.
    """
    scale = x_norms[:, None] + y_norms
    squared = scale - 2.0 * (x @ y.T)
    scale *= 8.0 * np.finfo(np.result_type(x, y)).eps * np.sqrt(x.shape[1])
    squared[squared < scale] = 0.0
    return squared
