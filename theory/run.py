"""Runs the theory's cells, one file each so that a stopped run goes on, and writes the pages."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

# Networks this small are slowed down by sharing an operation between threads. Before TensorFlow.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

from experiments.errors import UserError
from experiments.files import read_json, write_json

PRESETS = ("quick", "paper")
CELLS_FOLDER = "cells"
FIGURES_FOLDER = "figures"
RESULT_FILE = "theory.json"

GRID_STEPS = 5000
SECOND_STEPS = 12_000
LEVEL_STEPS = 1500
# Of the two-stage cells: the paper's. The faster gamma falls, the sooner the cost's leading term
# drowns what is left to learn of the measure; at half the speed the first stage comes out nearly
# right on these manifolds, and its error is harder to tell from chance.
STAGES_GAMMA_SPEED = 1.0
DENSITY_STEPS = 15_000
LEVELS = (0, -0.5, -0.75, -1, -1.25, -1.5, -2, -2.5, -3)  # log10 g
NOISES = (0.3, 0.1, 0.03, 0.0)
FORMS = ("fused", "merged")

# (manifold, measure, r, d, kappa). The stated cases decide claim 2; the further ones, the other
# measures, are shown beside them: how wrong a first stage comes out there is not foretold.
STAGE_CASES = (
    ("curved", "hole", 1, 20, 3),
    ("curved", "hole", 2, 50, 4),
    ("linear", "gaussian", 2, 10, 4),  # the control
)
FURTHER_STAGE_CASES = (
    ("curved", "mixture", 1, 20, 3),
    ("curved", "skewed", 2, 50, 4),
)
LEVEL_CASES = (
    ("linear", "gaussian", 2, 10, 4),
    ("linear", "gaussian", 5, 20, 7),
    ("linear", "mixture", 2, 20, 4),
    ("linear", "hole", 3, 50, 5),
    ("linear", "skewed", 8, 20, 10),
    ("curved", "gaussian", 1, 10, 3),
    ("curved", "mixture", 2, 20, 4),
    ("curved", "skewed", 3, 50, 5),
    ("curved", "hole", 1, 20, 3),
)
GRID_PAIRS = (("linear", 3), ("curved", 0), ("curved", 3), ("curved", 8))  # kappa - r
DENSITY_CASES = (("skewed", 1), ("mixture", 1), ("mixture", 2), ("hole", 2))
DENSITY_STARTS = (0.0, -1.0)  # log g at the start
SPECIAL_GRID = (
    ("punctured-sphere", "gaussian", 2, 10, (2, 5)),
    ("punctured-sphere", "skewed", 3, 20, (3, 6)),
    ("swiss-roll", "gaussian", 2, 10, (2, 5)),
    ("torus", "uniform-torus", 1, 10, (1, 4)),
    ("torus", "uniform-torus", 2, 10, (2,)),
    ("sphere", "uniform-sphere", 2, 10, (2, 5)),
)
MEASURES = ("gaussian", "skewed", "mixture", "hole")


def plan(preset: str, seed: int = 0) -> list:
    """The cells of a preset, "quick" or "paper" (the full grid), in the order of running.

    Raises:
        UserError: for another preset, or a seed that can't be one.
    """
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2^31 - 1, got {seed}.")
    if preset not in PRESETS:
        raise UserError(
            f"--theory takes --preset {' or '.join(PRESETS)} (the full grid; the default), got "
            f"{preset!r}."
        )
    from theory.experiments import Cell

    quick = preset == "quick"
    cells = []

    def add(kind, manifold, measure, r, d, kappa, steps, offset=0, **options):
        pairs = tuple(options.items())
        cells.append(Cell(kind, manifold, measure, r, d, kappa, seed + offset, steps, pairs))

    seeds = range(1 if quick else 5)
    for case in (LEVEL_CASES[0], LEVEL_CASES[5]) if quick else LEVEL_CASES:
        add("levels", *case, LEVEL_STEPS, exponents=LEVELS)
    for case in STAGE_CASES:
        for s in seeds:
            add("stages", *case, GRID_STEPS, s, second=SECOND_STEPS, speed=STAGES_GAMMA_SPEED)
    for case in () if quick else FURTHER_STAGE_CASES:
        for s in seeds:
            more = {"second": SECOND_STEPS, "speed": STAGES_GAMMA_SPEED, "further": True}
            add("stages", *case, GRID_STEPS, s, **more)
    for i, r in enumerate((1, 3, 8) if quick else (1, 2, 3, 5, 8)):
        for j, d in enumerate((20,) if quick else (10, 20, 50)):
            pairs = (("linear", 3), ("curved", 3)) if quick else GRID_PAIRS
            for k, (manifold, more) in enumerate(pairs):
                # Every measure meets every r, d, manifold and kappa - r.
                measure = MEASURES[(i + j + k) % len(MEASURES)]
                add("grid", manifold, measure, r, d, r + more, GRID_STEPS)
    for manifold, measure, r, d, kappas in SPECIAL_GRID[2:4] if quick else SPECIAL_GRID:
        for kappa in kappas[-1:] if quick else kappas:
            add("grid", manifold, measure, r, d, kappa, GRID_STEPS)
    for measure, r in DENSITY_CASES[1::2] if quick else DENSITY_CASES:
        for kappa in (r + 1,) if quick else (r, r + 1):
            steps = DENSITY_STEPS // 2 if quick else DENSITY_STEPS
            for start in DENSITY_STARTS:
                more = {"start": start} if start else {}
                add("density", "identity", measure, r, r, kappa, steps, **more)
    for manifold, r, d in (("linear", 3, 10), ("curved", 3, 20)):
        for kappa in (2, 3) if quick else (1, 2, 3):
            add("few", manifold, "gaussian", r, d, kappa, GRID_STEPS)
    for manifold, r, d in (("linear", 2, 10), ("curved", 2, 20)):
        for noise in (0.1, 0.0) if quick else NOISES:
            # At half the speed log g would not have arrived anywhere by the end.
            add("noise", manifold, "gaussian", r, d, r + 2, GRID_STEPS, noise=noise, speed=1.0)
    for s in seeds:
        for form in FORMS:
            steps, speed = GRID_STEPS + SECOND_STEPS, STAGES_GAMMA_SPEED
            add("joint", *STAGE_CASES[0], steps, s, form=form, speed=speed)
    return cells


def weight(cell) -> float:
    """A cell's share of the work, for the time left: steps, and what is measured after them."""
    steps = cell.steps
    options = dict(cell.options)
    if cell.kind == "levels":
        steps *= len(options["exponents"])
    if cell.kind == "stages":
        steps += options["second"]
    return steps + {"density": 8000, "stages": 4000, "joint": 2000}.get(cell.kind, 500)


