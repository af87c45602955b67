"""Checkpoints after any step, from which a run resumes exactly; by TensorFlow."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from experiments.errors import UserError
from experiments.settings import CHECKPOINT_SECONDS
from training.failures import TrainingDiverged, explained

# What says nothing about the file that was being read.
NO_DAMAGE = (
    *(MemoryError, OSError, tf.errors.ResourceExhaustedError),
    *(tf.errors.PermissionDeniedError, tf.errors.UnavailableError),
)
PREFIX = "ckpt"  # of the checkpoints' file names
SAVE_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"  # tf.train.Checkpoint's own


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
        """Loads the newest whole checkpoint; the number of steps made so far, 0 without one.

        Raises:
            UserError: if the folder's checkpoints are of another model; they are left as they are.
        """
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
        """Why a checkpoint can't be restored; None if it can. Every tensor is read and checked.

        What is no sign of damage, such as too little memory, is raised.
        """
        named = {f"variables/{i}": v.shape.as_list() for i, v in enumerate(self._variables)}
        named |= {"step": [], "seconds": []}
        expected = {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": shape for name, shape in named.items()}
        try:
            reader = tf.train.load_checkpoint(str(path))
            shapes = reader.get_variable_to_shape_map()
            for key in shapes.keys() & expected.keys():
                reader.get_tensor(key)
        except NO_DAMAGE:
            raise
        except Exception as error:  # TensorFlow raises whatever its reader stumbles over
            return type(error).__name__
        for key in ("_CHECKPOINTABLE_OBJECT_GRAPH", SAVE_COUNTER):
            shapes.pop(key, None)
        if shapes != expected:
            raise UserError(
                f"{path} is the checkpoint of another model than this one, as another version of "
                f"this project or of Keras may have it: go back to that version, or remove "
                f"{self.folder} to train this stage from its start."
            )
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
