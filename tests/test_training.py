"""Training a run: resumption, refusals, divergence, and what is left on disk."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import presets
from experiments.errors import UserError
from experiments.files import write_json
from training import checkpoints, elsewhere
from training import train as training
from training.callbacks import HISTORY_FIELDS, History, PixelError, halving
from training.checkpoints import Checkpoints
from training.failures import OutOfMemory, TrainingDiverged, explained
from training.folder import EPOCHS, check_settings, keep_stage, order_seeds
from training.train import train

pytestmark = pytest.mark.usefixtures("narrow_second_stage")

SETTINGS = presets.resolve("quick", "mnist").replace(
    image_shape=(8, 8, 1),
    latent_dim=4,
    epochs=4,
    second_epochs=3,
    batch_size=32,
    halve_every=2,
    second_halve_every=1,
)


def make_images():
    return np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def images():
    return make_images()


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C before a step of an epoch, counted from the epoch's start."""

    def __init__(self, epoch, step):
        super().__init__()
        self.at = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


def interrupted(monkeypatch, stage, epoch, step):
    """Makes one stage's training stop as by Ctrl-C."""
    original = training.fit_stage

    def fit_stage(model, array, *, title, **kwargs):
        if stage in title:
            fit = model.fit
            model.fit = lambda *a, callbacks, **k: fit(
                *a, callbacks=[*callbacks, Interrupt(epoch, step)], **k
            )
        original(model, array, title=title, **kwargs)

    monkeypatch.setattr(training, "fit_stage", fit_stage)


def weights(model):
    return [w for stage in (model.first, model.second) for w in stage.get_weights()]


