"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import time
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from experiments.errors import UserError

# What readers of .npz and .keras files raise for a damaged one, NumPy's of headers the last two.
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, zipfile.BadZipFile),
    *(SyntaxError, tokenize.TokenError),
)
ABANDONED = 24 * 3600.0  # seconds after which no process is still writing a temporary file


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file that appears as ``path`` only once it is whole; its folder is made if needed.

    Raises:
        OSError: naming a file, if it can't be written; nothing is left of it then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f".{path.name}.*.tmp")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:  # unlike tempfile's, with the user's umask
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no content
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk's names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)  # there only if something went wrong


def write_atomically(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file as ``writing`` does, text as UTF-8, and return its path."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


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


def read_json(path: str | os.PathLike, kind: type | tuple[type, ...] = object) -> Any:
    """What write_json wrote, a ``kind``; None where there is no such file.

    Raises:
        UserError: for a file that is not JSON, or not of that kind. Taken for a missing one it
            would be overwritten.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # of JSON or of UTF-8
        raise damaged(path, f"not JSON ({error})") from error
    if not isinstance(content, kind):
        raise damaged(path, f"a {type(content).__name__}, which it should not be")
    return content


def damaged(path: str | os.PathLike, reason: str) -> UserError:
    """What to tell the user about a JSON file that is what ``reason`` says."""
    return UserError(
        f"{path} is damaged, it is {reason}: restore it from a copy, or remove it to do without "
        "what it held."
    )
