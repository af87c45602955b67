"""What is done: one function a kind of cell, settings -> measurements, both of JSON values.

A cell is one training with one seed, and everything measured on it. It knows nothing of claims.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from evaluate.latent import active_dimensions, mmd
from models import vector
from models.two_stage import TwoStageVAE
from theory import closed_form, density, fitting, twosample
from theory.manifolds import GroundTruth, ground_truth

HELD_OUT = 4096  # vectors on which a trained model is measured
NEAR = 4096  # draws from which a projection starts
KEPT = 1500  # intrinsic coordinates kept for pictures
LATENT_N = 2000  # draws of z or u compared with N(0, I)
NOISE_FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        kind: "grid", "levels", "noise", "density", "stages", "joint" or "few".
        manifold, measure, r, d, kappa, seed: the ground truth and the latent dimension.
        steps: of training (of each level, for "levels"; of the first stage, for "stages").
        options: the kind's own, as pairs.
    """

    kind: str
    manifold: str
    measure: str
    r: int
    d: int
    kappa: int
    seed: int
    steps: int
    options: tuple[tuple[str, object], ...] = ()

    @property
    def name(self) -> str:
        """A file name that no other cell of the same preset has."""
        extra = "".join(f"-{k}{v}" for k, v in self.options if not isinstance(v, tuple))
        return (
            f"{self.kind}-{self.manifold}-{self.measure}-r{self.r}-d{self.d}-k{self.kappa}"
            f"{extra}-s{self.seed}"
        )

    def to_dict(self) -> dict:
        """All settings, for files."""
        return {
            "kind": self.kind,
            "manifold": self.manifold,
            "measure": self.measure,
            "r": self.r,
            "d": self.d,
            "kappa": self.kappa,
            "seed": self.seed,
            "steps": self.steps,
            **dict(self.options),
        }


def run_cell(cell: Cell) -> dict:
    """Trains and measures one cell; every value is JSON's."""
    keras.utils.clear_session(free_memory=False)
    truth = ground_truth(cell.manifold, cell.measure, cell.r, cell.d, seed=cell.seed)
    return KINDS[cell.kind](cell, truth, dict(cell.options))


def _draws(cell: Cell, truth: GroundTruth, n: int, part: int, noise: float = 0.0) -> np.ndarray:
    """``n`` vectors, float32; no two ``part``s of a cell are the same draws."""
    x, _ = truth.sample(n, [cell.seed, part])
    if noise:
        x = x + noise * np.random.default_rng([cell.seed, part, 1]).standard_normal(x.shape)
    return x.astype("float32")


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a, dtype="float64"))))


def _training(history: dict, model) -> dict:
    return {
        "log_gamma": float(model.log_gamma),
        "history": {
            k: [round(v, 5) for v in history[k]] for k in ("steps", "loss", "kl", "log_gamma")
        },
    }


def _activity(model, x: np.ndarray) -> dict:
    mu_z, sd_z = model.encode(x)
    found = active_dimensions(sd_z, mu_z)
    return {"variances": np.sort(found.variance).tolist(), "active": found.count}


def _reconstruction(model, x: np.ndarray, seed: int) -> dict:
    """Errors of x_hat, root mean squared and relative to the data's own spread."""
    mu_z, sd_z = model.encode(x)
    inactive = ~active_dimensions(sd_z, mu_z).active
    eps = np.random.default_rng([seed, 7]).standard_normal(mu_z.shape).astype("float32")
    spread = _rms(x - x.mean(0))
    by_factor = [_rms(model.decode(mu_z + s * sd_z * eps) - x) / spread for s in NOISE_FACTORS]
    # The superfluous coordinates redrawn alone: how much does x_hat move?
    only = np.where(inactive, sd_z * eps, 0).astype("float32")
    moved = _rms(model.decode(mu_z + only) - model.decode(mu_z)) / spread
    return {
        "spread": spread,
        "relative_error": by_factor[NOISE_FACTORS.index(1.0)],
        "relative_error_by_factor": by_factor,
        "moved_by_inactive": moved,
    }


