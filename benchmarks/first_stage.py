#!/usr/bin/env python3
"""One training step of the first stage: this repository, a plain Keras 3 port, the authors' graph.

    python benchmarks/first_stage.py --author DIR

Infogan network on images of MNIST's shape, batch 64, float32, each with its own input pipeline.
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
    p.add_argument("--side", type=int, default=28, metavar="N", help="of an image (default: 28)")
    options = p.parse_args(arguments)

    import numpy as np
    import tensorflow as tf

    import data
    import models
    from benchmarks import plain_port
    from models.optimizer import adam

    shape = (options.side, options.side, 1)
    images = np.random.default_rng(0).integers(0, 256, (options.images, *shape), dtype=np.uint8)
    ours = models.build("vae-learned-gamma", shape)
    ours.compile(optimizer=adam(), jit_compile=False)
    plain = tf.data.Dataset.from_tensor_slices(images).shuffle(4096).repeat().batch(64).prefetch(4)
    contenders = {
        training_steps.OURS: training_steps.steps_of(
            ours, data.batches(images, 64, seed=0), options.steps
        ),
        training_steps.PORT: training_steps.steps_of(
            plain_port.first_stage(shape), plain, options.steps
        ),
    }
    training_steps.compare(options, 1, contenders)


if __name__ == "__main__":
    main()