@pytest.mark.parametrize(
    ("stage", "epoch", "step", "begun"),
    [
        ("first", 2, 0, {"epochs": 9}),
        ("first", 1, 2, {}),
        ("second", 0, 1, {"second_epochs": 2}),
    ],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    tmp_path, images, monkeypatch, straight, stage, epoch, step, begun
):
    with monkeypatch.context() as patch:
        interrupted(patch, stage, epoch, step)
        with pytest.raises(KeyboardInterrupt):
            train(SETTINGS.replace(**begun), images, tmp_path, checkpoint_seconds=0)
    names = {p.name for p in (tmp_path / f"checkpoints-{stage}").glob("ckpt-*.index")}
    assert f"ckpt-{3 * epoch + step}.index" in names
    resumed = train(SETTINGS, images, tmp_path)
    for a, b in zip(weights(straight[0]), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("history-first.csv", "history-second.csv"):
        one, two = (
            [row.rpartition(",")[0] for row in (folder / name).read_text().splitlines()]
            for folder in (straight[1], tmp_path)
        )
        assert one == two  # to the letter, but for the seconds
        assert all(row["seconds"] >= 0 for row in History(tmp_path / name).rows)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run: model and folder. The tests that use it are deterministic, too."""
    # Weights can only be compared bit for bit when the order of sums is fixed.
    tf.config.experimental.enable_op_determinism()
    folder = tmp_path_factory.mktemp("straight")
    yield train(SETTINGS, make_images(), folder), folder
    from tensorflow.python.framework import config  # no public way back

    config.disable_op_determinism()


def test_each_stage_halves_at_its_own_pace(straight):
    for stage, factors in (("first", (1, 1, 0.5, 0.5)), ("second", (1, 0.5, 0.25))):
        rates = History(straight[1] / f"history-{stage}.csv").columns()["learning_rate"]
        assert rates == pytest.approx([SETTINGS.learning_rate * f for f in factors])


def test_settings_reach_the_model():
    changed = {"momentum": 0.7, "gamma_speed": 3.0, "initial_log_gamma": -1.0}
    model = training.build(SETTINGS.replace(**changed))
    for stage in (model.first, model.second):
        config = stage.get_config()
        assert (config["gamma_speed"], config["initial_log_gamma"]) == (3.0, -1.0)
    layers = model.first._flatten_layers()
    found = {b.momentum for b in layers if isinstance(b, keras.layers.BatchNormalization)}
    assert found == {0.7}
    assert model.latent_dim == SETTINGS.latent_dim


def test_the_pixel_error_that_is_followed():
    """Root mean square, of pixels in [0, 1]."""
    held_out = make_images()[:8]
    errors = np.where(np.arange(8) < 4, 0.1, 0.3).reshape(8, 1, 1, 1).astype("float32")

    class Stub:
        def reconstruct(self, images, seed):
            return images / np.float32(255) + errors

    callback = PixelError(held_out, copy=lambda model: Stub())
    callback.set_model(None)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs["rmse"] == pytest.approx(np.sqrt((0.1**2 + 0.3**2) / 2), rel=1e-5)


def test_a_stage_in_training_on_jax_is_not_begun_again(tmp_path, images):
    (tmp_path / "state-first.npz").touch()
    with pytest.raises(UserError, match=r"state-first\.npz holds a training on JAX"):
        train(SETTINGS, images, tmp_path)


def test_a_stage_that_is_trained_again_is_no_longer_trained_elsewhere(tmp_path):
    path = tmp_path / "trained_on.json"
    write_json(path, {"stages": ["first", "second"], "backend": "jax"})
    here = {"backend": "tensorflow"}
    elsewhere.keep_place(tmp_path, "first", here)
    jax = {"stages": ["second"], "backend": "jax"}
    assert json.loads(path.read_text()) == [jax, {"stages": ["first"], **here}]
    assert elsewhere.other_places(tmp_path, here) == [jax]
    elsewhere.keep_place(tmp_path, "second", here)
    assert json.loads(path.read_text()) == [{"stages": ["first", "second"], **here}]
    assert elsewhere.other_places(tmp_path, here) == []


def test_stages_trained_on_two_devices_are_said_to_be(tmp_path):
    for stage in ("first", "second"):
        elsewhere.keep_place(tmp_path, stage, {"device": "one"})
    assert elsewhere.places(tmp_path) == [{"stages": ["first", "second"], "device": "one"}]
    elsewhere.keep_place(tmp_path, "second", {"device": "other"})
    assert elsewhere.places(tmp_path) == [
        {"stages": ["first"], "device": "one"},
        {"stages": ["second"], "device": "other"},
    ]


def test_a_finished_run_is_loaded_and_its_checkpoints_are_gone(straight, images):
    model, folder = straight
    names = {p.name for p in folder.iterdir()}
    logs = {"history-first.csv", "history-second.csv", "trained_on.json"}
    assert names == {"settings.json", "model", *logs}
    again = train(SETTINGS, images[:0], folder)  # no images: it can't have trained
    np.testing.assert_array_equal(model.sample(3, seed=1), again.sample(3, seed=1))
    assert json.loads((folder / "settings.json").read_text()) == SETTINGS.to_dict()


def test_the_first_stage_alone_and_the_second_later(tmp_path, images):
    short = SETTINGS.replace(epochs=1, second_epochs=1)
    first = train(short, images, tmp_path, second=False)
    assert not (tmp_path / "model" / "second.keras").exists()
    both = train(short, images, tmp_path)
    np.testing.assert_array_equal(first.sample(3, seed=1), both.sample(3, stage=1, seed=1))


def test_changed_settings_are_refused_with_the_difference(tmp_path, images):
    write_json(tmp_path / "settings.json", SETTINGS.to_dict())
    with pytest.raises(UserError, match=r"other settings \(batch_size: 32 -> 16\).*--out"):
        train(SETTINGS.replace(batch_size=16, epochs=5), images, tmp_path)
    assert check_settings(SETTINGS.replace(n_fake=5), tmp_path) == []  # scoring alone


def test_the_epochs_of_a_stage_in_training_may_change(tmp_path):
    write_json(tmp_path / "settings.json", SETTINGS.to_dict())
    (tmp_path / "model").mkdir()
    for stage, field in EPOCHS.items():
        for epoch in (1, 2):
            row = dict.fromkeys(HISTORY_FIELDS, 0.0) | {"epoch": epoch}
            History(tmp_path / f"history-{stage}.csv").append(row)
        for epochs in (3, 9):
            changed = check_settings(SETTINGS.replace(**{field: epochs}), tmp_path)
            old = getattr(SETTINGS, field)
            assert changed == ([] if epochs == old else [f"{field}: {old} -> {epochs}"])
        option = "--" + field.replace("_", "-")
        with pytest.raises(
            UserError, match=f"{stage} stage has 2 epochs.*at least 3 with {option}"
        ):
            check_settings(SETTINGS.replace(**{field: 2}), tmp_path)
        (tmp_path / "model" / f"{stage}.keras").touch()  # finished
        with pytest.raises(UserError, match=f"other settings .{field}: {old} -> 9"):
            check_settings(SETTINGS.replace(**{field: 9}), tmp_path)


def test_a_run_of_one_stage_has_no_second_to_go_on_with(tmp_path):
    one = SETTINGS.replace(model="vae-fixed-gamma")
    write_json(tmp_path / "settings.json", one.to_dict())
    assert check_settings(one.replace(second_epochs=one.second_epochs + 1), tmp_path) == []
    changed = check_settings(one.replace(epochs=one.epochs + 1), tmp_path)
    assert changed == [f"epochs: {one.epochs} -> {one.epochs + 1}"]


def test_a_folder_from_before_a_setting_goes_on(tmp_path, images):
    before = {k: v for k, v in SETTINGS.to_dict().items() if k != "gamma"}
    write_json(tmp_path / "settings.json", before)
    with pytest.raises(UserError, match="gamma: 'learned' -> 'optimal'"):
        train(SETTINGS.replace(gamma="optimal"), images, tmp_path)
    check_settings(SETTINGS, tmp_path)


class Tiny(keras.Model):
    """The smallest model with what Checkpoints looks at."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(50)
        self.mean = keras.metrics.Mean(name="loss")
        self.dense.build((None, 40))
        self.built = True
        self.compile(optimizer=keras.optimizers.Adam())

    @property
    def metrics(self):
        return [self.mean]


def restored(folder):
    """The step that a fresh model is taken to, and its first weight."""
    model = Tiny()
    step = Checkpoints(folder, model, steps_per_epoch=10).restore()
    return step, float(model.dense.kernel[0, 0])


@pytest.fixture
def two_checkpoints(tmp_path):
    """Of steps 4 and 12, with weights 4 and 12."""
    model = Tiny()
    checkpoints = Checkpoints(tmp_path, model, steps_per_epoch=10)
    for step in (4, 12):
        model.dense.kernel.assign(np.full((40, 50), step))
        checkpoints.save(step)
    assert restored(tmp_path) == (12, 12.0)
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path, fraction=0.5):
    content = bytearray(path.read_bytes())
    content[int(fraction * len(content))] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda p: p.write_bytes(b""), lambda p: p.unlink()])
