"""CelebA: cropped, resized and kept as one array a split."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.cache import writing
from data.progress import Progress, progress_bar
from data.registry import Crop
from experiments.environment import cache_dir
from experiments.errors import UserError

if TYPE_CHECKING:
    import PIL.Image

SOURCE_SIZE = (178, 218)  # width, height of every aligned photograph
SIZE = 64
PARTITIONS = {"train": "0", "test": "2"}  # "1" is the validation split, which nothing here uses
END_MARKER = b"\xff\xd9"  # the last two bytes of a JPEG file
ENTRY_LIMIT = 4 << 20  # bytes; an aligned photograph has about 7,000


class Photos(NamedTuple):
    """Where the photographs are: a stamp that changes with a file, and a way to read one."""

    stamps: dict[str, tuple[int, ...]]  # file name -> sizes, times or checksums
    read: Callable[[str], bytes]
    verified: bool  # whether reading checks a checksum


def load(
    images: Path, partition: Path, split: str, crop: Crop, progress: Progress | None = None
) -> np.ndarray:
    """A split of CelebA as uint8 (n, 64, 64, 3), in the partition file's order.

    ``images`` is ``img_align_celeba`` or ``img_align_celeba.zip``, ``partition`` the file
    ``list_eval_partition.txt``. The result is computed once, kept in the cache folder and then
    mapped into memory (read-only). Raises UserError, naming the file, if a listed photograph is
    missing, cannot be decoded or has the wrong size.
    """
    listed = read_partition(partition)
    with _Opened(images) as photos:
        for name in listed:
            if name not in photos.stamps:
                raise UserError(
                    f"{images} lacks {name}, which {partition} lists; every listed photograph must "
                    "be there, since the list defines the data set"
                )
        names = [name for name, part in listed.items() if part == PARTITIONS[split]]
        if not names:
            raise UserError(f"{partition} lists no photograph of the {split} split")

        path = cache_dir() / "celeba" / f"{split}-{_key(names, photos, crop)}.npy"
        shape = (len(names), SIZE, SIZE, 3)
        if not _is_whole(path, shape):
            _convert(images, photos, names, crop, path, progress, f"CelebA, {split}")
    return np.asarray(np.load(path, mmap_mode="r"))


def read_partition(path: Path) -> dict[str, str]:
    """Photograph -> "0", "1" or "2" (train, validation, test), from ``list_eval_partition.txt``."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not plain text ({error})") from error
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match line.split():
            case [name, "0" | "1" | "2" as part] if PurePosixPath(name).name == name != "..":
                pass
            case _:
                raise UserError(
                    f"{path}, line {number}: expected a file name and 0, 1 or 2, got {line[:80]!r}"
                )
        if name in listed:
            raise UserError(f"{path}, line {number}: {name} is listed twice")
        listed[name] = part
    if not listed:
        raise UserError(f"{path} is empty; it should list every photograph")
    return listed


def decode(content: bytes, crop: Crop, where: str, verified: bool = False) -> np.ndarray:
    """One photograph, cropped and resized, as uint8 (64, 64, 3).

    The resize is Pillow's 8-bit bilinear one, which ``scipy.misc.imresize`` called in the authors'
    preprocessing. ``verified`` says that a checksum vouches for ``content``; without one, damage
    is looked for more closely, at the price of a second decoding. Raises UserError, naming
    ``where``, on damage or another size.
    """
    from PIL import Image

    try:
        photo = _decoded(content)
        if not verified:
            # Where damage makes the decoder run out of bits it silently goes on with zeros, so that
            # other bytes before the end marker would change the picture. A sound file has all its
            # bits, and they change nothing.
            end = content.rindex(END_MARKER)
            padded = _decoded(content[:end] + b"\xaa" * 64 + content[end:])
            if padded.tobytes() != photo.tobytes():
                raise ValueError("its compressed data is damaged")
    except Exception as error:  # Pillow's decoders fail in many ways on damaged files
        raise UserError(f"{where} is not a readable JPEG file ({error}); fetch it again") from error
    if photo.size != SOURCE_SIZE:
        raise UserError(
            f"{where} has {photo.width} x {photo.height} pixels, "
            f"expected {SOURCE_SIZE[0]} x {SOURCE_SIZE[1]}"
        )
    box = (crop.left, crop.top, crop.right, crop.bottom)
    small = photo.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8)


def _decoded(content: bytes) -> PIL.Image.Image:
    """A whole JPEG file as an RGB picture. Raises one of several exceptions on damage."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return image.convert("RGB")


class _Opened:
    """The photographs of a folder or a zip archive, open while in the ``with`` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive: zipfile.ZipFile | None = None

    def __enter__(self) -> Photos:
        try:
            return self._open_archive() if self.path.is_file() else self._open_folder()
        except zipfile.BadZipFile as error:
            raise UserError(f"{self.path} is truncated or damaged ({error})") from error
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error

    def __exit__(self, *_: object) -> None:
        if self.archive is not None:
            self.archive.close()

    def _open_folder(self) -> Photos:
        def read(name: str) -> bytes:
            try:
                return (self.path / name).read_bytes()
            except OSError as error:
                raise UserError(f"cannot read {self.path / name}: {error.strerror}") from error

        with os.scandir(self.path) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
        return Photos({name: (s.st_size, s.st_mtime_ns) for name, s in files}, read, False)

    def _open_archive(self) -> Photos:
        self.archive = archive = zipfile.ZipFile(self.path)
        members = {
            PurePosixPath(info.filename).name: info
            for info in archive.infolist()
            if not info.is_dir()
        }

        def read(name: str) -> bytes:
            if members[name].file_size > ENTRY_LIMIT:
                raise UserError(f"{self.path}: {name} is far too large for a photograph")
            try:
                return archive.read(members[name])  # checks the CRC
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise UserError(f"{self.path}: {name} is damaged ({error})") from error
            except (OSError, RuntimeError) as error:  # RuntimeError: encrypted
                raise UserError(f"{self.path}: cannot read {name} ({error})") from error

        return Photos({name: (i.file_size, i.CRC) for name, i in members.items()}, read, True)


def _key(names: list[str], photos: Photos, crop: Crop) -> str:
    """What the converted array depends on: crop, size, and the photographs' names and stamps."""
    digest = hashlib.sha256(f"{crop}, {SIZE}, bilinear\n".encode())
    for name in names:
        digest.update(f"{name} {photos.stamps[name]}\n".encode())
    return digest.hexdigest()[:16]


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the cached array is there and has the right shape and length."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return array.shape == shape and array.dtype == np.uint8


def _convert(
    images: Path,
    photos: Photos,
    names: list[str],
    crop: Crop,
    path: Path,
    progress: Progress | None,
    what: str,
) -> None:
    """Decode, crop and resize every photograph into one .npy file."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), SIZE, SIZE, 3)}
    with (
        writing(path) as file,
        progress_bar(what, len(names), progress, unit=" images") as advance,
    ):
        # Written in pieces, not through a memory map, where a full disk would end the process.
        np.lib.format.write_array_header_1_0(file, header)
        for piece in _pieces(names, 256):
            decoded = [
                decode(photos.read(name), crop, str(images / name), photos.verified)
                for name in piece
            ]
            file.write(np.stack(decoded).tobytes())
            advance(len(piece))


def _pieces(names: list[str], length: int) -> Iterator[list[str]]:
    for start in range(0, len(names), length):
        yield names[start : start + length]
