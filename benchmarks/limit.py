#!/usr/bin/env python3
"""The least time a training step can take here: its FLOPs and bytes at the machine's best rates.

    python benchmarks/limit.py

Counted are the products of both networks, forward once and backward twice, at the rate of one large
float32 matrix product; and Adam's passes over weights, gradients and moments (seven, of which three
write) at the rate at which one large vector is added to another. All else counts as nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # nothing here waits for a GPU to finish

ADAM_PASSES = 7  # reads weight, gradient, two moments; writes weight, two moments


def step_flops(model, batch: int) -> float:
    """FLOPs of a training step's dense layers and convolutions."""
    import keras

    forward = 0
    for layer in (*model.encoder.layers, *model.decoder.layers):
        inner = getattr(layer, "layer", layer)  # within spectral normalisation
        if isinstance(inner, keras.layers.Conv2DTranspose):
            positions = math.prod(layer.input.shape[1:3])
        elif isinstance(inner, keras.layers.Conv2D):
            positions = math.prod(layer.output.shape[1:3])
        elif isinstance(inner, keras.layers.Dense):
            positions = 1
        else:
            continue
        forward += 2 * batch * positions * math.prod(inner.kernel.shape)
    return 3.0 * forward


def step_bytes(model) -> float:
    """Bytes that the optimiser's update moves between memory and processor."""
    return 4.0 * ADAM_PASSES * sum(math.prod(v.shape) for v in model.trainable_variables)


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=9, metavar="N", help="rounds (default: 9)")
    p.add_argument("--size", type=int, default=2048, metavar="N", help="of the square matrices")
    p.add_argument("--vector", type=int, default=32_000_000, metavar="N", help="its length")
    options = p.parse_args(arguments)

    import tensorflow as tf

    import models
    from benchmarks import timing

    a, b = (tf.random.normal((options.size, options.size)) for _ in range(2))
    x, y = tf.Variable(tf.zeros(options.vector)), tf.zeros(options.vector)
    product, add = tf.function(lambda: tf.matmul(a, b)), tf.function(lambda: x.assign_add(y))
    contenders = {"product": timing.timed(product), "sum": timing.timed(add)}
    timings = timing.interleave(contenders, options.repeats)
    print(f"{timing.machine()}\n")
    for best in (min, statistics.median):
        flops = 2 * options.size**3 / best(t.wall for t in timings["product"])
        bandwidth = 3 * 4 * options.vector / best(t.wall for t in timings["sum"])
        print(f"{best.__name__}: {flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s")
        model = models.build("two-stage", (28, 28, 1))
        for name, stage in (("first", model.first), ("second", model.second)):
            work, moved = step_flops(stage, 64), step_bytes(stage)
            products, update = 1e3 * work / flops, 1e3 * moved / bandwidth
            print(
                f"  {name} stage, batch 64: {work / 1e9:.2f} GFLOP and {moved / 1e6:.0f} MB, "
                f"{products:.1f} + {update:.1f} = {products + update:.1f} ms"
            )


if __name__ == "__main__":
    main()
