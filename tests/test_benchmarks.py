"""The benchmarks run, and what they compare is the same: objective, networks, scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import batching, features, first_stage, frechet, kernel, limit, second_stage, timing
from benchmarks.timing import Timing
from benchmarks.worker import Worker

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "features": features,
    "first_stage": first_stage,
    "frechet": frechet,
    "kernel": kernel,
    "limit": limit,
    "second_stage": second_stage,
}
SERVER = """
import sys
print("some library's greeting")
print("ready", flush=True)
for line in sys.stdin:
    print("took", 2.0 * int(line), 3.0 * int(line), flush=True)
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_names_the_options(name, capsys):
    with pytest.raises(SystemExit) as ended:
        SCRIPTS[name].main(["--help"])
    assert ended.value.code == 0
    assert "--repeats" in capsys.readouterr().out


def test_a_script_runs_from_anywhere(tmp_path):
    script = ROOT / "benchmarks" / "frechet.py"
    options = ["--n", "40", "--dim", "8", "--repeats", "1", "--no-tfgan", "--no-scipy"]
    done = subprocess.run(
        [sys.executable, str(script), *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "this repository, from features" in done.stdout


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("first_stage", ["--steps", "1", "--images", "64", "--side", "8"], 2),
        ("second_stage", ["--steps", "1", "--images", "64"], 2),
        ("kernel", ["--n", "40", "--dim", "8", "--no-tfgan"], 2),
        ("features", ["--images", "2", "--random"], 1),
    ],
)
def test_smoke(name, options, rows, capsys):
    SCRIPTS[name].main([*options, "--repeats", "1"])
    lines = [one for one in capsys.readouterr().out.splitlines() if one.startswith("| ")]
    assert len(lines) == 2 + rows
    assert all(one.count("|") == 7 for one in lines)


def test_frechet_contenders_agree(capsys):
    pytest.importorskip("scipy")
    frechet.main(["--n", "60", "--dim", "6", "--repeats", "1"])
    out = capsys.readouterr().out
    differences = [float(one.split("difference ")[1].rstrip(")")) for one in out.splitlines()[-4:]]
    assert len(differences) == 4
    assert max(differences) < 1e-8


def test_limit_counts_the_networks_by_hand(capsys):
    from models import build

    model = build("vae-learned-gamma", (8, 8, 1), latent_dim=4)
    # Multiply-adds an example: conv1 16 x 16 x 64, conv2 4 x 1024 x 128, dense3 512 x 1024,
    # dense4 1024 x 8; dense1 4 x 1024, dense2 1024 x 512, deconv3 4 x 2048 x 64, deconv4 16 x 1024.
    products = (
        16 * 16 * 64
        + 4 * 1024 * 128
        + 512 * 1024
        + 1024 * 8
        + 4 * 1024
        + 1024 * 512
        + 4 * 16 * 64 * 128
        + 16 * 16 * 64
    )
    assert limit.step_flops(model, 5) == 3 * 2 * 5 * products
    weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert limit.step_bytes(model) == 28 * weights
    limit.main(["--repeats", "1", "--size", "16", "--vector", "100"])
    assert "second stage, batch 64" in capsys.readouterr().out


def test_plain_port_has_the_same_weights_and_objective():
    from benchmarks import plain_port
    from models import build

    for ours, port in (
        (build("vae-learned-gamma", (8, 8, 1)), plain_port.first_stage((8, 8, 1))),
        (build("two-stage", (8, 8, 1)).second, plain_port.second_stage()),
    ):
        sizes = [sorted(tuple(v.shape) for v in m.trainable_variables) for m in (ours, port)]
        assert sizes[0] == sizes[1]
        rng = np.random.default_rng(0)
        x, x_hat = rng.random((2, 3, 8, 8, 1), np.float32)
        mu, sd = rng.random((2, 3, 64), np.float32) + np.float32(0.1)
        expected = np.mean(ours.negative_elbo(x, x_hat, mu, sd).loss)
        found = port.compute_loss(y_pred=(x, x_hat, mu, sd))
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_interleaving_takes_turns_and_drops_the_first_round():
    calls = []

    def contender(name):
        def measure():
            calls.append(name)
            return Timing(len(calls), 0.0)

        return measure

    timings = timing.interleave({"a": contender("a"), "b": contender("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert [t.wall for t in timings["a"]] == [3, 5]
    assert [t.wall for t in timings["b"]] == [4, 6]


def test_table_by_hand():
    timings = {
        "ours": [Timing(0.001, 0.002), Timing(0.003, 0.002), Timing(0.002, 0.002)],
        "other": [Timing(0.004, 0.004), Timing(0.004, 0.004), Timing(0.004, 0.008)],
    }
    assert timing.ratios(timings, "ours", "other") == (0.5, 0.5)
    rows = timing.table(timings, "ours").splitlines()[2:]
    assert rows[0] == "| ours | 2 | 1 | 2 | 1.00 | 1.00 |"
    assert rows[1] == "| other | 4 | 4 | 4 | 0.50 | 0.50 |"


def test_a_worker_answers_and_one_that_ends_says_so():
    worker = Worker([sys.executable, "-c", SERVER], calls=4)
    assert worker() == Timing(2.0, 3.0)
    worker.close()
    with pytest.raises(Worker.Ended, match="exit status 3"):
        Worker([sys.executable, "-c", "raise SystemExit(3)"], calls=1)


def test_batching_settings_have_schedulers_of_their_own():
    config = batching.parameters()
    assert config["max_batch_size"] == 256
    assert config["batch_timeout_micros"] == 2_000

    def double(u):
        return 2.0 * u

    apart = batching.Setting(double, None, "apart").serve(4, 12)
    assert apart.together == 1.0
    # A batch is full when all 4 clients wait, long before its time is up.
    patient = {**config, "max_batch_size": 4, "batch_timeout_micros": 60_000_000}
    served = batching.Setting(double, patient, "patient").serve(4, 12)
    assert served.together == 4.0
    assert len(served.latencies) == 12
    # In the same process one that lets nobody wait: a single client would never fill a batch of 4.
    hasty = {**patient, "batch_timeout_micros": 0}
    assert batching.Setting(double, hasty, "hasty").serve(1, 3).together == 1.0
