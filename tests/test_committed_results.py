"""What results/ shows is what its records say, and what the code makes of them today."""

import json
import re
import shutil
from pathlib import Path

import pytest

from training import results

FOLDER = Path(__file__).parent.parent / "results"
SCORED = sorted(path.parent for path in FOLDER.glob("*/results.json"))


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_report_follows_from_the_records(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    report = (folder / "report.md").read_text()
    command = re.search(r"~~~sh\n(.+)\n~~~", report)[1]
    results.write_results(copy, command)
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".md", ".csv", ".tex"):
            assert (copy / path.relative_to(folder)).read_text() == path.read_text(), path


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_summary_has_every_score(folder):
    page = (FOLDER / "README.md").read_text()
    for record in json.loads((folder / "results.json").read_text()):
        if record["status"] == "ok" and record["protocol"] == "paper":
            assert f"{record['fid']:.1f}" in page, (folder.name, record["method"])
            assert f"{record['kid']:.4f}" in page, (folder.name, record["method"])
