"""Every command and every piece of Python in README.md and docs/ is tried, or says what it needs.

A fenced block that can't be tried here has a comment above it, ``<!-- needs: docker -->`` (or
network, gpu, server). Of the others

- every ``reproduce_paper.py`` line is parsed and resolved to a plan, as the command itself does;
- every ``make`` target must exist, likewise every file that Python or pip is given;
- every Python block is run, in order, on a few images and for one epoch.

The slow suite executes the commands too: test_documented_commands_run.py.
"""

from __future__ import annotations

import itertools
import re
import shlex
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import reproduce_paper
from tests.conftest import ROOT
from theory import run as theory_run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {"cluster", "docker", "network", "gpu", "server"}
SHELL = {"sh", "bash", "shell", "console"}
PYTHON = {"python", "py"}
NO_CODE = {"", "bibtex", "json", "text", "yaml", "latex", "dockerfile", "protobuf"}
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w-]*)[^\n]*\n"
    r"(?P<body>.*?)^(?P=indent)(?P=fence) *$",
    re.M | re.S,
)
COMMAND = r"(make|reproduce_paper\.py) \S|python (benchmarks/\w+\.py|-m benchmarks\.\w+)"
_MARKER = re.compile(r"<!-- needs: ([\w, ]+) -->\s*\Z")


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    needs: frozenset[str]


def blocks_of(text: str, page: str = "page") -> list[Block]:
    """The fenced blocks of a Markdown text."""
    found = []
    for match in _FENCE.finditer(text):
        marker = _MARKER.search(text[: match.start()])
        needs = frozenset(re.split(r"[, ]+", marker[1])) if marker else frozenset()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["language"], match["body"], needs))
    return found


def commands_of(text: str) -> list[list[str]]:
    """The commands of a shell block as lists of words, comments and line continuations resolved."""
    lines = text.replace("\\\n", " ").splitlines()
    split = (shlex.split(line.removeprefix("$ "), comments=True) for line in lines)
    return [words for words in split if words]


def inline_commands(text: str) -> list[list[str]]:
    """Commands in running text: `make quick`, `python benchmarks/limit.py`."""
    spans = re.findall(r"`([^`]+)`", _FENCE.sub("", text))
    spans = [" ".join(span.split()) for span in spans]
    return [shlex.split(s) for s in spans if re.match(COMMAND, s)]


