"""A trained two-stage VAE's latent space: Table 3, Figures 1b and 2, interpolations, neighbours."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

import models
from data import select_real
from evaluate import figures, latent, neighbours
from experiments.files import read_json, write_json
from experiments.settings import RunSettings
from training.layout import FIGURES_FOLDER
from training.progress import with_progress
from training.samples import sampling_seed, weights_digest

LATENTS_FILE = "latents.json"
TEST_IMAGES = 64  # from which the pictures take theirs
STRIPS = 3  # directions of either kind in Figure 1b
DRAWS = 8  # decoded draws along each
ROWS, COLUMNS = 6, 10  # of the grid of interpolations
COPIES = 10  # samples whose nearest training images are shown
NEAREST = 3


class LatentSamples(NamedTuple):
    """Posteriors and one draw of each stage's latent variable per image, all ``(n, kappa)``."""

    mu_z: np.ndarray
    sd_z: np.ndarray
    z: np.ndarray
    u: np.ndarray


def latent_samples(model: models.TwoStageVAE, images: np.ndarray, seed: int) -> LatentSamples:
    """z ~ q(z|x) and u ~ q(u|z) of every image, with seeded noise."""
    rng = np.random.default_rng([seed, 3])
    mu_z, sd_z = model.encode(images)
    z = mu_z + sd_z * rng.standard_normal(mu_z.shape, dtype=np.float32)
    mu_u, sd_u = model.second.encode(z)
    u = mu_u + sd_u * rng.standard_normal(mu_u.shape, dtype=np.float32)
    return LatentSamples(mu_z, sd_z, z, u)


def table3(samples: LatentSamples, seed: int, title: str = "MMD") -> dict:
    """The record's fields of Table 3: squared MMD of q(z) and of q(u) from N(0, I).

    ``title`` is that of the progress lines.
    """

    def distance(name, values):
        return with_progress(
            functools.partial(latent.prior_mmd, values, seed), f"{title} of {name} from N(0, I)"
        )

    z, u = distance("q(z)", samples.z), distance("q(u)", samples.u)
    active = latent.active_dimensions(samples.sd_z, samples.mu_z)
    return {
        "mmd_z": z.mmd,
        "mmd_u": u.mmd,
        "mmd_floor": z.floor,
        "mmd_floor_std": z.floor_std,
        "mmd_kernel": latent.kernel_name(kappa=samples.z.shape[1]),
        "mmd_n": len(samples.z),
        "active_dimensions": active.count,
    }


def study(model, settings: RunSettings, train: np.ndarray, test: np.ndarray, folder: Path):
    """Table 3's fields of the record, computed once for a model, and the latent space's pictures.

    On as many training images as are scored, chosen with a seed.
    """
    seed = sampling_seed(settings)
    order = np.random.default_rng([seed, 5]).permutation(len(train))[: settings.n_fake]
    samples = latent_samples(model, train[order], seed)
    key = {"weights": weights_digest(model), "n": len(order)}
    stored = read_json(folder / LATENTS_FILE) or {}
    if stored.get("key") != key:
        title = f"{settings.dataset}, MMD"
        stored = {"key": key, "fields": table3(samples, seed, title)}
        write_json(folder / LATENTS_FILE, stored)
    paths = draw(
        model, samples, train, select_real(test, TEST_IMAGES), folder / FIGURES_FOLDER, seed
    )
    return stored["fields"], {name: Path(path).name for name, path in paths.items()}


def draw(
    model: models.TwoStageVAE,
    samples: LatentSamples,
    training: np.ndarray,
    test: np.ndarray,
    out: Path,
    seed: int,
) -> dict[str, Path]:
    """The latent space's pictures: name in the report -> path.

    Args:
        training, test: images ``(n, h, w, c)`` uint8.
        out: the run's folder for figures.
        seed: for the noise of all pictures.
    """
    rng = np.random.default_rng([seed, 4])
    variances = np.square(samples.sd_z).mean(axis=0)
    gaussian = rng.standard_normal(samples.z.shape)
    made = model.sample(COPIES, seed=seed)
    found = neighbours.nearest_images(made, training, k=NEAREST)
    return {
        "figure1b": figures.posterior_variances(
            variances, out / "figure1b.png", _strips(model, test[:1], variances, rng)
        ),
        "figure2": figures.spectra(
            {
                "Z": latent.singular_values(samples.z),
                "U": latent.singular_values(samples.u),
                "Gaussian": latent.singular_values(gaussian),
            },
            out / "figure2.png",
        ),
        "interpolations": figures.interpolations(
            interpolate(model, test[:ROWS], test[ROWS : 2 * ROWS], COLUMNS),
            out / "interpolations.png",
        ),
        "neighbours": figures.neighbours(made, training[found.index], out / "neighbours.png"),
    }


def _strips(model, image: np.ndarray, variances: np.ndarray, rng) -> list[tuple[str, np.ndarray]]:
    """Decoded draws around one image's code along single latent directions.

    Each strip adds N(0, 1) noise to one coordinate of mu_z: one with a small posterior variance
    changes the image, one with a variance near 1 does not.
    """
    mu_z, _ = model.encode(image)
    order = np.argsort(variances)
    strips = []
    for j in (*order[:STRIPS], *order[-STRIPS:]):
        codes = np.repeat(mu_z, DRAWS, axis=0)
        codes[:, j] += rng.standard_normal(DRAWS)
        strips.append((f"variance {variances[j]:.2g}", model.first.decode(codes)))
    return strips


def interpolate(
    model: models.TwoStageVAE, starts: np.ndarray, ends: np.ndarray, steps: int
) -> np.ndarray:
    """Images ``(rows, steps, h, w, c)`` on straight lines between the codes u of two images.

    u is the mean of q(u|z) at z = mu_z, and the way back is by the means as well.
    """
    u_start, u_end = (model.second.encode(model.encode(x)[0])[0] for x in (starts, ends))
    t = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
    u = (1 - t) * u_start[:, None] + t * u_end[:, None]  # (rows, steps, kappa)
    z = model.second.decode(u.reshape(-1, u.shape[-1]))
    images = model.first.decode(z)
    return images.reshape(len(starts), steps, *images.shape[1:])
