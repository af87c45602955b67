"""Small files of a run, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np


def write_json(path: Path, content) -> None:
    """Writes ``content`` as JSON, atomically."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def read_json(path: Path):
    """What ``write_json`` wrote, or None where there is no such file or it is damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays as one .npz, atomically."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp.npz")
    np.savez(temporary, **arrays)
    os.replace(temporary, path)
