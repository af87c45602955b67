"""Trains one run's two stages, or goes on where an earlier call stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

import data
import models
from experiments.errors import UserError
from experiments.files import write_json
from experiments.settings import CHECKPOINT_SECONDS, RunSettings
from models.optimizer import adam
from training import distribution, elsewhere
from training.callbacks import History, PixelError, Progress, of_every_stage
from training.checkpoints import Checkpoints
from training.failures import explained
from training.folder import (
    build,
    check_settings,
    histories,
    keep_stage,
    load_stage,
    note_changed_epochs,
    train_stages,
)
from training.layout import SETTINGS_FILE, checkpoints, jax_state, model_file
from training.records import place


def spans(done: int, steps_per_epoch: int, epochs: int) -> list[tuple[int, int, int]]:
    """The calls of ``fit`` that take training from ``done`` steps to its end.

    Each is ``(initial_epoch, epochs, steps_per_epoch)``: first the rest of an epoch that was cut
    short, then the whole ones.
    """
    epoch, position = divmod(done, steps_per_epoch)
    found = []
    if position:
        found.append((epoch, epoch + 1, steps_per_epoch - position))
        epoch += 1
    if epoch < epochs:
        found.append((epoch, epochs, steps_per_epoch))
    return found


def fit_stage(
    model: models.VAE,
    array: np.ndarray,
    *,
    title: str,
    checkpoint_folder: Path,
    history: History,
    epochs: int,
    halve_every: int,
    settings: RunSettings,
    seed: int,
    callbacks=(),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    strategy: tf.distribute.Strategy | None = None,
) -> None:
    """Trains one stage up to ``epochs``, from its newest checkpoint if there is one.

    Args:
        model: the stage; its weights are changed.
        array: what it is trained on.
        title: for the progress line.
        seed: for the order of the batches.
        callbacks: called before each epoch's figures are recorded.
        checkpoint_seconds: between two checkpoints.
        strategy: in whose scope the model was made, if it is trained on several devices.

    Raises:
        TrainingDiverged: if the loss is not finite at the end of an epoch or at a checkpoint.
    """
    steps = data.steps_per_epoch(len(array), settings.batch_size)
    with distribution.scope(strategy):
        model.compile(optimizer=adam(settings.learning_rate), jit_compile=False)
        distribution.prepare(model, strategy)
        checkpoints = Checkpoints(
            checkpoint_folder,
            model,
            steps,
            checkpoint_seconds,
            together=distribution.several_workers(strategy),
            own_folder=distribution.own_folder(checkpoint_folder, strategy),
        )
    done = checkpoints.restore()
    history.truncate(done // steps)
    progress = Progress(title, steps * epochs, done, epochs)
    try:
        for initial_epoch, end, epoch_steps in spans(done, steps, epochs):
            start = (initial_epoch + 1) * steps - epoch_steps
            model.fit(
                distribution.batches(strategy, array, settings.batch_size, seed, start),
                steps_per_epoch=epoch_steps,
                epochs=end,
                initial_epoch=initial_epoch,
                shuffle=False,  # the pipeline has done it
                verbose=0,
                callbacks=[
                    *of_every_stage(
                        settings, halve_every, history, checkpoints.epoch_seconds, callbacks
                    ),
                    checkpoints,
                    progress,
                ],
            )
    finally:
        progress.close()


def train(
    settings: RunSettings,
    images: np.ndarray,
    folder: Path,
    second: bool = True,
    held_out: np.ndarray | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    strategy: tf.distribute.Strategy | None = None,
) -> models.VAE | models.TwoStageVAE:
    """The trained model of a run: each stage is loaded if it is finished, otherwise trained.

    Args:
        settings: the run.
        images: ``(n, h, w, c)`` uint8, the training set.
        folder: the run's; made if need be. Holds settings.json, the histories, the checkpoints
            while a stage is in training, and its model afterwards.
        second: whether the second stage of a TwoStageVAE is wanted; if not, the first alone is
            returned.
        held_out: images whose pixel error is recorded after each epoch of the first stage.
        checkpoint_seconds: between two checkpoints, which may be after any step.
        strategy: for several devices; of several workers, all call this with one ``folder``, and
            the chief alone writes there.

    Raises:
        UserError: if the folder holds a run with other settings, a stage that is in training on
            JAX, or a damaged model; or if the run can't be divided among the devices.
        TrainingDiverged: if a loss is not finite.
        OutOfMemory: if memory is too small.
        OSError: with ENOSPC, if the disk is full; what was saved before is kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    changed = check_settings(settings, folder)
    distribution.check(settings, strategy)
    chief = distribution.is_chief(strategy)
    if chief:
        note_changed_epochs(settings, changed)
        write_json(folder / SETTINGS_FILE, settings.to_dict())

    with explained(folder), distribution.scope(strategy):
        model = build(settings)
    history = histories(distribution.own_folder(folder, strategy))

    def trained(name, vae, array, **arguments):
        saved, checkpoint_folder = model_file(folder, name), checkpoints(folder, name)
        if saved.exists():
            if chief:
                shutil.rmtree(checkpoint_folder, ignore_errors=True)  # killed before it could
            return load_stage(saved)
        if (state := folder / jax_state(name)).exists():
            raise UserError(
                f"{state} holds a training on JAX that is not finished: go on with it by python -m "
                "training.on_jax, or remove it to train this stage here from its start."
            )
        with explained(folder):
            fit_stage(
                vae,
                array(),
                title=f"{settings.dataset}, {name} stage",
                checkpoint_folder=checkpoint_folder,
                history=history[name],
                settings=settings,
                checkpoint_seconds=checkpoint_seconds,
                strategy=strategy,
                **arguments,
            )
            vae = vae if strategy is None else distribution.plain(vae)
            if chief:
                elsewhere.keep_place(folder, name, place())
                keep_stage(vae, folder, name)
                shutil.rmtree(checkpoint_folder, ignore_errors=True)
        return vae

    error = () if held_out is None else (PixelError(held_out, strategy and distribution.plain),)
    return train_stages(settings, model, images, trained, error, second)
