"""What ends the command early: signals, memory, the disk. One line each, and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import time

import pytest

import reproduce_paper
from training.failures import OutOfMemory

COMMAND = ["--datasets", "mnist", "--preset", "quick"]


def ended_by(monkeypatch, capsys, action):
    """Exit code and last line of a command whose run does ``action``."""
    monkeypatch.setattr(reproduce_paper, "run", lambda *_: action())
    code = reproduce_paper.main(COMMAND)
    return code, capsys.readouterr().err.strip()


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(5)  # the handler interrupts this
    raise AssertionError("the signal did not arrive")


@pytest.fixture
def heeded_ctrl_c():
    """Python's own handler: a shell starts jobs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(monkeypatch, capsys, number, code):
    before = signal.getsignal(number)
    assert ended_by(monkeypatch, capsys, lambda: send(number)) == (
        code,
        "Stopped. The same command goes on from the last checkpoint.",
    )
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("heeded_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_that_come_while_garbage_is_collected(monkeypatch, capsys, number, code):
    """As JAX has a callback for it, whose exceptions Python only prints."""
    arrived = []

    def callback(phase, info):
        if not arrived:
            arrived.append(phase)
            os.kill(os.getpid(), number)

    def work():
        gc.callbacks.append(callback)
        try:
            gc.collect()
            for _ in range(100):
                time.sleep(0.05)
        finally:
            gc.callbacks.remove(callback)
        raise AssertionError("the signal was lost")

    before = sys.unraisablehook
    assert ended_by(monkeypatch, capsys, work)[0] == code
    assert arrived
    assert sys.unraisablehook is before


def fail(error):
    raise error


def test_a_lack_of_memory_and_a_full_disk(monkeypatch, capsys):
    code, line = ended_by(monkeypatch, capsys, lambda: fail(OutOfMemory("out of memory")))
    assert code == 2
    assert line == (
        "reproduce_paper.py: out of memory. What was finished is kept; the same command goes on."
    )
    full = OSError(errno.ENOSPC, "No space left on device", "runs/quick/a")
    code, line = ended_by(monkeypatch, capsys, lambda: fail(full))
    assert code == 2
    assert line.startswith("reproduce_paper.py: runs/quick/a: No space left on device. What was")


def test_other_errors_are_not_hidden(monkeypatch, capsys):
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        ended_by(monkeypatch, capsys, lambda: fail(RuntimeError("a mistake of ours")))


def test_the_interval_between_checkpoints(monkeypatch, capsys):
    plans = []
    monkeypatch.setattr(reproduce_paper, "run", lambda plan, *_: plans.append(plan))
    assert reproduce_paper.main([*COMMAND, "--checkpoint-seconds", "5"]) == 0
    assert plans[0].checkpoint_seconds == 5
    assert reproduce_paper.main([*COMMAND, "--checkpoint-seconds", "-1"]) == 2
    assert "--checkpoint-seconds must not be negative, got -1.0" in capsys.readouterr().err
