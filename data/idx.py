"""MNIST's file format: a big-endian header, then one byte a pixel; plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from data.cache import writing
from experiments.errors import UserError

UBYTE = 0x08  # the format's code for unsigned bytes; the only type read here


def read(path: Path, shape: tuple[int, ...], md5: str | None = None) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    ``shape`` is what the file must hold, e.g. (60000, 28, 28) for images or (60000,) for labels;
    ``md5`` is the checksum of the uncompressed file, if known. Returns a uint8 array of that shape.
    Raises UserError, naming the file, if it cannot be read or holds anything else.
    """
    header_size = 4 + 4 * len(shape)
    size = header_size + math.prod(shape)
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            # One byte more than needed shows a file that is too long, and makes gzip check its CRC.
            content = file.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error

    if len(content) < header_size:
        raise UserError(f"{path} is truncated: {len(content)} bytes, not even a header")
    magic, *dims = struct.unpack(f">{1 + len(shape)}I", content[:header_size])
    expected_magic = UBYTE << 8 | len(shape)
    if magic != expected_magic:
        raise UserError(
            f"{path} is not an idx file of {len(shape)}-dimensional bytes: it starts with "
            f"{magic:#010x}, expected {expected_magic:#010x}"
        )
    if tuple(dims) != tuple(shape):
        raise UserError(f"{path} holds {_times(dims)} values, expected {_times(shape)}")
    if len(content) != size:
        came = f"only {len(content):,} bytes" if len(content) < size else "more bytes"
        raise UserError(f"{path} is damaged: {came}, its header announces {size:,}")
    if md5 is not None:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise UserError(
                f"{path} is damaged or from another data set: its content has MD5 {found}, "
                f"the published one has {md5}"
            )
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)


def read_images(path: Path, shape: tuple[int, int, int, int], md5: str | None = None) -> np.ndarray:
    """Read images: uint8 (n, h, w, 1). ``shape`` as returned; errors as in ``read``."""
    return read(path, shape[:3], md5)[..., np.newaxis]


def write(path: Path, values: np.ndarray) -> None:
    """Write uint8 ``values`` of any rank as a gzipped idx file, the same bytes every time."""
    if values.dtype != np.uint8:
        raise TypeError(f"idx files are written from uint8 arrays, not {values.dtype}")
    header = struct.pack(f">{1 + values.ndim}I", UBYTE << 8 | values.ndim, *values.shape)
    # A fixed time and no name in the gzip header; only zlib's own version can change the bytes.
    with (
        writing(path) as target,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=target, mtime=0) as file,
    ):
        file.write(header + values.tobytes())


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, shape))
