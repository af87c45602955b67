"""Precision, recall, density and coverage of generated images, on features, by nearest neighbours.

More than the paper: two numbers where FID has one. With B(r_i) the closed ball around real feature
r_i that reaches to its k-th nearest other real feature, and B(f_j) likewise among the fakes:

    precision   share of fakes that lie in some B(r_i)           are samples realistic?
    recall      share of reals that lie in some B(f_j)           are all kinds of image there?
    density     mean over fakes of the number of B(r_i) around it, divided by k
    coverage    share of B(r_i) that hold a fake

Precision and recall: Kynkaanniemi et al. 2019 (k = 3). Density and coverage: Naeem et al. 2020
(k = 5), less sensitive to single outliers, whose large balls make precision too good; density can
exceed 1. All four depend on the numbers of images and on the network that made the features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluate.checks import as_feature_pair
from evaluate.distances import BLOCK, blocks, squared_distances, squared_norms

PRECISION_NEIGHBOURS = 3
DENSITY_NEIGHBOURS = 5


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density 0 or more."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    real: np.ndarray,
    fake: np.ndarray,
    k: int = PRECISION_NEIGHBOURS,
    density_k: int = DENSITY_NEIGHBOURS,
    block_size: int = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> PRDC:
    """Return the four scores of features ``fake`` (m, d) against ``real`` (n, d).

    Args:
        k: neighbours that make a ball for precision and recall.
        density_k: the same for density and coverage.
        block_size: rows of one block; no (n, m) matrix is held.
        progress: called as ``progress(done, total)`` after each block of rows.

    Float32 features are multiplied in float32: a squared distance is then known to about 5e-6 of
    the squared norms |x|^2 + |y|^2 (of 2,048 features around 0), and one below 4e-5 of them counts
    as 0. Only an image that close to the edge of a ball may fall on its other side. Anything else
    is computed in float64.

    Raises:
        ValueError: not 2-D, different d, values that are not finite, k below 1, or a set with
            fewer than k + 1 rows (``density_k`` concerns the real ones only).
    """
    single = np.asarray(real).dtype == np.asarray(fake).dtype == np.float32
    real, fake = as_feature_pair(real, fake)
    if min(k, density_k) < 1:
        raise ValueError(f"expected 1 or more neighbours, got {k} and {density_k}")
    for name, size, most in (("real", len(real), max(k, density_k)), ("fake", len(fake), k)):
        if size <= most:
            raise ValueError(
                f"{most} nearest neighbours need {most + 1} or more {name} features, got {size}"
            )
    # Distances do not depend on the origin, their rounding error does.
    real, fake = real - real[0], fake - real[0]
    if single:
        real, fake = real.astype(np.float32), fake.astype(np.float32)
    real_norms, fake_norms = squared_norms(real), squared_norms(fake)

    done, total = 0, sum(len(list(blocks(len(x), block_size))) for x in (real, real, fake))

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    real_radii = _squared_radii(real, real_norms, (k, density_k), block_size, step)
    (fake_radii,) = _squared_radii(fake, fake_norms, (k,), block_size, step)

    realistic = np.zeros(len(fake), bool)
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    balls = 0  # pairs of a ball around a real feature and a fake in it
    for rows in blocks(len(real), block_size):
        for columns in blocks(len(fake), block_size):
            squared = squared_distances(
                real[rows], fake[columns], real_norms[rows], fake_norms[columns]
            )
            realistic[columns] |= (squared <= real_radii[0][rows, None]).any(axis=0)
            recalled[rows] |= (squared <= fake_radii[columns]).any(axis=1)
            inside = squared <= real_radii[1][rows, None]
            covered[rows] |= inside.any(axis=1)
            balls += int(inside.sum())
        step()
    return PRDC(
        precision=float(realistic.mean()),
        recall=float(recalled.mean()),
        density=balls / (density_k * len(fake)),
        coverage=float(covered.mean()),
    )


def _squared_radii(
    x: np.ndarray,
    norms: np.ndarray,
    neighbours: tuple[int, ...],
    block_size: int,
    step: Callable[[], None],
) -> list[np.ndarray]:
    """Squared distances (n,) of each row to its k-th nearest other row, for each k asked for."""
    most = max(neighbours)
    radii = np.empty((len(neighbours), len(x)))
    for rows in blocks(len(x), block_size):
        nearest = np.full((rows.stop - rows.start, most + 1), np.inf)  # itself and the others
        for columns in blocks(len(x), block_size):
            squared = squared_distances(x[rows], x[columns], norms[rows], norms[columns])
            nearest = np.partition(np.hstack([nearest, squared]), most, axis=1)[:, : most + 1]
        nearest.sort(axis=1)
        radii[:, rows] = nearest[:, list(neighbours)].T  # column 0 is the row itself, at 0
        step()
    return list(radii)
