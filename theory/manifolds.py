"""Ground truths: a measure on R^r and a map of R^r into R^d, both known exactly.

A data vector is x = embed(t) with intrinsic coordinates t ~ measure. The maps of ``OPEN`` are
homeomorphisms onto their image, which the paper's theorems ask for; those of ``CLOSED`` (circle,
sphere, torus) close up on themselves and are here to show what happens where that does not hold.

Shapes: t is ``(n, r)``, x is ``(n, d)``; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HIDDEN = 16  # units of the random network that bends R^r
SCALING_DRAWS = 4096  # whose spread brings the bent space to the scale of R^r
NEWTON_STEPS = 12


@dataclass(frozen=True)
class Measure:
    """A probability measure on R^r.

    Args:
        name: for tables.
        dim: r.
        draw: (generator, n) -> ``(n, r)``.
        log_density: ``(n, r)`` -> ``(n,)``, or None where it is not needed.
    """

    name: str
    dim: int
    draw: Callable[[np.random.Generator, int], np.ndarray]
    log_density: Callable[[np.ndarray], np.ndarray] | None = None

    def sample(self, n: int, seed) -> np.ndarray:
        """``(n, r)`` draws; ``seed`` as numpy.random.default_rng takes it."""
        return self.draw(np.random.default_rng(seed), n)


def gaussian(r: int) -> Measure:
    """N(0, I)."""
    return Measure(
        "Gaussian",
        r,
        lambda rng, n: rng.standard_normal((n, r)),
        lambda t: -0.5 * (t**2).sum(1) - 0.5 * r * math.log(2 * math.pi),
    )


def skewed(r: int) -> Measure:
    """Independent log-gamma coordinates, log Gamma(shape 1/2), centred, of unit variance.

    The density of y = log g, g ~ Gamma(k, 1), is exp(k y - exp(y)) / Gamma(k); its skewness at
    k = 1/2 is -1.54. Mean and variance are the digamma and trigamma function at 1/2.
    """
    shape, scale = 0.5, math.sqrt(math.pi**2 / 2)
    mean = -np.euler_gamma - 2 * math.log(2)

    def draw(rng, n):
        return (np.log(rng.gamma(shape, size=(n, r))) - mean) / scale

    def log_density(t):
        y = mean + scale * t
        return (shape * y - np.exp(y) - math.lgamma(shape) + math.log(scale)).sum(1)

    return Measure("skewed", r, draw, log_density)


def mixture(r: int) -> Measure:
    """Two unequal Gaussians along the first coordinate: 0.35 N(-1.3, 0.35^2) + 0.65 N(0.9, 0.5^2).

    The other coordinates are N(0, 1).
    """
    weights, means, sds = np.array([0.35, 0.65]), np.array([-1.3, 0.9]), np.array([0.35, 0.5])

    def draw(rng, n):
        t = rng.standard_normal((n, r))
        which = (rng.random(n) > weights[0]).astype(int)
        t[:, 0] = means[which] + sds[which] * t[:, 0]
        return t

    def log_density(t):
        z = (t[:, :1] - means) / sds  # (n, 2)
        first = (weights / sds * np.exp(-0.5 * z**2)).sum(1)
        rest = -0.5 * (t[:, 1:] ** 2).sum(1)
        return np.log(np.maximum(first, 1e-300)) + rest - 0.5 * r * math.log(2 * math.pi)

    return Measure("mixture", r, draw, log_density)


def hole(r: int) -> Measure:
    """A shell around an empty middle: direction uniform, radius N(1.6, 0.25^2) (negative: flipped).

    For r = 1 two separate bumps; for r = 2 a ring. The density is that of the radius divided by the
    shell's area 2 pi^(r/2) / Gamma(r/2) radius^(r-1).
    """
    radius, width = 1.6, 0.25

    def draw(rng, n):
        direction = rng.standard_normal((n, r))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * (radius + width * rng.standard_normal((n, 1)))

    area = math.log(2) + r / 2 * math.log(math.pi) - math.lgamma(r / 2)

    def log_density(t):
        # The density has a pole at 0, of no weight (1e-9); a grid's node there must not see it.
        norm = np.maximum(np.linalg.norm(t, axis=1), 1e-3)

        def bump(s):  # 6.4 sd from the middle: the flipped half weighs 1e-10
            return np.exp(-0.5 * ((s - radius) / width) ** 2)

        p = (bump(norm) + bump(-norm)) / (width * math.sqrt(2 * math.pi))
        return np.log(np.maximum(p, 1e-300)) - area - (r - 1) * np.log(norm)

    return Measure("hole", r, draw, log_density)


MEASURES = {"gaussian": gaussian, "skewed": skewed, "mixture": mixture, "hole": hole}


@dataclass(frozen=True)
class Manifold:
    """A map R^r -> R^d.

    Args:
        name: for tables.
        r, d: intrinsic and ambient dimension.
        embed: ``(n, r)`` -> ``(n, d)``.
        open: whether it is a homeomorphism onto its image.
    """

    name: str
    r: int
    d: int
    embed: Callable[[np.ndarray], np.ndarray]
    open: bool = True

    def jacobian(self, t: np.ndarray, step: float = 1e-5) -> np.ndarray:
        """d embed / d t at ``t`` ``(n, r)`` by central differences: ``(n, d, r)``."""
        columns = []
        for j in range(self.r):
            h = np.zeros(self.r)
            h[j] = step
            columns.append((self.embed(t + h) - self.embed(t - h)) / (2 * step))
        return np.stack(columns, axis=2)

    def project(self, x: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest point of the manifold to each x.

        Gauss-Newton steps from the nearest of ``near``, each taken only as far as it brings x
        closer. The manifold goes on beyond the data, wherever ``embed`` does.

        Args:
            x: ``(n, d)``.
            near: ``(m, r)`` intrinsic coordinates to start from, such as draws of the measure.

        Returns:
            t ``(n, r)`` and the distance ``(n,)`` from x to embed(t).
        """
        x, near = np.asarray(x, float), np.asarray(near, float)
        points = self.embed(near)
        squared = (x**2).sum(1)[:, None] + (points**2).sum(1) - 2 * x @ points.T
        t = near[squared.argmin(1)]
        rest = x - self.embed(t)
        distance = np.linalg.norm(rest, axis=1)
        for _ in range(NEWTON_STEPS):
            jacobian = self.jacobian(t)
            gram = np.einsum("ndi,ndj->nij", jacobian, jacobian)
            gram += 1e-9 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(self.r)
            step = np.linalg.solve(gram, np.einsum("ndi,nd->ni", jacobian, rest)[..., None])[..., 0]
            for length in (1.0, 0.3, 0.1):
                trial = t + length * step
                new_rest = x - self.embed(trial)
                new_distance = np.linalg.norm(new_rest, axis=1)
                better = new_distance < distance
                t[better], rest[better] = trial[better], new_rest[better]
                distance[better] = new_distance[better]
        return t, distance


