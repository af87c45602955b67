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
from evaluate.rows import (
    SAME_EXPERIMENT,
    SMOKE_COLUMNS,
    comparable,
    compared,
    data_label,
    is_smoke,
    method_label,
    published_fid,
    trial_of,
)
from experiments.errors import UserError
from experiments.files import read_json, write_atomically

Record = Mapping[str, Any]

# What has to agree among the points of one picture: all but the lines and the axis.
_ALIKE = [
    field
    for field in SAME_EXPERIMENT
    if field not in ("method", "latent_dim", "epochs", "second_epochs")
]


class Point(NamedTuple):
    """A method's score after a schedule, averaged over trials."""

    epochs: int
    second_epochs: int
    score: float
    log_gamma: float | None  # None for a method without one
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


def lines(records: Sequence[Record]) -> dict[str, list[Point]]:
    """Each method's points in the order of their epochs, by the method's name in tables.

    Raises:
        UserError: if the records differ in more than schedule, method and trial; what differs is
            named.
    """
    for field in _ALIKE:
        values = {str(compared(r, field)) for r in records}
        if len(values) > 1:
            raise UserError(
                f"the folders differ in {field} ({', '.join(sorted(values))}): name folders that "
                "differ in their epochs alone."
            )
    found: dict[str, dict[tuple[int, int], dict[tuple, Record]]] = {}
    for record in records:
        schedule = record["epochs"], record["second_epochs"]
        trials = found.setdefault(method_label(record), {}).setdefault(schedule, {})
        # A first stage is scored in every folder that it has been trained in again.
        trials.setdefault(trial_of(record), record)
    return {
        method: [
            Point(
                *schedule,
                statistics.fmean(_score(r) for r in trials.values()),
                _mean_log_gamma(trials.values()),
                len(trials),
            )
            for schedule, trials in sorted(by_schedule.items())
        ]
        for method, by_schedule in found.items()
    }


def _mean_log_gamma(records: Iterable[Record]) -> float | None:
    found = [r["log_gamma"] for r in records if r.get("log_gamma") is not None]
    return statistics.fmean(found) if found else None


def _field(record: Record) -> str:
    return "fid" if record.get("fid") is not None else "fd-random"


def _name(record: Record) -> str:
    """The score as it may be called: FID only where it can be compared with the paper's."""
    return SMOKE_COLUMNS[_field(record)] if is_smoke(record) else "FID"


def _score(record: Record) -> float:
    return float(record[_field(record)])


def table(found: Mapping[str, list[Point]], first: Record) -> Table:
    """What :func:`lines` found as a table; ``first`` is any of the records."""
    name = _name(first)
    rows = tuple(
        (
            method,
            str(point.epochs),
            str(point.second_epochs or ""),
            format(point.score, ".3f" if name == "fd-random" else ".1f"),
            "" if point.log_gamma is None else format(point.log_gamma, ".2f"),
            str(point.trials),
        )
        for method, points in found.items()
        for point in points
    )
    notes = (
        f"{data_label(first)}, protocol `{first['protocol']}`, preset {first['preset']} but for "
        f"the epochs, {first['n_fake']:,} generated against {first['n_real']:,} real images, "
        f"features `{first['features']}`.",
        *((first["features_note"],) if first.get("features_note") else ()),
    )
    header = ("Method", "Epochs", "Second stage's", name, "log gamma", "Trials")
    return Table(f"{data_label(first)}: {name} against epochs", header, rows, notes)


def draw(found: Mapping[str, list[Point]], records: Sequence[Record], path: Path) -> Path:
    """The same as lines; beside them what the paper reports, where the scores are made like its.

    Raises:
        UserError: if there are more methods than a picture has colours for.
    """
    if len(found) > len(figures.PALETTE):
        raise UserError(
            f"{len(found)} methods are too many for a picture of {len(figures.PALETTE)} lines: "
            "the table is written; choose some with --methods for the picture."
        )
    first = records[0]
    curves = {
        m: ([p.epochs for p in points], [p.score for p in points]) for m, points in found.items()
    }
    published = {method_label(r): published_fid(r) for r in records if comparable(r)}
    levels = {method: published[method].mean for method in found if published.get(method)}
    return figures.against_epochs(curves, levels, _name(first), path)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m evaluate.budgets",
        description="The Frechet distance against epochs.",
        allow_abbrev=False,
    )
    p.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of finished runs")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--methods", nargs="+", metavar="NAME", help="of reproduce_paper.py; all")
    p.add_argument("--protocol", default="paper", help="paper (the default) or standard")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit code is 0, or 2 for what the user can put right."""
    options = parser().parse_args(arguments)
    try:
        records = [r for r in read(options.folders) if r["protocol"] == options.protocol]
        if options.methods:
            records = [r for r in records if r["method"] in options.methods]
        if not records:
            raise UserError("none of the records is of this protocol and these methods.")
        for dataset in dict.fromkeys(r["dataset"] for r in records):
            here = [r for r in records if r["dataset"] == dataset]
            found = lines(here)
            made = table(found, here[0])
            base = options.out / f"{dataset}-{options.protocol}"
            write_atomically(base.with_suffix(".md"), to_markdown(made))
            write_atomically(base.with_suffix(".csv"), to_csv(made))
            print(draw(found, here, base.with_suffix(".png")))
    except UserError as error:
        print(f"evaluate.budgets: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"evaluate.budgets: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
