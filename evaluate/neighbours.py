"""Nearest training images of samples: are they copies?

By the Euclidean distance between pixels. A model that copies gives samples whose nearest training
image is far closer than a test image's nearest training image is; a model that does not gives
distances like the test images' or, where samples are blurred, somewhat smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from evaluate.distances import blocks, squared_distances, squared_norms
from evaluate.protocols import ROUNDING

CHUNK = 1_000  # training images held as float64 at a time


class Neighbours(NamedTuple):
    """The nearest training images, nearest first.

    index: int64 (n, k), positions in the training set.
    distance: float64 (n, k), root mean square difference of a pixel, in [0, 1].
    """

    index: np.ndarray
    distance: np.ndarray


def nearest_images(
    images: np.ndarray,
    training: np.ndarray,
    k: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Neighbours:
    """Return the ``k`` nearest of ``training`` (m, h, w, c) to each of ``images`` (n, h, w, c).

    Args:
        images, training: uint8, or floats in [0, 1] as models give them.
        k: how many; of images at the same distance the earlier one comes first.
        progress: called as ``progress(done, total)``, in training images.

    The search is exact and in float64; only ``CHUNK`` training images are held as floats at a time.

    Raises:
        ValueError: images of different shape or another type, or k not from 1 to m.
    """
    images, training = np.asarray(images), np.asarray(training)
    if images.ndim != 4 or images.shape[1:] != training.shape[1:] or not len(images):
        raise ValueError(
            "expected images (n, h, w, c) and training images of the same size, got shapes "
            f"{images.shape} and {training.shape}"
        )
    if not 1 <= k <= len(training):
        raise ValueError(f"expected k from 1 to {len(training)} training images, got {k}")
    query = _levels(images)
    norms = squared_norms(query)
    index = np.zeros((len(query), 0), np.int64)
    squared = np.zeros((len(query), 0))
    for rows in blocks(len(training), CHUNK):
        chunk = _levels(training[rows])
        found = squared_distances(query, chunk, norms, squared_norms(chunk))
        squared = np.hstack([squared, found])
        index = np.hstack([index, np.broadcast_to(np.arange(rows.start, rows.stop), found.shape)])
        best = np.argsort(squared, axis=1, kind="stable")[:, :k]
        squared = np.take_along_axis(squared, best, axis=1)
        index = np.take_along_axis(index, best, axis=1)
        if progress is not None:
            progress(rows.stop, len(training))
    return Neighbours(index, np.sqrt(squared / query.shape[1]) / 255.0)


def median_distances(
    sets: Mapping[str, np.ndarray],
    training: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """For each set of images, the median distance to the nearest of ``training`` (m, h, w, c).

    Args:
        sets: {name: images (n, h, w, c)}: samples, and held-out images to compare them with.
        training, progress: as in ``nearest_images``, whose distance it is. All sets are searched
            for in one pass over the training images.

    Samples are rounded to 8 bits first, as the training images are, so that a copy is at 0.

    Raises:
        ValueError: as ``nearest_images``.
    """
    levels = [np.rint(_levels(np.asarray(images))) for images in sets.values()]
    shape = np.shape(training)[1:]
    queries = np.concatenate(levels).astype(np.uint8).reshape(-1, *shape)
    distance = nearest_images(queries, training, progress=progress).distance[:, 0]
    ends = np.cumsum([len(images) for images in levels])
    parts = np.split(distance, ends[:-1])
    return {name: float(np.median(part)) for name, part in zip(sets, parts, strict=True)}


def _levels(images: np.ndarray) -> np.ndarray:
    """Images as rows of values from 0 to 255, float64 (n, h * w * c).

    So the distances between 8-bit images are whole numbers, which float64 holds exactly.
    """
    flat = images.reshape(len(images), -1)
    if images.dtype == np.uint8:
        return flat.astype(np.float64)
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"expected uint8 or float images, got {images.dtype}: convert them")
    if not (flat.min() >= -ROUNDING and flat.max() <= 1 + ROUNDING):  # so that NaN is refused too
        raise ValueError(
            f"expected float images in [0, 1], got values from {flat.min()} to {flat.max()}: "
            "scale them"
        )
    return flat.astype(np.float64) * 255.0
