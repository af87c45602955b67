"""Keras callbacks for long runs: checkpoints that resume exactly, one progress line, a history."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from experiments.files import write_atomically
from training.failures import TrainingDiverged, explained

LOGGED = ("loss", "kl", "reconstruction", "log_gamma", "rmse")
HISTORY_FIELDS = ("epoch", *LOGGED, "learning_rate", "seconds")
CHECKPOINT_SECONDS = 60.0
PREFIX = "ckpt"  # of the checkpoints' file names
SAVE_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"  # tf.train.Checkpoint's own


def halving(learning_rate: float, every: int) -> keras.callbacks.LearningRateScheduler:
    """The paper's schedule: the learning rate is halved every ``every`` epochs."""
    return keras.callbacks.LearningRateScheduler(
        lambda epoch, _: learning_rate * 0.5 ** (epoch // every)
    )


class History:
    """One stage's per-epoch figures, kept in memory and as a CSV file.

    Rows of epochs that a resumed run repeats are dropped when it starts.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.rows: list[dict] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [
                    {field: float(row.get(field, "nan")) for field in HISTORY_FIELDS}
                    | {"epoch": int(float(row["epoch"]))}
                    for row in csv.DictReader(file)
                ]

    def truncate(self, epochs: int) -> None:
        """Keeps the rows of the first ``epochs`` epochs."""
        self.rows = [row for row in self.rows if row["epoch"] <= epochs]

    def append(self, row: dict) -> None:
        """Adds one epoch's row and writes the file anew, whole or not at all."""
        self.rows.append(row)
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, HISTORY_FIELDS)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, stream.getvalue())

    def columns(self) -> dict[str, list[float]]:
        """The same as one list a field."""
        return {field: [row[field] for row in self.rows] for field in HISTORY_FIELDS}

    @property
    def seconds(self) -> float:
        """Time spent in training, over all sessions of the run."""
        return sum(row["seconds"] for row in self.rows)