@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_a_damaged_checkpoint_is_passed_over(two_checkpoints, capsys, part, damage):
    damage(two_checkpoints / f"ckpt-12.{part}")
    assert restored(two_checkpoints) == (4, 4.0)
    assert ("going back to the one before" in capsys.readouterr().out) == (
        (part, damage.__code__.co_names) != ("index", ("unlink",))  # then it looks half-written
    )
    assert not list(two_checkpoints.glob("ckpt-12*"))


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.3, 0.6, 0.8, 0.95, 0.999])
def test_no_damage_to_an_index_gives_wrong_weights(two_checkpoints, fraction):
    flip(two_checkpoints / "ckpt-12.index", fraction)
    assert restored(two_checkpoints) in [(12, 12.0), (4, 4.0)]


def test_with_no_whole_checkpoint_training_starts_as_if_there_were_none(two_checkpoints):
    for path in two_checkpoints.glob("*.data*"):
        cut(path)
    model = Tiny()
    fresh = model.dense.kernel.numpy().copy()
    assert Checkpoints(two_checkpoints, model, steps_per_epoch=10).restore() == 0
    np.testing.assert_array_equal(model.dense.kernel, fresh)


def test_tensorflows_list_of_checkpoints_is_not_needed(two_checkpoints):
    (two_checkpoints / "checkpoint").write_text("gibberish")
    assert restored(two_checkpoints) == (12, 12.0)
    model = Tiny()
    checkpoints = Checkpoints(two_checkpoints, model, steps_per_epoch=10)
    checkpoints.restore()
    checkpoints.save(13)
    assert restored(two_checkpoints)[0] == 13


def test_what_a_killed_process_left_is_removed(two_checkpoints):
    (two_checkpoints / "ckpt-20_temp").mkdir()
    (two_checkpoints / "ckpt-20_temp" / "part-00000-of-00001.data").write_bytes(b"half")
    (two_checkpoints / "ckpt-20.data-00000-of-00001.tempstate123").write_bytes(b"half")
    assert restored(two_checkpoints) == (12, 12.0)
    assert {p.name.split(".")[0] for p in two_checkpoints.iterdir()} == {
        "checkpoint",
        "ckpt-4",
        "ckpt-12",
    }


def test_another_models_checkpoint_is_refused_and_kept(two_checkpoints):
    class Wider(Tiny):
        def __init__(self):
            super().__init__()
            self.more = keras.layers.Dense(1)
            self.more.build((None, 50))

    with pytest.raises(UserError, match=r"ckpt-12 is the checkpoint of another model"):
        Checkpoints(two_checkpoints, Wider(), steps_per_epoch=10).restore()
    assert restored(two_checkpoints) == (12, 12.0)


def test_what_is_no_damage_removes_no_checkpoint(two_checkpoints, monkeypatch):
    def no_memory(path):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(tf.train, "load_checkpoint", no_memory)
        with pytest.raises(tf.errors.ResourceExhaustedError):
            restored(two_checkpoints)
    assert restored(two_checkpoints) == (12, 12.0)


