"""Checks of feature arrays, shared by the distances."""

from __future__ import annotations

import numpy as np


def as_features(array: np.ndarray, name: str) -> np.ndarray:
    """Return ``array`` as float64 features (n, d), n >= 2, all finite.

    Raises:
        ValueError: not a real 2-D array, fewer than two rows, no columns, or a value that is not
            finite; ``name`` says which of the two sets it is.
    """
    features = np.asarray(array)
    if not (
        np.issubdtype(features.dtype, np.floating) or np.issubdtype(features.dtype, np.integer)
    ):
        raise ValueError(f"{name}: expected real numbers, got dtype {features.dtype}")
    if features.ndim != 2:
        raise ValueError(f"{name}: expected features (n, d), got shape {features.shape}")
    if features.shape[0] < 2 or features.shape[1] < 1:
        raise ValueError(
            f"{name}: expected at least 2 rows and 1 column, got shape {features.shape}"
        )
    features = features.astype(np.float64, copy=False)
    finite = np.isfinite(features)
    if not finite.all():
        rows = int((~finite.all(axis=1)).sum())
        raise ValueError(
            f"{name}: {rows} of {len(features)} feature rows hold NaN or infinite values; "
            "the images or the network that made them are damaged"
        )
    return features


def as_feature_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check two feature arrays with ``as_features`` and that they have the same width d."""
    first, second = as_features(a, "first set"), as_features(b, "second set")
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            "the two sets must come from the same network: expected equally many features, "
            f"got {first.shape[1]} and {second.shape[1]}"
        )
    return first, second
