"""The report of a session of runs: report.html, one file that needs nothing else, and report.md.

Both show the tables, pictures and settings of every run, by data set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate import report_html, report_markdown
from evaluate.report_contents import (
    Head,
    Report,
    banner_of,
    sections_of,
    smoke_reasons,
    summary,
)
from evaluate.rows import Record
from evaluate.tables import all_tables, write_tables
from experiments.files import write_atomically


def write_report(
    folder: str | os.PathLike,
    records: Sequence[Record],
    runs: Sequence[Mapping[str, Any]],
    command: str,
    preset: str,
) -> tuple[Path, Path]:
    """Write report.md, report.html and tables/ into a folder; return the two reports' paths.

    records: the list in results.json.
    runs: one dict for each training run, in the order to show, with the keys
        "dataset": the records' name of the data set, which decides the section;
        "title": a line such as "2-Stage VAE, trial 0";
        "folder": the run's folder, or None;
        "figures": {name: path of a PNG}, shown in that order; the names in report_contents.CAPTIONS
            have captions, another name is its own (underscores become spaces); a file that does not
            exist is said to be missing; where an earlier run differs in the settings "trial" and
            "seed" alone, report.html has links to them and does not carry them;
        "settings": the resolved settings, any JSON values, nested or not; "model", if it is among
            them, decides what the quantities of "history" are called;
        "history": {"first": {"loss": [...], "kl": ..., "reconstruction": ..., "log_gamma": ...},
            "second": ...} by epoch, as evaluate.figures.curves takes it; its last epoch is shown.
        All but "dataset" and "title" may be missing.
    command: the line that repeats the runs. preset: quick, lite or paper.

    Every text is escaped. Raises ValueError if two records claim the same trial.
    """
    folder = Path(folder)
    write_tables(records, folder / "tables")
    head = Head(command, preset, summary(records))
    report = Report(
        folder,
        head,
        banner_of(records),
        smoke_reasons(records),
        all_tables(records, run_only=True),
        sections_of(records, runs),
    )
    return (
        write_atomically(folder / "report.md", report_markdown.markdown(report)),
        write_atomically(folder / "report.html", report_html.page(report)),
    )
