"""Trains a run's stages on Keras's JAX backend, in the folder where the command takes them up.

    python -m training.on_jax --dataset mnist --out runs/paper --data-dir DIR
    python reproduce_paper.py --datasets mnist --out runs/paper       scores, tables, report

For accelerators that have JAX and no TensorFlow, which isn't needed here. The device makes hundreds
of steps in one call (models.jax_steps), so that small networks don't wait for Python. The state is
saved after epochs; the same command goes on, also after ``--minutes`` have ended it. Settings,
histories and models are the command's own; trained_on.json says where they come from.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
if __name__ == "__main__" and importlib.util.find_spec("jax") is None:
    print(
        "training.on_jax: JAX is missing: pip install jax, or jax[cuda13] (with Python 3.10 "
        "jax[cuda12]) for an NVIDIA GPU.",
        file=sys.stderr,
    )
    sys.exit(2)

import keras
import numpy as np

import data
import models
from experiments import presets
from experiments.environment import check_folders, user_path
from experiments.errors import UserError
from experiments.files import UNREADABLE, write_atomically, write_json
from experiments.settings import RunSettings, trial_seed
from models.optimizer import adam
from training import elsewhere
from training.callbacks import PixelError, Progress, of_every_stage
from training.failures import RunFailed
from training.folder import (
    HELD_OUT,
    alone_in,
    build,
    check_finite,
    check_images,
    check_settings,
    has_checkpoint,
    histories,
    keep_stage,
    load_images,
    load_stage,
    note_changed_epochs,
    train_stages,
)
from training.layout import SETTINGS_FILE, checkpoints, jax_state, model_file

STACK_BYTES = 128 * 2**20  # of a stack of batches: two are on the device at a time
SAVE_SECONDS = 60.0
OUT_OF_TIME = 75  # exit code, "try again" in sysexits.h


class OutOfTime(Exception):
    """--minutes are over; what was done is saved."""


class State(keras.callbacks.Callback):
    """Saves the whole state of training after epochs, and ends it when time is over.

    Args:
        path: an .npz file, replaced whole or not at all.
        model: built and compiled.
        seconds: between two times that it is saved.
        deadline: on time.monotonic's clock; None for no end.
    """

    def __init__(self, path: Path, model: keras.Model, seconds: float, deadline: float | None):
        super().__init__()
        self.path, self.every, self.deadline = Path(path), seconds, deadline
        model.optimizer.build(model.trainable_variables)
        self.variables = [*model.variables, *model.optimizer.variables]
        self._last = self._start = time.monotonic()

    def restore(self) -> int:
        """Loads what was saved; the number of epochs done, 0 if nothing was.

        Raises:
            UserError: if the file is damaged or another model's.
        """
        if not self.path.exists():
            return 0
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                values = [stored[f"variable{i}"] for i in range(len(self.variables))]
                epochs = int(stored["epochs"])
            for variable, value in zip(self.variables, values, strict=True):
                variable.assign(value)
        except UNREADABLE as error:
            raise UserError(
                f"{self.path} is damaged or of another model ({error}): remove it to train this "
                "stage from its start."
            ) from error
        return epochs

    def save(self, epochs: int) -> None:
        """Writes the state after ``epochs`` epochs.

        Raises:
            TrainingDiverged: if it is not finite; nothing is written.
        """
        values = check_finite(self.variables, f"after epoch {epochs}")
        arrays = {f"variable{i}": value for i, value in enumerate(values)}
        stream = io.BytesIO()
        np.savez(stream, epochs=epochs, **arrays)
        write_atomically(self.path, stream.getvalue())
        self._last = time.monotonic()

    def epoch_seconds(self) -> float:
        """Time spent in the present epoch."""
        return time.monotonic() - self._start

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        late = self.deadline is not None and now >= self.deadline
        if late or now - self._last >= self.every:
            self.save(epoch + 1)
        if late:
            raise OutOfTime


def fit_stage(
    model: models.VAE,
    array: np.ndarray,
    settings: RunSettings,
    name: str,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    halve_every: int,
    callbacks=(),
    save_seconds: float = SAVE_SECONDS,
    deadline: float | None = None,
) -> None:
    """Trains one stage to its last epoch, from where an earlier call stopped.

    Args:
        model: the stage; its weights are changed.
        array: what it is trained on.
        name: "first" or "second".
        folder: the run's.
        seed: of the order of the batches.
        callbacks: called before each epoch's figures are recorded.
        save_seconds, deadline: see :class:`State`.

    Raises:
        OutOfTime: if the deadline comes before the last epoch has ended.
        TrainingDiverged: if the loss is not finite at the end of an epoch.
    """
    model.compile(optimizer=adam(settings.learning_rate))
    state = State(folder / jax_state(name), model, save_seconds, deadline)
    done = state.restore()
    history = histories(folder)[name]
    history.truncate(done)
    steps = data.steps_per_epoch(len(array), settings.batch_size)
    per_call = max(1, min(steps, STACK_BYTES // (array[0].nbytes * settings.batch_size)))
    calls = -(-steps // per_call)
    title = f"{settings.dataset}, {name} stage"
    progress = Progress(title, calls * epochs, calls * done, epochs, f"x{per_call} steps")
    try:
        if done < epochs:
            model.fit(
                data.stacks(array, settings.batch_size, seed, per_call, done),
                steps_per_epoch=calls,
                epochs=epochs,
                initial_epoch=done,
                shuffle=False,
                verbose=0,
                callbacks=[
                    *of_every_stage(settings, halve_every, history, state.epoch_seconds, callbacks),
                    state,
                    progress,
                ],
            )
    finally:
        progress.close()


def train(
    settings: RunSettings,
    images: np.ndarray,
    held_out: np.ndarray,
    folder: Path,
    save_seconds: float = SAVE_SECONDS,
    deadline: float | None = None,
    second: bool = True,
) -> None:
    """Trains all stages of a run that are not finished; the models lie in ``folder``/model then.

    Args:
        settings: the run.
        images, held_out: ``(n, h, w, c)`` uint8: the training set, and images whose pixel error is
            recorded after each epoch of the first stage.
        folder: the run's.
        save_seconds, deadline: see :class:`State`.
        second: whether a second stage is wanted, if the run has one.

    Raises:
        UserError: if the folder holds a run with other settings, or a stage in training on
            TensorFlow.
        OutOfTime, TrainingDiverged: see :func:`fit_stage`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note_changed_epochs(settings, check_settings(settings, folder))
    write_json(folder / SETTINGS_FILE, settings.to_dict())
    multiply_in_float32()
    common = {"save_seconds": save_seconds, "deadline": deadline}

    def trained(name, vae, array, **arguments):
        saved = model_file(folder, name)
        if saved.exists():
            vae = load_stage(saved)
        else:
            if has_checkpoint(folder, name):
                raise UserError(
                    f"{checkpoints(folder, name)} holds a training on TensorFlow that is not "
                    "finished: go on with it by reproduce_paper.py, or remove it to train this "
                    "stage here from its start."
                )
            fit_stage(vae, array(), settings, name, folder, **arguments, **common)
            # Before the model, with which the stage counts as finished.
            elsewhere.keep_place(folder, name, place())
            keep_stage(vae, folder, name)
        (folder / jax_state(name)).unlink(missing_ok=True)
        return vae

    train_stages(settings, build(settings), images, trained, (PixelError(held_out),), second)


