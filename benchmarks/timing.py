"""What the benchmarks share: contenders in turn, medians, a table of ratios, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple


class Timing(NamedTuple):
    """One measurement: seconds by the clock, and of processor time over all threads."""

    wall: float
    cpu: float


Contender = Callable[[], Timing]


def timed(function: Callable[[], object], calls: int = 1) -> Contender:
    """A contender that calls ``function`` and divides the time by ``calls``."""

    def measure() -> Timing:
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return Timing((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)

    return measure


def interleave(contenders: Mapping[str, Contender], repeats: int) -> dict[str, list[Timing]]:
    """Each contender's timings: all are measured in turn, ``repeats`` times, so that whatever else
    the machine does slows them alike. One round more, the first, is not counted.
    """
    rounds = [{name: one() for name, one in contenders.items()} for _ in range(repeats + 1)]
    return {name: [one[name] for one in rounds[1:]] for name in contenders}


def ratios(timings: Mapping[str, list[Timing]], ours: str, other: str) -> tuple[float, float]:
    """Median over rounds of ours / other, by the clock and in processor time."""
    pairs = list(zip(timings[ours], timings[other], strict=True))
    return (
        statistics.median(a.wall / b.wall for a, b in pairs),
        statistics.median(a.cpu / b.cpu for a, b in pairs),
    )


def table(timings: Mapping[str, list[Timing]], ours: str, unit: str = "ms") -> str:
    """A Markdown table: each contender's times, and ours in proportion to it."""
    scale = {"s": 1.0, "ms": 1e3}[unit]
    lines = [
        f"| | median, {unit} | least | processor time, median | ours / this | in processor time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, all_timings in timings.items():
        wall = [t.wall * scale for t in all_timings]
        cpu = statistics.median(t.cpu * scale for t in all_timings)
        row = [f"{statistics.median(wall):.4g}", f"{min(wall):.4g}", f"{cpu:.4g}"]
        row += [f"{r:.2f}" for r in ratios(timings, ours, name)]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def processor() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """One line on where and how loaded: timings mean nothing without it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return f"{processor()}, {cores} cores, load average {load}, Python {platform.python_version()}"
