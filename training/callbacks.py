"""Keras callbacks for long runs: a history, one progress line; on any of Keras's backends."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from experiments.errors import UserError
from experiments.files import write_atomically
from experiments.settings import RunSettings
from training.failures import TrainingDiverged

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

    Raises:
        UserError: for a damaged file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.rows: list[dict] = []
        if not self.path.exists():
            return
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if "epoch" not in (reader.fieldnames or ()):
                    raise ValueError("it has no column epoch")
                self.rows = [
                    {field: float(row.get(field, "nan")) for field in HISTORY_FIELDS}
                    | {"epoch": int(float(row["epoch"]))}
                    for row in reader
                ]
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            raise UserError(
                f"{self.path} is damaged ({error}), what was logged of each epoch: restore it from "
                "a copy, or remove the run's folder to train it again."
            ) from error

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


def of_every_stage(
    settings: RunSettings,
    halve_every: int,
    history: History,
    seconds: Callable[[], float],
    before_recording=(),
) -> list[keras.callbacks.Callback]:
    """What every stage is trained with: the schedule, and each epoch's figures once they are good.

    Args:
        settings: the run.
        halve_every: epochs between two halvings of the learning rate.
        history, seconds: as for :class:`HistoryLog`.
        before_recording: called before an epoch's figures are recorded.
    """
    return [
        halving(settings.learning_rate, halve_every),
        StopOnNonFinite(),
        *before_recording,
        HistoryLog(history, seconds),
    ]


class Progress(keras.callbacks.Callback):
    """One line for the whole training: step, loss, log gamma, speed, time left.

    On a terminal it is redrawn in place; in a log file a line is written about every half minute.

    Args:
        title: what is trained.
        total: steps of the whole training.
        initial: steps made before.
        epochs: of the whole training.
        unit: what is counted, one of which is a batch to Keras.
    """

    def __init__(self, title: str, total: int, initial: int, epochs: int, unit: str = "step"):
        super().__init__()
        self.title = title
        self.epochs = epochs
        self.bar = tqdm(
            total=total,
            initial=initial,
            desc=title,
            unit=unit,
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
            f"loss {float(logs['loss']):.5g}, log gamma {float(logs['log_gamma']):.3f}",
            refresh=False,
        )

    def close(self) -> None:
        """Leaves the last state of the line standing; also when training is cut short."""
        self.bar.close()
