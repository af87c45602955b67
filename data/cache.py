"""Where the project keeps files of its own between runs, and what it says if it cannot."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from experiments import files
from experiments.environment import CACHE_VARIABLE
from experiments.errors import UserError


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
    """As ``experiments.files.writing``.

    Raises UserError where the folder cannot be written or is full.
    """
    make_folder(path.parent)
    try:
        with files.writing(path) as file:
            yield file
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """What to tell the user when ``path`` could not be written."""
    reason = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return UserError(
        f"cannot write {path}: {reason}; make room, or choose another folder: the environment "
        f"variable {CACHE_VARIABLE}, or --data-dir for downloads alone"
    )
