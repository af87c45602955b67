"""What results/ shows is what its records say, and what the code makes of them today.

Where tables or reports have changed on purpose, ``python -m tests.test_committed_results`` makes
the committed ones again: look at the difference before you commit it.
"""

import itertools
import json
import operator
import re
import shutil
import statistics
from pathlib import Path

import pytest

from training import results
from training.layout import RECORDS_FILE

FOLDER = Path(__file__).parent.parent / "results"
TEXTS = (".json", ".md", ".csv", ".tex")
SCORED = sorted(path.parent for path in FOLDER.glob("*/results.json"))


def command_of(folder: Path) -> str:
    return re.search(r"~~~sh\n(.+)\n~~~", (folder / "report.md").read_text())[1]


def make_report(folder: Path, command: str) -> None:
    """Writes results.json, tables, pictures over several runs and report.md from the records."""
    _, page = results.write_results(folder, command)
    page.unlink()  # report.html holds pictures once more, and is not committed


def files(folder: Path) -> set[str]:
    """The texts and pictures below a folder of results; a command leaves more there."""
    found = (path for path in folder.rglob("*") if path.suffix in (*TEXTS, ".png"))
    return {path.relative_to(folder).as_posix() for path in found}


def says(page: str, number: str) -> bool:
    """Whether a number stands in a text, and not inside another one, as 6.8 does in 16.8."""
    return bool(re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", page))


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_report_follows_from_the_records(folder, tmp_path):
    copy = tmp_path / folder.name
    for records in folder.glob(f"*/{RECORDS_FILE}"):  # what is made of the runs must not come along
        shutil.copytree(records.parent, copy / records.parent.name)
    make_report(copy, command_of(folder))
    assert files(copy) == files(folder)
    for name in sorted(files(folder)):
        if name.endswith(TEXTS):
            assert (copy / name).read_text() == (folder / name).read_text(), name


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_summary_has_every_score(folder):
    page = (FOLDER / "README.md").read_text()
    records = json.loads((folder / "results.json").read_text())
    by_row = operator.itemgetter("dataset", "method")
    for row, trials in itertools.groupby(sorted(records, key=by_row), by_row):
        scored = [r for r in trials if r["status"] == "ok" and r["protocol"] == "paper"]
        if scored:
            fid, kid = (statistics.fmean(r[key] for r in scored) for key in ("fid", "kid"))
            assert says(page, f"{fid:.1f}"), (folder.name, row)
            assert says(page, f"{kid:.4f}"), (folder.name, row)


def test_a_number_inside_another_does_not_count():
    assert not says("16.8, 6.83 and 1.6.8", "6.8")
    assert says("| 6.8 |", "6.8")
    assert says("at 6.8.", "6.8")
    assert says("6.8+-0.2", "6.8")


if __name__ == "__main__":
    for scored_folder in SCORED:
        make_report(scored_folder, command_of(scored_folder))
