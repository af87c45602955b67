"""Training a run: resumption, refusals, divergence, and what is left on disk."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from experiments import presets
from experiments.errors import UserError
from training import train as training
from training.callbacks import Checkpoints, History, halving
from training.train import TrainingDiverged, train

SETTINGS = presets.resolve("quick", "mnist").replace(
    image_shape=(8, 8, 1), latent_dim=4, epochs=4, second_epochs=3, batch_size=32
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _save_every_epoch(monkeypatch):
    monkeypatch.setattr(Checkpoints.__init__, "__defaults__", (0.0,))


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at the start of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def interrupted(monkeypatch, stage, epoch):
    """Makes one stage's training stop as by Ctrl-C before ``epoch``."""
    original = training.fit_stage

    def fit_stage(model, array, *, title, **kwargs):
        if stage in title:
            fit = model.fit
            model.fit = lambda *a, callbacks, **k: fit(
                *a, callbacks=[*callbacks, Interrupt(epoch)], **k
            )
        original(model, array, title=title, **kwargs)

    monkeypatch.setattr(training, "fit_stage", fit_stage)


def weights(model):
    return [w for stage in (model.first, model.second) for w in stage.get_weights()]


@pytest.mark.parametrize(("stage", "epoch"), [("first", 2), ("second", 1)])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    tmp_path, images, monkeypatch, stage, epoch, deterministic
):
    straight = train(SETTINGS, images, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupted(patch, stage, epoch)
        with pytest.raises(KeyboardInterrupt):
            train(SETTINGS, images, tmp_path / "resumed")
    resumed = train(SETTINGS, images, tmp_path / "resumed")
    for a, b in zip(weights(straight), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("history-first.csv", "history-second.csv"):
        one, two = (History(tmp_path / run / name).columns() for run in ("straight", "resumed"))
        assert one["loss"] == two["loss"]
        assert two["epoch"] == list(range(1, len(two["epoch"]) + 1))


@pytest.fixture
def deterministic():
    """Weights can only be compared bit for bit when the order of sums is fixed."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    yield
    from tensorflow.python.framework import config  # no public way back

    config.disable_op_determinism()


def test_a_finished_run_is_loaded_and_its_checkpoints_are_gone(tmp_path, images):
    model = train(SETTINGS, images, tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"settings.json", "history-first.csv", "history-second.csv", "model"}
    again = train(SETTINGS, images[:0], tmp_path)  # no images: it can't have trained
    np.testing.assert_array_equal(model.sample(3, seed=1), again.sample(3, seed=1))
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS.to_dict()


def test_the_first_stage_alone_and_the_second_later(tmp_path, images):
    first = train(SETTINGS, images, tmp_path, second=False)
    assert not (tmp_path / "model" / "second.keras").exists()
    both = train(SETTINGS, images, tmp_path)
    np.testing.assert_array_equal(first.sample(3, seed=1), both.sample(3, stage=1, seed=1))


def test_changed_settings_are_refused_with_the_difference(tmp_path, images):
    train(SETTINGS, images, tmp_path, second=False)
    with pytest.raises(UserError, match=r"other settings \(epochs: 4 -> 5\).*--out"):
        train(SETTINGS.replace(epochs=5), images, tmp_path)
    train(SETTINGS.replace(n_fake=5), images, tmp_path, second=False)  # scoring alone


def test_a_folder_from_before_a_setting_goes_on(tmp_path, images):
    train(SETTINGS, images, tmp_path, second=False)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({k: v for k, v in SETTINGS.to_dict().items() if k != "gamma"}))
    with pytest.raises(UserError, match="gamma: 'learned' -> 'optimal'"):
        train(SETTINGS.replace(gamma="optimal"), images, tmp_path)
    train(SETTINGS, images[:0], tmp_path, second=False)  # no images: it can't have trained


def test_a_damaged_checkpoint_is_passed_over(tmp_path, images):
    model = training.build(SETTINGS).first
    model.compile(optimizer=keras.optimizers.Adam())
    checkpoints = Checkpoints(tmp_path, model)
    model.log_gamma_weight.assign(-0.25)
    checkpoints.save(1)
    model.log_gamma_weight.assign(-0.5)
    checkpoints.save(2)
    assert Checkpoints(tmp_path, model).restore() == 2
    newest = next(tmp_path.glob("ckpt-2.data*"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert Checkpoints(tmp_path, model).restore() == 1
    assert float(model.log_gamma_weight) == -0.25


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, images, monkeypatch):
    build = training.build

    def broken(settings):
        model = build(settings)
        model.first.log_gamma_weight.assign(np.nan)
        return model

    monkeypatch.setattr(training, "build", broken)
    with pytest.raises(TrainingDiverged, match="the loss is nan after epoch 1"):
        train(SETTINGS, images, tmp_path)
    assert not (tmp_path / "model").exists()


def test_trials_differ(tmp_path, images):
    one = train(SETTINGS, images, tmp_path / "0", second=False)
    two = train(SETTINGS.replace(trial=1, seed=1), images, tmp_path / "1", second=False)
    assert np.abs(one.sample(4, seed=0) - two.sample(4, seed=0)).max() > 1e-3


def test_halving():
    rate = halving(1e-4, 150).schedule
    assert [rate(e, None) for e in (0, 149, 150, 299, 300)] == [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5]
