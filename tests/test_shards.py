"""Parts of a plan: each run in one of them, and all of them in one report again."""

from __future__ import annotations

import json
import shutil
import threading
import types
from dataclasses import dataclass

import pytest

from data import lock
from experiments.errors import UserError
from training import ray_engine, shards
from training.folder import alone_in
from training.plan import make_plan


@dataclass(frozen=True)
class Runs:
    """What a plan is to :func:`shards.shard`."""

    runs: tuple
    gathers: bool = True


@dataclass(frozen=True)
class Run:
    """What a run is to :func:`shards.shard`."""

    name: str
    model: str = "two-stage"
    shares_first_stage: bool = False


@pytest.mark.parametrize("n", [1, 3, 7, 12])
def test_shards_are_disjoint_and_complete(n):
    plan = Runs(tuple(map(Run, "abcdefghij")))
    parts = [shards.shard(plan, i, n) for i in range(1, n + 1)]
    assert sorted(run.name for part in parts for run in part.runs) == list("abcdefghij")
    assert max(len(p.runs) for p in parts) - min(len(p.runs) for p in parts) <= 1
    assert not any(part.gathers for part in parts)
    assert [run.name for run in shards.shard(plan, 2, 3).runs] == ["b", "e", "h"]


def test_runs_that_need_each_other_are_not_spread():
    plan = Runs((Run("a"), Run("b", "two-stage-no-skip", shares_first_stage=True)))
    with pytest.raises(UserError, match=r"two-stage-no-skip: .* can't be spread with --shard"):
        shards.shard(plan, 1, 2)


def test_what_names_a_shard():
    assert shards.parse("2/8") == (2, 8)
    assert shards.parse("8/8") == (8, 8)
    for text in ("0/8", "9/8", "2", "2/", "a/b", "-1/8", "1/0", "1/2/3"):
        with pytest.raises(UserError, match="--shard takes i/n with i from 1 to n"):
            shards.parse(text)


RECORD = {
    "dataset": "mnist",
    "method": "wae-mmd",
    "trial": 0,
    "protocol": "paper",
    "n_fake": 10,
    "status": "ok",
}


def make_run(out, name, fid=1.0, status="ok", epochs=1):
    folder = out / name
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "first.keras").write_bytes(name.encode())
    (folder / "settings.json").write_text(json.dumps({"epochs": epochs}))
    (folder / "records.json").write_text(json.dumps([{**RECORD, "fid": fid, "status": status}]))


def test_merging(tmp_path):
    one, two, out = (tmp_path / n for n in ("one", "two", "out"))
    make_run(one, "a")
    make_run(one, "b")
    make_run(two, "c", fid=3.0)
    (two / "unfinished").mkdir()
    assert shards.merge([one, two], out) == ["a", "b", "c"]
    assert {p.name for p in out.iterdir()} == {"a", "b", "c"}
    assert (out / "b" / "model" / "first.keras").read_bytes() == b"b"
    assert json.loads((out / "c" / "records.json").read_text())[0]["fid"] == 3.0
    assert shards.merge([one, two, out], out) == []  # again: nothing to do


def test_a_run_that_another_process_trains_is_waited_for(tmp_path, monkeypatch):
    """Which then has its scores, those of the folder to be merged, and is left as it is."""
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(one, "a")
    (out / "a").mkdir(parents=True)
    shutil.copy(one / "a" / "settings.json", out / "a")
    (out / "a" / "checkpoint").touch()
    waiting, copied = threading.Event(), []
    monkeypatch.setattr(lock, "print", lambda *args, **kwargs: waiting.set(), raising=False)
    other = threading.Thread(target=lambda: copied.extend(shards.merge([one], out)))
    with alone_in(out / "a"):
        other.start()
        assert waiting.wait(60)
        assert (out / "a" / "checkpoint").exists()
        shutil.copy(one / "a" / "records.json", out / "a")
    other.join(60)
    assert not copied
    assert (out / "a" / "checkpoint").exists()


def test_a_lock_is_not_merged_and_none_is_left(tmp_path):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(one, "a")
    (one / "a" / ".lock").touch()  # of a process that was killed
    assert shards.merge([one], out) == ["a"]
    assert {p.name for p in (out / "a").iterdir()} == {"model", "settings.json", "records.json"}
    assert [p.name for p in out.iterdir()] == ["a"]


def test_the_lock_of_whoever_came_to_a_replaced_folder_stays(tmp_path):
    folder = tmp_path / "a"
    with alone_in(folder):
        folder.rename(tmp_path / "earlier")
        with alone_in(folder):
            pass
        folder.joinpath(".lock").touch()  # another process's
    assert folder.joinpath(".lock").exists()


def test_a_failed_run_gives_way_to_a_finished_one(tmp_path):
    one, two, out = (tmp_path / n for n in ("one", "two", "out"))
    make_run(one, "a", status="failed: the loss is nan")
    make_run(two, "a", fid=2.0)
    assert shards.merge([one], out) == ["a"]
    assert shards.merge([two], out) == ["a"]
    assert json.loads((out / "a" / "records.json").read_text())[0]["fid"] == 2.0
    assert shards.merge([one], out) == []


