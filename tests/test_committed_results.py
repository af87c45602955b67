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

FOLDER = Path(__file__).parent.parent / "results"
SCORED = sorted(path.parent for path in FOLDER.glob("*/results.json"))


def make_report(folder: Path) -> None:
    """Writes results.json, tables and report.md from the records, under the report's command."""
    command = re.search(r"~~~sh\n(.+)\n~~~", (folder / "report.md").read_text())[1]
    _, page = results.write_results(folder, command)
    page.unlink()  # report.html holds all pictures once more, and is not committed


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_report_follows_from_the_records(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    make_report(copy)
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".md", ".csv", ".tex"):
            assert (copy / path.relative_to(folder)).read_text() == path.read_text(), path


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_summary_has_every_score(folder):
    page = (FOLDER / "README.md").read_text()
    records = json.loads((folder / "results.json").read_text())
    by_row = operator.itemgetter("dataset", "method")
    for row, trials in itertools.groupby(sorted(records, key=by_row), by_row):
        scored = [r for r in trials if r["status"] == "ok" and r["protocol"] == "paper"]
        if scored:
            assert f"{statistics.fmean(r['fid'] for r in scored):.1f}" in page, (folder.name, row)
            assert f"{statistics.fmean(r['kid'] for r in scored):.4f}" in page, (folder.name, row)


if __name__ == "__main__":
    for scored_folder in SCORED:
        make_report(scored_folder)
