"""The documented commands that need nothing special are executed, word for word.

What takes hours is cut short inside the process: plans to their first run, on 16 x 16 images for
an epoch, with random features for Inception's; the theory's grid to one cell of a few steps. The
benchmarks, whose options are the reader's to choose, run on the sizes below.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest

import data
import models
import reproduce_paper
from evaluate import budgets, random_network
from tests import small
from tests import test_documented_commands as documented
from tests.conftest import ROOT
from theory import run as theory_run
from training import plan as planning
from training import run

pytestmark = pytest.mark.slow

BENCHMARK_SIZES = {
    "batching": "--clients 2 --requests 4 --repeats 1",
    "features": "--images 2 --random --repeats 1",
    "first_stage": "--steps 1 --images 64 --side 8 --repeats 1",
    "frechet": "--n 40 --dim 8 --repeats 1 --no-tfgan --no-scipy",
    "kernel": "--n 40 --dim 8 --repeats 1 --no-tfgan",
    "limit": "--size 64 --vector 10000 --repeats 1",
    "sampling": "--batches 2 --repeats 1",
    "second_stage": "--steps 1 --images 64 --repeats 1",
}
SERVED = "runs/quick/mnist-infogan-two-stage-trial0/saved_model"


def commands() -> list[list[str]]:
    """Each documented command that is not marked as needing something, once."""
    found = {}
    for path in documented.PAGES:
        words = documented.inline_commands(path.read_text())
        for block in documented.PARSED[path]:
            if block.language in documented.SHELL and not block.needs:
                words += documented.commands_of(block.text)
        for command in words:
            command[0] = command[0].removeprefix(".venv/bin/")
            if command[0] == "python":
                command = command[1:]
            found[tuple(command)] = list(command)
    return list(found.values())


COMMANDS = commands()
MADE = [c for c in COMMANDS if c[0] == "make"]
INSTALLED = [c for c in COMMANDS if c[0] == "pip"]
REPRODUCTIONS = [c for c in COMMANDS if c[0] == "reproduce_paper.py"]
_NAMED = [re.search(r"benchmarks[/.](\w+)", " ".join(c[:2])) for c in COMMANDS]
BENCHMARKS = sorted({match[1] for match in _NAMED if match})
CURVES = [c for c in COMMANDS if c[:2] == ["-m", "evaluate.budgets"]]
SERVING = [c for c in COMMANDS if c[0] == "-m" and c[1].startswith("serving.")]


def test_no_command_is_left_out():
    tried = MADE + INSTALLED + REPRODUCTIONS + CURVES + SERVING
    others = [c for c in COMMANDS if c not in tried]
    assert [c for c in others if not re.search("benchmarks[/.]", " ".join(c[:2]))] == []


def test_make_targets_are_run_by_ci():
    steps = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert {target for _, target in MADE} <= set(steps)


def test_requirements_are_installed_by_make():
    """``make`` names the file itself, or one that includes it."""
    makefile = (ROOT / "Makefile").read_text()
    made = set(re.findall(r"-r (\S+\.txt)", makefile))
    for name in list(made):
        made |= set(re.findall(r"^-r (\S+)", (ROOT / name).read_text(), re.M))
    for words in INSTALLED:
        assert words[1:3] == ["install", "-r"]
        assert words[3] in made


@pytest.fixture
def _small(monkeypatch, tmp_path):
    """See above; a folder called DIR for those who are told to name one."""
    plan_of, cells = reproduce_paper.plan_of, theory_run.plan
    cut = {**small.RUN, "n_fake": 32, "n_real": 32, "epochs": 1, "second_epochs": 1}

    def one_run(options, command):
        plan = plan_of(options, command)
        return dataclasses.replace(plan, runs=(plan.runs[0].replace(**cut),))

    def one_cell(preset, seed=0):
        return [dataclasses.replace(cells(preset, seed)[0], steps=20)]

    def few_images(settings, split, data_dir):
        return small.crops(data.load("mnist-sample", split))

    monkeypatch.setattr(reproduce_paper, "plan_of", one_run)
    monkeypatch.setattr(theory_run, "plan", one_cell)
    monkeypatch.setattr(run, "load_images", few_images)
    monkeypatch.setattr(planning, "check_data", lambda plan: None)
    monkeypatch.setattr(planning, "load_extractor", lambda plan: random_network())
    small.narrow_second_stage(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR").mkdir()


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Where the first command that trains leaves its run, for those that merge."""
    return tmp_path_factory.mktemp("shard")


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    "words",
    sorted(REPRODUCTIONS, key=lambda words: "--merge" in words),  # once there is a run
    ids=shlex.join,
)
def test_reproductions(words, shard, tmp_path, capsys):
    options = reproduce_paper.parser().parse_args(words[1:])
    if options.merge is not None:
        for folder in options.merge or [options.out]:
            shutil.copytree(shard, folder)
    assert reproduce_paper.main(words[1:]) == 0, capsys.readouterr().err
    if options.dry_run:
        assert "epochs" in capsys.readouterr().out
    elif options.theory:
        (pages,) = tmp_path.glob("runs/theory-*")
        assert json.loads((pages / "theory.json").read_text())["cells"]
        assert (pages / "theory.html").exists()
    else:
        (report,) = tmp_path.glob("runs/*/report.html")
        records = json.loads((report.parent / "results.json").read_text())
        assert {record["status"] for record in records} == {"ok"}
        if not any(shard.iterdir()):
            shutil.copytree(report.parent, shard, dirs_exist_ok=True)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks(name, capsys):
    importlib.import_module(f"benchmarks.{name}").main(BENCHMARK_SIZES[name].split())
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("words", CURVES, ids=shlex.join)
def test_curves(words, shard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = budgets.parser().parse_args(words[2:])
    records = json.loads((shard / "results.json").read_text())
    for epochs, folder in enumerate(options.folders, 1):
        folder.mkdir(parents=True)
        text = json.dumps([{**r, "epochs": epochs} for r in records])
        (folder / "results.json").write_text(text)
    assert budgets.main(words[2:]) == 0
    assert list(options.out.glob("*.png"))


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) != 0


def test_serving(tmp_path):
    """The stand-in server on the ports that the page names, and every client in turn."""
    pytest.importorskip("tensorflow_serving", reason="needs requirements-serving.txt")
    if not (free(8500) and free(8501)):
        pytest.skip("ports 8500 and 8501 are taken")
    model = models.build("two-stage", (8, 8, 1), latent_dim=3)
    model.export(tmp_path / SERVED / "1")
    servers, clients = [], []
    for words in SERVING:
        (servers if words[1] == "serving.loopback" else clients).append([sys.executable, *words])
    (server,) = servers
    assert len(clients) >= 4

    options = {"cwd": tmp_path, "text": True, "stderr": subprocess.STDOUT}
    options["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(server, stdout=subprocess.PIPE, **options) as running:
        try:
            for _ in range(240):
                if not (free(8500) or free(8501)):
                    break
                assert running.poll() is None, running.stdout.read()
                time.sleep(0.5)
            for words in clients:
                done = subprocess.run(words, stdout=subprocess.PIPE, check=False, **options)
                assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}"
                if "--out" in words:
                    picture = tmp_path / words[words.index("--out") + 1]
                    assert picture.read_bytes().startswith(b"\x89PNG")
        finally:
            running.terminate()
