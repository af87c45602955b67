"""How far a schedule gets: the Frechet distance against the epochs trained.

    python -m evaluate.budgets runs/mnist-1 runs/mnist-10 runs/mnist-100 --out runs/mnist-budgets

Each folder is a finished run of reproduce_paper.py that differs from the others in --epochs and
--second-epochs. Written are a table, as Markdown and CSV, and a picture for each data set.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluate import figures
from evaluate.formats import Table, to_csv, to_markdown
from evaluate.tables import data_label, is_smoke, method_label
from experiments import paper
from experiments.errors import UserError
from experiments.files import read_json, write_atomically

Record = Mapping[str, Any]

SCORES = ("fid", "fd-random")  # the first that a record has
# What has to agree among the points of one line.
_ALIKE = ("dataset", "data_source", "data_note", "network", "protocol", "features", "n_real")
_ALIKE += ("n_fake", "preset", "learning_rate", "gamma_speed", "batch_size")


class Point(NamedTuple):
    """A method's score after a schedule, averaged over trials."""

    epochs: int
    second_epochs: int
    score: float
    log_gamma: float
    trials: int


def read(folders: Iterable[Path]) -> list[Record]:
    """The scored records of all folders.

    Raises:
        UserError: if a folder has none.
    """
    found = []
    for folder in folders:
        records = [r for r in read_json(Path(folder) / "results.json") or [] if r["status"] == "ok"]
        if not records:
            raise UserError(f"{folder} holds no results.json with scored runs.")
        found += records
    return found


def lines(records: Iterable[Record], protocol: str) -> dict[str, list[Point]]:
    """Each method's points in the order of their epochs, by the method's name in tables.

    Raises:
        UserError: if there is nothing under this protocol, or if the records differ in more than
            schedule, method and trial; what differs is named.
    """
    records = [r for r in records if r["protocol"] == protocol]
    if not records:
        raise UserError(f"none of the records is scored under protocol {protocol!r}.")
    for field in _ALIKE:
        values = {str(r.get(field)) for r in records}
        if len(values) > 1:
            raise UserError(
                f"the folders differ in {field} ({', '.join(sorted(values))}): name folders that "
                "differ in their epochs alone."
            )
    found: dict[str, dict[tuple[int, int], list[Record]]] = {}
    for record in records:
        schedule = record["epochs"], record["second_epochs"]
        found.setdefault(method_label(record), {}).setdefault(schedule, []).append(record)
    return {
        method: [
            Point(
                *schedule,
                statistics.fmean(_score(r) for r in trials),
                statistics.fmean(r["log_gamma"] for r in trials),
                len(trials),
            )
            for schedule, trials in sorted(by_schedule.items())
        ]
        for method, by_schedule in found.items()
    }


def _score(record: Record) -> float:
    return next(float(record[field]) for field in SCORES if record.get(field) is not None)


def _name(record: Record) -> str:
    return "FID" if record.get("fid") is not None else "fd-random"


def table(records: Sequence[Record], protocol: str) -> Table:
    """The points as a table, see :func:`lines`."""
    first = records[0]
    rows = [
        (
            method,
            str(point.epochs),
            str(point.second_epochs or ""),
            format(point.score, ".1f" if _name(first) == "FID" else ".3f"),
            format(point.log_gamma, ".2f"),
            str(point.trials),
        )
        for method, points in lines(records, protocol).items()
        for point in points
    ]
    notes = (
        f"{data_label(first)}, protocol `{protocol}`, preset {first['preset']} but for the epochs, "
        f"{first['n_fake']:,} generated against {first['n_real']:,} real images, features "
        f"`{first['features']}`.",
        *((first["features_note"],) if first.get("features_note") else ()),
    )
    header = ("Method", "Epochs", "Second stage's", _name(first), "log gamma", "Trials")
    return Table(f"{data_label(first)}: {_name(first)} against epochs", header, tuple(rows), notes)


def draw(records: Sequence[Record], protocol: str, path: Path) -> Path:
    """The points as lines; what the paper reports beside them, unless the scores are smoke's."""
    first = records[0]
    published = {} if is_smoke(first) else paper.TABLE1
    names = {method_label(r): r["method"] for r in records}
    curves, levels = {}, {}
    for method, points in lines(records, protocol).items():
        curves[method] = ([p.epochs for p in points], [p.score for p in points])
        if row := published.get(names[method], {}).get(first["dataset"]):
            levels[method] = row.mean
    return figures.against_epochs(curves, levels, _name(first), path)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m evaluate.budgets", description="The Frechet distance against epochs."
    )
    p.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of finished runs")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--protocol", default="paper", help="paper (the default) or standard")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit code is 0, or 2 for what the user can put right."""
    options = parser().parse_args(arguments)
    try:
        records = read(options.folders)
        for dataset in dict.fromkeys(r["dataset"] for r in records):
            here = [r for r in records if r["dataset"] == dataset]
            made = table(here, options.protocol)
            base = options.out / f"{dataset}-{options.protocol}"
            write_atomically(base.with_suffix(".md"), to_markdown(made))
            write_atomically(base.with_suffix(".csv"), to_csv(made))
            print(draw(here, options.protocol, base.with_suffix(".png")))
    except UserError as error:
        print(f"evaluate.budgets: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
