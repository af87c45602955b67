"""What the output folder holds -> results.json, tables and reports."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from evaluate import report
from experiments import paper, presets
from experiments.errors import UserError
from experiments.files import damaged, read_json, write_json
from experiments.settings import is_first_stage, of_training
from training.folder import histories
from training.layout import FIGURES_FILE, FIGURES_FOLDER, RECORDS_FILE, RESULTS_FILE
from training.pictures import add_gamma_curves, draw_all_methods
from training.records import run_row, stored_records, stored_settings
from training.shards import run_folders


def gather(out: Path) -> list[dict]:
    """The records of every run below the output folder, this call's and earlier ones'.

    Raises:
        UserError: if two folders hold the same run, or a file in one is damaged.
    """
    found, runs = [], {}
    for folder in run_folders(out):
        found += stored_records(folder)
        settings = stored_settings(folder)
        if settings is None:
            continue  # its training failed before it had begun
        run = json.dumps(of_training(settings), sort_keys=True)
        if (first := runs.setdefault(run, folder)) != folder:
            raise UserError(
                f"{first} and {folder} hold the same run: move one of them out of {out}. "
                "Nothing is lost; the same command goes on."
            )
    return sorted(found, key=_table_order)


def _pictures(folder: Path) -> dict[str, str]:
    """A run's pictures by name; of those that can't be read a line says so.

    Raises:
        UserError: if what names them is damaged.
    """
    named = read_json(folder / FIGURES_FILE, dict)
    if not all(isinstance(name, str) for name in named.values()):
        raise damaged(folder / FIGURES_FILE, "no list of files by name")
    found, lost = {}, []
    for name, file in named.items():
        path = folder / FIGURES_FOLDER / file
        try:
            with Image.open(path) as picture:
                picture.verify()
            found[name] = str(path)
        except (OSError, SyntaxError, ValueError):
            lost.append(file)
    if lost:
        print(
            f"{folder / FIGURES_FOLDER}: {', '.join(sorted(lost))} missing or damaged, not in the "
            f"report. To have them drawn again, remove {folder / RECORDS_FILE} and repeat the "
            "command that made the run."
        )
    return found


def _table_order(record: dict) -> tuple[int, int, int]:
    """The paper's order of data sets, a stand-in where the real one would be, methods, trials."""
    base = record["dataset"].removesuffix("-standin")
    method = presets.ROW_ORDER.index(record["method"])
    return presets.DATASETS.index(base), method, record["trial"]


def write_results(out: Path, command: str) -> tuple[Path, Path]:
    """Writes results.json, the tables and the reports from what the output folder holds.

    Returns:
        The paths of report.md and report.html.

    Raises:
        UserError: if it holds no run, and as :func:`gather`.
    """
    found = gather(out)
    if not found:
        raise UserError(f"{out} holds no scored runs: name their folder with --out.")
    write_json(out / RESULTS_FILE, found)
    runs = []
    for path in out.glob(f"[!.]*/{FIGURES_FILE}"):
        folder = path.parent
        settings = stored_settings(folder)
        if settings is None:
            continue  # pictures alone, of a run whose settings have been taken away
        history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
        records = stored_records(folder)
        scored = [record["method"] for record in records if record["status"] == "ok"]
        row = run_row(settings, second=not all(map(is_first_stage, scored)))
        runs.append(
            {
                "dataset": settings["dataset"],
                "title": f"{paper.method_name(row)}, trial {settings['trial']}",
                "folder": str(folder),
                "figures": _pictures(folder),
                "settings": settings,
                "history": history,
            }
        )
    runs.sort(key=lambda run: _table_order({**run["settings"], "method": run_row(run["settings"])}))
    add_gamma_curves(runs)
    runs = draw_all_methods(runs, out) + runs
    preset = ", ".join(dict.fromkeys(r["preset"] for r in found))
    return report.write_report(out, found, runs, command, preset)
