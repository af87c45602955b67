"""What does it bring a server to merge the requests that arrive together?

    python -m benchmarks.batching [--clients 1 8 32] [--requests 300] [--repeats 5]

TensorFlow Serving's binary is in no package index, but the scheduler that merges its requests
(tensorflow/core/kernels/batching_util) is also behind TensorFlow's BatchFunction. Here it stands
before the exported model's signature ``decode``, in this process, with the parameters of
serving/batching.config and others beside them; each client is a thread that sends one u, waits for
its image and sends the next. What a server adds, network and protocol, is not in it.

Prints, as medians over rounds in which all settings have their turn: requests a second, latency
percentiles, and how many requests were computed together on average.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from experiments import environment

os.environ.update(environment.missing())

import numpy as np
import tensorflow as tf

import models
from benchmarks import timing
from models.export import export_saved_model

SHAPE, KAPPA = (28, 28, 1), 64
CONFIG = Path(__file__).resolve().parent.parent / "serving" / "batching.config"
APART = "not merged"
Decode = Callable[[tf.Tensor], tf.Tensor]


class Served(NamedTuple):
    """What a setting did in one round."""

    rate: float  # requests a second
    latencies: np.ndarray  # (requests,) seconds
    together: float  # requests computed at a time, on average


def parameters(path: Path = CONFIG) -> dict[str, int]:
    """The numbers of a batching.config."""
    return {k: int(v) for k, v in re.findall(r"(\w+) \{ value: (\d+) \}", path.read_text())}


def settings() -> dict[str, dict[str, int] | None]:
    """The parameters measured: serving/batching.config, and what a change of each does."""
    ours = parameters()
    return {
        APART: None,
        "batching.config": ours,
        "without a wait": {**ours, "batch_timeout_micros": 0},
        "a wait of 10 ms": {**ours, "batch_timeout_micros": 10_000},
        "at most 8 together": {**ours, "max_batch_size": 8},
        "1 batch at a time": {**ours, "num_batch_threads": 1},
    }


class Setting:
    """The model behind one setting of the scheduler.

    Args:
        decode: u ``(b, kappa)`` -> images.
        merged: the scheduler's parameters, or None to compute each request by itself.
        scope: a name that no other setting has.
    """

    def __init__(self, decode: Decode, merged: dict[str, int] | None, scope: str):
        self.batches = tf.Variable(0, dtype=tf.int64, trainable=False)

        def counted(u: tf.Tensor) -> tf.Tensor:
            self.batches.assign_add(1)
            return decode(u)

        def answer(u: tf.Tensor) -> tf.Tensor:
            if merged is None:
                return counted(u)
            # Schedulers are told apart by the scope's name: one name, one scheduler for all.
            with tf.name_scope(scope):
                return tf.nondifferentiable_batch_function(**merged, autograph=False)(counted)(u)

        u = tf.TensorSpec((None, KAPPA), tf.float32)
        self.answer = tf.function(answer, input_signature=[u], autograph=False)

    def serve(self, clients: int, requests: int) -> Served:
        """All of ``requests``, one u each, by as many threads as there are clients."""
        u = np.random.default_rng(0).standard_normal((clients, 1, KAPPA)).astype("float32")
        self.batches.assign(0)

        def request(number: int) -> float:
            start = time.perf_counter()
            self.answer(u[number % clients]).numpy()
            return time.perf_counter() - start

        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            latencies = list(pool.map(request, range(requests)))
        elapsed = time.perf_counter() - start
        together = requests / int(self.batches.numpy())
        return Served(requests / elapsed, np.array(latencies), together)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Merged requests against single ones.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=300, help="a round; default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; default %(default)s")
    options = parser.parse_args(arguments)

    model = models.build("two-stage", SHAPE, latent_dim=KAPPA, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(model, Path(folder) / "1")
        saved_model = tf.saved_model.load(str(Path(folder) / "1"))  # kept: it owns the weights
    decode = saved_model.signatures["decode"]
    found = {
        name: Setting(lambda u: decode(u=u)["images"], merged, f"setting{number}")
        for number, (name, merged) in enumerate(settings().items())
    }

    print(f"{timing.machine()}\ninfogan, {SHAPE}, kappa {KAPPA}; one u a request\n")
    print("| clients | | requests/s | p50, ms | p90, ms | p99, ms | together |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for clients in options.clients:
        rounds: dict[str, list[Served]] = {name: [] for name in found}
        for number in range(options.repeats + 1):  # the first warms up
            for name, setting in found.items():
                served = setting.serve(clients, options.requests)
                if number:
                    rounds[name].append(served)
        for name, all_served in rounds.items():
            quantiles = np.median(
                [np.percentile(served.latencies, (50, 90, 99)) for served in all_served], axis=0
            )
            row = [f"{1e3 * q:.1f}" for q in quantiles]
            rate = statistics.median(served.rate for served in all_served)
            together = statistics.median(served.together for served in all_served)
            print(f"| {clients} | {name} | {rate:.0f} | {' | '.join(row)} | {together:.1f} |")


if __name__ == "__main__":
    main()