def test_a_state_that_is_not_finite_is_not_saved(two_checkpoints):
    model = Tiny()
    checkpoints = Checkpoints(two_checkpoints, model, steps_per_epoch=10)
    model.dense.bias.assign(np.full(50, np.inf))
    with pytest.raises(TrainingDiverged, match="bias is not finite after step 13"):
        checkpoints.save(13)
    assert restored(two_checkpoints) == (12, 12.0)


def test_a_full_disk_and_a_lack_of_memory_are_told_apart(tmp_path):
    from tensorflow.errors import ResourceExhaustedError

    with pytest.raises(OSError, match="No space left on device") as caught, explained(tmp_path):
        raise ResourceExhaustedError(None, None, f"{tmp_path}/ckpt-1; No space left on device")
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(OutOfMemory, match="out of memory"), explained(tmp_path):
        raise ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64]")
    with pytest.raises(OutOfMemory, match="out of memory"), explained(tmp_path):
        raise MemoryError


def test_when_checkpoints_are_due_and_what_an_epoch_took(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    model = Tiny()
    saving = Checkpoints(tmp_path, model, steps_per_epoch=10, seconds=60)

    def steps():
        return sorted(int(p.stem.rpartition("-")[2]) for p in tmp_path.glob("*.index"))

    saving.on_epoch_begin(0)
    for batch, (at, expected) in enumerate([(59, []), (60, [2]), (61, [2]), (119, [2])]):
        now[0] = 1000.0 + at
        saving.on_train_batch_end(batch)
        assert steps() == expected
    now[0] = 1120.0
    saving.on_train_batch_end(4)
    assert steps() == [2, 5]

    # Another session, which starts at 5000 in the middle of the epoch, 120 seconds into it.
    now[0] = 5000.0
    again = Checkpoints(tmp_path, Tiny(), steps_per_epoch=10, seconds=60)
    assert again.restore() == 5
    again.on_epoch_begin(0)
    now[0] = 5007.0
    assert again.epoch_seconds() == pytest.approx(127.0)
    again.on_epoch_begin(1)
    now[0] = 5009.0
    assert again.epoch_seconds() == pytest.approx(2.0)


def test_the_interval_between_checkpoints_reaches_them(tmp_path, images, monkeypatch):
    found = []

    class Noted(Checkpoints):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            found.append(self.seconds)
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "Checkpoints", Noted)
    with pytest.raises(KeyboardInterrupt):
        train(SETTINGS, images, tmp_path, checkpoint_seconds=7)
    assert found == [7]


def test_spans_of_fit():
    assert training.spans(0, 10, 3) == [(0, 3, 10)]
    assert training.spans(10, 10, 3) == [(1, 3, 10)]
    assert training.spans(14, 10, 3) == [(1, 2, 6), (2, 3, 10)]
    assert training.spans(29, 10, 3) == [(2, 3, 1)]
    assert training.spans(30, 10, 3) == []


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, images, monkeypatch):
    build = training.build

    def broken(settings):
        model = build(settings)
        model.first.log_gamma_weight.assign(np.nan)
        return model

    monkeypatch.setattr(training, "build", broken)
    short = SETTINGS.replace(epochs=1, second_epochs=1)
    with pytest.raises(TrainingDiverged, match="the loss is nan after epoch 1"):
        train(short, images, tmp_path)
    with pytest.raises(TrainingDiverged, match="is not finite after step 1"):
        train(short, images, tmp_path, checkpoint_seconds=0)
    assert not (tmp_path / "model").exists()


def test_a_stage_that_is_not_finite_does_not_count_as_finished(tmp_path):
    vae = training.build(SETTINGS).first
    vae.log_gamma_weight.assign(np.nan)
    with pytest.raises(TrainingDiverged, match="log_gamma is not finite after the last step"):
        keep_stage(vae, tmp_path, "first")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "garbage\n", "epo"])
def test_a_history_without_its_header_is_damaged(tmp_path, content):
    (tmp_path / "history-first.csv").write_text(content)
    with pytest.raises(
        UserError, match=r"history-first\.csv is damaged \(it has no column epoch\)"
    ):
        History(tmp_path / "history-first.csv")


def test_trials_differ():
    other = SETTINGS.replace(trial=1, seed=1)
    one, two = (training.build(s).first.encoder.get_weights() for s in (SETTINGS, other))
    assert any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert set(order_seeds(SETTINGS)).isdisjoint(order_seeds(other))


def test_halving():
    rate = halving(1e-4, 150).schedule
    assert [rate(e, None) for e in (0, 149, 150, 299, 300)] == [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5]
