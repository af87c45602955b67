"""Every notebook runs from top to bottom on a tiny budget, and is stored as it should be."""

from __future__ import annotations

import os
import re
import sys
from types import SimpleNamespace

import nbclient
import nbformat
import pytest

from experiments.environment import OLDEST
from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REQUIREMENTS = (ROOT / "requirements.txt").read_text()
BADGE = re.compile(
    r"\[!\[Open in Colab\]\(https://colab\.research\.google\.com/assets/colab-badge\.svg\)\]"
    r"\(https://colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/main/notebooks/([^)]+)\)"
)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def badge(path):
    """The repository and the file that the badge at the top opens."""
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    match = BADGE.match(first.source)
    assert match, f"{path.name} does not begin with a Colab badge"
    return match.groups()


def test_there_are_notebooks():
    names = {path.name for path in NOTEBOOKS}
    assert names >= {
        "01_quickstart.ipynb",
        "03_reproduce_and_score.ipynb",
        "04_serve_your_model.ipynb",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_begins_with_a_badge_and_an_install_cell(path):
    repository, name = badge(path)
    assert name == path.name
    install = code_cells(read(path))[0].source
    assert f"https://github.com/{repository}" in install
    for step in ("clone", "pip", "install"):
        assert step in install


def test_badges_name_one_repository():
    assert len({badge(path)[0] for path in NOTEBOOKS}) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("setuptools", "more"), [("80.9", []), ("82", ["setuptools"])])
def test_the_set_up_installs_what_is_missing_or_too_old(path, setuptools, more, monkeypatch):
    def installed(name, version):
        return SimpleNamespace(metadata={"Name": name}, version=version)

    asked = []
    versions = {r.split("==")[0]: "99" for r in re.findall(r"^[\w-]+==", REQUIREMENTS, re.M)}
    versions |= {
        "setuptools": setuptools,
        "tensorflow": "2.15.1",
        "keras": OLDEST["keras"],
        None: None,
    }
    del versions["tqdm"]
    found = [installed(*pair) for pair in versions.items()]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: found)
    monkeypatch.setattr("subprocess.run", lambda command, check: asked.extend(command))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(path.parent)
    exec(code_cells(read(path))[0].source, {})
    assert asked[:4] == [sys.executable, "-m", "pip", "install"]
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in asked[5:]]
    assert names == ["tensorflow", *more, "tqdm"]
    assert set(asked[5:]) <= {line.split(" ")[0] for line in REQUIREMENTS.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if "quickstart" in path.stem else pytest.mark.longest)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_runs_from_top_to_bottom(path, monkeypatch, tmp_path):
    monkeypatch.setenv("TWO_STAGE_VAE_NOTEBOOK_BUDGET", "tiny")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # not the user's settings
    notebook = read(path)
    client = nbclient.NotebookClient(
        notebook,
        timeout=1200,  # a cell, on a machine that has other work too
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    pictures = [
        output
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 3
