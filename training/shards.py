"""Spreading a plan over the tasks of a job array, and putting the parts together again.

A shard is every n-th run of the plan. Each run has a folder of its own and records.json in it, so
shards may share an output folder or not. What is made of all runs, results.json and the report,
no shard writes: the last step does, from the run folders.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.files import read_json, write_atomically
from experiments.settings import of_training
from training.layout import COMMAND_FILE, LOCK_FILE, RECORDS_FILE, SETTINGS_FILE
from training.records import stored_records

if TYPE_CHECKING:
    from training.plan import Plan


def parse(text: str) -> tuple[int, int]:
    """``i/n`` as (i, n), with i from 1 to n.

    Raises:
        UserError: if it is something else.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise UserError(f"--shard takes i/n with i from 1 to n, such as 2/8; got {text!r}.")
    return i, n


def check_independent(plan: Plan, option: str) -> None:
    """Refuses to spread runs of which some go on from what another leaves.

    Raises:
        UserError: if the plan has an ablation of the second stage, naming ``option``.
    """
    dependent = sorted({s.model for s in plan.runs if s.shares_first_stage})
    if dependent:
        raise UserError(
            f"{', '.join(dependent)}: an ablation needs its two-stage run's first stage and can't "
            f"be spread with {option}: give it a command of its own with the same --out, "
            f"without {option}."
        )


def shard(plan: Plan, i: int, n: int) -> Plan:
    """The i-th of n parts of a plan, i from 1; together they are the plan, each run once.

    Run by run in turn, so that a plan's long runs, which stand together, are spread evenly.

    Raises:
        UserError: if runs of the plan depend on each other.
    """
    check_independent(plan, "--shard")
    return dataclasses.replace(plan, runs=plan.runs[i - 1 :: n], gathers=False)


def whole_command(command: str) -> str:
    """A shard's command line without what makes it a shard's."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word == "--shard":
            next(words, None)
        elif not word.startswith("--shard="):
            kept.append(word)
    return shlex.join(kept)


def keep_command(out: Path, command: str) -> None:
    """Leaves the whole plan's command for the report that is written later."""
    write_atomically(Path(out) / COMMAND_FILE, whole_command(command) + "\n")


def kept_command(folders: Iterable[Path]) -> str | None:
    """What the first of these output folders that has it was made with."""
    for folder in folders:
        path = Path(folder) / COMMAND_FILE
        if path.exists():
            return path.read_text(encoding="utf-8").strip()
    return None


def run_folders(out: Path) -> list[Path]:
    """The folders of an output folder that hold a run with records."""
    return sorted(path.parent for path in Path(out).glob(f"[!.]*/{RECORDS_FILE}"))


def merge(folders: Iterable[Path], out: Path) -> list[str]:
    """Copies the scored runs of other output folders into ``out``, each run whole or not at all.

    A run that ``out`` has already is left as it is, unless the other folder's has all of its scores
    and more. One that another process is at work on is waited for.

    Returns:
        The names of the runs that were copied.

    Raises:
        UserError: if a folder holds no runs, two folders hold different runs of one name, or a run
            can't be copied.
    """
    from training.folder import alone_in  # with Keras, which the rest of this module has no use for

    out = Path(out)
    found = {Path(folder): run_folders(folder) for folder in folders}
    for folder, runs in found.items():
        if not runs:
            raise UserError(f"{folder} holds no scored runs: name the --out of a shard.")
    pairs = [(source, out / source.name) for runs in found.values() for source in runs]
    pairs = [(source, target) for source, target in pairs if source.resolve() != target.resolve()]
    seen: dict[str, Path] = {}
    for source, target in pairs:  # all that may be refused, before the first is copied
        _replaces(source, target)
        if source.name in seen:
            _replaces(source, seen[source.name])
        seen[source.name] = source
    copied = []
    for source, target in pairs:
        with alone_in(target):
            if _replaces(source, target):
                _copy(source, target)
                copied.append(source.name)
    return copied


def _copy(source: Path, target: Path) -> None:
    """Puts a copy of a run's folder in the place of ``target``, under whose lock this is.

    Raises:
        UserError: if it can't be copied.
    """
    part, earlier = (target.with_name(f".{word}-{target.name}") for word in ("merging", "earlier"))
    for left in (part, earlier):  # by a merge that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(source, part, ignore=shutil.ignore_patterns(LOCK_FILE))
    except shutil.Error as error:
        *_, reason = error.args[0][0]
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"{source} can't be copied to {target.parent}: {reason}") from error
    os.replace(target, earlier)
    os.replace(part, target)
    shutil.rmtree(earlier)


def _replaces(source: Path, target: Path) -> bool:
    """Whether a run is to be copied to ``target``: if it has all that is scored there and more."""
    if not any((target / file).exists() for file in (SETTINGS_FILE, RECORDS_FILE)):
        return True  # nothing there, or what Ray has logged
    new, old = (_scores(folder) for folder in (source, target))
    settings = [of_training(read_json(f / SETTINGS_FILE, dict) or {}) for f in (source, target)]
    shared = new.keys() & old.keys()
    apart = min(len(new), len(old)) > len(shared)
    if settings[0] != settings[1] or apart or any(new[k] != old[k] for k in shared):
        raise UserError(
            f"{source} and {target} are two different runs of one name: results can't hold both. "
            "Merge into another --out, or remove one."
        )
    if not old and not new:
        return stored_records(source) != stored_records(target)
    return len(new) > len(old)


def _scores(folder: Path) -> dict[tuple, dict]:
    """The records of a run that did not fail, by what was scored in what way."""
    found = [r for r in stored_records(folder) if r["status"] == "ok"]
    return {tuple(r.get(k) for k in ("method", "protocol", "features", "n_fake")): r for r in found}
