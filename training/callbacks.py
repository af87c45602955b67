"""Keras callbacks for long runs: checkpoints that resume exactly, one progress line, a history."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from experiments.files import write_atomically

LOGGED = ("loss", "kl", "reconstruction", "log_gamma", "rmse")
HISTORY_FIELDS = ("epoch", *LOGGED, "learning_rate", "seconds")


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
    """Writes each epoch's figures into a :class:`History`."""

    def __init__(self, history: History):
        super().__init__()
        self.history = history

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs = {k: float(v) for k, v in (logs or {}).items()}
        row = {field: logs.get(field, float("nan")) for field in HISTORY_FIELDS}
        row["epoch"] = epoch + 1
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.monotonic() - self._start, 3)
        self.history.append(row)


class PixelError(keras.callbacks.Callback):
    """Adds to each epoch's figures ``rmse``, the root mean squared pixel error of reconstructions.

    Of held-out images in [0, 1], from one seeded z each, in inference mode: unlike the loss it can
    be compared between gammas and between methods.

    Args:
        images: ``(n, h, w, c)`` uint8.
    """

    def __init__(self, images: np.ndarray):
        super().__init__()
        self.images = images

    def on_epoch_end(self, epoch, logs=None):
        error = self.model.reconstruct(self.images, seed=0) - self.images / np.float32(255)
        logs["rmse"] = float(np.sqrt(np.mean(np.square(error))))


class Checkpoints(keras.callbacks.Callback):
    """Saves every variable of model and optimiser at the end of an epoch; finds the way back.

    TensorFlow's CheckpointManager writes the data first and the pointer to it last, so that a run
    killed while saving finds the checkpoint before. Random generators' states are variables of the
    model: a resumed run draws the noise that an uninterrupted one would have drawn.

    Args:
        folder: where the checkpoints lie.
        model: built and compiled.
        min_seconds: epochs that end sooner than this after the last checkpoint are not saved.
    """

    def __init__(self, folder: Path, model: keras.Model, min_seconds: float = 60.0):
        super().__init__()
        model.optimizer.build(model.trainable_variables)
        variables = [v.value for v in [*model.variables, *model.optimizer.variables]]
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        checkpoint = tf.train.Checkpoint(epoch=self.epoch, variables=variables)
        self.manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)
        self.min_seconds = min_seconds
        self._last = time.monotonic()

    def restore(self) -> int:
        """Loads the newest checkpoint that can be read; the number of finished epochs, or 0."""
        for path in reversed(self.manager.checkpoints):
            try:
                self.manager.checkpoint.restore(path).assert_consumed()
            except Exception as error:  # TensorFlow raises whatever its reader stumbles over
                print(f"Checkpoint {path} can't be read ({type(error).__name__}); the one before.")
                continue
            return int(self.epoch)
        return 0

    def save(self, epoch: int) -> None:
        """Writes a checkpoint of ``epoch`` finished epochs."""
        self.epoch.assign(epoch)
        self.manager.save(checkpoint_number=epoch)
        self._last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() - self._last >= self.min_seconds:
            self.save(epoch + 1)


class Progress(keras.callbacks.Callback):
    """One line for the whole training: step, loss, log gamma, speed, time left.

    On a terminal it is redrawn in place; in a log file a line is written about every half minute.

    Args:
        title: what is trained.
        steps_per_epoch, epochs, initial_epoch: for the total.
    """

    def __init__(self, title: str, steps_per_epoch: int, epochs: int, initial_epoch: int = 0):
        super().__init__()
        self.title = title
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.initial_epoch = initial_epoch

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.steps_per_epoch * self.epochs,
            initial=self.steps_per_epoch * self.initial_epoch,
            desc=self.title,
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

    def on_train_end(self, logs=None):
        self.close()

    def close(self) -> None:
        """Leaves the last state of the line standing; also when training is cut short."""
        if hasattr(self, "bar"):
            self.bar.close()
