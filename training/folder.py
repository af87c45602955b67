"""A run's folder and model, whichever backend trains it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

import data
import models
from data.jpeg import jpeg_round_trip
from data.lock import alone
from experiments.errors import UserError
from experiments.files import UNREADABLE, read_json, write_json
from experiments.settings import RunSettings, differences, of_training
from training.callbacks import History
from training.failures import TrainingDiverged
from training.layout import (
    EXPORT_FOLDER,
    FIGURES_FILE,
    FIGURES_FOLDER,
    IMAGES_FILE,
    LOCK_FILE,
    RECORDS_FILE,
    SAMPLES_FILE,
    SETTINGS_FILE,
    TRAINED_ON_FILE,
    checkpoints,
    jax_state,
    model_file,
)
from training.progress import with_progress
from training.records import stored_settings

EPOCHS = {"first": "epochs", "second": "second_epochs"}  # how long each stage is trained
LISTS = {RECORDS_FILE: list, TRAINED_ON_FILE: (list, dict)}  # of JSON files; others: dict
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


def alone_in(folder: Path) -> contextlib.AbstractContextManager[None]:
    """A run's folder, made if need be, for one process at a time; others wait for its end.

    Two that train the same run would leave the first stage of one beside the second of the other.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return alone(folder / LOCK_FILE, f"Another process is at work in {folder}: waiting for its end")


def load_images(settings: RunSettings, split: str, data_dir: str | None = None) -> np.ndarray:
    """The run's images of one split, ``(n, h, w, c)`` uint8, through JPEG where it says so."""
    images = data.load(settings.source, split, data_dir)
    if not settings.jpeg:
        return images
    title = f"{settings.dataset}, {split} images through JPEG"
    return with_progress(jpeg_round_trip, title, images, unit="image")


def check_settings(settings: RunSettings, folder: Path) -> list[str]:
    """Refuses a folder that holds a run with other settings, or a damaged file.

    The number of epochs of a stage in training may change, down to the epoch that it is in: what it
    has learned so far does not depend on when it will end.

    Returns:
        The numbers of epochs that are changed so, of stages that the run has, one
        ``name: old -> new`` each.

    Raises:
        UserError: naming what differs, or the file.
    """
    # All of them, though most are wanted only once the run is trained.
    found = {
        path.name: read_json(path, LISTS.get(path.name, dict))
        for path in sorted(Path(folder).glob("*.json"))
    }
    if SETTINGS_FILE not in found:
        return []
    existing = stored_settings(folder)
    begun, now = of_training(existing), settings.training_dict()
    ends = {
        field: now[field]
        for stage, field in EPOCHS.items()
        if not model_file(folder, stage).exists()
    }
    if changed := differences({**begun, **ends}, now):
        raise UserError(
            f"{folder} holds a run with other settings ({'; '.join(changed)}): repeat the command "
            "it was made with, or choose another --out."
        )
    for stage, history in histories(folder).items():
        if model_file(folder, stage).exists() and not history.rows:
            raise UserError(
                f"{history.path} is missing or has no rows, what was logged of each epoch: restore "
                "it from a copy, or remove the run's folder to train it again."
            )
        field, done = EPOCHS[stage], len(history.rows)
        if begun.get(field) != now[field] and done >= now[field]:
            raise UserError(
                f"{folder} holds a run whose {stage} stage has {done} epochs behind it: name at "
                f"least {done + 1} with --{field.replace('_', '-')}, got {now[field]}, or choose "
                "another --out."
            )
    if not settings.two_stages:
        begun = {**begun, EPOCHS["second"]: now[EPOCHS["second"]]}  # nothing goes on with these
    return differences(begun, now)


def note_changed_epochs(settings: RunSettings, changed: list[str]) -> None:
    """Says that a run goes on to another end than it was begun for."""
    for change in changed:
        print(f"{settings.name} goes on with {change}", flush=True)


def check_images(folder: Path, train: np.ndarray, test: np.ndarray) -> dict[str, str]:
    """Refuses images that are not those that the folder's run was begun with.

    Returns:
        The SHA-256 of each split, which the folder keeps.

    Raises:
        UserError: naming what differs.
    """
    path = Path(folder) / IMAGES_FILE
    found = {"train": data.digest(train), "test": data.digest(test)}
    begun = read_json(path)
    if begun is None:
        write_json(path, found)
    elif changed := [split for split in found if begun.get(split) != found[split]]:
        raise UserError(
            f"{folder} holds a run on other {' and '.join(changed)} images than those found now "
            "(their checksums differ): name the --data-dir it was made with, or choose another "
            "--out."
        )
    return found


def load_stage(path: Path) -> models.VAE:
    """A finished stage.

    Raises:
        UserError: if the file can't be read.
    """
    try:
        return keras.saving.load_model(path)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} is damaged ({reason[0]}): remove it to train this stage again."
        ) from error


def keep_stage(stage: models.VAE, folder: Path, name: str) -> None:
    """Saves a stage that has just been trained, with which it counts as finished.

    A second stage that is there already belongs to another first one, which has been removed: its z
    is another z. It goes, as do pictures and an export of what was there before.

    Raises:
        TrainingDiverged: if a weight is not finite; nothing is changed.
    """
    check_finite(stage.weights, "after the last step")
    if name == "first":
        forget_other_first_stage(folder)
    shutil.rmtree(folder / EXPORT_FOLDER, ignore_errors=True)
    models.save(stage, model_file(folder, name))


def check_finite(variables: Iterable[keras.Variable], when: str) -> list[np.ndarray]:
    """The variables' values, if they are finite.

    Raises:
        TrainingDiverged: naming the first that is not, and ``when``.
    """
    values = []
    for variable in variables:
        value = keras.ops.convert_to_numpy(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise TrainingDiverged(f"{variable.path} is not finite {when}")
        values.append(value)
    return values


def forget_other_first_stage(folder: Path) -> None:
    """Removes what another first stage has left: a second one, finished or in training; pictures.

    Its scores go by the digest of its weights, see :func:`training.run.of_this_model`.
    """
    for file in (FIGURES_FILE, SAMPLES_FILE):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / FIGURES_FOLDER, ignore_errors=True)
    model_file(folder, "second").unlink(missing_ok=True)
    (folder / jax_state("second")).unlink(missing_ok=True)
    shutil.rmtree(checkpoints(folder, "second"), ignore_errors=True)


def histories(folder: Path) -> dict[str, History]:
    """Both stages' per-epoch figures."""
    return {stage: History(Path(folder) / f"history-{stage}.csv") for stage in EPOCHS}


def has_checkpoint(folder: Path, stage: str) -> bool:
    """Whether the folder holds a stage in training on TensorFlow."""
    return any(checkpoints(folder, stage).glob("*.index"))


def epochs_left(settings: RunSettings, folder: Path) -> tuple[int, int]:
    """Epochs that the stages still have before them, by what the run's folder holds."""
    left = []
    done = histories(folder)
    for stage, field in EPOCHS.items():
        epochs = getattr(settings, field)
        begun = (folder / jax_state(stage)).exists() or has_checkpoint(folder, stage)
        if model_file(folder, stage).exists():
            epochs = 0
        elif begun:
            epochs = max(0, epochs - len(done[stage].rows))
        left.append(epochs)
    return left[0], left[1]


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
        lambda: with_progress(
            models.TwoStageVAE(first, model.second).posteriors,
            f"{settings.dataset}, posteriors of the training images",
            images,
            unit="image",
        ),
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
