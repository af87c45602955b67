#!/usr/bin/env python3
"""Kills runs with SIGKILL at random moments, lets them go on, and compares how they end.

    python benchmarks/kill_and_resume.py             30 small trainings of both stages
    python benchmarks/kill_and_resume.py --command   the whole command: train, draw, score, report

Every run must end with weights and histories identical, bit for bit, to those of a run that nobody
killed. TensorFlow is imported once and the runs are forked from there, before any of its operations
or threads: a run is a process of its own, without the seconds of importing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would not survive the fork
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import environment

os.environ.update(environment.missing())

import keras
import numpy as np
import tensorflow as tf

import reproduce_paper
from experiments import presets
from experiments.files import read_json, write_json
from models.networks import dense
from training.train import train

INTERVAL = 0.1  # seconds between two checkpoints: kills meet half-written ones
IMAGES = 640
DONE = "done.json"
FINISHED = "after its end"
SETTINGS = presets.resolve("quick", "mnist").replace(
    image_shape=(8, 8, 1), latent_dim=4, epochs=4, second_epochs=3, batch_size=32
)
NARROW = (4, 64, 3, 0)  # defaults of the second stage's networks, 64 units in place of 1024
COMMAND = (
    "--preset quick --datasets mnist --epochs 2 --second-epochs 3 --images 64 --features random "
    f"--deterministic --checkpoint-seconds {INTERVAL}"
).split()


def train_small(folder: Path) -> None:
    """A run's training: both stages on 8 x 8 noise."""
    tf.config.experimental.enable_op_determinism()
    dense.encoder.__defaults__ = dense.decoder.__defaults__ = NARROW  # or the disk sets the pace
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, *SETTINGS.image_shape), dtype=np.uint8)
    train(SETTINGS, images, folder, held_out=images[:32], checkpoint_seconds=INTERVAL)


def run_command(folder: Path) -> None:
    """The whole command on bundled data, cut short."""
    code = reproduce_paper.main([*COMMAND, "--out", str(folder)])
    if code:
        raise SystemExit(code)


def outcome(folder: Path) -> dict[str, str]:
    """What must not differ between runs: a digest of each of these files' content.

    Times and paths aside. A .keras file holds the time it was written at, so its weights are read.
    """
    found = {}
    for path in sorted(folder.rglob("history-*.csv")):
        with path.open(newline="") as file:
            rows = [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(file)]
        found[str(path.relative_to(folder))] = digest(repr(rows).encode())
    for path in sorted(folder.rglob("[!.]*.keras")):  # not what a kill left half written
        weights = keras.saving.load_model(path).get_weights()
        found[str(path.relative_to(folder))] = digest(*(w.tobytes() for w in weights))
    for record in read_json(folder / "results.json") or []:
        name = f"{record['method']}, {record['protocol']}"
        found[name] = digest(repr({k: v for k, v in record.items() if k != "seconds"}).encode())
    return found


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts in a row."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.hexdigest()


def start(action: Callable[[Path], None], folder: Path) -> int:
    """Forks a process that does ``action`` in ``folder``, then writes down its outcome."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        action(folder)
        write_json(folder / DONE, outcome(folder))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)  # nothing of the parent's is to be cleaned up here


def finish(pid: int, folder: Path) -> dict[str, str]:
    """Waits for a run; its outcome.

    Raises:
        RuntimeError: if it failed.
    """
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"the run failed with status {status}, see {folder}.log")
    return read_json(folder / DONE)


def where(folder: Path) -> str:
    """What a killed run was at, from what it left."""
    if (folder / DONE).exists():
        return FINISHED
    if list(folder.rglob("checkpoints-*/*temp*")):
        return "while writing a checkpoint"
    if list(folder.rglob("second.keras")):
        return "after training"
    for stage in ("second", "first"):
        if list(folder.rglob(f"checkpoints-{stage}/*.index")):
            return f"in the {stage} stage"
    return "between the stages" if list(folder.rglob("first.keras")) else "before a checkpoint"


def main(arguments: list[str] | None = None) -> int:
    """Runs the harness; 0 if every killed run ended like the one that was not."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--kills", type=int, default=30, metavar="N", help="runs, each killed once")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    p.add_argument("--command", action="store_true", help="kill the whole command")
    p.add_argument("--folder", metavar="DIR", help="where to work (default: a temporary folder)")
    options = p.parse_args(arguments)
    action = run_command if options.command else train_small
    moments = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        base = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["TWO_STAGE_VAE_CACHE"] = str(base / "cache")
        begin = time.monotonic()
        expected = finish(start(action, base / "straight"), base / "straight")
        length = time.monotonic() - begin
        print(f"An uninterrupted run takes {length:.1f} s and leaves {len(expected)} results.")
        places, identical = Counter(), 0
        while sum(places.values()) < options.kills:
            number = sum(places.values()) + 1
            folder = base / f"run{number}"
            pid = start(action, folder)
            moment = moments.uniform(0, length)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            place = where(folder)
            if place == FINISHED:  # it was quicker: no kill
                shutil.rmtree(folder)
                continue
            places[place] += 1
            got = finish(start(action, folder), folder)
            wrong = [
                name for name in expected.keys() | got.keys() if got.get(name) != expected.get(name)
            ]
            identical += not wrong
            verdict = f"differs in {', '.join(sorted(wrong))}" if wrong else "identical"
            print(f"Run {number}: killed at {moment:.1f} s, {place}: {verdict}", flush=True)
    print(f"{identical} of {options.kills} killed runs ended identical. They were killed:")
    for place, count in places.most_common():
        print(f"  {count} {place}")
    return 0 if identical == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
