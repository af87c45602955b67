"""Does the exported model generate images at about the cost of its bare decoder?

    python -m benchmarks.sampling [--batches 64 1024] [--repeats 30]

Times three things in turn, over and over, so that whatever else the machine does falls on all of
them alike: the bare decoder's forward pass on given z, as one TensorFlow function; the signature
``decode_z`` (the same plus its checks and rounding); and ``generate`` (noise and the second stage
besides). Prints medians and their ratios to the bare decoder's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import models
from models.export import export_saved_model

SHAPE, KAPPA = (28, 28, 1), 64


def alternately(functions: dict, repeats: int) -> dict[str, list[float]]:
    """Seconds of each call: ``repeats`` rounds, in which each function is called once."""
    seconds = {name: [] for name in functions}
    for number in range(repeats + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number >= 2:  # the first two rounds build and warm up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main(arguments=None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Cost of exported generation.")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--repeats", type=int, default=30, help="default %(default)s")
    options = parser.parse_args(arguments)

    model = models.build("two-stage", SHAPE, latent_dim=KAPPA, seed=0)
    decoder = tf.function(lambda z: model.first.decoder(z, training=False))
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(model, Path(folder) / "1", max(options.batches))
        served = tf.saved_model.load(str(Path(folder) / "1"))
        print(f"infogan, {SHAPE}, kappa {KAPPA}; medians of {options.repeats}")
        print(f"{'images':>6} {'':10} {'ms':>8} {'ratio':>6} {'images/s':>9}")
        for batch in options.batches:
            z = tf.constant(np.random.default_rng(0).standard_normal((batch, KAPPA)), tf.float32)
            n, seed = tf.constant(batch), tf.constant(0, tf.int64)
            functions = {
                "decoder": lambda z=z: decoder(z).numpy(),
                "decode_z": lambda z=z: served.signatures["decode_z"](z=z)["images"].numpy(),
                "generate": lambda n=n, seed=seed: served.signatures["generate"](n=n, seed=seed)[
                    "images"
                ].numpy(),
            }
            times = alternately(functions, options.repeats)
            medians = {name: statistics.median(values) for name, values in times.items()}
            for name, median in medians.items():
                ratio = median / medians["decoder"]
                rate = batch / median
                print(f"{batch:6d} {name:10} {median * 1e3:8.2f} {ratio:6.3f} {rate:9.0f}")


if __name__ == "__main__":
    main()