def finished(cell, folder: Path) -> dict | None:
    """A cell's measurements, if an earlier run with the same settings has left them.

    A cell that failed, or whose file is damaged, is tried again.
    """
    try:
        record = read_json(Path(folder) / CELLS_FOLDER / f"{cell.name}.json", dict) or {}
    except UserError:
        record = {}
    found = record.get("found", {"error": "there are none"})
    same = record.get("cell") == _jsonable(cell.to_dict())
    return found if same and "error" not in found else None


def _jsonable(settings: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}


def run_cells(cells: Sequence, folder: Path) -> list[tuple[dict, dict]]:
    """(settings, measurements) of all cells, training those that are not finished.

    A training that breaks off leaves {"error": why}: it is shown as failed, not left out.
    """
    from tqdm import tqdm

    from theory.experiments import run_cell

    results = []
    tty = sys.stdout.isatty()
    with tqdm(
        total=sum(map(weight, cells)),
        desc="theory",
        file=sys.stdout,
        mininterval=0.5 if tty else 20.0,
        bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {elapsed} gone, {remaining} left{postfix}",
        dynamic_ncols=True,
    ) as bar:
        for number, cell in enumerate(cells, 1):
            found = finished(cell, folder)
            if found is None:
                bar.set_postfix_str(f"cell {number} of {len(cells)}, {cell.name}")
                start = time.monotonic()
                try:
                    found = run_cell(cell)
                except FloatingPointError as error:
                    found = {"error": str(error)}
                found["seconds"] = round(time.monotonic() - start, 2)
                record = {"cell": _jsonable(cell.to_dict()), "found": found}
                write_json(folder / CELLS_FOLDER / f"{cell.name}.json", record)
                bar.update(weight(cell))
            else:  # not done now, so it says nothing about the time left
                bar.total -= weight(cell)
                bar.refresh()
            results.append((_jsonable(cell.to_dict()), found))
    return results


