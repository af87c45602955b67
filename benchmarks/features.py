#!/usr/bin/env python3
"""Inception features per second: this repository's extractor, pytorch-fid, torch-fidelity.

    pip install -r requirements-bench.txt
    python benchmarks/features.py --inception DIR

All on the same processor, from uint8 images to pool_3, resizing included. The peers' networks have
random weights, which changes nothing about the time; ours are those of DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())

ROOT = Path(__file__).resolve().parent.parent

OURS = "this repository"
PEERS = ("pytorch-fid", "torch-fidelity")


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--images", type=int, default=64, metavar="N", help="a round (default: 64)")
    p.add_argument("--side", type=int, default=32, metavar="N", help="of an image (default: 32)")
    p.add_argument("--batch", type=int, default=32, metavar="N", help="(default: 32)")
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    p.add_argument("--inception", metavar="DIR", help="local SavedModel (default: TF-GAN's)")
    p.add_argument(
        "--random",
        action="store_true",
        help="the small random network in place of Inception, without peers: only a try-out",
    )
    p.add_argument(
        "--peer-python",
        default=sys.executable,
        metavar="FILE",
        help="interpreter in whose environment the peers are installed (default: this one)",
    )
    options = p.parse_args(arguments)

    import numpy as np

    from benchmarks import timing
    from benchmarks.worker import Worker
    from evaluate import load_inception, random_network

    shape = (options.images, options.side, options.side, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    extractor = random_network() if options.random else load_inception(options.inception)
    contenders = {
        OURS: timing.timed(lambda: extractor(images, batch_size=options.batch), options.images)
    }
    with contextlib.ExitStack() as stack:
        for peer in () if options.random else PEERS:
            arguments = [peer, *map(str, (options.images, options.side, options.batch))]
            command = [options.peer_python, "-m", "benchmarks.torch_features", *arguments]
            try:
                worker = Worker(command, calls=options.images)
            except Worker.Ended as error:
                print(f"{peer} is left out: {error} (pip install -r requirements-bench.txt)")
                continue
            stack.callback(worker.close)
            contenders[peer] = worker
        timings = timing.interleave(contenders, options.repeats)
    print(f"{timing.machine()}; ours: {extractor.name}; peers: random weights\n")
    print(timing.table(timings, OURS))
    for name, all_timings in timings.items():
        print(f"{name}: {1 / statistics.median(t.wall for t in all_timings):.1f} images/s")


if __name__ == "__main__":
    main()