class HistoryLog(keras.callbacks.Callback):
    """Writes each epoch's figures into a :class:`History`.

    Args:
        history: where to.
        seconds: gives the time spent in the epoch, of all sessions of the run.
    """

    def __init__(self, history: History, seconds: Callable[[], float]):
        super().__init__()
        self.history = history
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs=None):
        logs = {k: float(v) for k, v in (logs or {}).items()}
        row = {field: logs.get(field, float("nan")) for field in HISTORY_FIELDS}
        row["epoch"] = epoch + 1
        row["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(self.seconds(), 3)
        self.history.append(row)


class StopOnNonFinite(keras.callbacks.Callback):
    """Ends a run whose loss is NaN or infinite at the end of an epoch, before it is recorded."""

    def on_epoch_end(self, epoch, logs=None):
        loss = float((logs or {}).get("loss", math.nan))
        if not math.isfinite(loss):
            raise TrainingDiverged(f"the loss is {loss} after epoch {epoch + 1}")


class PixelError(keras.callbacks.Callback):
    """Adds to each epoch's figures ``rmse``, the root mean squared pixel error of reconstructions.

    Of held-out images in [0, 1], from one seeded z each, in inference mode: unlike the loss it can
    be compared between gammas and between methods.

    Args:
        images: ``(n, h, w, c)`` uint8.
        copy: what makes of the model one that is fit for inference.
    """

    def __init__(self, images: np.ndarray, copy: Callable | None = None):
        super().__init__()
        self.images = images
        self.copy = copy

    def on_epoch_end(self, epoch, logs=None):
        model = self.copy(self.model) if self.copy else self.model
        error = model.reconstruct(self.images, seed=0) - self.images / np.float32(255)
        logs["rmse"] = float(np.sqrt(np.mean(np.square(error))))


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole state of training once in a while, after any step; finds the way back.

    The state is every variable of the model (the random generators' among them), the optimiser's
    and the metrics': a resumed run draws the noise and records the means that an uninterrupted one
    would have. TensorFlow writes a checkpoint's index last and each tensor with a checksum, so that
    a file that was cut short or damaged is known as such; the one before it is used then.

    A state with a number that is not finite is never saved.

    Args:
        folder: where the checkpoints lie.
        model: built and compiled.
        steps_per_epoch: of the training.
        seconds: between two checkpoints, at least. Saving the paper's first stage with its moments
            takes about a second, in which no step is made.
        together: whether other processes take part. All save then, at the end of every epoch, as
            their clocks may differ.
        own_folder: where this process saves, if not into ``folder``: one of those that train
            together does that.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        steps_per_epoch: int,
        seconds: float = CHECKPOINT_SECONDS,
        together: bool = False,
        own_folder: Path | None = None,
    ):
        super().__init__()
        self.folder = Path(folder)
        self.own_folder = Path(own_folder or folder)
        self.together = together
        self.steps_per_epoch = steps_per_epoch
        self.seconds = seconds
        model.optimizer.build(model.trainable_variables)
        self._metrics = [v.value for v in model.metrics_variables]
        others = [v.value for v in (*model.variables, *model.optimizer.variables)]
        self._variables = [*self._metrics, *others]
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._spent = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            step=self._step, seconds=self._spent, variables=self._variables
        )
        self._manager = None
        self._resumed: list[np.ndarray] | None = None  # the metrics' state in mid-epoch
        self._offset = 0  # steps of the present epoch that earlier sessions made
        self._last = self._start = time.monotonic()

    # --- the way back --------------------------------------------------------------------------

    def restore(self) -> int:
        """Loads the newest whole checkpoint; the number of steps made so far, 0 without one."""
        ours = self.own_folder == self.folder
        if ours:
            self._sweep()
        for path in self._paths():
            reason = self._unusable(path)
            if reason is None:
                self._checkpoint.restore(str(path)).assert_consumed()
                step = int(self._step.numpy())
                self._offset = step % self.steps_per_epoch
                if self._offset:
                    self._resumed = [v.numpy() for v in self._metrics]
                return step
            print(f"Checkpoint {path} is damaged ({reason}): going back to the one before it.")
            for part in self.folder.glob(f"{path.name}.*") if ours else ():
                part.unlink()
        return 0

    def _paths(self) -> list[Path]:
        """The checkpoints' prefixes, the newest first; from the files, whatever TensorFlow's own
        list of them says: that list may be damaged, too."""
        found = [p.with_suffix("") for p in self.folder.glob(f"{PREFIX}-*.index")]
        return sorted(found, key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)

    def _sweep(self) -> None:
        """Removes what a killed process left half-written."""
        whole = {p.name for p in self._paths()}
        for path in self.folder.glob(f"{PREFIX}-*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.stem not in whole:
                path.unlink()

    def _unusable(self, path: Path) -> str | None:
        """Why a checkpoint can't be restored; None if it can. Every tensor is read and checked."""
        try:
            reader = tf.train.load_checkpoint(str(path))
            shapes = reader.get_variable_to_shape_map()
            for i, variable in enumerate(self._variables):
                key = f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE"
                if shapes.pop(key) != variable.shape.as_list():
                    return f"tensor {i} has another shape"
                reader.get_tensor(key)
            for key in ("step", "seconds"):
                key = f"{key}/.ATTRIBUTES/VARIABLE_VALUE"
                shapes.pop(key)
                reader.get_tensor(key)
            if set(shapes) - {"_CHECKPOINTABLE_OBJECT_GRAPH", SAVE_COUNTER}:
                return "it is of another model"
        except Exception as error:  # TensorFlow raises whatever its reader stumbles over
            return type(error).__name__
        return None

    # --- saving --------------------------------------------------------------------------------

    def save(self, step: int) -> None:
        """Writes a checkpoint after ``step`` steps.

        Raises:
            TrainingDiverged: if the loss or a variable is not finite; nothing is written.
            OSError: if the disk is full.
        """
        for variable in self._variables:
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                raise TrainingDiverged(
                    f"{variable.name.removesuffix(':0')} is not finite after step {step}"
                )
        self._step.assign(step)
        self._spent.assign(self.epoch_seconds())
        if self._manager is None:
            self._manager = tf.train.CheckpointManager(
                self._checkpoint, str(self.own_folder), max_to_keep=2, checkpoint_name=PREFIX
            )
        with explained(self.folder):
            self._manager.save(checkpoint_number=step)
        self._last = time.monotonic()

    def epoch_seconds(self) -> float:
        """Time spent in the present epoch, of all sessions of the run."""
        return time.monotonic() - self._start

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._start = time.monotonic()
        if self._resumed is None:
            self._offset = 0
            return
        self._start -= float(self._spent.numpy())
        for variable, value in zip(self._metrics, self._resumed, strict=True):
            variable.assign(value)  # Keras has just reset them
        self._resumed = None

    def on_train_batch_end(self, batch, logs=None):
        position = self._offset + batch + 1
        if (
            position < self.steps_per_epoch and not self.together
        ):  # else the epoch's figures are recorded first
            self._save_if_due(position)

    def on_epoch_end(self, epoch, logs=None):
        self._save_if_due(self.steps_per_epoch)

    def _save_if_due(self, position: int) -> None:
        if self.together or time.monotonic() - self._last >= self.seconds:
            self.save(self._epoch * self.steps_per_epoch + position)


class Progress(keras.callbacks.Callback):
    """One line for the whole training: step, loss, log gamma, speed, time left.

    On a terminal it is redrawn in place; in a log file a line is written about every half minute.

    Args:
        title: what is trained.
        total: steps of the whole training.
        initial: steps made before.
        epochs: of the whole training.
    """

    def __init__(self, title: str, total: int, initial: int, epochs: int):
        super().__init__()
        self.title = title
        self.epochs = epochs
        self.bar = tqdm(
            total=total,
            initial=initial,
            desc=title,
            unit="step",
            file=sys.stdout,
            mininterval=0.3 if sys.stdout.isatty() else 30.0,
            dynamic_ncols=True,
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description(f"{self.title}, epoch {epoch + 1}/{self.epochs}", refresh=False)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(1)

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        self.bar.set_postfix_str(
            f"loss {float(logs['loss']):.1f}, log gamma {float(logs['log_gamma']):.3f}",
            refresh=False,
        )

    def close(self) -> None:
        """Leaves the last state of the line standing; also when training is cut short."""
        self.bar.close()
