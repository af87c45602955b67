"""Times training steps as Keras's ``fit`` runs them; shared by first_stage.py, second_stage.py."""

from __future__ import annotations

import argparse
import contextlib
import time

import keras

from benchmarks import timing
from benchmarks.author_graph import author_graph

OURS, PORT, AUTHOR = "this repository", "plain Keras 3 port", "authors' TensorFlow 1 graph"
AUTHOR_AS_FOUND = f"{AUTHOR}, TensorFlow's own choice of kernels"


class _Clock(keras.callbacks.Callback):
    """The time of all steps but an epoch's first, which waits for the data pipeline to start."""

    def on_train_batch_end(self, batch, logs=None):
        now = timing.Timing(time.perf_counter(), time.process_time())
        if batch == 0:
            self.start = now
        self.elapsed = timing.Timing(now.wall - self.start.wall, now.cpu - self.start.cpu)


def steps_of(model: keras.Model, dataset, steps: int) -> timing.Contender:
    """A contender: seconds per training step of a compiled ``model``, over ``steps`` of them."""

    def measure() -> timing.Timing:
        clock = _Clock()
        model.fit(dataset, steps_per_epoch=steps + 1, verbose=0, callbacks=[clock], shuffle=False)
        return timing.Timing(clock.elapsed.wall / steps, clock.elapsed.cpu / steps)

    return measure


def parser(description: str) -> argparse.ArgumentParser:
    """The options that both scripts have."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--repeats", type=int, default=7, metavar="N", help="rounds (default: 7)")
    p.add_argument("--steps", type=int, default=20, metavar="N", help="a round (default: 20)")
    p.add_argument(
        "--author", metavar="DIR", help="prepared checkout of the authors' code, see author_graph"
    )
    return p


def compare(
    options: argparse.Namespace, stage: int, contenders: dict[str, timing.Contender]
) -> dict[str, list[timing.Timing]]:
    """Measures and prints; the authors' graph joins if there is a checkout."""
    with contextlib.ExitStack() as stack:
        if options.author:
            for name, as_found in ((AUTHOR, False), (AUTHOR_AS_FOUND, True)):
                contenders[name] = author_graph(options.author, stage, options.steps, as_found)
                stack.callback(contenders[name].close)
        timings = timing.interleave(contenders, options.repeats)
    print(f"{timing.machine()}, Keras {keras.__version__}\n")
    print(timing.table(timings, OURS))
    return timings
