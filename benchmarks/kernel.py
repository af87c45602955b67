#!/usr/bin/env python3
"""The kernel distance in blocks: time beside TF-GAN's, memory beside one matrix of everything.

python benchmarks/kernel.py                10,000 x 2,048 features
"""

from __future__ import annotations

import argparse
import os
import sys
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())

OURS, TFGAN, WHOLE = "this repository, blocks of 1,000", "TF-GAN", "NumPy, one matrix of everything"


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--n", type=int, default=10_000, metavar="N", help="features in each set")
    p.add_argument("--dim", type=int, default=2048, metavar="N", help="of a feature")
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    p.add_argument("--no-tfgan", action="store_true", help="leave TF-GAN out")
    options = p.parse_args(arguments)

    import numpy as np

    from benchmarks import timing
    from evaluate import kernel_distance, tfgan

    rng = np.random.default_rng(0)
    real = rng.normal(size=(options.n, options.dim))
    fake = rng.normal(size=(options.n, options.dim)) + 0.02

    def whole() -> float:
        both = np.concatenate([real, fake])
        k = (both @ both.T / options.dim + 1.0) ** 3
        n = options.n
        within = [(b.sum() - np.trace(b)) / (n * (n - 1)) for b in (k[:n, :n], k[n:, n:])]
        return float(sum(within) - 2.0 * k[:n, n:].mean())

    functions = {OURS: lambda: kernel_distance(real, fake)[0], WHOLE: whole}
    if not options.no_tfgan:
        functions[TFGAN] = lambda: tfgan.kernel_distance(real, fake)[0]

    def peak(function) -> float:
        tracemalloc.start()
        function()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / 1e6

    timings = timing.interleave(
        {name: timing.timed(one) for name, one in functions.items()}, options.repeats
    )
    print(f"{timing.machine()}, {options.n} x {options.dim}\n")
    print(timing.table(timings, OURS, unit="s"))
    for name in (OURS, WHOLE):
        print(f"{name}: at most {peak(functions[name]):.0f} MB beside the features")
    if not options.no_tfgan:
        print(f"{OURS}: {functions[OURS]():.9g}; {TFGAN}: {functions[TFGAN]():.9g}")


if __name__ == "__main__":
    main()
