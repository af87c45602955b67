"""A run's folder and model, whichever backend trains it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import data
import models
from data.jpeg import jpeg_round_trip
from experiments.errors import UserError
from experiments.files import read_json
from experiments.settings import SCORING_FIELDS, RunSettings, differences
from training.callbacks import History

MODEL_FOLDER = "model"
SETTINGS_FILE = "settings.json"
RECORDS_FILE = "records.json"
FIGURES_FILE = "figures.json"
TRAINED_ON_FILE = "trained_on.json"  # where another backend has trained the run
STAGES = ("first", "second")
HELD_OUT = 256  # test images whose pixel error is followed through training


def build(settings: RunSettings) -> models.VAE | models.TwoStageVAE:
    """The untrained model of a run."""
    return models.build(
        settings.model,
        settings.image_shape,
        settings.network,
        settings.latent_dim,
        momentum=settings.momentum,
        initial_log_gamma=settings.initial_log_gamma,
        gamma_speed=settings.gamma_speed,
        seed=settings.seed,
        network_options=dict(settings.network_options),
        **settings.model_options,
    )


def load_images(settings: RunSettings, split: str, data_dir: str | None = None) -> np.ndarray:
    """The run's images of one split, ``(n, h, w, c)`` uint8, through JPEG where it says so."""
    images = data.load(settings.source, split, data_dir)
    return jpeg_round_trip(images) if settings.jpeg else images


def check_settings(settings: RunSettings, folder: Path) -> None:
    """Refuses a folder that holds a run with other settings.

    Raises:
        UserError: naming what differs.
    """
    existing = read_json(Path(folder) / SETTINGS_FILE)
    if existing is None:
        return
    existing = {k: v for k, v in existing.items() if k not in SCORING_FIELDS}
    changed = differences(existing, settings.training_dict())
    if changed:
        raise UserError(
            f"{folder} holds a run with other settings ({'; '.join(changed)}): repeat the command "
            "it was made with, or choose another --out."
        )


def histories(folder: Path) -> dict[str, History]:
    """Both stages' per-epoch figures."""
    return {stage: History(Path(folder) / f"history-{stage}.csv") for stage in STAGES}


def train_stages(
    settings: RunSettings,
    model: models.VAE | models.TwoStageVAE,
    images: np.ndarray,
    train_stage: Callable[..., models.VAE],
    first_callbacks=(),
    second: bool = True,
) -> models.VAE | models.TwoStageVAE:
    """Has each stage trained, the second on the posteriors of the finished first.

    Args:
        settings: the run.
        model: as :func:`build` makes it.
        images: ``(n, h, w, c)`` uint8, the training set.
        train_stage: ``(name, stage, array, seed=, epochs=, halve_every=, callbacks=)`` -> the
            trained stage, or the one that an earlier call has left. ``array()`` gives what it is
            trained on, which may take a while.
        first_callbacks: of the first stage, before an epoch's figures are recorded.
        second: whether the second stage is wanted; if not, the first alone is returned.
    """
    first_seed, second_seed = order_seeds(settings)
    two_stages = isinstance(model, models.TwoStageVAE)
    first = train_stage(
        "first",
        model.first if two_stages else model,
        lambda: images,
        seed=first_seed,
        epochs=settings.epochs,
        halve_every=settings.halve_every,
        callbacks=first_callbacks,
    )
    if not (two_stages and second):
        return first
    latent = train_stage(
        "second",
        model.second,
        lambda: models.TwoStageVAE(first, model.second).posteriors(images),
        seed=second_seed,
        epochs=settings.second_epochs,
        halve_every=settings.second_halve_every,
        callbacks=(),
    )
    return models.TwoStageVAE(first, latent)


def order_seeds(settings: RunSettings) -> tuple[int, int]:
    """Seeds of the order of the batches, of the first and of the second stage."""
    first, second = np.random.SeedSequence([settings.seed, 1]).generate_state(2)
    return int(first), int(second)
