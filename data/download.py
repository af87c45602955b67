"""Fetching published files: resumable, checked before a file gets its final name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from data.cache import make_folder, write_error, writing
from data.lock import alone
from data.progress import Progress, progress_bar
from data.registry import Remote
from experiments.errors import UserError

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # per address; an attempt that brings bytes is not counted
RETRY_WAIT = 1.0  # seconds between attempts
BLOCK = 1 << 18  # bytes read at a time


class _Failed(Exception):
    """An address gave up; the next one may do."""


class _Ended(Exception):
    """A connection failed or broke off; another one may do."""


def fetch(
    remote: Remote, folder: Path, progress: Progress | None = None, also: tuple[str, ...] = ()
) -> Path:
    """Download ``remote`` into ``folder`` and return its path.

    An interrupted download is kept as ``<name>.part`` and continued by the next call. The file gets
    its name only when its SHA-256 is right; ``<name>.sha256`` beside it then says that it came from
    here. Raises UserError, saying what to fetch by hand and where to put it, if that fails;
    ``also`` names further files that are then needed from the same place. Of processes that want
    the file at once one downloads it, and the others wait for it.
    """
    make_folder(folder)
    path = folder / remote.name
    lock = folder / f"{remote.name}.lock"
    try:
        with alone(lock, f"Another process is downloading {path}: waiting for it"):
            if not fetched_here(path, remote):  # by the process that was waited for
                _fetch(remote, path, progress, also)
    except OSError as error:
        raise write_error(path, error) from error
    return path


def _fetch(remote: Remote, path: Path, progress: Progress | None, also: tuple[str, ...]) -> None:
    """``fetch`` by the one process that has the lock. Raises OSError for what is local."""
    part = path.with_name(f"{path.name}.part")
    _check_room(remote, part)
    failures = (
        _from_drive(remote, part) if remote.drive_id else _from_mirrors(remote, part, progress)
    )
    if failures:
        raise UserError(
            f"cannot download {remote.name} ({'; '.join(failures)}): fetch it by hand from "
            f"{remote.origin} and put it at {path}"
            + (f" (and {', '.join(also)} likewise)" if also else "")
        )
    # The record first: a file without one counts as someone else's.
    with writing(_record(path)) as file:
        file.write(f"{remote.sha256}  {remote.name}\n".encode())
    part.replace(path)


def fetched_here(path: Path, remote: Remote) -> bool:
    """Whether ``path`` is the file that ``fetch`` downloaded and checked."""
    try:
        recorded = _record(path).read_text(encoding="ascii").split()
        return recorded[:1] == [remote.sha256] and path.stat().st_size == remote.size
    except (OSError, UnicodeDecodeError):
        return False


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _from_mirrors(remote: Remote, part: Path, progress: Progress | None) -> list[str]:
    """Try the addresses in turn; returns why each failed, nothing once ``part`` is right."""
    failures = []
    for url in remote.urls:
        host = urllib.parse.urlsplit(url).netloc
        try:
            resumed = _size(part) > 0
            _download(url, remote, part, progress)
            if _is_right(remote, part):
                return []
            part.unlink()
            if resumed:  # perhaps only the older piece was bad: once more from the start
                _download(url, remote, part, progress)
                if _is_right(remote, part):
                    return []
                part.unlink()
            failures.append(f"{host}: the file's checksum is wrong")
        except _Failed as error:
            failures.append(f"{host}: {error}")
    return failures


def _download(url: str, remote: Remote, part: Path, progress: Progress | None) -> None:
    """Bring ``part`` to its full size from one address, continuing after breaks."""
    failed = 0
    with progress_bar(remote.name, remote.size, progress, done=_size(part)) as advance:
        while (start := _size(part)) < remote.size:
            try:
                _receive(url, start, remote.size, part, advance)
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"HTTP {error.code} {error.reason}"
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    part.unlink(missing_ok=True)
                    advance(-start)
                elif error.code < 500:
                    raise _Failed(reason) from error
            except _Ended as error:
                reason = str(error)
            if _size(part) <= start:
                failed += 1
                if failed == ATTEMPTS:
                    raise _Failed(reason)
                time.sleep(RETRY_WAIT)


def _receive(url: str, start: int, size: int, part: Path, advance: Callable[[int], None]) -> None:
    """One request: append what comes from byte ``start`` on, or begin anew if it sends all."""
    request = urllib.request.Request(url, headers={"User-Agent": "two-stage-vae"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _connection():
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    with response:
        continues = response.status == HTTPStatus.PARTIAL_CONTENT
        if continues and not response.headers.get("Content-Range", "").startswith(
            f"bytes {start}-"
        ):
            raise _Failed("the server sent another range than it was asked for")
        if not continues:
            advance(-start)
            start = 0
        with open(part, "ab" if continues else "wb") as file:
            while start <= size and (block := _read(response)):
                file.write(block)
                start += len(block)
                advance(len(block))


def _read(response: http.client.HTTPResponse) -> bytes:
    with _connection():
        return response.read(BLOCK)


@contextlib.contextmanager
def _connection() -> Iterator[None]:
    """Raises _Ended for the network's errors, some of which are plain OSErrors like the disk's.

    An HTTPError passes: it is an answer.
    """
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        raise _Ended(str(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise _Ended(str(error) or type(error).__name__) from error


def _from_drive(remote: Remote, part: Path) -> list[str]:
    """Fetch from Google Drive by gdown, which shows its own progress and resumes by itself."""
    for _ in range(2):  # the second time only for a complete file with a wrong checksum
        if not part.exists():
            try:
                import gdown
            except ImportError:
                return ["the package gdown is missing: pip install gdown"]
            try:
                done = gdown.download(
                    id=remote.drive_id, output=str(part), use_cookies=False, resume=True
                )
            except OSError as error:
                # The exceptions of requests are OSErrors too, but without an error number.
                if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
                    raise
                offline = isinstance(error, ConnectionError) or "Connection" in type(error).__name__
                return ["no connection to drive.google.com" if offline else _one_line(error)]
            except Exception as error:  # gdown's own exceptions changed between versions
                return [_one_line(error)]
            if done is None or not part.exists():
                return ["Google Drive refused; often its daily limit for this file is used up"]
        if _is_right(remote, part):
            return []
        part.unlink()
    return ["the file's checksum is wrong"]


def _is_right(remote: Remote, part: Path) -> bool:
    """Whether size and SHA-256 are the published ones."""
    if _size(part) != remote.size:
        return False
    result = hashlib.sha256()
    with open(part, "rb") as file:
        while block := file.read(BLOCK):
            result.update(block)
    return result.hexdigest() == remote.sha256


def _check_room(remote: Remote, part: Path) -> None:
    """Raises UserError if the folder's disk is too small for the rest of the file."""
    needed = remote.size - _size(part)
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(part.parent).free
        if free < needed:
            raise UserError(
                f"not enough room in {part.parent} for {remote.name}: {needed / 1e6:,.0f} MB are "
                f"needed, {free / 1e6:,.0f} MB are free; make room or choose another --data-dir"
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
