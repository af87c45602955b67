"""The same command twice gives the same results; a resumed baseline ends like an uninterrupted one.

Through the command's Python entry, on 16 x 16 images and narrow networks.
"""

from __future__ import annotations

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest

import reproduce_paper
from experiments import presets
from tests import small
from training import checkpoints
from training import train as training

METHODS = ["vae-flow", "wae-mmd", "two-stage", "two-stage-fixed-z"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Plans of seconds instead of minutes."""
    small.shorten_command(monkeypatch.setattr)


@pytest.fixture
def _deterministic_afterwards_not():
    yield
    from tensorflow.python.framework import config  # no public way back

    config.disable_op_determinism()


def results(out, *more, methods=METHODS):
    """The command's records without what a clock gave."""
    arguments = ["--preset", "quick", "--datasets", "mnist", "--methods", *methods]
    arguments += ["--epochs", "1", "--second-epochs", "1", "--images", "32"]
    arguments += ["--features", "random", "--deterministic", "--out", str(out), *more]
    assert reproduce_paper.main(arguments) == 0
    found = json.loads((out / "results.json").read_text())
    for record in found:
        assert record.pop("seconds").keys() == {"first", "second", "scoring"}
    return found


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.usefixtures("_deterministic_afterwards_not")
def test_the_same_command_gives_the_same_results_and_trials_differ(tmp_path):
    one = results(tmp_path / "one", "--extras")
    assert {r["method"] for r in one} == {*METHODS, "two-stage-renormalised"}
    assert {r["status"] for r in one} == {"ok"}
    two = results(tmp_path / "two", "--extras")
    assert one == two  # to the last digit

    # The other methods' noise has the same sources.
    pair = results(tmp_path / "pair", "--trials", "2", methods=["two-stage"])
    assert [r["status"] for r in pair] == ["ok"] * 4
    for a, b in zip(pair[:2], pair[2:], strict=True):
        assert (a["trial"], b["trial"]) == (0, 1)
        assert (a["method"], a["protocol"]) == (b["method"], b["protocol"])
        for field in ("seed", "fd-random", "kd-random", "nearest_sample"):
            assert a[field] != b[field], (a["method"], field)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C before the third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vae-flow", "wae-mmd"])
@pytest.mark.usefixtures("_deterministic_afterwards_not")
def test_a_resumed_baseline_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, method):
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # Every look at the clock is an hour after the last: each epoch is worth a checkpoint.
    hours = itertools.count()
    clock = dataclasses.make_dataclass("Clock", [])()
    clock.monotonic = lambda: 3600.0 * next(hours)
    monkeypatch.setattr(checkpoints, "time", clock)

    settings = presets.resolve("quick", "mnist", method).replace(
        image_shape=(8, 8, 1), latent_dim=4, epochs=4, batch_size=16
    )
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    straight = training.train(settings, images, tmp_path / "straight")

    with monkeypatch.context() as patch:
        fit = keras.Model.fit

        def stopped(self, *args, callbacks, **kwargs):
            return fit(self, *args, callbacks=[*callbacks, Interrupt()], **kwargs)

        patch.setattr(keras.Model, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            training.train(settings, images, tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "model").exists()
    assert list((tmp_path / "resumed").glob("checkpoints-first/ckpt-*.index"))
    resumed = training.train(settings, images, tmp_path / "resumed")

    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = (
        training.histories(tmp_path / name)["first"].columns() for name in ("straight", "resumed")
    )
    one, two = ({k: v for k, v in h.items() if k != "seconds"} for h in histories)
    assert one["epoch"] == two["epoch"] == [1, 2, 3, 4]
    for field in ("loss", "kl", "reconstruction", "log_gamma"):
        assert one[field] == two[field]
    np.testing.assert_array_equal(straight.sample(3, seed=0), resumed.sample(3, seed=0))