def _rotation(d: int, seed) -> np.ndarray:
    """An orthogonal ``(d, d)`` matrix, uniformly distributed."""
    q, triangle = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return q * np.sign(np.diag(triangle))


def _rotated(d: int, seed, curve: Callable[[np.ndarray], np.ndarray]):
    """``curve``'s values ``(n, k)``, k <= d, filled up with zeros to R^d and rotated."""
    rotation = _rotation(d, [seed, 1])

    def embed(t):
        y = curve(np.asarray(t, float))
        if y.shape[1] > d:
            raise ValueError(
                f"the manifold needs {y.shape[1]} dimensions and does not fit into {d}."
            )
        return y @ rotation[: y.shape[1]]

    return embed


def linear(r: int, d: int, seed: int = 0) -> Manifold:
    """A random r-dimensional linear subspace: an isometry of R^r."""
    return Manifold("linear", r, d, _rotated(d, seed, lambda t: t))


def identity(r: int, d: int, seed: int = 0) -> Manifold:
    """All of R^r, r = d: the measure has a density, which can be drawn."""
    if r != d:
        raise ValueError(f"the identity has r = d, got r = {r}, d = {d}.")
    return Manifold("identity", r, d, lambda t: np.asarray(t, float))


def curved(r: int, d: int, seed: int = 0) -> Manifold:
    """The graph of a random smooth network R^r -> R^(d-r), rotated: t -> (t, A tanh(W t + b)).

    W is ``(16, r)`` of N(0, 1/r), b of N(0, 1), A of N(0, 1) scaled so that for standard normal t
    the network's d - r coordinates have the total variance r (d - r) / d.
    """
    if d <= r:
        raise ValueError(f"a graph over R^r needs d above r, got r = {r}, d = {d}.")
    rng = np.random.default_rng([seed, 2])
    w = rng.standard_normal((r, HIDDEN)) / math.sqrt(r)
    b = rng.standard_normal(HIDDEN)
    a = rng.standard_normal((HIDDEN, d - r))
    bent = np.tanh(rng.standard_normal((SCALING_DRAWS, r)) @ w + b)
    a *= math.sqrt(r * (d - r) / d / (bent @ a).var(axis=0).sum())
    centre = bent.mean(0) @ a

    def curve(t):
        return np.concatenate([t, np.tanh(t @ w + b) @ a - centre], axis=1)

    return Manifold("curved", r, d, _rotated(d, seed, curve))


