"""Where the project keeps files of its own between runs, and how it writes them."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from experiments.environment import CACHE_VARIABLE
from experiments.errors import UserError
from experiments.files import sweep


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents. Raises UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder}: {error.strerror}; choose another: the environment "
            f"variable {CACHE_VARIABLE}, or --data-dir for downloads alone"
        ) from error
    return folder


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file which appears as ``path`` only once it is whole; nothing is left on failure.

    Raises UserError where the folder cannot be written or is full.
    """
    make_folder(path.parent)
    sweep(path.parent, f"{path.name}.*.tmp")
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no content
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)  # there only if something went wrong


def write_error(path: Path, error: OSError) -> UserError:
    """What to tell the user when ``path`` could not be written."""
    reason = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return UserError(
        f"cannot write {path}: {reason}; make room, or choose another folder: the environment "
        f"variable {CACHE_VARIABLE}, or --data-dir for downloads alone"
    )