def multiply_in_float32() -> None:
    """As the authors did; recent GPUs would round the factors of float32 products to TF32.

    What the user has chosen, by JAX_DEFAULT_MATMUL_PRECISION, stays.
    """
    import jax

    if jax.config.jax_default_matmul_precision is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def place() -> dict:
    """Backend, device and versions, for the run's record."""
    import jax

    return {
        "backend": "jax",
        "device": jax.devices()[0].device_kind,
        "precision": jax.config.jax_default_matmul_precision,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def parser() -> argparse.ArgumentParser:
    """The command's options; names and defaults are those of reproduce_paper.py."""
    p = argparse.ArgumentParser(
        prog="python -m training.on_jax",
        description="Train one run on Keras's JAX backend.",
        allow_abbrev=False,
    )
    p.add_argument("--dataset", required=True, metavar="NAME")
    p.add_argument("--method", default="two-stage", metavar="NAME")
    p.add_argument("--preset", default="paper", metavar="NAME")
    p.add_argument("--epochs", type=int, metavar="N", help="in place of the preset's")
    p.add_argument("--second-epochs", type=int, metavar="N", help="in place of the preset's")
    p.add_argument("--trial", type=int, default=0, metavar="N", help="0 is the first")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the first trial")
    p.add_argument("--out", metavar="DIR", help="results (default: runs/<preset>)")
    p.add_argument("--data-dir", metavar="DIR", help="folder with the data sets' official files")
    p.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"stop at the end of an epoch after so long, with exit code {OUT_OF_TIME}",
    )
    p.add_argument(
        "--jpeg",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="pass images once through JPEG first; in place of the preset's",
    )
    return p


def settings_of(options: argparse.Namespace) -> RunSettings:
    """The run of parsed options, as reproduce_paper.py resolves it."""
    changes = {name: getattr(options, name) for name in ("epochs", "second_epochs", "jpeg")}
    for name in ("epochs", "second_epochs"):
        if changes[name] is not None and changes[name] < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {changes[name]}.")
    if options.trial < 0 or not 0 <= options.seed < 2**31:
        raise UserError(
            "--trial must not be negative and --seed be from 0 to 2^31 - 1, got "
            f"{options.trial} and {options.seed}."
        )
    return presets.resolve(
        options.preset, options.dataset, presets.model_of(options.method)
    ).replace(
        trial=options.trial,
        seed=trial_seed(options.seed, options.trial),
        **{name: value for name, value in changes.items() if value is not None},
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    The exit code is 0, 2 for what the user can put right, 75 out of time, 130 for Ctrl-C.
    """
    options = parser().parse_args(arguments)
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    try:
        if keras.backend.backend() != "jax":
            raise UserError(f"KERAS_BACKEND is {keras.backend.backend()!r}: unset it, or set jax.")
        check_folders(out=options.out, data_dir=options.data_dir)
        settings = settings_of(options)
        if settings.shares_first_stage:
            raise UserError(f"{options.method} takes its first stage from the two-stage run.")
        images, test = (load_images(settings, s, options.data_dir) for s in ("train", "test"))
        held_out = data.select_real(test, HELD_OUT)
        out = user_path(options.out or Path("runs") / options.preset)
        folder = out / settings.name
        with alone_in(folder):
            check_settings(settings, folder)
            check_images(folder, images, test)
            second = settings.second_stage(options.method)
            train(settings, images, held_out, folder, deadline=deadline, second=second)
    except (UserError, RunFailed) as error:
        print(f"training.on_jax: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"training.on_jax: {error.filename or 'a file'}: {error.strerror or error}. What was "
            "saved is kept; put this right and repeat the command.",
            file=sys.stderr,
        )
        return 2
    except OutOfTime:
        print("Out of time. The same command goes on from here.")
        return OUT_OF_TIME
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last saved epoch.", file=sys.stderr)
        return 130
    print(f"Trained: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