@pytest.mark.parametrize("change", [{"fid": 2.0}, {"epochs": 2}])
def test_two_runs_of_one_name_are_refused(tmp_path, change):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(out, "a")
    make_run(one, "a", **change)
    with pytest.raises(UserError, match="two different runs of one name"):
        shards.merge([one], out)


def test_what_is_refused_copies_nothing(tmp_path):
    one, two, three = (tmp_path / n for n in ("one", "two", "three"))
    for folder in (one, two):
        make_run(folder, "a")
    make_run(two, "b")
    make_run(three, "a", epochs=2)
    for folders in ([one, three], [two, one, three]):
        with pytest.raises(UserError, match="two different runs of one name"):
            shards.merge(folders, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_settings_from_before_a_field_are_those_of_its_default(tmp_path):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(out, "a")
    make_run(one, "a")
    (one / "a" / "settings.json").write_text(json.dumps({"epochs": 1, "gamma": "learned"}))
    assert shards.merge([one], out) == []  # the same run


def test_what_ray_has_logged_gives_way_to_a_run(tmp_path):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(one, "a")
    (out / "a").mkdir(parents=True)
    (out / "a" / "log.txt").touch()
    assert shards.merge([one], out) == ["a"]


def scored(folder, *protocols):
    records = [{**RECORD, "protocol": p, "fid": 1.0} for p in protocols]
    (folder / "records.json").write_text(json.dumps(records))


def test_scores_that_came_later_are_merged(tmp_path):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(one, "a")
    scored(one / "a", "paper")
    assert shards.merge([one], out) == ["a"]
    scored(one / "a", "paper", "standard")
    settings = {"epochs": 1, "n_fake": 10_000, "n_real": 10_000}  # on more images, too
    (one / "a" / "settings.json").write_text(json.dumps(settings))
    assert shards.merge([one], out) == ["a"]
    assert len(json.loads((out / "a" / "records.json").read_text())) == 2
    scored(one / "a", "standard")  # less than out has: left as it is
    assert shards.merge([one], out) == []
    scored(out / "a", "paper")
    with pytest.raises(UserError, match="two different runs of one name"):
        shards.merge([one], out)


def test_what_cannot_be_copied_is_one_line_and_no_run(tmp_path, monkeypatch):
    one, out = tmp_path / "one", tmp_path / "out"
    make_run(one, "a")

    def full(source, target, **_):
        raise shutil.Error([(str(source), str(target), "[Errno 28] No space left on device")])

    monkeypatch.setattr(shards.shutil, "copytree", full)
    with pytest.raises(UserError, match=r"a can't be copied to .*: .*No space left"):
        shards.merge([one], out)
    (out / ".merging-b").mkdir()
    (out / ".merging-b" / "records.json").touch()
    assert shards.run_folders(out) == []


def test_the_report_has_the_whole_plans_command(tmp_path):
    command = "python reproduce_paper.py --all --shard 2/8 --out 'my runs'"
    whole = "python reproduce_paper.py --all --out 'my runs'"
    assert shards.whole_command(command) == whole
    assert shards.whole_command(command.replace("--shard 2", "--shard=2")) == whole
    shards.keep_command(tmp_path / "b", command)
    assert shards.kept_command([tmp_path / "a", tmp_path / "b"]) == whole
    assert shards.kept_command([tmp_path / "a"]) is None


def test_a_folder_without_runs_is_refused(tmp_path):
    make_run(tmp_path / "one", "a")
    with pytest.raises(UserError, match=r"empty holds no scored runs: name the --out of a shard"):
        shards.merge([tmp_path / "one", tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()  # told before anything is copied


@pytest.mark.parametrize(
    ("resources", "cores", "gpus", "places"),
    [
        ({"CPU": 7.0}, 2, 0, 3),
        ({"CPU": 7.0, "GPU": 2.0}, 2, 1, 2),
        ({"CPU": 1.0, "GPU": 2.0}, 2, 1, 0),
        ({"CPU": 7.0}, 2, 1, 0),
        ({"memory": 1e9}, 1, 0, 0),
    ],
)
def test_what_a_node_of_a_ray_cluster_can_do_at_once(resources, cores, gpus, places):
    assert ray_engine._places(resources, cores, gpus) == places


def test_a_ray_cluster_that_does_not_answer_is_said(tmp_path, monkeypatch):
    def init(**_):
        raise ConnectionError("Could not find any running Ray instance.\nMore of it.")

    fake = types.SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setattr(ray_engine, "_ray", lambda: fake)
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    plan = make_plan(
        preset="quick",
        datasets=["mnist"],
        methods=["two-stage"],
        out=tmp_path,
        command="",
        epochs=1,
    )
    with pytest.raises(UserError, match=r"at elsewhere:6379 \(Could not find .*instance\.\)"):
        ray_engine.run_plan(plan)
