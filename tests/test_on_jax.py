"""Training on JAX in pieces, taken up by the command; in processes that can't import TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from experiments import presets
from experiments.errors import UserError
from experiments.settings import RunSettings
from tests import jax_worker
from tests.conftest import ROOT

SIDE = 8
BATCH = 16

WORKER = """
import json, sys
sys.modules["tensorflow"] = None  # importing it fails
import numpy as np
from tests import small, test_on_jax
from training import on_jax
small.narrow_second_stage()
folder, pieces = sys.argv[1], int(sys.argv[2])
images = test_on_jax.images()
for piece in range(pieces):
    last = piece == pieces - 1
    try:
        on_jax.train(
            test_on_jax.settings(), images, images[:8], folder, deadline=None if last else 0.0
        )
    except on_jax.OutOfTime:
        assert not last
    else:
        assert last
"""


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5 * BATCH, SIDE, SIDE, 1), dtype=np.uint8)


def settings() -> RunSettings:
    return presets.resolve("quick", "mnist").replace(
        image_shape=(SIDE, SIDE, 1), latent_dim=3, batch_size=BATCH, epochs=2, second_epochs=2
    )


@pytest.mark.slow
@pytest.mark.longest
def test_pieces_make_the_whole_and_the_command_takes_it_up(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    from models import TwoStageVAE
    from training import train

    environment = {**os.environ, **jax_worker.QUICKLY_COMPILED, "PYTHONPATH": str(ROOT)}
    # Cut short after the first epoch, and again after the last of the first stage.
    for name, pieces in (("whole", 1), ("pieces", 3)):
        done = subprocess.run(
            [sys.executable, "-c", WORKER, str(tmp_path / name), str(pieces)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    models = [TwoStageVAE.load(tmp_path / name / "model") for name in ("whole", "pieces")]
    for whole, cut in zip(*((m.first, m.second) for m in models), strict=True):
        for a, b in zip(whole.get_weights(), cut.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    (trained_on,) = json.loads((tmp_path / "pieces" / "trained_on.json").read_text())
    assert trained_on["backend"] == "jax"
    assert trained_on["stages"] == ["first", "second"]
    assert trained_on["precision"] == "float32"

    def refuse(*_, **__):
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr(train, "fit_stage", refuse)
    taken_up = train.train(settings(), images(), tmp_path / "whole")
    assert taken_up.sample(4, stage=2, seed=0).shape == (4, SIDE, SIDE, 1)
    rows = train.histories(tmp_path / "whole")["first"].rows
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["rmse"]) for row in rows)


def test_a_stage_in_training_on_tensorflow_is_not_begun_again(tmp_path):
    from training import on_jax

    (tmp_path / "checkpoints-first").mkdir()
    (tmp_path / "checkpoints-first" / "ckpt-5.index").touch()
    with pytest.raises(UserError, match="checkpoints-first holds a training on TensorFlow"):
        on_jax.train(settings(), images(), images()[:8], tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "nist"], "unknown data set 'nist'"),
        (["--dataset", "mnist", "--epochs", "0"], "--epochs must be at least 1"),
        (["--dataset", "mnist", "--trial", "-1"], "--trial must not be negative"),
        (["--dataset", "mnist", "--method", "two-stage-no-skip"], "from the two-stage run"),
        (["--dataset", "mnist", "--data-dir", "a_file"], "a_file is not a folder"),
    ],
)
def test_mistakes_are_one_line(options, message, tmp_path, monkeypatch, capsys):
    from training import on_jax

    monkeypatch.setattr(on_jax.keras.backend, "backend", lambda: "jax")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    assert on_jax.main(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.on_jax: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("method", "second"), [("vae-learned-gamma", False), ("two-stage", True)])
def test_a_second_stage_is_trained_where_the_method_has_one(tmp_path, monkeypatch, method, second):
    pytest.importorskip("jax")
    from training import on_jax

    asked = []
    monkeypatch.setattr(on_jax.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(on_jax, "build", lambda _: None)
    monkeypatch.setattr(on_jax, "multiply_in_float32", lambda: None)
    monkeypatch.setattr(on_jax, "train_stages", lambda *arguments: asked.append(arguments[-1]))
    options = ["--dataset", "mnist", "--preset", "quick", "--method", method]
    assert on_jax.main([*options, "--out", str(tmp_path)]) == 0
    assert asked == [second]


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    import models
    from training import on_jax
    from training.failures import TrainingDiverged

    vae = models.vector.build(5, 2)
    vae.compile(optimizer=on_jax.adam(1e-4))
    state = on_jax.State(tmp_path / "state.npz", vae, 0.0, None)
    state.save(1)
    kept = (tmp_path / "state.npz").read_bytes()
    vae.log_gamma_weight.assign(np.nan)
    with pytest.raises(TrainingDiverged, match="log_gamma is not finite after epoch 2"):
        state.save(2)
    assert (tmp_path / "state.npz").read_bytes() == kept


def test_a_precision_that_the_user_has_chosen_stays():
    jax = pytest.importorskip("jax")
    from training import on_jax

    with jax.default_matmul_precision("tensorfloat32"):
        on_jax.multiply_in_float32()
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"


def test_another_backend_is_refused(capsys):
    from training import on_jax

    assert on_jax.main(["--dataset", "mnist"]) == 2
    assert "KERAS_BACKEND is 'tensorflow'" in capsys.readouterr().err
