"""One process at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of the file ``path``, which is made for it and removed afterwards.

    While another process holds it this one waits, having printed ``waiting`` once. Where there are
    no such locks (Windows, some network file systems) none is waited for. Raises OSError if the
    file cannot be made.
    """
    if fcntl is None:
        yield
        return
    said = False
    while True:
        with open(path, "ab") as file:  # NFS locks only what is open for writing
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    print(waiting, flush=True)
                    said = True
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # this file system has no locks
                pass
            if _is_still(path, file):
                try:
                    yield
                finally:
                    if _is_still(path, file):  # not another's, whose folder has replaced ours
                        path.unlink()
                return


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether ``path`` is the open file: whoever held the lock before has removed its own."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
