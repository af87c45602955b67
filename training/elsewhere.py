"""trained_on.json: which stages of a run another backend has trained, with what and on what."""

from __future__ import annotations

from pathlib import Path

from experiments.files import read_json, write_json
from training.layout import TRAINED_ON_FILE


def places(folder: Path) -> list[dict]:
    """Where stages were trained: backend, device, versions, and ``stages``; [] if all were here.

    Raises:
        UserError: if the file is damaged.
    """
    found = read_json(Path(folder) / TRAINED_ON_FILE, (list, dict)) or []
    return [found] if isinstance(found, dict) else found  # a dict until version 0.2.0: one place


def keep_place(folder: Path, stage: str, place: dict | None) -> None:
    """Notes where a stage has been trained, in place of what was said of it before; None: here."""
    found = []
    for before in places(folder):
        if stages := [s for s in before["stages"] if s != stage]:
            found.append({**before, "stages": stages})
    if place is not None:
        same = next((p for p in found if {**p, "stages": None} == {**place, "stages": None}), None)
        if same is None:
            found.append({"stages": [stage], **place})
        else:
            same["stages"].append(stage)
    path = Path(folder) / TRAINED_ON_FILE
    write_json(path, found) if found else path.unlink(missing_ok=True)


def share_first(source: Path, folder: Path) -> None:
    """Has a run say of its first stage, which is another run's, what that run does."""
    path = Path(folder) / TRAINED_ON_FILE
    shared = [{**p, "stages": ["first"]} for p in places(source) if "first" in p["stages"]]
    write_json(path, shared) if shared else path.unlink(missing_ok=True)
