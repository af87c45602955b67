"""A contender in a process of its own, so that two frameworks don't share one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.timing import Timing

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """A process that prints "ready", and "took SECONDS CPU_SECONDS" for each line it reads.

    Args:
        command: program and arguments.
        calls: what the times are divided by.
        environment: variables besides this process's; None takes one away.

    Raises:
        Worker.Ended: if it ends before it is ready, or before it has answered.
    """

    class Ended(RuntimeError):
        """The process is not there any more."""

    def __init__(
        self, command: list[str], calls: int, environment: dict[str, str | None] | None = None
    ):
        self.calls = calls
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in variables.items() if value is not None},
        )
        self._read("ready")

    def __call__(self) -> Timing:
        print(self.calls, file=self.process.stdin, flush=True)
        wall, cpu = self._read("took").split()
        return Timing(float(wall) / self.calls, float(cpu) / self.calls)

    def close(self) -> None:
        """Ends the process: it stops at the end of its input."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def _read(self, word: str) -> str:
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word) :]
        status = self.process.wait()
        self.close()
        raise self.Ended(f"{' '.join(self.process.args)} ended with exit status {status}")
