"""Every notebook runs from top to bottom on a tiny budget, and is stored as it should be."""

from __future__ import annotations

import re

import nbclient
import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.longest if "theory" in path.stem else ())
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