def _learned(cell: Cell, truth: GroundTruth, noise: float = 0.0):
    """A VAE with learned gamma, trained, and held-out data."""
    speed = dict(cell.options).get("speed", fitting.GAMMA_SPEED)
    model = vector.build(cell.d, cell.kappa, seed=cell.seed, gamma_speed=speed)
    history = fitting.fit(model, _draws(cell, truth, fitting.POOL, 0, noise), cell.steps)
    return model, history, _draws(cell, truth, HELD_OUT, 1, noise)


def grid_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """Learned gamma: active dimensions, and reconstruction through the encoder's noise."""
    model, history, x = _learned(cell, truth)
    return {
        **_training(history, model),
        **_activity(model, x),
        **_reconstruction(model, x, cell.seed),
        "cost": fitting.cost(model, x),
    }


def noise_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """Learned gamma on data with isotropic noise of a known standard deviation, or none."""
    model, history, x = _learned(cell, truth, options["noise"])
    return {**_training(history, model), **_activity(model, x)}


def few_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """As a grid cell, for kappa below r; with what probabilistic PCA would reach."""
    found = grid_cell(cell, truth, options)
    x, _ = truth.sample(fitting.POOL, [cell.seed, 0])
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    found["pca_gamma"] = closed_form.optimal_gamma(np.maximum(eigenvalues, 1e-12), cell.kappa)
    return found


def levels_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """The cost at gammas fixed one after the other, from large to small."""
    log_gammas = [float(np.log(10) * e) for e in options["exponents"]]
    model = vector.build(cell.d, cell.kappa, seed=cell.seed, learn_gamma=False)
    x = _draws(cell, truth, HELD_OUT, 1)
    costs = fitting.fit_levels(
        model, _draws(cell, truth, fitting.POOL, 0), log_gammas, cell.steps, x
    )
    found = {"log_gammas": log_gammas, "costs": costs, **_activity(model, x)}
    if (cell.manifold, cell.measure) == ("linear", "gaussian"):
        # On the held-out vectors themselves, so that their chance spread does not count.
        eigenvalues = np.linalg.eigvalsh(x.T.astype(float) @ x / len(x))
        found["closed_form"] = [
            closed_form.optimal_cost(np.maximum(eigenvalues, 0), cell.kappa, float(np.exp(g)))
            for g in log_gammas
        ]
    return found


class _DensityChecks(keras.callbacks.Callback):
    """Measures the model's density at some chunks of training."""

    def __init__(self, vae, truth: GroundTruth, held_out: np.ndarray, chunks: set[int]):
        super().__init__()
        self.vae, self.held_out, self.chunks = vae, held_out, chunks
        self.true = density.true_density(truth.measure)
        self.found: list[dict] = []

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.chunks:
            self.last = density.model_density(self.vae)
            self.found.append(
                {
                    "steps": (epoch + 1) * fitting.CHUNK,
                    "kl": density.kl_divergence(self.true, self.last),
                    "cost": fitting.cost(self.vae, self.held_out)["loss"],
                    "log_gamma": float(self.vae.log_gamma),
                    "mass": density.integral(self.last),
                }
            )


def density_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """r = d: the divergence of the model's density from the true one as training goes on."""
    start = options.get("start", 0.0)
    model = vector.build(cell.d, cell.kappa, seed=cell.seed, initial_log_gamma=start)
    chunks = cell.steps // fitting.CHUNK
    when = {max(1, round(chunks * f)) for f in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)}
    checks = _DensityChecks(model, truth, _draws(cell, truth, HELD_OUT, 1), when)
    history = fitting.fit(
        model, _draws(cell, truth, fitting.POOL, 0), cell.steps, callbacks=[checks]
    )
    thin = 1 if cell.d == 2 else 5
    keep = (slice(None, None, thin),) if cell.d == 1 else (slice(60, -60, 3),) * 2
    line = density.axis(cell.d)[keep[0]]
    return {
        **_training(history, model),
        **_activity(model, checks.held_out),
        "checks": checks.found,
        "entropy": density.entropy(checks.true),
        "gaussian_kl": density.best_gaussian_kl(checks.true),
        "axis": line.round(4).tolist(),
        "true": checks.true[keep].round(5).tolist(),
        "model": checks.last[keep].round(5).tolist(),
    }


