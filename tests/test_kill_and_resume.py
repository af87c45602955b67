"""A few runs of benchmarks/kill_and_resume.py; thirty are the script's default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "kill_and_resume.py"


@pytest.mark.slow
@pytest.mark.longest
def test_killed_runs_end_like_one_that_was_not(tmp_path):
    """In a process that has done nothing with TensorFlow yet: the script forks."""
    made = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert "3 of 3 killed runs ended identical" in made.stdout, made.stdout + made.stderr[-2000:]
    assert made.returncode == 0
