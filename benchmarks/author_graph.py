"""Times training steps of the authors' TensorFlow 1 graph, in a process of its own.

Started by first_stage.py and second_stage.py with ``--author DIR``. DIR is a checkout of
github.com/daib13/TwoStageVAE, prepared to run on TensorFlow 2: in ``network/*.py`` the import
becomes ``import tensorflow.compat.v1 as tf`` and the unused one from ``tensorflow.contrib`` goes.
What is timed is its own ``step``, with the batch taken as its training loop does.

The process prints "ready", and then, for each line with a number of steps that it reads, the
seconds and the processor seconds they took.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.worker import Worker

LEARNING_RATE = 1e-4
BATCH = 64


def author_graph(checkout: str, stage: int, steps: int, as_found: bool = False) -> Worker:
    """The process, as a contender: every call runs ``steps`` training steps of ``stage``.

    It computes with the kernels that this project chooses (``experiments.environment``), or,
    ``as_found``, with those that TensorFlow chooses by itself: where the two differ, both say
    something.
    """
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.author_graph"]
    variables = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if as_found:
        variables["TF_ENABLE_ONEDNN_OPTS"] = None
    return Worker([*command, checkout, str(stage)], steps, variables)


def _serve(checkout: str, stage: int) -> None:
    sys.path.insert(0, checkout)
    import tensorflow.compat.v1 as tf
    from network.two_stage_vae_model import Infogan

    tf.disable_v2_behavior()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH * 10, 28, 28, 1), dtype=np.uint8)
    mu_z, sd_z = rng.normal(size=(2, BATCH * 10, 64)).astype(np.float32)
    model = Infogan(tf.placeholder(tf.uint8, [BATCH, 28, 28, 1], "x"))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())

        def step(i: int) -> None:
            rows = slice(i % 10 * BATCH, (i % 10 + 1) * BATCH)
            batch = images[rows]
            if stage == 2:
                batch = mu_z[rows] + np.abs(sd_z[rows]) * rng.normal(size=(BATCH, 64))
            model.step(stage, batch, LEARNING_RATE, session)

        step(0)
        print("ready", flush=True)
        for line in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            for i in range(int(line)):
                step(i)
            print("took", time.perf_counter() - wall, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