def _measure_samples(x: np.ndarray, t: np.ndarray, truth: GroundTruth, seed: int, near) -> dict:
    """Samples ``x`` against fresh draws ``t`` of the true measure: distance, test, coordinates."""
    projected, distance = truth.manifold.project(x, near)
    verdict = twosample.repeated_test(projected, t, seed)
    return {
        "distance_median": float(np.median(distance) / np.sqrt(truth.manifold.d)),
        "distance_90": float(np.quantile(distance, 0.9) / np.sqrt(truth.manifold.d)),
        "p": verdict.p,
        "rejected": verdict.rejected,
        "energy": verdict.energy,
        "coordinates": projected[:KEPT].round(3).tolist(),
    }


def _references(cell: Cell, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Fresh intrinsic coordinates for the test, and those that projections start from."""
    t = truth.measure.sample(twosample.N * twosample.REPEATS, [cell.seed, 3])
    return t, truth.measure.sample(NEAR, [cell.seed, 4])


def _from_normal(z: np.ndarray, seed: int) -> float:
    """Squared MMD of draws ``(n, kappa)`` from N(0, I)."""
    return mmd(z, np.random.default_rng([seed, 5]).standard_normal(z.shape))


def stages_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """Both stages: whether their samples lie on the manifold and follow its measure."""
    model = vector.build_two_stage(
        cell.d,
        cell.kappa,
        seed=cell.seed,
        gamma_speed=options.get("speed", fitting.GAMMA_SPEED),
        second_gamma_speed=fitting.SECOND_GAMMA_SPEED,
        second_initial_log_gamma=fitting.SECOND_LOG_GAMMA,
    )
    data = _draws(cell, truth, fitting.POOL, 0)
    history = fitting.fit(model.first, data, cell.steps)
    second = fitting.fit(model.second, model.posteriors(data), options["second"])
    x, (t, near) = _draws(cell, truth, HELD_OUT, 1), _references(cell, truth)
    found = {
        **_training(history, model.first),
        **_activity(model.first, x),
        "spread": _rms(x - x.mean(0)),
        "second": _training(second, model.second),
        "true_coordinates": t[:KEPT].round(3).tolist(),
    }
    for stage in (1, 2):
        samples = model.sample(len(t), stage=stage, seed=1000 * cell.seed + stage)
        found[f"stage{stage}"] = _measure_samples(samples, t, truth, cell.seed, near)
    # The data themselves, drawn afresh: what the same test says of a perfect model.
    perfect, _ = truth.sample(len(t), [cell.seed, 6])
    found["truth"] = _measure_samples(perfect, t, truth, cell.seed, near)
    found.update(_latents(model, x[:LATENT_N], cell.seed))
    return found


def _latents(model: TwoStageVAE, x: np.ndarray, seed: int) -> dict:
    """Squared MMD from N(0, I) of z ~ q(z) and of u ~ q(u), and of N(0, I) itself."""
    rng = np.random.default_rng([seed, 8])
    mu_z, sd_z = model.encode(x)
    z = mu_z + sd_z * rng.standard_normal(mu_z.shape).astype("float32")
    mu_u, sd_u = model.second.encode(z)
    u = mu_u + sd_u * rng.standard_normal(mu_u.shape)
    return {
        "mmd_z": _from_normal(z, seed),
        "mmd_u": _from_normal(u, seed),
        "mmd_normal": _from_normal(rng.standard_normal(z.shape), seed),
    }


def joint_cell(cell: Cell, truth: GroundTruth, options: dict) -> dict:
    """Both stages trained in one go, for as many steps as both have apart."""
    speed = options.get("speed", fitting.GAMMA_SPEED)
    model = vector.build_joint(
        cell.d, cell.kappa, options["form"], seed=cell.seed, gamma_speed=speed
    )
    history = fitting.fit(model, _draws(cell, truth, fitting.POOL, 0), cell.steps)
    t, near = _references(cell, truth)
    samples = model.sample(len(t), seed=1000 * cell.seed + 3)
    return {
        **_training(history, model),
        "samples": _measure_samples(samples, t, truth, cell.seed, near),
    }


KINDS = {
    "grid": grid_cell,
    "noise": noise_cell,
    "few": few_cell,
    "levels": levels_cell,
    "density": density_cell,
    "stages": stages_cell,
    "joint": joint_cell,
}
