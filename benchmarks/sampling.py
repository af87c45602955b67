"""Does the exported model generate images at about the cost of its bare decoder?

    python -m benchmarks.sampling [--batches 64 1024] [--repeats 30]

Times four things in turn, over and over, so that whatever else the machine does falls on all of
them alike: the first stage's decoder on given z and both stages' decoders on given u, each as one
bare TensorFlow function; the signature ``decode_z``, which is the first with checks and rounding;
and ``generate``, which is the second with noise besides. Prints medians of the elapsed time and of
the processor time of all threads, which other programs disturb less, and the signatures' ratios to
what they wrap.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
from pathlib import Path

from experiments import environment

os.environ.update(environment.missing())
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # nothing here waits for a GPU to finish

import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import interleave, timed
from models.export import export_saved_model

SHAPE, KAPPA = (28, 28, 1), 64
WRAPS = {"decode_z": "decoder", "generate": "decoders"}


def main(arguments=None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Cost of exported generation.")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--repeats", type=int, default=30, help="default %(default)s")
    options = parser.parse_args(arguments)

    model = models.build("two-stage", SHAPE, latent_dim=KAPPA, seed=0)
    first, second = model.first.decoder, model.second.decoder
    bare = {
        "decoder": tf.function(lambda z: first(z, training=False)),
        "decoders": tf.function(lambda u: first(second(u, training=False), training=False)),
    }
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(model, Path(folder) / "1", max(options.batches))
        served = tf.saved_model.load(str(Path(folder) / "1")).signatures
    print(f"infogan, {SHAPE}, kappa {KAPPA}; medians of {options.repeats}")
    print(
        f"{'images':>6}  {'':8} {'ms':>8} {'ratio':>6} {'CPU ms':>8} {'ratio':>6} {'images/s':>9}"
    )
    for batch in options.batches:
        z = tf.constant(np.random.default_rng(0).standard_normal((batch, KAPPA)), tf.float32)
        n, seed = tf.constant(batch), tf.constant(0, tf.int64)
        calls = {
            "decoder": functools.partial(bare["decoder"], z),
            "decode_z": functools.partial(served["decode_z"], z=z),
            "decoders": functools.partial(bare["decoders"], z),
            "generate": functools.partial(served["generate"], n=n, seed=seed),
        }
        for call in calls.values():
            call()  # builds it; one round more is left out below
        timings = interleave({name: timed(call) for name, call in calls.items()}, options.repeats)
        medians = {
            name: tuple(map(statistics.median, zip(*values, strict=True)))
            for name, values in timings.items()
        }
        for name, (elapsed, processor) in medians.items():
            base = medians[WRAPS.get(name, name)]
            print(
                f"{batch:6d}  {name:8} {elapsed * 1e3:8.2f} {elapsed / base[0]:6.3f} "
                f"{processor * 1e3:8.2f} {processor / base[1]:6.3f} {batch / elapsed:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
