r"""What the latent samples look like: distance from the prior, spectrum, active dimensions.

Samples are arrays (n, kappa): z ~ q(z) is one draw from each posterior of the first stage, u ~ q(u)
one from each of the second. If q were the prior N(0, I), all three would be those of N(0, I)
samples, which is why each is shown beside them. Float64 NumPy.

The squared maximum mean discrepancy between samples x of m and y of n rows is estimated without
bias (Gretton et al. 2012, equation 3), as Tolstikhin et al. (2018) do:

    MMD^2 = mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)
            over i != j        over i != j        over all i, j

with a kernel summed over seven scales s around one bandwidth C,

    imq   k(x, y) = sum_s  s C / (s C + |x - y|^2)     inverse multi-quadratic
    rbf   k(x, y) = sum_s  exp(-|x - y|^2 / (s C))     Gaussian

C = 2 kappa, the mean of |x - y|^2 under N(0, I), and the scales are those of the WAE authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluate.checks import as_feature_pair, as_features
from evaluate.distances import BLOCK, blocks, squared_distances, squared_norms

KERNELS = ("imq", "rbf")
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
PIECE = 65_536  # distances; so many stay in the processor's cache while the kernel is summed
FLOOR_REPEATS = 10
FLOOR_SEED = 0
ACTIVE_BELOW = 0.5


def mmd(
    a: np.ndarray,
    b: np.ndarray,
    kernel: str = "imq",
    bandwidth: float | None = None,
    block_size: int = BLOCK,
) -> float:
    """Return the unbiased squared MMD between ``a`` (m, kappa) and ``b`` (n, kappa).

    Args:
        kernel: "imq" or "rbf", see above.
        bandwidth: C; 2 kappa if None.
        block_size: rows of a block of the kernel matrix, which is never held as a whole. It
            changes the value by rounding error only.

    Its mean is 0 for two samples of one distribution; it is skewed, more often below 0 than above.

    Raises:
        ValueError: not 2-D, different kappa, fewer than two rows, values that are not finite, an
            unknown kernel, or a bandwidth that is not above 0.
    """
    a, b = as_feature_pair(a, b)
    sums = _kernel_sums(kernel, _bandwidth(bandwidth, a.shape[1]))
    # Distances do not depend on the origin, their rounding error does.
    origin = b.mean(axis=0)
    a, b = a - origin, b - origin
    within = _within(a, sums, block_size) + _within(b, sums, block_size)
    return float(within - 2.0 * _between(a, b, sums, block_size))


def kernel_name(kernel: str = "imq", kappa: int | None = None) -> str:
    """The kernel and bandwidth that ``mmd`` takes by default, in one line, for tables."""
    formulas = {
        "imq": "IMQ: inverse multi-quadratic, the sum of s C / (s C + |x - y|^2)",
        "rbf": "RBF: Gaussian, the sum of exp(-|x - y|^2 / (s C))",
    }
    if kernel not in formulas:
        raise ValueError(f"expected a kernel of {', '.join(KERNELS)}, got {kernel!r}")
    scales = ", ".join(f"{s:g}" for s in SCALES)
    value = "" if kappa is None else f" = {2 * kappa}"
    return f"{formulas[kernel]} over s = {scales}, with C = 2 kappa{value}"


class PriorMMD(NamedTuple):
    """The squared MMD of samples from N(0, I), and what N(0, I) samples themselves get.

    mmd: of the samples.
    floor, floor_std: mean and sample standard deviation over repeats for two fresh N(0, I) samples
        of the same size. The mean is 0 but for chance; an ``mmd`` within a few ``floor_std`` of it
        cannot be told from the prior.
    """

    mmd: float
    floor: float
    floor_std: float


def prior_mmd(
    z: np.ndarray,
    seed: int,
    kernel: str = "imq",
    repeats: int = FLOOR_REPEATS,
    progress: Callable[[int, int], None] | None = None,
) -> PriorMMD:
    """Return the squared MMD between ``z`` (n, kappa) and as many fresh samples of N(0, I).

    ``seed`` is that of the samples of N(0, I). The floor has a seed of its own: it depends on
    (n, kappa, kernel, repeats) only and is computed once for them, so it comes for free where q(u)
    follows q(z), or another trial. For 10,000 samples of 64 dimensions it takes half a minute.
    ``progress(done, total)`` is called after each of the ``repeats + 1`` estimates.

    Raises:
        ValueError: as ``mmd``, or fewer than two repeats.
    """
    z = as_features(z, "latent samples")
    if repeats < 2:
        raise ValueError(f"expected 2 or more repeats for the floor's spread, got {repeats}")
    prior = np.random.default_rng([seed, 1]).standard_normal(z.shape)
    floor, floor_std = _floor(*z.shape, kernel, repeats, progress)
    found = mmd(z, prior, kernel)
    if progress is not None:
        progress(repeats + 1, repeats + 1)
    return PriorMMD(found, floor, floor_std)


_FLOORS: dict[tuple, tuple[float, float]] = {}  # by what they depend on


def _floor(n: int, kappa: int, kernel: str, repeats: int, progress) -> tuple[float, float]:
    """Mean and standard deviation of the MMD between two samples of N(0, I)."""
    key = (n, kappa, kernel, repeats)
    if key not in _FLOORS:
        rng = np.random.default_rng(FLOOR_SEED)
        values = []
        for done in range(1, repeats + 1):
            values.append(mmd(*rng.standard_normal((2, n, kappa)), kernel))
            if progress is not None:
                progress(done, repeats + 1)
        _FLOORS[key] = float(np.mean(values)), float(np.std(values, ddof=1))
    return _FLOORS[key]


def singular_values(samples: np.ndarray) -> np.ndarray:
    """Return the singular values, descending, of the sample matrix ``samples`` (n, kappa).

    The matrix is taken as it is, not centred, as in the paper's Figure 2: samples whose mean is not
    0 depart from N(0, I) too, and centring would hide it. For n samples of N(0, I) all lie between
    about sqrt(n) - sqrt(kappa) and sqrt(n) + sqrt(kappa). There are min(n, kappa) of them.

    Raises:
        ValueError: not 2-D, fewer than two rows, or values that are not finite.
    """
    samples = as_features(samples, "latent samples")
    if samples.shape[0] > samples.shape[1]:
        samples = np.linalg.qr(samples, mode="r")  # has the same ones
    return np.linalg.svd(samples, compute_uv=False)


class ActiveDimensions(NamedTuple):
    """Which latent dimensions carry information, each entry ``(kappa,)``.

    variance: the posterior variance sd_z^2, averaged over the data.
    spread: the variance of mu_z over the data.
    active: whether the dimension carries information about x.
    """

    variance: np.ndarray
    spread: np.ndarray
    active: np.ndarray

    @property
    def count(self) -> int:
        """How many dimensions are active: the VAE's estimate of the manifold's dimension r."""
        return int(self.active.sum())


def active_dimensions(
    sd_z: np.ndarray, mu_z: np.ndarray, threshold: float = ACTIVE_BELOW
) -> ActiveDimensions:
    """Tell active from inactive dimensions by the posteriors ``sd_z``, ``mu_z`` (n, kappa).

    A dimension is active if its posterior variance, averaged over the data, is below ``threshold``.
    Near the optimum r of these variances go to 0 and the others to 1 (the prior's, where a
    dimension is ignored), so that one half tells them apart and any other threshold between the
    two groups gives the same count. As q(z_j) has variance E[sd_z^2] + Var[mu_z], close to 1, below
    one half also means: more of z_j's variance comes from x than from the encoder's noise.

    Raises:
        ValueError: arrays of different shape, not 2-D, fewer than two rows, values that are not
            finite, or a standard deviation below 0.
    """
    sd_z, mu_z = as_features(sd_z, "sd_z"), as_features(mu_z, "mu_z")
    if sd_z.shape != mu_z.shape:
        raise ValueError(
            f"expected sd_z and mu_z of one shape (n, kappa), got {sd_z.shape} and {mu_z.shape}"
        )
    if sd_z.min() < 0:
        raise ValueError(f"expected standard deviations, got {sd_z.min()} (is it a logarithm?)")
    variance = np.square(sd_z).mean(axis=0)
    return ActiveDimensions(variance, mu_z.var(axis=0), variance < threshold)


def _bandwidth(bandwidth: float | None, kappa: int) -> float:
    bandwidth = 2.0 * kappa if bandwidth is None else float(bandwidth)
    if not (0.0 < bandwidth < np.inf):
        raise ValueError(f"expected a bandwidth above 0, got {bandwidth}")
    return bandwidth


def _kernel_sums(kernel: str, bandwidth: float) -> Callable[[np.ndarray], float]:
    """A function: squared distances -> the sum of the kernel over them."""
    if kernel not in KERNELS:
        raise ValueError(f"expected a kernel of {', '.join(KERNELS)}, got {kernel!r}")

    def imq(squared: np.ndarray) -> float:
        total, work = 0.0, np.empty_like(squared)
        for scale in SCALES:
            c = scale * bandwidth
            np.add(squared, c, out=work)
            np.reciprocal(work, out=work)
            total += c * work.sum()
        return total

    def rbf(squared: np.ndarray) -> float:
        total, work = 0.0, np.empty_like(squared)
        for scale in SCALES:
            np.multiply(squared, -1.0 / (scale * bandwidth), out=work)
            total += np.exp(work, out=work).sum()
        return total

    one_piece = imq if kernel == "imq" else rbf

    def sums(squared: np.ndarray) -> float:
        squared = squared.ravel()
        return sum(one_piece(squared[piece]) for piece in blocks(squared.size, PIECE))

    return sums


def _within(x: np.ndarray, sums: Callable[[np.ndarray], float], block_size: int) -> float:
    """Mean of the kernel over the pairs i != j of one sample: of those i < j, by symmetry."""
    n, norms, total = len(x), squared_norms(x), 0.0
    for rows in blocks(n, block_size):
        one, one_norms = x[rows], norms[rows]
        squared = squared_distances(one, one, one_norms, one_norms)
        total += sums(squared[np.triu_indices(len(one), 1)])
        for columns in blocks(n - rows.stop, block_size):
            columns = slice(rows.stop + columns.start, rows.stop + columns.stop)
            total += sums(squared_distances(one, x[columns], one_norms, norms[columns]))
    return total / (n * (n - 1) / 2)


def _between(
    x: np.ndarray, y: np.ndarray, sums: Callable[[np.ndarray], float], block_size: int
) -> float:
    """Mean of the kernel over all pairs of two samples."""
    x_norms, y_norms = squared_norms(x), squared_norms(y)
    total = 0.0
    for rows in blocks(len(x), block_size):
        for columns in blocks(len(y), block_size):
            squared = squared_distances(x[rows], y[columns], x_norms[rows], y_norms[columns])
            total += sums(squared)
    return total / (len(x) * len(y))
