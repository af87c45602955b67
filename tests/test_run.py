"""Executing a plan: failures stay with their run, scores say what they are."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import threading
import types

import keras
import numpy as np
import pytest
from PIL import Image

import data
import models
import reproduce_paper
from data import lock
from data.jpeg import jpeg_round_trip
from evaluate import prdc, random_network
from evaluate.neighbours import median_distances
from experiments import presets
from experiments.errors import UserError
from experiments.files import write_atomically
from models.networks import part_seeds
from models.renormalised import aggregate_deviation
from models.vae import standard_normal
from tests import small
from training import folder as training_folder
from training import pictures, records, run, shards
from training import scores as run_scores
from training.callbacks import HISTORY_FIELDS
from training.failures import OutOfMemory, TrainingDiverged
from training.folder import alone_in, keep_stage, load_images, order_seeds
from training.layout import TRAINED_ON_FILE
from training.plan import check_output, make_plan
from training.results import write_results
from training.samples import sampling_seed, weights_digest

pytestmark = pytest.mark.usefixtures("narrow_second_stage")


def tiny_plan(out, datasets=("mnist", "fashion_mnist"), **changes):
    """A plan whose runs take seconds: 16 x 16 images, see ``_crops``."""
    options = {"methods": ["vae-learned-gamma", "two-stage"], "features": "random", **changes}
    plan = make_plan(
        preset="quick",
        datasets=list(datasets),
        out=out,
        command="python reproduce_paper.py",
        epochs=1,
        second_epochs=1,
        images=32,
        **options,
    )
    return dataclasses.replace(plan, runs=tuple(s.replace(**small.RUN) for s in plan.runs))


def load_crops(settings, split, data_dir):
    return small.crops(data.load(settings.source, split))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Crops, and no SavedModel, which would take a third of a tiny run: ``finished`` has one."""
    monkeypatch.setattr(run, "load_images", load_crops)
    small.no_export(monkeypatch.setattr)


