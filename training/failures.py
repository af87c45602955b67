"""What may stop one run without being a mistake in the program: divergence, memory, disk."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = ("No space left", "Disk quota exceeded")  # strerror of ENOSPC and EDQUOT


class RunFailed(RuntimeError):
    """A run that can't go on; the message is the table's footnote, the other runs are not hurt."""


class TrainingDiverged(RunFailed):
    """The loss or a weight is no longer a finite number."""


class OutOfMemory(RunFailed):
    """The machine's or the accelerator's memory is too small for the run."""


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns TensorFlow's errors about resources into Python's.

    TensorFlow reports a full disk and a lack of memory by one type, ResourceExhaustedError.

    Args:
        folder: what is written to, for the message.

    Raises:
        OSError: with ENOSPC, if the disk is full.
        OutOfMemory: for a lack of memory, TensorFlow's or NumPy's.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if any(sign in str(error) for sign in DISK_FULL):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from error
        raise OutOfMemory("out of memory") from error
    except MemoryError as error:
        raise OutOfMemory("out of memory") from error
