#!/usr/bin/env python3
"""One training step of the second stage: this repository, a plain Keras 3 port, the authors' graph.

    python benchmarks/second_stage.py --author DIR

Posteriors of 64 dimensions, batch 64, float32, each with its own input pipeline.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())


def main(arguments: list[str] | None = None) -> None:
    from benchmarks import training_steps

    p = training_steps.parser(__doc__.splitlines()[0])
    p.add_argument("--images", type=int, default=60_000, metavar="N", help="(default: 60000)")
    options = p.parse_args(arguments)

    import numpy as np
    import tensorflow as tf

    import data
    import models
    from benchmarks import plain_port
    from models.optimizer import adam

    posteriors = np.random.default_rng(0).normal(size=(options.images, 2, 64)).astype(np.float32)
    posteriors[:, 1] = np.exp(posteriors[:, 1])
    ours = models.build("two-stage", (28, 28, 1)).second
    ours.compile(optimizer=adam(), jit_compile=False)
    plain = tf.data.Dataset.from_tensor_slices(posteriors).shuffle(4096).repeat().batch(64)
    contenders = {
        training_steps.OURS: training_steps.steps_of(
            ours, data.batches(posteriors, 64, seed=0), options.steps
        ),
        training_steps.PORT: training_steps.steps_of(
            plain_port.second_stage(), plain.prefetch(4), options.steps
        ),
    }
    training_steps.compare(options, 2, contenders)


if __name__ == "__main__":
    main()