@pytest.fixture(scope="module")
def finished(narrow_second_stage, tmp_path_factory):
    """An output folder with MNIST's two-stage run: trained once for all tests, which copy it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_images", load_crops)
        patch.setenv("TWO_STAGE_VAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        run.run_plan(tiny_plan(out, ["mnist"]), random_network())
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "out")


def test_a_diverged_run_is_recorded_and_the_others_go_on(tmp_path, monkeypatch, finished):
    train = run.train

    def first_diverges(settings, *args, **kwargs):
        if settings.dataset == "mnist":
            raise TrainingDiverged("the loss is nan after epoch 1")
        return train(settings, *args, **kwargs)

    monkeypatch.setattr(run, "train", first_diverges)
    run.run_plan(tiny_plan(tmp_path), random_network())
    status = {
        (r["dataset"], r["status"]) for r in json.loads((tmp_path / "results.json").read_text())
    }
    assert status == {("mnist", "failed: the loss is nan after epoch 1"), ("fashion_mnist", "ok")}
    assert "failed: the loss is nan" in (tmp_path / "report.md").read_text()
    by_status = {r["status"]: r for r in json.loads((tmp_path / "results.json").read_text())}
    failed, done = (by_status[s] for s in ("failed: the loss is nan after epoch 1", "ok"))
    of_scores = {"fid_tfgan", "kid_tfgan", "fd-random", "kd-random", "kd-random-std", "steps"}
    of_scores |= {"precision", "recall", "density", "coverage", "second_steps", "log_gamma"}
    of_scores |= {"weights", "log_gamma_z", *(f"nearest_{k}" for k in ("sample", "test", "n"))}
    of_scores |= {k for k in done if k.startswith("mmd_")} | {"active_dimensions"}
    assert done.keys() - failed.keys() <= of_scores
    assert not failed.keys() - done.keys()
    assert failed["fid"] is None
    assert set(failed["seconds"]) == set(done["seconds"])

    # Once what failed works, the same command does that run alone.
    kept = tmp_path / "fashion_mnist-infogan-two-stage-trial0" / "records.json"
    written = kept.stat().st_mtime_ns
    monkeypatch.setattr(run, "train", train)
    mnist = "mnist-infogan-two-stage-trial0"
    shutil.copytree(finished / mnist / "model", tmp_path / mnist / "model")  # spares its training
    for stage in ("first", "second"):
        shutil.copy(finished / mnist / f"history-{stage}.csv", tmp_path / mnist)
    run.run_plan(tiny_plan(tmp_path), random_network())
    assert {r["status"] for r in json.loads((tmp_path / "results.json").read_text())} == {"ok"}
    assert kept.stat().st_mtime_ns == written


def test_a_later_failure_leaves_what_was_scored(out, monkeypatch):
    before = json.loads((out / "results.json").read_text())

    def no_memory(*_, **__):
        raise TrainingDiverged("the loss is nan after epoch 1")

    monkeypatch.setattr(run, "train", no_memory)
    run.run_plan(tiny_plan(out, ["mnist"], extras=True), random_network())
    records = json.loads((out / "results.json").read_text())
    assert [r for r in records if r["status"] == "ok"] == before
    failed = [r for r in records if r["status"] != "ok"]
    assert {r["method"] for r in failed} == {
        "vae-learned-gamma-renormalised",
        "two-stage-renormalised",
    }
    assert all(r["smoke"] for r in failed)
    assert all(p.name.startswith("smoke") for p in (out / "tables").iterdir())


def test_without_its_second_stage_a_run_gives_the_first_ones_rows(out, monkeypatch):
    folder = out / "mnist-infogan-two-stage-trial0"
    before = {
        (r["method"], r["protocol"]): r for r in json.loads((out / "results.json").read_text())
    }
    for path in ("model/second.keras", "history-second.csv", "records.json"):
        (folder / path).unlink()
    train = run.train

    def second_diverges(*args, second, **kwargs):
        model = train(*args, second=False, **kwargs)
        if second:
            raise TrainingDiverged("the loss is nan after epoch 1")
        return model

    def status():
        found = json.loads((out / "results.json").read_text())
        return {(r["method"], r["status"]) for r in found}

    expected = {
        ("vae-learned-gamma", "ok"),
        ("two-stage", "failed: the loss is nan after epoch 1"),
    }
    monkeypatch.setattr(run, "train", second_diverges)
    run.run_plan(tiny_plan(out, ["mnist"]), random_network())
    assert status() == expected
    report = (out / "report.md").read_text()
    assert "VAE (learned gamma), trial 0" in report
    for record in json.loads((out / "results.json").read_text()):
        if record["status"] == "ok":
            again = before[record["method"], record["protocol"]]
            assert record["fd-random"] == again["fd-random"]

    # A command that does not ask for what failed does not forget it.
    run.run_plan(tiny_plan(out, ["mnist"], methods=["vae-learned-gamma"]), random_network())
    assert status() == expected


def test_scores_without_settings_are_reported_all_the_same(out):
    """A training may fail before its settings are written."""
    before = json.loads((out / "results.json").read_text())
    for folder in shards.run_folders(out):
        (folder / "settings.json").unlink()
    write_results(out, "command")
    assert json.loads((out / "results.json").read_text()) == before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("settings.json", {}, r"settings\.json is damaged, it is no settings with dataset, model"),
        ("figures.json", {"real": 3}, r"figures\.json is damaged, it is no list of files by name"),
        ("records.json", {"method": "gan"}, "it is of 'gan' on 'mnist', which this version does"),
        ("records.json", {"dataset": "svhn"}, "it is of 'vae-learned-gamma' on 'svhn', which this"),
    ],
)
def test_files_that_say_what_cannot_be_are_named(out, file, content, message):
    path = out / "mnist-infogan-two-stage-trial0" / file
    if file == "records.json":
        records = json.loads(path.read_text())
        content = [{**records[0], **content}, *records[1:]]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        write_results(out, "command")


def test_pictures_that_are_lost_or_damaged_are_named_and_left_out(out, capsys):
    folder = out / "mnist-infogan-two-stage-trial0" / "figures"
    (folder / "reconstructions.png").unlink()
    whole = (folder / "samples-two-stage.png").read_bytes()
    (folder / "samples-two-stage.png").write_bytes(whole[: len(whole) // 2])
    write_results(out, "command")
    said = capsys.readouterr().out
    assert f"{folder}: reconstructions.png, samples-two-stage.png missing or damaged, not" in said
    report = (out / "report.md").read_text()
    assert f"{folder.parent.name}/figures/real.png" in report
    for lost in ("samples-two-stage", "reconstructions"):
        assert f"{folder.parent.name}/figures/{lost}.png" not in report


def test_a_copied_run_is_named(out):
    name = "mnist-infogan-two-stage-trial0"
    shutil.copytree(out / name, out / f"{name}.bak")
    plan = tiny_plan(out, ["mnist"])
    for refused in (lambda: run.run_plan(plan, random_network()), lambda: check_output(plan)):
        with pytest.raises(UserError, match=rf"{name} and .*{name}\.bak hold the same run"):
            refused()


@pytest.mark.parametrize("asked", [{"extras": True}, {"data_notes": {"mnist": "other images"}}])
def test_other_images_are_refused_and_nothing_changes(out, monkeypatch, asked):
    plan = tiny_plan(out, ["mnist"], **asked)
    records_file = plan.folder(plan.runs[0]) / "records.json"
    before = records_file.read_bytes()
    monkeypatch.setattr(run, "load_images", lambda *args: load_crops(*args)[::-1])
    with pytest.raises(UserError, match=r"a run on other train and test images than .* --data-dir"):
        run.run_plan(plan, random_network())
    assert records_file.read_bytes() == before


def test_where_it_was_trained_is_what_holds_after_training(out, monkeypatch):
    plan = tiny_plan(out, ["mnist"], extras=True)
    folder = plan.folder(plan.runs[0])
    (folder / TRAINED_ON_FILE).write_text('{"backend": "jax", "stages": ["first"]}')
    train = run.train

    def again(settings, images, folder, **options):
        (folder / TRAINED_ON_FILE).unlink()  # as for a first stage that was removed
        return train(settings, images, folder, **options)

    monkeypatch.setattr(run, "train", again)
    found = run.execute(plan, plan.runs[0], random_network())
    assert any(r["method"].endswith("-renormalised") for r in found)
    assert not any("trained_on" in r for r in found)


def test_too_little_memory_for_scoring_leaves_the_other_runs(out, monkeypatch):
    distances = run.distances

    def too_large(real, fake, extractor, title):
        if title.startswith("mnist"):
            raise MemoryError
        return distances(real, fake, extractor, title)

    monkeypatch.setattr(run, "distances", too_large)
    plan = tiny_plan(out, extras=True)
    with pytest.raises(OutOfMemory, match="scoring mnist-infogan-two-stage-trial0"):
        run.run_plan(plan, random_network())
    records = json.loads((out / "results.json").read_text())
    assert {r["dataset"] for r in records} == {"mnist", "fashion_mnist"}
    assert (plan.folder(plan.runs[0]) / run.FEATURES_FOLDER).exists()  # for the next time
    assert not (plan.folder(plan.runs[1]) / run.FEATURES_FOLDER).exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [(f"{name}.json", '{"half": ') for name in ("settings", "records", "figures")]
    + [("settings.json", "{}"), ("records.json", '[{"fid": 3}]')],
)
def test_a_damaged_file_is_named_before_anything_is_trained(tmp_path, name, content):
    plan = tiny_plan(tmp_path, ["mnist"])
    path = plan.folder(plan.runs[0]) / name
    write_atomically(path, content)
    with pytest.raises(UserError, match=rf"{path} is damaged"):
        check_output(plan)


def test_a_run_with_damaged_records_does_not_vanish(tmp_path):
    plan = tiny_plan(tmp_path, ["mnist"])
    path = write_atomically(tmp_path / "earlier" / "records.json", '[{"fid": 3')
    for make in (lambda: check_output(plan), lambda: write_results(tmp_path, "a command")):
        with pytest.raises(UserError, match=rf"{path} is damaged"):
            make()
    assert not (tmp_path / "results.json").exists()


def test_a_damaged_model_is_named(out):
    plan = tiny_plan(out, ["mnist"], extras=True)
    path = plan.folder(plan.runs[0]) / "model" / "first.keras"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"first\.keras is damaged .*: remove it to train"):
        run.run_plan(plan, random_network())


def test_a_stage_that_is_trained_again_is_scored_again(out):
    folder = out / "mnist-infogan-two-stage-trial0"
    exported = folder / "saved_model" / "1" / "saved_model.pb"
    was = exported.stat().st_mtime_ns
    (folder / "model" / "second.keras").unlink()
    before = [
        r for r in json.loads((folder / "records.json").read_text()) if r["protocol"] == "paper"
    ]
    for record in before:
        if record["method"] == "two-stage":  # on a GPU the new weights would not be the old ones
            record["weights"] = "others"
    (folder / "records.json").write_text(json.dumps(before))
    plan = tiny_plan(out, ["mnist"])
    found = run.execute(plan, plan.runs[0], random_network())
    assert len(found) == 4
    assert before[0] in found  # the first stage's, which is as it was
    assert exported.stat().st_mtime_ns > was
    stages = [keras.saving.load_model(folder / "model" / f"{n}.keras") for n in ("first", "second")]
    model = models.TwoStageVAE(*stages)
    assert {(r["method"], r["weights"]) for r in found} == {
        (m, weights_digest(model, m)) for m in ("vae-learned-gamma", "two-stage")
    }


def test_which_records_are_about_a_model(monkeypatch):
    first = object()
    both = models.TwoStageVAE.__new__(models.TwoStageVAE)
    monkeypatch.setattr(run, "weights_digest", lambda model, method: f"{method} now")
    settings = presets.resolve("quick", "mnist")

    def kept(model, **weights):
        made = [{"method": m.replace("_", "-"), "weights": w} for m, w in weights.items()]
        made.append({"method": "two-stage"})  # failed, or older than the field
        found = run.of_this_model(made, model, settings)
        assert found.pop() == made[-1]
        return [r["method"] for r in found]

    new = {"vae_learned_gamma": "vae-learned-gamma now", "two_stage": "two-stage now"}
    assert kept(both, **new) == ["vae-learned-gamma", "two-stage"]
    assert kept(both, **{**new, "two_stage": "then"}) == ["vae-learned-gamma"]
    assert kept(both, **{**new, "vae_learned_gamma": "then"}) == []
    assert kept(first, **{**new, "two_stage": "not known here"}) == [
        "vae-learned-gamma",
        "two-stage",
    ]
    assert kept(first, vae_learned_gamma="then", two_stage="then") == []


@pytest.mark.parametrize("name", ["first", "second"])
def test_what_a_newly_trained_stage_makes_stale(tmp_path, monkeypatch, name):
    files = ["model/first.keras", "model/second.keras", "checkpoints-second/a", "saved_model/1/b"]
    files += ["figures.json", "samples.npz", "figures/samples.png"]  # the first stage's, too
    for file in (*files, "settings.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.setattr(training_folder.models, "save", lambda _, path: path.write_text("new"))
    keep_stage(types.SimpleNamespace(weights=[]), tmp_path, name)
    assert (tmp_path / "model" / f"{name}.keras").read_text() == "new"
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    gone = {"saved_model/1/b"} | ({*files[1:]} if name == "first" else set())
    assert left == {*files, "settings.json"} - gone


def test_pictures_of_a_first_stage_that_is_gone_do_not_stay(out):
    folder = out / "mnist-infogan-two-stage-trial0"
    (folder / "model" / "first.keras").unlink()
    (folder / "records.json").unlink()
    plan = tiny_plan(out, ["mnist"], methods=["vae-learned-gamma"])
    run.run_plan(plan, random_network())
    assert set(pictures.load_samples(folder)) == {"test images", "vae-learned-gamma"}
    assert "2-Stage VAE" not in (folder / "figures.json").read_text()
    assert not (folder / "figures" / "samples-two-stage.png").exists()


def test_damaged_samples_are_drawn_again(out, capsys):
    folder = out / "mnist-infogan-two-stage-trial0"
    whole = (folder / "samples.npz").read_bytes()
    for damaged in (b"", whole[:-100], whole[:200] + b"\xff" * 50 + whole[250:]):
        (folder / "samples.npz").write_bytes(damaged)
        assert pictures.load_samples(folder) == {}
        assert "samples.npz is damaged" in capsys.readouterr().out
    write_results(out, "a command")
    np.savez(folder / "samples.npz", others=np.zeros(3))
    assert pictures.load_samples(folder) == {}
    run.run_plan(tiny_plan(out, ["mnist"], extras=True), random_network())
    assert {"test images", "two-stage"} < set(pictures.load_samples(folder))


@pytest.mark.parametrize(
    "content", [None, b"", b"epoch,loss\n1\n2,1\n", b"\xff\xfe\x00", b"\0" * 9]
)
def test_a_damaged_history_is_named(out, content):
    plan = tiny_plan(out, ["mnist"])
    path = plan.folder(plan.runs[0]) / "history-first.csv"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path} is (damaged|missing).* remove the run's folder"):
        check_output(plan)


@pytest.mark.parametrize(
    ("name", "content"), [("records.json", '[{"fid": 1}]'), ("settings.json", "[]")]
)
def test_json_of_another_shape_is_named(out, name, content):
    plan = tiny_plan(out, ["mnist"])
    path = plan.folder(plan.runs[0]) / name
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path} is damaged"):
        check_output(plan)


def test_a_cache_that_cannot_be_written_is_named_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TWO_STAGE_VAE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"the cache folder .*file/cache.* TWO_STAGE_VAE_CACHE"):
        check_output(tiny_plan(tmp_path / "out", ["mnist"]))


@pytest.mark.skipif(lock.fcntl is None, reason="no locks here")
def test_a_run_has_one_process_at_a_time(out, capsys, monkeypatch):
    plan = tiny_plan(out, ["mnist"])
    (settings,) = plan.runs
    at_work, go_on = threading.Event(), threading.Event()

    def work():
        with alone_in(plan.folder(settings)):
            at_work.set()
            go_on.wait(60)
            (plan.folder(settings) / "records.json").unlink()

    monkeypatch.setattr(lock, "print", lambda *a, **k: (print(*a, **k), go_on.set()), raising=False)
    other = threading.Thread(target=work)
    other.start()
    assert at_work.wait(60)
    found = run.execute(plan, settings, random_network())
    other.join()
    assert "Another process is at work in" in capsys.readouterr().out
    assert len(found) == 4
    # It looked for scores once the other had ended, and made those that were gone.
    assert json.loads((plan.folder(settings) / "records.json").read_text()) == found
    assert not (plan.folder(settings) / ".lock").exists()


def test_a_model_that_gives_no_numbers_is_recorded(out, monkeypatch, capsys):
    plan = tiny_plan(out, ["mnist"])
    (plan.folder(plan.runs[0]) / "records.json").unlink()
    reconstruct = models.TwoStageVAE.reconstruct
    monkeypatch.setattr(
        models.TwoStageVAE, "reconstruct", lambda *args, **seed: reconstruct(*args, **seed) * np.nan
    )
    run.run_plan(plan, random_network())  # which ends well, as for any run that failed
    records = json.loads((out / "results.json").read_text())
    assert [r["status"] for r in records] == ["failed: its reconstructions are not finite"] * 4
    assert "scoring stopped, its reconstructions are not finite" in capsys.readouterr().out


def test_one_sample_that_is_no_number_is_recorded_and_the_rest_goes_on(out, monkeypatch):
    plan = tiny_plan(out, ["mnist"])
    (plan.folder(plan.runs[0]) / "records.json").unlink()
    draw = run.sample

    def one_is_lost(model, method, n, *rest):
        made = draw(model, method, n, *rest)
        if n == plan.runs[0].n_fake and method == "two-stage":
            made[-1] = np.nan
        return made

    monkeypatch.setattr(run, "sample", one_is_lost)
    monkeypatch.setattr(run, "HELD_OUT", plan.runs[0].n_fake - 1)  # fewer are tried beforehand
    run.run_plan(plan, random_network())
    records = json.loads((out / "results.json").read_text())
    assert {r["method"]: r["status"] for r in records} == {
        "vae-learned-gamma": "ok",
        "two-stage": "failed: its samples of two-stage are not finite",
    }


def test_a_narrower_command_keeps_the_other_rows_pictures(out):
    folder = out / "mnist-infogan-two-stage-trial0"
    before = json.loads((folder / "figures.json").read_text())
    assert "Samples: 2-Stage VAE" in before
    alone = tiny_plan(out, ["mnist"], methods=["vae-learned-gamma"])
    alone = dataclasses.replace(alone, runs=(alone.runs[0].replace(n_fake=16),))
    run.run_plan(alone, random_network())
    assert json.loads((folder / "figures.json").read_text()) == before
    assert set(pictures.load_samples(folder)) == {"test images", "vae-learned-gamma", "two-stage"}
    records = json.loads((out / "results.json").read_text())
    assert [r["n_fake"] for r in records if r["method"] == "two-stage"] == [32, 32]


def test_another_network_under_the_same_name_scores_again(out):
    plan = tiny_plan(out, ["mnist"], protocols=["paper"])
    other = random_network(seed=1)
    other.name = random_network().name
    assert other.fingerprint != random_network().fingerprint
    before = run.execute(plan, plan.runs[0], random_network())
    after = run.execute(plan, plan.runs[0], other)
    assert [r["method"] for r in after] == ["vae-learned-gamma", "two-stage"]
    for a in after:
        (b,) = (b for b in before if (b["method"], b["protocol"]) == (a["method"], "paper"))
        assert a["fd-random"] != b["fd-random"]


def test_what_is_said_of_the_data_later_holds_for_all_rows(out):
    plan = tiny_plan(out, ["mnist"], data_notes={"mnist": "a copy"})
    run.run_plan(plan, random_network())
    records = json.loads((out / "results.json").read_text())
    assert {r["data_note"] for r in records} == {"a copy"}
    # And for what a later command adds without saying it again.
    run.run_plan(tiny_plan(out, ["mnist"], extras=True), random_network())
    records = json.loads((out / "results.json").read_text())
    assert [r["data_note"] for r in records] == ["a copy"] * 8
    run.run_plan(tiny_plan(out, ["mnist"], data_notes={"mnist": None}), random_network())
    records = json.loads((out / "results.json").read_text())
    assert [r["data_note"] for r in records] == [None] * 8


def test_one_method_alone_trains_one_stage(tmp_path):
    plan = tiny_plan(tmp_path, ["mnist"], methods=["vae-learned-gamma"])
    made = run.execute(plan, plan.runs[0], random_network())
    assert {r["method"] for r in made} == {"vae-learned-gamma"}
    assert not (plan.folder(plan.runs[0]) / "history-second.csv").exists()
    both = tiny_plan(tmp_path, ["mnist"])
    made = run.execute(both, both.runs[0], random_network())
    assert {r["method"] for r in made} == {"vae-learned-gamma", "two-stage"}


def test_both_gammas_stand_side_by_side(out):
    run.run_plan(tiny_plan(out, ["mnist"], gamma="optimal"), random_network())
    records = json.loads((out / "results.json").read_text())
    assert [(r["method"], r["gamma"]) for r in records[::2]] == [
        ("vae-learned-gamma", "learned"),
        ("two-stage", "learned"),
        ("vae-optimal-gamma", "optimal"),
        ("two-stage-optimal-gamma", "optimal"),
    ]
    assert [r["second_epochs"] for r in records[::2]] == [0, 1, 0, 1]
    tables = {p.stem: p.read_text() for p in (out / "tables").glob("*.md")}
    assert "optimal" not in tables["smoke-paper"] + tables["smoke-mmd"]
    assert "2-Stage VAE (optimal gamma)" in tables["smoke-beyond-paper"]
    folder = out / "mnist-infogan-two-stage-optimal-gamma-trial0"
    assert (folder / "figures" / f"{pictures.OPTIMAL_GAMMA_FIGURE}.png").exists()
    report = (out / "report.md").read_text()
    assert "2-Stage VAE (optimal gamma), trial 0" in report
    assert "learned and optimal gamma" in report


def test_extras_are_scored_beside_the_plain_rows(out, monkeypatch):
    scored_against = []
    real_features = run.real_features

    def noted(settings, extractor, images, sha256):
        scored_against.append(images)
        return real_features(settings, extractor, images, sha256)

    monkeypatch.setattr(run, "real_features", noted)
    plain = json.loads((out / "results.json").read_text())
    plan = tiny_plan(out, ["mnist"], extras=True)
    run.run_plan(plan, random_network())
    train, test = (load_crops(plan.runs[0], split, None) for split in ("train", "test"))
    (found,) = scored_against
    np.testing.assert_array_equal(found, test)
    records = json.loads((out / "results.json").read_text())
    names = [r["method"] for r in records[::2]]
    assert names == [
        *("vae-learned-gamma", "two-stage"),
        *("vae-learned-gamma-renormalised", "two-stage-renormalised"),
    ]
    assert records[:4] == plain  # scored once, trained once
    first = keras.saving.load_model(
        out / "mnist-infogan-two-stage-trial0" / "model" / "first.keras"
    )
    variance = np.mean(np.square(aggregate_deviation(*first.encode(train))))
    found = [r["aggregate_variance"] for r in records[4:]]
    assert found == pytest.approx([variance] * 4, rel=1e-5)
    distance = median_distances({"test": data.select_real(test, 32)}, train)["test"]
    assert distance > 0
    assert [r["nearest_test"] for r in records] == pytest.approx([distance] * 8, rel=1e-5)
    assert all(0 < r["nearest_sample"] < 1 for r in records)
    assert (out / "tables" / "smoke-nearest.md").exists()
    assert "aggregate_variance" not in records[0]
    assert records[4]["fd-random"] != records[0]["fd-random"]
    tables = {p.stem: p.read_text() for p in (out / "tables").glob("*.md")}
    assert "renormalised" not in tables["smoke-paper"] + tables["smoke-mmd"]
    assert "2-Stage VAE, renormalised" in tables["smoke-beyond-paper"]


def test_the_second_protocol_can_come_later(out, monkeypatch):
    folder = out / "mnist-infogan-two-stage-trial0"
    both = json.loads((folder / "records.json").read_text())
    one = [r for r in both if r["protocol"] == "standard"]
    (folder / "records.json").write_text(json.dumps(one))
    scored = []
    fake_features = run.fake_features

    def noted(weights, method, protocol, *rest):
        scored.append((method, protocol))
        return fake_features(weights, method, protocol, *rest)

    monkeypatch.setattr(run, "fake_features", noted)
    alone = tiny_plan(out, ["mnist"], protocols=["standard"])
    run.run_plan(alone, random_network())
    assert scored == []
    assert json.loads((out / "results.json").read_text()) == one
    run.run_plan(tiny_plan(out, ["mnist"]), random_network())
    assert scored == [("vae-learned-gamma", "paper"), ("two-stage", "paper")]
    found = json.loads((out / "results.json").read_text())
    scores = {(r["method"], r["protocol"]): r["fd-random"] for r in found}
    for method in ("vae-learned-gamma", "two-stage"):
        assert scores[method, "paper"] != scores[method, "standard"]
    assert scores == {(r["method"], r["protocol"]): r["fd-random"] for r in both}


def test_all_methods_stand_in_one_picture(out, monkeypatch):
    drawn = {}
    method_rows = pictures.figures.method_rows

    def keep(rows, path, **kwargs):
        drawn[path.name] = rows
        return method_rows(rows, path, **kwargs)

    monkeypatch.setattr(pictures.figures, "method_rows", keep)
    methods = ["wae-mmd", "vae-learned-gamma", "two-stage"]
    run.run_plan(tiny_plan(out, ["mnist"], methods=methods), random_network())
    (rows,) = drawn.values()
    assert list(rows) == ["Test images", "VAE (learned gamma)", "WAE-MMD", "2-Stage VAE"]
    assert {images.shape for images in rows.values()} == {(pictures.SIDE_BY_SIDE, 16, 16, 3)}
    name = "methods-mnist-infogan.png"
    assert list(drawn) == [name]
    assert (out / "figures" / name).read_bytes().startswith(b"\x89PNG")
    report = (out / "report.md").read_text()
    assert report.count(f"](figures/{name})") == 1
    assert report.index("All methods side by side") < report.index("2-Stage VAE, trial 0")
    first = keras.saving.load_model(
        out / "mnist-infogan-two-stage-trial0" / "model" / "first.keras"
    )
    seed = sampling_seed(tiny_plan(out, ["mnist"]).runs[0])
    again = pictures.figures.as_uint8(first.sample(pictures.GRID, seed=seed))[
        : pictures.SIDE_BY_SIDE
    ]
    np.testing.assert_array_equal(rows["VAE (learned gamma)"], again)


def test_both_stages_start_from_the_same_noise():
    """The u of a two-stage VAE is the z of every other method, with the same seed."""
    for kappa in (4, 64):
        u, _ = np.split(standard_normal(2 * pictures.GRID, kappa, 7), 2)
        np.testing.assert_array_equal(u, standard_normal(pictures.GRID, kappa, 7))


def test_what_counts_as_smoke():
    paper, quick = (presets.resolve(p, "mnist") for p in ("paper", "quick"))
    assert not records.is_smoke(paper, True, 10_000)
    assert records.is_smoke(paper, False, 10_000)
    assert records.is_smoke(paper, True, 9_999)
    assert records.is_smoke(paper.replace(n_fake=1_000), True, 10_000)
    assert records.is_smoke(quick.replace(n_fake=10_000), True, 10_000)


def test_precision_is_the_fakes_and_recall_the_real_ones():
    real, fake = np.random.default_rng(0).normal(size=(2, 40, 3))
    fake = np.concatenate([0.3 * fake, 0.3 * fake[:15] + 0.01])
    found = run_scores.distances(real, fake, random_network(), "title")
    expected = prdc.prdc(real, fake)
    assert (found["precision"], found["recall"]) == (expected.precision, expected.recall)
    assert found["precision"] > found["recall"] + 0.2


def test_the_course_of_a_row_is_that_of_its_stages(tmp_path):
    settings = presets.resolve("quick", "mnist").replace(epochs=2, second_epochs=3, batch_size=32)
    for stage, epochs, begin in (("first", 2, -1.0), ("second", 3, -2.0)):
        history = training_folder.histories(tmp_path)[stage]
        for epoch in range(1, epochs + 1):
            row = dict.fromkeys(HISTORY_FIELDS, 0.0)
            history.append(
                row | {"epoch": epoch, "log_gamma": begin - 0.1 * epoch, "seconds": -begin}
            )
    both = run.course(settings, "two-stage", 100, tmp_path)
    alone = run.course(settings, "vae-learned-gamma", 100, tmp_path)
    assert (both["steps"], both["second_steps"]) == (6, 9)
    assert (alone["steps"], alone["second_steps"]) == (6, 0)
    assert both["log_gamma"] == alone["log_gamma"] == pytest.approx(-1.2)
    assert (both["log_gamma_z"], alone["log_gamma_z"]) == (pytest.approx(-2.3), None)
    assert (both["seconds"]["first"], both["seconds"]["second"]) == (2.0, 6.0)
    assert (alone["seconds"]["first"], alone["seconds"]["second"]) == (2.0, 0.0)


def test_samples_meet_no_noise_and_no_order_of_training():
    settings = presets.resolve("quick", "mnist")
    used = {settings.seed, *order_seeds(settings), *part_seeds(settings.seed, 6)}
    assert sampling_seed(settings) not in used


def test_training_is_told_how_often_to_save(tmp_path, monkeypatch):
    told = []

    def interrupted(*args, checkpoint_seconds, **kwargs):
        told.append(checkpoint_seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", interrupted)
    plan = tiny_plan(tmp_path, ["mnist"], checkpoint_seconds=7)
    with pytest.raises(KeyboardInterrupt):
        run.execute(plan, plan.runs[0], random_network())
    assert told == [7]


def test_trials_have_runs_of_their_own(tmp_path):
    plan = tiny_plan(tmp_path, trials=3, seed=5)
    assert len(plan.runs) == 6
    assert len({plan.folder(s) for s in plan.runs}) == 6
    assert len({sampling_seed(s) for s in plan.runs[:3]}) == 3
    assert plan.runs[0].seed == 5


def test_real_images_are_chosen_once_and_mixed():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    chosen = data.select_real(images, 40)
    np.testing.assert_array_equal(chosen, data.select_real(images, 40))
    assert len(np.unique(chosen)) == 40
    assert (np.diff(chosen.ravel().astype(int)) < 0).any()
    assert len(data.select_real(images, 1000)) == 100


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_round_trip(channels):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    images = np.broadcast_to(ramp[None, :, None, None], (2, 32, 32, channels)).copy()
    again = jpeg_round_trip(images)
    assert again.shape == images.shape
    assert again.dtype == np.uint8
    difference = np.abs(again.astype(int) - images)
    assert 0 < difference.max() <= 12  # lossy, but close on a smooth image
    np.testing.assert_array_equal(again[0], again[1])


def test_jpeg_has_scipys_quality():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=75)
    np.testing.assert_array_equal(jpeg_round_trip(noise[None])[0], np.asarray(Image.open(buffer)))


def test_cifar_goes_through_jpeg_unless_told_otherwise(tmp_path):
    def settings(**changes):
        return make_plan(
            preset="paper",
            datasets=["cifar10", "mnist"],
            methods=["two-stage"],
            out=tmp_path,
            command="",
            **changes,
        ).runs

    assert {s.dataset: s.jpeg for s in settings()} == {"mnist": False, "cifar10": True}
    assert [s.jpeg for s in settings(jpeg=False)] == [False, False]


def test_shards_of_one_folder_and_their_report(tmp_path, monkeypatch, capsys):
    plan = tiny_plan(tmp_path, methods=["vae-learned-gamma"])
    monkeypatch.setattr(reproduce_paper, "plan_of", lambda *_: pytest.fail("nothing to train"))
    for i in (1, 2):
        assert run.run_plan(shards.shard(plan, i, 2), random_network()) is None
        assert not (tmp_path / "results.json").exists()
    assert reproduce_paper.main(["--merge", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert {r["dataset"] for r in found} == {"mnist", "fashion_mnist"}
    assert "report.html" in capsys.readouterr().out


def test_nothing_to_report(tmp_path, capsys):
    assert reproduce_paper.main(["--merge", "--out", str(tmp_path)]) == 2
    assert "holds no scored runs" in capsys.readouterr().err


def test_images_go_through_jpeg_where_the_settings_say_so():
    settings = presets.resolve("quick", "cifar10")
    plain = data.load(settings.source, "test")[:8]
    for jpeg in (False, True):
        images = load_images(settings.replace(jpeg=jpeg), "test")[:8]
        assert (images == plain).all() != jpeg
    np.testing.assert_array_equal(images, jpeg_round_trip(plain))


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "b"},
        {"settings": {"jpeg": True}},
        {"settings": {"n_real": 32}},
        {"settings": {"source": "fashion_mnist-sample"}},
        {"extractor": {"fingerprint": "b"}},
        {"extractor": {"name": "b"}},
    ],
    ids=str,
)
def test_real_features_are_kept_for_what_they_depend_on_alone(change):
    calls = []

    class Counting:
        name, fingerprint = "a", "a"

        def __call__(self, images, progress):
            calls.append(len(images))
            return np.zeros((len(images), 3), "float32")

    settings = presets.resolve("quick", "mnist").replace(n_real=48)
    test = data.load("mnist-sample", "test")[:64]

    def scored(sha256="a", settings=settings, **named):
        extractor = Counting()
        vars(extractor).update(named)
        return run_scores.real_features(settings, extractor, test, sha256)

    assert len(scored()) == len(scored()) == 48
    assert calls == [48]
    scored(
        change.get("sha256", "a"),
        settings.replace(**change.get("settings", {})),
        **change.get("extractor", {}),
    )
    assert len(calls) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_scores, "in_tf32", lambda: True)
        scored()
    assert len(calls) == 3
    assert len(scored(settings=settings.replace(n_real=100))) == 64  # all that there are


def test_features_go_on_where_they_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(run_scores, "PIECE", 10)
    seen = []

    def extractor(images, progress):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(images[0])
        progress(len(images), len(images))
        return np.stack([images, images], axis=1).astype("float32")

    def features():
        return run_scores.features(extractor, "title", tmp_path, {"n": 34}, lambda: np.arange(34))

    with pytest.raises(KeyboardInterrupt):
        features()
    assert seen == [0, 10]
    seen.clear()
    np.testing.assert_array_equal(features(), np.stack([np.arange(34.0)] * 2, axis=1))
    assert seen == [20, 30]  # the first two were there


@pytest.mark.slow
@pytest.mark.longest
def test_every_method_table_and_figure(tmp_path):
    """All that ``--tables all --methods all`` can ask of MNIST, and Table 2, on tiny images."""
    common = {"preset": "quick", "out": tmp_path, "command": "python reproduce_paper.py"}
    common |= {"epochs": 1, "second_epochs": 1, "images": 32, "features": "random"}
    plan = make_plan(datasets=["mnist"], methods=["all"], **common)
    table2 = make_plan(datasets=None, methods=None, tables=["2"], **common)
    shape = {**small.RUN, "image_shape": (16, 16, 3), "network_options": (("base_dim", 2),)}
    runs = [s.replace(**small.RUN) for s in plan.runs] + [s.replace(**shape) for s in table2.runs]
    run.run_plan(dataclasses.replace(plan, runs=tuple(runs)), random_network())
    records = json.loads((tmp_path / "results.json").read_text())
    assert {r["status"] for r in records} == {"ok"}
    _, methods = presets.TABLES["2"]
    assert {(r["dataset"], r["method"]) for r in records} == {
        *(("mnist", m) for m in presets.METHODS),
        *(("celeba140-standin", m) for m in methods),
    }
    assert {r["network"] for r in records if r["dataset"] == "celeba140-standin"} == {"wae"}
    report = (tmp_path / "report.md").read_text()
    tables = {p.stem for p in (tmp_path / "tables").glob("*.md")}
    assert tables >= {"smoke-paper", "smoke-standard", "smoke-mmd", "smoke-extra-paper"}
    for figure in ("figure1a", "figure1b", "figure2", "interpolations", "neighbours"):
        for dataset, network in (("mnist", "infogan"), ("celeba140-standin", "wae")):
            place = f"{dataset}-{network}-two-stage-trial0/figures/{figure}.png"
            assert (tmp_path / place).read_bytes().startswith(b"\x89PNG")
            assert f"]({place})" in report


def test_a_record_says_what_a_gpu_multiplies_in(monkeypatch):
    import tensorflow as tf

    assert "TF32" not in records.machine()  # no GPU here
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    details = {"device_name": "NVIDIA H100"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert records.machine().endswith(", NVIDIA H100")  # float32, which environment.py asks for
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert records.machine().endswith(", NVIDIA H100, TF32")
