"""Small files, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

ABANDONED = 24 * 3600.0  # seconds after which no process is still writing a temporary file
LARGE = 1 << 20


def write_atomically(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file whole or not at all, making its folder if needed; text is UTF-8.

    Raises:
        OSError: naming a file, if it can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    if len(data) > LARGE:
        sweep(path.parent, f".{path.name}.*")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no content
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk's names no file
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):  # it is there only if something went wrong
            os.unlink(temporary)
    return path


def sync(path: str | os.PathLike) -> None:
    """Bring a file that another library wrote to the disk, before it gets its final name."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sweep(folder: str | os.PathLike, pattern: str) -> None:
    """Remove temporary files that killed processes have left, a day old or more."""
    for path in Path(folder).glob(pattern):
        with contextlib.suppress(OSError):  # gone, or not ours
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def write_json(path: str | os.PathLike, content: Any) -> Path:
    """Write ``content`` as indented JSON, as write_atomically does."""
    return write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """What write_json wrote; None where there is no such file or it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
