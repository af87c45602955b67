"""From a data set's name to its images: find the files, fetch what is missing, read them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from data import celeba, cifar, download, idx, standin
from data.progress import Progress
from data.registry import Remote, Spec, check_split, spec
from experiments.environment import cache_dir, user_path
from experiments.errors import UserError

SAMPLES = Path(__file__).resolve().parent / "samples"


def load(
    name: str,
    split: str = "train",
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The images of a data set as uint8 (n, h, w, c), in the files' order; treat as read-only.

    ``name`` is one of ``data.SPECS``; ``split`` is "train" or "test". Files are looked for in
    ``<data_dir>/<name>`` and in ``data_dir`` itself, without ``data_dir`` in the user's cache
    folder, and downloaded there if there are none; that a ``data_dir`` is made for it is printed.
    ``progress(what, done, total)`` is called during downloads and conversions; without it a bar is
    drawn on stderr.

    Raises UserError, naming the file, if anything is unknown, missing, damaged or out of reach.
    """
    entry = spec(name)
    check_split(split)
    shape = (entry.count(split), *entry.image_shape)
    if entry.kind == "drawn":
        return standin.draw(name, split, shape[0])
    if entry.bundled:
        file = "train-images-idx3-ubyte.gz" if split == "train" else "t10k-images-idx3-ubyte.gz"
        return idx.read_images(SAMPLES / entry.folder / file, shape)

    try:
        home = _home(entry, data_dir)
        if data_dir is not None and not (root := user_path(data_dir)).exists():
            # Perhaps a mistyped name, which would cost gigabytes unseen.
            print(
                f"{root} does not exist: it will be made, and what is missing downloaded into it.",
                flush=True,
            )
        paths = _obtain(entry, split, home, progress)
        if entry.kind == "idx":
            ((remote, path),) = paths.items()
            return idx.read_images(path, shape, remote.content_md5)
        if entry.kind == "cifar":
            (path,) = paths.values()
            return cifar.load(path, split)
        images, partition = paths.values()
        return celeba.load(images, partition, split, entry.crop, progress)
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error


def source(name: str, data_dir: str | Path | None = None) -> str:
    """Where ``load`` takes a data set from.

    "official": downloaded and checked by this project, or about to be; "local": found in
    ``data_dir`` (or put into the cache folder by hand); for bundled data, their own name.
    """
    entry = spec(name)
    if entry.bundled:
        return entry.name
    found = _found(entry, _home(entry, data_dir))
    official = all(download.fetched_here(path, remote) for remote, path in found.items())
    return "official" if official else "local"


def missing(name: str, data_dir: str | Path | None = None) -> tuple[Remote, ...]:
    """The published files that ``load`` would download for both splits; empty if none."""
    entry = spec(name)
    if entry.bundled:
        return ()
    found = _found(entry, _home(entry, data_dir))
    return tuple(remote for remote in entry.remotes if remote not in found)


def digest(array: np.ndarray) -> str:
    """SHA-256, in hexadecimal, of an array's type, shape and content."""
    result = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    result.update(np.ascontiguousarray(array).data)
    return result.hexdigest()


def _home(entry: Spec, data_dir: str | Path | None) -> Path:
    """The folder that holds the data set's files, or into which they will be downloaded."""
    if data_dir is None:
        return cache_dir() / "data" / entry.folder
    root = user_path(data_dir)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is not a folder; --data-dir takes the folder with the data sets")
    for folder in (root / entry.folder, root):
        if _found(entry, folder):
            return folder
    return root / entry.folder


def _found(entry: Spec, folder: Path) -> dict[Remote, Path]:
    """Which of the published files, or of their equivalents, are in a folder."""
    found = {}
    for remote in entry.remotes:
        for name in remote.names:
            if os.path.exists(folder / name):  # unlike Path.exists, False where it may not look
                found[remote] = folder / name
                break
    return found


def _obtain(entry: Spec, split: str, folder: Path, progress: Progress | None) -> dict[Remote, Path]:
    """The files a split needs, downloading what is not there.

    Files that someone else put there are never completed from the network: a folder that holds only
    some of them is reported instead.
    """
    found = _found(entry, folder)
    foreign = [path for remote, path in found.items() if not download.fetched_here(path, remote)]
    needed = [remote for remote in entry.remotes if remote.split in (None, split)]
    for remote in needed:
        if remote in found:
            continue
        if foreign:
            raise UserError(
                f"{folder / remote.name} is missing, though {foreign[0].name} is there; fetch it "
                f"from {remote.origin}, or empty the folder to download {entry.title} anew"
            )
        others = tuple(r.name for r in entry.remotes if r not in found and r is not remote)
        found[remote] = download.fetch(remote, folder, progress, others)
    return {remote: found[remote] for remote in needed}