def versions() -> dict[str, str]:
    """Of Python and of the packages that make the numbers."""
    import platform

    import keras
    import numpy
    import tensorflow

    return {
        "python": platform.python_version(),
        "tensorflow": tensorflow.__version__,
        "keras": keras.__version__,
        "numpy": numpy.__version__,
    }


def report(
    results: Sequence[tuple[dict, dict]], folder: Path, preset: str, command: str
) -> tuple[list, Path, Path]:
    """Writes theory.json, theory.md, theory.html and the pictures; the claims and both pages."""
    from theory import pages
    from theory.claims import all_claims

    folder = Path(folder)
    claims = all_claims(results, folder / FIGURES_FOLDER)
    seconds = sum(found.get("seconds", 0.0) for _, found in results)
    used = versions()
    bulky = {"history", "coordinates", "true_coordinates", "axis", "true", "model"}
    write_json(
        folder / RESULT_FILE,
        {
            "preset": preset,
            "command": command,
            "seconds": round(seconds, 1),
            "versions": used,
            "claims": [
                {
                    "claim": c.id,
                    "title": c.title,
                    "statement": c.statement,
                    "verdict": c.verdict,
                    "summary": c.summary,
                }
                for c in claims
            ],
            "findings": [asdict(finding) for c in claims for finding in c.findings],
            "cells": [{"cell": cell, "found": _without(found, bulky)} for cell, found in results],
        },
    )
    facts = (
        f"{len(results)} trainings, {seconds / 60:.1f} minutes of them on this machine.",
        ", ".join(f"{name} {version}" for name, version in used.items()) + ".",
    )
    return claims, *pages.write_pages(folder, claims, command, preset, facts)


def _without(found: dict, names: set[str]) -> dict:
    return {
        k: _without(v, names) if isinstance(v, dict) else v
        for k, v in found.items()
        if k not in names
    }


def dry_run(preset: str, seed: int = 0) -> None:
    """Prints the cells of a preset."""
    cells = plan(preset, seed)
    for cell in cells:
        print(f"{cell.name}: {cell.steps:,} steps")
    total = sum(map(weight, cells))
    print(f"{len(cells)} trainings, about {total / 1000:,.0f} thousand steps' worth of work:")
    print(f"some {total * 0.9e-3 / 60:.0f} minutes at 0.9 ms a step, as on a free core.")


def run(preset: str, folder: Path, command: str, seed: int = 0) -> None:
    """Everything: cells, claims, pages."""
    cells = plan(preset, seed)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"--out {folder} is a file: name a folder.") from error
    start = time.monotonic()
    results = run_cells(cells, folder)
    claims, markdown, page = report(results, folder, preset, command)
    for claim in claims:
        print(f"{claim.id:>9}  {claim.verdict}: {claim.summary}")
    print(f"Done in {(time.monotonic() - start) / 60:.1f} min: {folder / RESULT_FILE}")
    print(f"Report: {page} (or {markdown})")