def punctured_sphere(r: int, d: int, seed: int = 0) -> Manifold:
    """The unit sphere S^r less a point, by stereographic projection: (4t, |t|^2-4) / (|t|^2+4).

    |t| = 2 is the equator, the missing pole lies at infinity.
    """

    def curve(t):
        squared = (t**2).sum(1, keepdims=True)
        return np.concatenate([4 * t, squared - 4], axis=1) / (squared + 4)

    return Manifold("punctured sphere", r, d, _rotated(d, seed, curve))


def swiss_roll(r: int, d: int, seed: int = 0) -> Manifold:
    """A plane rolled up by three quarters of a turn: (a cos a, a sin a, t_2) / 2; r = 2.

    a = 3/4 pi (2 + tanh(t_1 / 1.5)) goes from 3/4 pi to 9/4 pi.
    """
    if r != 2:
        raise ValueError(f"the swiss roll has r = 2, got {r}.")

    def curve(t):
        a = 0.75 * math.pi * (2 + np.tanh(t[:, 0] / 1.5))
        return np.stack([a * np.cos(a) / 2, a * np.sin(a) / 2, t[:, 1]], axis=1)

    return Manifold("swiss roll", r, d, _rotated(d, seed, curve))


def torus(r: int, d: int, seed: int = 0) -> Manifold:
    """The r-torus in R^(2r), (cos t_j, sin t_j): closed. r = 1 is the circle."""

    def curve(t):
        return np.concatenate([np.cos(t), np.sin(t)], axis=1)

    name = "circle" if r == 1 else "torus"
    return Manifold(name, r, d, _rotated(d, seed, curve), open=False)


def sphere(r: int, d: int, seed: int = 0) -> Manifold:
    """The whole sphere S^r: closed. Its coordinates are those of :func:`punctured_sphere`."""
    return Manifold("sphere", r, d, punctured_sphere(r, d, seed).embed, open=False)


MANIFOLDS = {
    "identity": identity,
    "linear": linear,
    "curved": curved,
    "punctured-sphere": punctured_sphere,
    "swiss-roll": swiss_roll,
    "torus": torus,
    "sphere": sphere,
}
OPEN = ("identity", "linear", "curved", "punctured-sphere", "swiss-roll")
CLOSED = ("torus", "sphere")


def uniform_on_torus(r: int) -> Measure:
    """Independent angles, uniform on [-pi, pi)."""
    return Measure(
        "uniform",
        r,
        lambda rng, n: rng.uniform(-math.pi, math.pi, (n, r)),
        lambda t: np.where(np.abs(t).max(1) <= math.pi, -r * math.log(2 * math.pi), -np.inf),
    )


def uniform_on_sphere(r: int) -> Measure:
    """The stereographic coordinates of a uniform point on S^r."""

    def draw(rng, n):
        x = rng.standard_normal((n, r + 1))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return 2 * x[:, :r] / (1 - x[:, r:])

    return Measure("uniform", r, draw)


MEASURES["uniform-torus"] = uniform_on_torus
MEASURES["uniform-sphere"] = uniform_on_sphere


@dataclass(frozen=True)
class GroundTruth:
    """A measure on a manifold: what a cell of the theory's grid is trained on."""

    manifold: Manifold
    measure: Measure

    def sample(self, n: int, seed) -> tuple[np.ndarray, np.ndarray]:
        """x ``(n, d)`` and its intrinsic coordinates t ``(n, r)``."""
        t = self.measure.sample(n, seed)
        return self.manifold.embed(t), t


def ground_truth(manifold: str, measure: str, r: int, d: int, seed: int = 0) -> GroundTruth:
    """A ground truth by names from ``MANIFOLDS`` and ``MEASURES``; ``seed`` is the manifold's.

    Raises:
        ValueError: for an unknown name, or a manifold that does not fit into R^d.
    """
    if manifold not in MANIFOLDS or measure not in MEASURES:
        raise ValueError(
            f"expected a manifold of {', '.join(MANIFOLDS)} and a measure of {', '.join(MEASURES)},"
            f" got {manifold!r} and {measure!r}."
        )
    truth = GroundTruth(MANIFOLDS[manifold](r, d, seed), MEASURES[measure](r))
    truth.manifold.embed(np.zeros((1, r)))  # raises if it does not fit
    return truth
