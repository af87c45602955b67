"""The density of a VAE with r = d, by quadrature over z, and its divergence from the true one.

    p(x) = integral N(z; 0, I) N(x; x_hat(z), gamma^2 I) dz

is a sum over a grid of z, mapped to x. The nodes' weights are collected on a fine grid of x,
each shared between its neighbours (linearly, so that no mean is moved), and the grid is convolved
with the Gaussian of sd gamma: the cost is that of decoding the nodes, whatever kappa is.
"""

from __future__ import annotations

import itertools

import numpy as np

REACH = 5.0  # z runs over [-REACH, REACH]^kappa; beyond lies 6e-7 of N(0, 1)
NODES = {1: 20_001, 2: 501, 3: 71}  # per dimension of z
CELLS = {1: 4001, 2: 401}  # per dimension of x
RADIUS = 6.0  # x runs over [-RADIUS, RADIUS]^d
FLOOR = 1e-12  # of the model's density in the logarithm


def axis(d: int) -> np.ndarray:
    """The grid's coordinates along one dimension of x."""
    return np.linspace(-RADIUS, RADIUS, CELLS[d])


def prior_nodes(kappa: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid of z ``(n, kappa)`` float32 and its weights ``(n,)``, N(0, I)'s, of sum 1.

    For kappa above 1 every node is moved to a random place in its cell of the grid. Where the
    decoder is steep, neighbours land farther apart in x than gamma; rows of a regular grid would
    show as stripes there.

    Raises:
        ValueError: for kappa above 3, where a grid has too many nodes.
    """
    if kappa not in NODES:
        raise ValueError(f"quadrature over z takes kappa of {tuple(NODES)}, got {kappa}.")
    line = np.linspace(-REACH, REACH, NODES[kappa])
    z = np.stack(np.meshgrid(*[line] * kappa, indexing="ij"), axis=-1).reshape(-1, kappa)
    if kappa > 1:
        z += (line[1] - line[0]) * (np.random.default_rng(0).random(z.shape) - 0.5)
    weights = np.exp(-0.5 * (z**2).sum(1))
    return z.astype("float32"), weights / weights.sum()


def mixture_density(points: np.ndarray, weights: np.ndarray, gamma: float) -> np.ndarray:
    """Density of sum_i w_i N(points_i, gamma^2 I) on the grid: ``(cells,) * d``.

    Args:
        points: ``(n, d)``, d of 1 or 2. What lies outside the grid is lost.
        weights: ``(n,)``, of sum 1.
        gamma: standard deviation.
    """
    d = points.shape[1]
    cells = CELLS[d]
    spacing = 2 * RADIUS / (cells - 1)
    position = (points.astype(float) + RADIUS) / spacing
    inside = ((position >= 0) & (position <= cells - 1.001)).all(1)
    position, weights = position[inside], weights[inside]
    low = np.floor(position).astype(int)
    part = position - low
    mass = np.zeros((cells,) * d)
    for corner in itertools.product((0, 1), repeat=d):
        share = np.prod([part[:, j] if c else 1 - part[:, j] for j, c in enumerate(corner)], axis=0)
        index = tuple(low[:, j] + c for j, c in enumerate(corner))
        np.add.at(mass, index, share * weights)
    # Sharing with two neighbours adds a variance of part (1 - part) spacing^2, 1/6 on average.
    variance = max(gamma**2 - spacing**2 / 6, 0.0)
    frequency = np.fft.fftfreq(2 * cells, spacing)
    damping = np.exp(-2 * (np.pi * frequency) ** 2 * variance)
    padded = np.fft.fftn(mass, s=(2 * cells,) * d, axes=tuple(range(d)))
    for j in range(d):
        padded *= damping.reshape([-1 if k == j else 1 for k in range(d)])
    smooth = np.fft.ifftn(padded, axes=tuple(range(d))).real
    return np.maximum(smooth[(slice(0, cells),) * d], 0) / spacing**d


def model_density(model) -> np.ndarray:
    """The density of a :class:`models.vector.VectorVAE` on the grid, ``(cells,) * d``."""
    z, weights = prior_nodes(model.latent_dim)
    points = np.concatenate(
        [np.asarray(model.decoder(part)) for part in np.array_split(z, 1 + len(z) // 50_000)]
    )
    return mixture_density(points, weights, model.gamma)


def true_density(measure) -> np.ndarray:
    """The density of a measure on R^1 or R^2 on the grid."""
    line = axis(measure.dim)
    grid = np.stack(np.meshgrid(*[line] * measure.dim, indexing="ij"), axis=-1)
    density = np.exp(measure.log_density(grid.reshape(-1, measure.dim)))
    return density.reshape(grid.shape[:-1])


def integral(values: np.ndarray) -> float:
    """Of values on the grid."""
    d = values.ndim
    return float(values.sum() * (2 * RADIUS / (CELLS[d] - 1)) ** d)


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) in nats, of two densities on the grid."""
    where = p > 0
    terms = np.zeros_like(p)
    terms[where] = p[where] * (np.log(p[where]) - np.log(np.maximum(q[where], FLOOR)))
    return integral(terms)


def entropy(p: np.ndarray) -> float:
    """-integral p log p, in nats."""
    return -integral(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0))


def best_gaussian_kl(p: np.ndarray) -> float:
    """KL(p || q) of the Gaussian q with p's mean and covariance: what no VAE is needed for."""
    d = p.ndim
    line = axis(d)
    grid = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = p.ravel() / p.sum()
    mean = weights @ grid
    covariance = (grid - mean).T @ ((grid - mean) * weights[:, None])
    # E_p[-log q] = 1/2 (d log 2 pi + log det C + d)
    cross = 0.5 * (d * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + d)
    return float(cross - entropy(p))
