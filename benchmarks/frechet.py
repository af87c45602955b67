#!/usr/bin/env python3
"""The Frechet distance of two feature sets: this repository's, SciPy's matrix root, TF-GAN's.

    python benchmarks/frechet.py                 10,000 x 2,048 features
    python benchmarks/frechet.py --no-tfgan      without TF-GAN, which takes longest

The real set's statistics are kept from an earlier time for the first two, as they are when several
models are scored; TF-GAN's function takes features. Gaussian features in float64 whose standard
deviations fall from 1 to 0.01 along random directions.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())

OURS = "this repository, real statistics kept"
FROM_FEATURES = "this repository, from features"


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--n", type=int, default=10_000, metavar="N", help="features in each set")
    p.add_argument("--dim", type=int, default=2048, metavar="N", help="of a feature")
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    p.add_argument("--no-tfgan", action="store_true", help="leave TF-GAN out")
    p.add_argument("--no-scipy", action="store_true", help="leave SciPy out")
    options = p.parse_args(arguments)

    import numpy as np

    from benchmarks import timing
    from evaluate import frechet_distance, frechet_from_statistics, statistics, tfgan

    rng = np.random.default_rng(0)
    deviations = np.geomspace(1.0, 0.01, options.dim)

    def features(gap: float) -> np.ndarray:
        rotation, _ = np.linalg.qr(rng.normal(size=(options.dim, options.dim)))
        return rng.normal(size=(options.n, options.dim)) * deviations @ rotation + gap

    real, fake = features(0.0), features(0.02)
    kept = statistics(real)

    def by_scipy() -> float:
        from scipy.linalg import sqrtm

        mean, cov = fake.mean(axis=0), np.cov(fake, rowvar=False)
        gap = kept.mean - mean
        root = np.real(np.trace(sqrtm(kept.cov @ cov)))
        return float(gap @ gap + np.trace(kept.cov) + np.trace(cov) - 2.0 * root)

    functions = {
        OURS: lambda: frechet_from_statistics(kept, statistics(fake)),
        FROM_FEATURES: lambda: frechet_distance(real, fake),
    }
    if not options.no_scipy:
        functions["SciPy sqrtm, real statistics kept"] = by_scipy
    if not options.no_tfgan:
        functions["TF-GAN, from features"] = lambda: tfgan.frechet_distance(real, fake)
    found: dict[str, float] = {}

    def contender(name: str, function) -> timing.Contender:
        return timing.timed(lambda: found.update({name: function()}))

    timings = timing.interleave(
        {name: contender(name, one) for name, one in functions.items()}, options.repeats
    )
    print(f"{timing.machine()}, {options.n} x {options.dim}\n")
    print(timing.table(timings, OURS, unit="s"))
    for name, value in found.items():
        print(f"{name}: {value:.12g} (relative difference {abs(value / found[OURS] - 1):.1e})")


if __name__ == "__main__":
    main()
