"""Features on disk, under a key that names everything they depend on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from experiments.environment import CACHE_VARIABLE
from experiments.errors import UserError
from experiments.files import write_atomically, write_json


def cached_features(
    folder: str | Path, key: Mapping[str, object], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return the features stored in ``folder`` under ``key``, or compute and store them.

    Args:
        folder: made if it is not there.
        key: JSON values that name all that the features depend on: data set, SHA-256 of its
            images, split, seed of the selection, number of images, protocol and resize rule,
            extractor and its fingerprint. Any difference gives another file.
        compute: called without arguments where the file is missing, damaged or another key's.

    Two files are kept, ``features-<hash of the key>.npy`` and ``.json`` (the key, shape, type and
    SHA-256 of the former); both are written under another name and then renamed.

    Raises:
        TypeError, ValueError: a key that is not JSON.
        UserError: the folder cannot be written to.
    """
    canonical = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    stem = f"features-{hashlib.sha256(canonical.encode()).hexdigest()[:24]}"
    array_file, about_file = Path(folder) / f"{stem}.npy", Path(folder) / f"{stem}.json"
    stored = _read(array_file, about_file, json.loads(canonical))
    if stored is not None:
        return stored

    features = np.ascontiguousarray(compute())
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    content = buffer.getvalue()
    about = {
        "key": json.loads(canonical),
        "shape": list(features.shape),
        "dtype": str(features.dtype),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    try:
        write_atomically(array_file, content)
        write_json(about_file, about)
    except OSError as error:
        raise UserError(
            f"{folder}: the features ({len(content) / 1e6:.0f} MB) could not be stored "
            f"({error.strerror or error}); make room there, or name another folder: --out for a "
            f"run's features, the environment variable {CACHE_VARIABLE} for real images'"
        ) from error
    return features


def _read(array_file: Path, about_file: Path, key: object) -> np.ndarray | None:
    """Return the stored features, or None if anything about them does not fit."""
    try:
        about = json.loads(about_file.read_text(encoding="utf-8"))
        content = array_file.read_bytes()
        if about["key"] != key or about["sha256"] != hashlib.sha256(content).hexdigest():
            return None
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