def check_command(words: list[str], targets: set[str]) -> None:
    """Raises if a command isn't one that exists here."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program = words[0].rsplit("/", 1)[-1]
    if program == "make":
        asked = [w for w in words[1:] if "=" not in w]
        assert asked, "make without a target"
        assert targets.issuperset(asked), f"no make target {asked}"
        return
    if re.fullmatch(r"python(3(\.\d+)?)?", program):
        words = words[1:]
        if words[:2] == ["-m", "pip"]:
            program, words = "pip", words[1:]
        elif words[0] == "-m":
            assert words[1] in ("pytest", "ruff", "mkdocs") or module_exists(words[1]), words
            return
        else:
            program = words[0]
    if program == "reproduce_paper.py":
        options = reproduce_paper.parser().parse_args(words[1:])
        if options.theory:
            assert theory_run.plan(options.preset)
        elif options.merge is None:  # what is merged has to be there
            assert reproduce_paper.plan_of(options, "").runs
    elif program == "pip":
        files = [w for flag, w in itertools.pairwise(words) if flag == "-r"]
        assert files, "pip install of packages needs the network: say so"
        assert all((ROOT / name).is_file() for name in files), files
    elif program.endswith(".py"):
        assert (ROOT / program).is_file(), f"no file {program}"
    elif program == "pytest":
        assert all((ROOT / w).exists() for w in words[1:] if w.startswith("tests")), words
    else:
        raise AssertionError(f"{program} can't be tried here: say what it needs")


def module_exists(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.fixture(scope="module")
def targets() -> set[str]:
    rules = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M)
    return set(rules)


PARSED = {path: blocks_of(path.read_text(), path.name) for path in PAGES}
BLOCKS = [block for blocks in PARSED.values() for block in blocks]


def name_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


def test_there_are_commands_to_try():
    assert sum(b.language in SHELL for b in BLOCKS) >= 4
    assert sum(b.language in PYTHON for b in BLOCKS) >= 4


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_block_is_of_a_known_kind(block):
    assert block.needs <= NEEDS, f"{name_of(block)}: unknown need {set(block.needs) - NEEDS}"
    assert block.language in SHELL | PYTHON | NO_CODE, f"{name_of(block)}: {block.language}?"
    if block.language in NO_CODE:
        started = re.search(r"^(\$|make|python3?|\.venv/\S+|docker|curl|pip) ", block.text, re.M)
        assert not started, f"{name_of(block)} has commands: call it sh"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in SHELL], ids=name_of)
def test_shell_commands_exist(block, targets):
    commands = commands_of(block.text)
    assert commands
    if not block.needs:
        for words in commands:
            check_command(words, targets)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_commands_in_running_text_exist(path, targets):
    for words in inline_commands(path.read_text()):
        check_command(words, targets)


@pytest.mark.usefixtures("narrow_second_stage")
@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_python_runs(path, monkeypatch, tmp_path):
    """A page's blocks share their names, as they do for a reader who types them in."""
    blocks = [b for b in PARSED[path] if b.language in PYTHON]
    for block in blocks:
        compile(block.text, name_of(block), "exec")
    blocks = [b for b in blocks if not b.needs]
    if not blocks:
        return
    few = use_tiny_scale(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()  # of the reader's own
    for number, image in enumerate(few):
        Image.fromarray(image[..., 0]).save(tmp_path / "pictures" / f"{number}.png")
    names = {}
    for block in blocks:
        exec(compile(block.text, name_of(block), "exec"), names)


def use_tiny_scale(monkeypatch) -> np.ndarray:
    """A few bundled images for any data set, one epoch, random features for Inception's."""
    import data
    import evaluate
    from models.two_stage import TwoStageVAE

    load, fit, sample = data.load, TwoStageVAE.fit, TwoStageVAE.sample

    def few(name, split="train", data_dir=None, progress=None):
        data.spec(name)
        return load("fashion_mnist-sample", split)[:64]

    def short(self, images, epochs, second_epochs, **options):
        return fit(self, images[:32], 1, 1, **{**options, "batch_size": 16, "verbose": 0})

    monkeypatch.setattr(data, "load", few)
    monkeypatch.setattr(TwoStageVAE, "fit", short)
    monkeypatch.setattr(TwoStageVAE, "sample", lambda self, n, **o: sample(self, min(n, 64), **o))
    monkeypatch.setattr(evaluate, "load_inception", evaluate.random_network)
    monkeypatch.setattr(evaluate, "inception_features", evaluate.random_network())
    return few("fashion_mnist")


# The checks themselves can fail.


def test_blocks_are_found_with_their_needs():
    text = "a\n\n```sh\nmake quick\n```\n\n<!-- needs: docker, network -->\n```sh\ndocker x\n```\n"
    first, second = blocks_of(text)
    assert (first.line, first.language, first.text, first.needs) == (3, "sh", "make quick\n", set())
    assert second.needs == {"docker", "network"}
    assert commands_of("a b \\\n  c  # d\n# e\n$ f 'g h'\n") == [["a", "b", "c"], ["f", "g h"]]
    assert inline_commands("`make x` and `reproduce_paper.py\n--all`, `make`") == [
        ["make", "x"],
        ["reproduce_paper.py", "--all"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "make",
        "docker run x",
        "curl localhost",
        "pip install tensorflow",
        "python -m pip install -r absent.txt",
        "python absent.py",
        "python -m absent",
        ".venv/bin/python reproduce_paper.py --fast",
        "python reproduce_paper.py --datasets svhn",
        "reproduce_paper.py --preset quick",
    ],
)
def test_what_does_not_exist_is_found(line, targets):
    from experiments.errors import UserError

    with pytest.raises((AssertionError, UserError)):
        check_command(commands_of(line)[0], targets)


@pytest.mark.parametrize(
    "line",
    [
        "make quick PYTHON=python3.12",
        "TF_CPP_MIN_LOG_LEVEL=2 .venv/bin/python reproduce_paper.py --all --dry-run",
        "python -m pip install -r requirements.txt",
        "python -m pytest -m network",
    ],
)
def test_what_exists_is_accepted(line, targets):
    check_command(commands_of(line)[0], targets)
