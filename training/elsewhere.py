"""trained_on.json: with what and on what the stages of a run were trained."""

from __future__ import annotations

from pathlib import Path

from experiments.files import read_json, write_json
from training.layout import TRAINED_ON_FILE


def places(folder: Path) -> list[dict]:
    """Where stages were trained: backend, device, versions, and ``stages``.

    Of version 0.1.0 and the beginning of 0.2.0 a dict, and only of what JAX had trained.

    Raises:
        UserError: if the file is damaged.
    """
    found = read_json(Path(folder) / TRAINED_ON_FILE, (list, dict)) or []
    return [found] if isinstance(found, dict) else found


def other_places(folder: Path, here: dict) -> list[dict]:
    """Those that are not ``here``: what a record has to say besides its machine and versions."""
    return [p for p in places(folder) if _bare(p) != here]


def _bare(place: dict) -> dict:
    return {name: value for name, value in place.items() if name != "stages"}


def keep_place(folder: Path, stage: str, place: dict) -> None:
    """Notes where a stage has been trained, in place of what was said of it before."""
    found = []
    for before in places(folder):
        if stages := [s for s in before["stages"] if s != stage]:
            found.append({**before, "stages": stages})
    same = next((p for p in found if _bare(p) == place), None)
    if same is None:
        found.append({"stages": [stage], **place})
    else:
        same["stages"].append(stage)
    write_json(Path(folder) / TRAINED_ON_FILE, found)


def share_first(source: Path, folder: Path) -> None:
    """Has a run say of its first stage, which is another run's, what that run does."""
    path = Path(folder) / TRAINED_ON_FILE
    shared = [{**p, "stages": ["first"]} for p in places(source) if "first" in p["stages"]]
    write_json(path, shared) if shared else path.unlink(missing_ok=True)
