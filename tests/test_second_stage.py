"""Ablations of the second stage: what they leave out, and that they share a first stage."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

import models
from evaluate import PROTOCOLS, random_network
from experiments.errors import UserError
from experiments.files import read_json, write_atomically, write_json
from experiments.settings import SECOND_STAGE_ABLATIONS
from models.networks import dense
from tests.small import no_export
from training import run
from training.calibrate import Pace, seconds_of
from training.callbacks import HISTORY_FIELDS
from training.failures import RunFailed
from training.folder import histories
from training.layout import TRAINED_ON_FILE
from training.plan import make_plan

pytestmark = pytest.mark.usefixtures("narrow_second_stage")

SHAPE = (8, 8, 1)
KAPPA = 4


def images(n=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_without_skip_the_output_layers_see_the_last_hidden_layer_alone():
    encoder, decoder = (
        build(64, units=1024, skip=False) for build in (dense.encoder, dense.decoder)
    )
    assert count(encoder) == 66_560 + 2 * 1_049_600 + 2 * 65_600
    assert count(decoder) == 66_560 + 2 * 1_049_600 + 65_600
    z = np.random.default_rng(0).normal(size=(3, 64)).astype("float32")
    for network in (encoder, decoder):
        h = z
        for name in ("dense1", "dense2", "dense3"):
            kernel, bias = (w.numpy() for w in network.get_layer(name).weights)
            h = np.maximum(h @ kernel + bias, 0)
        name = "mu" if network is encoder else "z_hat"
        kernel, bias = (w.numpy() for w in network.get_layer(name).weights)
        out = network(z)
        out = ops.convert_to_numpy(out[0] if network is encoder else out)
        np.testing.assert_allclose(out, h @ kernel + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", SECOND_STAGE_ABLATIONS)
def test_what_each_leaves_out(method):
    model = models.build(method, SHAPE, latent_dim=KAPPA)
    whole = models.build("two-stage", SHAPE, latent_dim=KAPPA)
    skips = count(model.second) == count(whole.second)
    assert skips == (method == "two-stage-fixed-z")
    assert model.second.fixed_z == (method != "two-stage-no-skip")
    for a, b in zip(model.first.get_weights(), whole.first.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    seen = model.posteriors(images())
    mu_z, sd_z = model.encode(images())
    drawn = [ops.convert_to_numpy(model.second.observe(seen)) for _ in range(2)]
    if model.second.fixed_z:
        np.testing.assert_array_equal(drawn[0], drawn[1])
        np.testing.assert_array_equal(seen, model.posteriors(images()))  # after a resumption too
        eps = (drawn[0] - mu_z) / sd_z
        assert abs(eps.mean()) < 0.25
        assert eps.std() == pytest.approx(1.0, abs=0.2)
    else:
        assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
        np.testing.assert_array_equal(seen, np.stack([mu_z, sd_z], axis=1))

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model.second))
    assert again.get_config() == model.second.get_config()
    assert again.fixed_z == model.second.fixed_z


def test_a_config_from_before_the_option_draws_fresh_z():
    config = models.build("two-stage", SHAPE, latent_dim=KAPPA).second.get_config()
    del config["fixed_z"]
    assert models.LatentVAE.from_config(config).fixed_z is False


def plan(tmp_path, methods, **options):
    chosen = {"preset": "quick", "datasets": ["mnist"], "out": tmp_path, "command": "", **options}
    return make_plan(methods=methods, features="random", **chosen)


def test_an_ablation_brings_the_run_whose_first_stage_it_shares(tmp_path):
    made = plan(tmp_path, ["two-stage-no-skip"], trials=2)
    assert [(s.model, s.trial) for s in made.runs] == [
        *(("two-stage", 0), ("two-stage", 1)),
        *(("two-stage-no-skip", 0), ("two-stage-no-skip", 1)),
    ]
    assert made.rows(made.runs[-1]) == ("two-stage-no-skip",)
    assert made.trains_second(made.runs[-1])
    every = plan(tmp_path, ["all"])
    assert not {s.model for s in every.runs} & set(SECOND_STAGE_ABLATIONS)
    with pytest.raises(UserError, match="no table of the paper has two-stage-fixed-z"):
        plan(tmp_path, ["two-stage-fixed-z"], tables=["1"])
    with pytest.raises(UserError, match=r"--gamma optimal is for .* not for two-stage-fixed-z"):
        plan(tmp_path, ["two-stage-fixed-z"], gamma="optimal")


def test_an_ablation_shares_the_first_stage_and_has_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load_images", lambda settings, split, data_dir: images(64))
    no_export(monkeypatch.setattr)
    made = plan(tmp_path, ["two-stage-pythae-like"], epochs=1, second_epochs=1, images=32)
    small = {"image_shape": SHAPE, "latent_dim": KAPPA, "batch_size": 32}
    made = type(made)(
        **{**vars(made), "runs": tuple(s.replace(**small) for s in made.runs)},
    )
    run.run_plan(made, random_network())
    records = json.loads((tmp_path / "results.json").read_text())
    assert [r["method"] for r in records[::2]] == ["two-stage", "two-stage-pythae-like"]
    assert {r["status"] for r in records} == {"ok"}
    assert len({r["log_gamma"] for r in records}) == 1
    firsts = {(tmp_path / s.name / run.FIRST_MODEL).read_bytes() for s in made.runs}
    assert len(firsts) == 1
    tables = {p.stem: p.read_text() for p in (tmp_path / "tables").glob("*.md")}
    assert "z drawn once" not in tables["smoke-paper"] + tables["smoke-mmd"]
    table = tables["smoke-second-stage-paper"]
    assert table.count("| mnist-sample [1] | 2-Stage VAE") == 2
    assert "[1] Only 64 of 2,000 train images and 64 of 1,000 test images." in table
    assert "2-Stage VAE, no skip connections and z drawn once" in table
    assert "beyond" not in " ".join(tables)


def test_the_shared_first_stage_costs_time_once(tmp_path):
    made = plan(tmp_path, ["two-stage-no-skip"], epochs=5, second_epochs=10)
    whole, shared = (seconds_of(s, made, Pace(1.0, 0.1, None))[0] for s in made.runs)
    steps = 2000 // 64
    assert whole == pytest.approx(5 * steps + 10 * steps * 0.1)
    assert shared == pytest.approx(10 * steps * 0.1)


def test_what_is_done_costs_no_time_again(tmp_path):
    made = plan(tmp_path, ["two-stage"], epochs=5, second_epochs=10)
    (settings,) = made.runs
    folder, steps = made.folder(settings), 2000 // 64

    def seconds():
        return seconds_of(settings, made, Pace(1.0, 0.1, 0.001))

    whole = seconds()
    assert whole == pytest.approx((5 * steps + 10 * steps * 0.1, 3.0))
    history = histories(folder)["first"]
    for epoch in (1, 2):
        history.append({**dict.fromkeys(HISTORY_FIELDS, 0.0), "epoch": epoch})
    assert seconds() == whole  # a history without a training to go on with
    write_atomically(folder / "checkpoints-first" / "ckpt-7.index", "")
    assert seconds()[0] == pytest.approx(3 * steps + 10 * steps * 0.1)
    write_atomically(folder / "model" / "first.keras", "")
    assert seconds()[0] == pytest.approx(10 * steps * 0.1)
    failed = {
        "dataset": "mnist",
        "method": "two-stage",
        "trial": 0,
        "protocol": "paper",
        "n_fake": 1000,
        "status": "failed: memory",
    }
    write_json(folder / "records.json", [failed])
    assert seconds()[1] == pytest.approx(3.0)
    write_json(folder / "records.json", [{**failed, "status": "ok"}])
    assert seconds()[1] == pytest.approx(2.0)
    write_json(
        folder / "records.json", [{**failed, "protocol": p, "status": "ok"} for p in PROTOCOLS]
    )
    assert seconds() == (0, 0)


def test_without_a_first_stage_to_share_an_ablation_fails(tmp_path):
    made = plan(tmp_path, ["two-stage-no-skip"])
    with pytest.raises(RunFailed, match="mnist-infogan-two-stage-trial0, whose first stage"):
        run.share_first_stage(made, made.runs[1])
    run.share_first_stage(made, made.runs[0])  # the two-stage run trains its own


def test_an_ablation_takes_the_first_stage_that_its_run_has_now(tmp_path):
    made = plan(tmp_path, ["two-stage-no-skip"])
    source, folder = (made.folder(s) for s in made.runs)
    second = folder / "model" / "second.keras"

    def share(first: bytes):
        for name, content in (("model/first.keras", first), ("history-first.csv", b"epoch")):
            write_atomically(source / name, content)
        run.share_first_stage(made, made.runs[1])
        return (folder / "model" / "first.keras").read_bytes()

    assert share(b"one") == b"one"
    write_atomically(second, b"trained on one")
    assert share(b"one") == b"one"
    assert second.exists()
    assert share(b"another") == b"another"
    assert not second.exists()
    (source / "model" / "first.keras").unlink()
    run.share_first_stage(made, made.runs[1])  # its own copy will do


def test_what_is_said_of_where_it_was_trained_goes_with_the_first_stage(tmp_path):
    made = plan(tmp_path, ["two-stage-no-skip"])
    source, folder = (made.folder(s) for s in made.runs)
    said = source / TRAINED_ON_FILE

    def share(first: bytes):
        for name, content in (("model/first.keras", first), ("history-first.csv", b"epoch")):
            write_atomically(source / name, content)
        run.share_first_stage(made, made.runs[1])
        return read_json(folder / TRAINED_ON_FILE)

    write_json(said, {"backend": "jax", "stages": ["first", "second"]})
    assert share(b"one") == [{"backend": "jax", "stages": ["first"]}]
    write_json(said, [{"backend": "jax", "stages": ["second"]}])
    assert share(b"one more") is None
    write_json(said, [{"backend": "jax", "stages": ["first"]}])
    assert share(b"one") == [{"backend": "jax", "stages": ["first"]}]
    said.unlink()  # trained again, by the command
    assert share(b"another") is None


def test_a_fixed_z_is_drawn_again_alike_when_a_run_is_loaded(tmp_path):
    model = models.build("two-stage-fixed-z", SHAPE, latent_dim=KAPPA)
    model.save(tmp_path)
    again = models.TwoStageVAE.load(tmp_path)
    np.testing.assert_array_equal(model.posteriors(images()), again.posteriors(images()))
