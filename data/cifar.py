"""CIFAR-10 in its binary and its Python version, as an archive or as a folder.

Archives are read in place: nothing is ever extracted to disk. The Python version is a pickle, which
could run anything; ``_BatchUnpickler`` therefore knows four names only, and maps those to inert
classes of its own.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.errors import UserError

IMAGES_PER_FILE = 10_000
PIXELS = 3 * 32 * 32  # channel by channel, row by row
CLASSES = 10
PICKLE_OVERHEAD = 8 << 20  # bytes a Python batch may have beyond its pixels: labels, file names

STEMS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def load(path: Path, split: str) -> np.ndarray:
    """Read a split from an archive, a folder, or a file inside such a folder.

    Returns uint8 (n, 32, 32, 3): 50,000 training or 10,000 test images in the files' order.
    Raises UserError, naming the file, if anything is missing, damaged or of the wrong size.
    """
    if path.name.endswith((".tar.gz", ".tgz")):
        pickled = "python" in path.name
    else:
        folder = path if path.is_dir() else path.parent
        first = path.name if path.is_file() else ""
        pickled = path.name.endswith("-py") or (bool(first) and not first.endswith(".bin"))
    names = [stem if pickled else f"{stem}.bin" for stem in STEMS[split]]
    limit = IMAGES_PER_FILE * (1 + PIXELS) + (PICKLE_OVERHEAD if pickled else 1)
    parse: Callable[[bytes, str], np.ndarray] = parse_python if pickled else parse_binary

    if path.name.endswith((".tar.gz", ".tgz")):
        contents = _read_archive(path, names, limit)
        batches = [parse(contents[name], f"{path}: {name}") for name in names]
    else:
        batches = [parse(_read_file(folder / name, limit), str(folder / name)) for name in names]
    return np.ascontiguousarray(
        np.concatenate(batches).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (n, 32, 32, 3)
    )


def parse_binary(content: bytes, where: str) -> np.ndarray:
    """A binary batch, a label byte and 3,072 pixels a record, as uint8 (n, 3072)."""
    expected = IMAGES_PER_FILE * (1 + PIXELS)
    if len(content) != expected:
        came = "more" if len(content) > expected else f"{len(content):,}"
        raise UserError(f"{where} is truncated or damaged: expected {expected:,} bytes, got {came}")
    records = np.frombuffer(content, np.uint8).reshape(IMAGES_PER_FILE, 1 + PIXELS)
    if records[:, 0].max() >= CLASSES:
        raise UserError(
            f"{where} is damaged: a label is {records[:, 0].max()}, the largest should be 9"
        )
    return records[:, 1:]


def parse_python(content: bytes, where: str) -> np.ndarray:
    """A pickled batch as uint8 (n, 3072); only the entry ``data`` is used."""
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(f"{where} is truncated or damaged ({error}); fetch it again") from error
    array = (batch.get(b"data") or batch.get("data")) if isinstance(batch, dict) else None
    if not isinstance(array, _Array):
        raise UserError(f"{where} is damaged: it is not a CIFAR-10 batch with an array 'data'")
    return array.pixels(where)


class _Dtype:
    """Stands for ``numpy.dtype``: remembers the code, e.g. "u1"."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like say nothing about single bytes."""


class _Array:
    """Stands for ``numpy.ndarray``: remembers its shape, type and bytes, and computes nothing."""

    def __init__(self) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def pixels(self, where: str) -> np.ndarray:
        """The uint8 array (n, 3072) it stood for."""
        match self.state:
            case (_, (int(n), int(width)), _Dtype(code="u1" | "|u1" | "uint8"), order, bytes(raw)):
                pass
            case _:
                raise UserError(f"{where} is damaged: 'data' is not a two-dimensional byte array")
        if (n, width) != (IMAGES_PER_FILE, PIXELS) or len(raw) != n * width or order:
            raise UserError(
                f"{where} holds {n} x {width} values in {len(raw):,} bytes, "
                f"expected {IMAGES_PER_FILE} x {PIXELS}"
            )
        return np.frombuffer(raw, np.uint8).reshape(n, width)


def _reconstruct(*_: object) -> _Array:
    """Stands for NumPy's function that makes the empty array to be filled."""
    return _Array()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands for ``codecs.encode``, with which Python 3 writes bytes into old pickles."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise UserError("the pickle encodes something other than bytes")
    return text.encode("latin1")


class _BatchUnpickler(pickle.Unpickler):
    """Admits what a CIFAR-10 batch needs, and of that only harmless substitutes."""

    KNOWN = {  # noqa: RUF012 - never changed
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> object:
        try:
            return self.KNOWN[module, name]
        except KeyError:
            raise UserError(
                f"the pickle asks for {module}.{name}, which no CIFAR-10 batch contains; "
                "it was not loaded"
            ) from None


def _read_file(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a file."""
    if not path.is_file():
        raise UserError(f"{path} is missing; put it there, or remove the folder to download it")
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _read_archive(path: Path, names: list[str], limit: int) -> dict[str, bytes]:
    """The named members of a .tar.gz, by file name; everything else in it is passed over."""
    contents: dict[str, bytes] = {}
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                parts = member.name.removeprefix("./").split("/")
                if len(parts) > 2 or parts[-1] not in names or ".." in parts:
                    continue
                if not member.isfile() or parts[-1] in contents:
                    raise UserError(f"{path}: {member.name} is not one plain file, as expected")
                contents[parts[-1]] = archive.extractfile(member).read(limit)
            while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    missing = [name for name in names if name not in contents]
    if missing:
        raise UserError(f"{path} is not CIFAR-10's archive, or damaged: {missing[0]} is not in it")
    return contents
