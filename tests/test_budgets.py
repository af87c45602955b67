"""The Frechet distance against epochs: what belongs on one line, and what is refused."""

from __future__ import annotations

import json

import pytest

from evaluate import budgets
from experiments.errors import UserError

BASE = {
    "dataset": "mnist", "data_source": "official", "data_note": None, "network": "infogan",
    "latent_dim": 64, "protocol": "paper", "features": "inception-2015-12-05", "n_real": 10_000,
    "n_fake": 10_000, "preset": "paper", "learning_rate": 1e-4, "gamma_speed": 1.0,
    "batch_size": 64, "status": "ok", "smoke": False, "features_note": None, "log_gamma": -2.0,
}  # fmt: skip


def record(epochs, fid, method="two-stage", **changes):
    second = 2 * epochs if method == "two-stage" else 0
    made = {**BASE, "method": method, "epochs": epochs, "second_epochs": second, "fid": fid}
    return {**made, **changes}


def folder(path, *records):
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(records))
    return str(path)


def test_trials_are_averaged_and_schedules_are_in_order():
    found = budgets.lines(
        [
            *(record(10, 40.0, log_gamma=-3.0), record(10, 42.0, log_gamma=-4.0, trial=1)),
            *(record(1, 100.0), record(1, 120.0, "vae-learned-gamma")),
            record(1, 121.0, "vae-learned-gamma"),  # the same training, made and scored again
        ]
    )
    assert found == {
        "2-Stage VAE": [(1, 2, 100.0, -2.0, 1), (10, 20, 41.0, -3.5, 2)],
        "VAE (learned gamma)": [(1, 0, 120.0, -2.0, 1)],
    }


def test_files_of_ones_own_are_the_same_data():
    local = record(10, 40.0, data_source="local")
    (line,) = budgets.lines([record(1, 100.0), local]).values()
    assert [point.epochs for point in line] == [1, 10]


def test_a_method_without_gamma():
    of = [record(1, 100.0, "wae-mmd", log_gamma=None), record(1, 90.0)]
    found = budgets.lines(of)
    assert [row[4] for row in budgets.table(found, of[0]).rows] == ["", "-2.00"]


@pytest.mark.parametrize(
    "change",
    [{"features": "random-conv"}, {"n_fake": 2000}, {"preset": "lite"}, {"data_note": "a copy"}],
)
def test_what_differs_otherwise_is_refused(change):
    with pytest.raises(UserError, match=f"differ in {next(iter(change))} "):
        budgets.lines([record(1, 100.0), record(10, 40.0, **change)])


def test_command(tmp_path, capsys):
    one = folder(tmp_path / "1", record(1, 100.0), record(1, 110.0, "vae-learned-gamma"))
    ten = folder(tmp_path / "10", record(10, 40.04), record(10, 70.0, "vae-learned-gamma"))
    out = tmp_path / "out"
    assert budgets.main([one, ten, "--out", str(out)]) == 0
    rows = (out / "mnist-paper.csv").read_text().splitlines()
    assert rows[0] == "Method,Epochs,Second stage's,FID,log gamma,Trials,Notes"
    assert "2-Stage VAE,10,20,40.0,-2.00,1," in rows
    assert len(rows) == 5
    assert "`inception-2015-12-05`" in (out / "mnist-paper.md").read_text()
    assert (out / "mnist-paper.png").read_bytes().startswith(b"\x89PNG")

    assert budgets.main([one, "--out", str(out), "--protocol", "standard"]) == 2
    assert "none of the records" in capsys.readouterr().err
    failed = folder(tmp_path / "failed", record(1, None, status="failed: nan"))
    for path in (failed, str(tmp_path / "absent")):
        assert budgets.main([path, "--out", str(out)]) == 2
        assert "holds no results.json with scored runs" in capsys.readouterr().err


def test_smoke_scores_keep_their_name_and_have_no_published_level(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        budgets.figures, "against_epochs", lambda lines, levels, unit, path: drawn.update(vars())
    )
    smoke, real = record(1, None, **{"fd-random": 2.0, "smoke": True}), record(1, 50.0)
    budgets.draw(budgets.lines([smoke]), [smoke], tmp_path)
    assert drawn["levels"] == {}
    assert drawn["unit"] == "fd-random"
    budgets.draw(budgets.lines([real]), [real], tmp_path)
    assert drawn["levels"] == {"2-Stage VAE": 12.6}
    assert drawn["unit"] == "FID"
    few = record(1, 50.0, smoke=True)
    budgets.draw(budgets.lines([few]), [few], tmp_path)
    assert drawn["unit"] == budgets.table(budgets.lines([few]), few).header[3] == "smoke-fid"
    not_the_papers = ({"protocol": "standard"}, {"features": "inception-2015-12-05-rebuilt"})
    for change in ({"network": "resnet"}, {"data_note": "a copy"}, *not_the_papers):
        other = record(1, 50.0, **change)
        budgets.draw(budgets.lines([other]), [other], tmp_path)
        assert drawn["levels"] == {}


def test_too_many_methods_and_a_folder_in_the_way_are_one_line(tmp_path, capsys):
    names = ["two-stage", "vae-learned-gamma", "vae-fixed-gamma", "vae-flow", "wae-mmd"]
    many = folder(tmp_path / "many", *(record(1, 50.0, name) for name in names))
    out = str(tmp_path / "out")
    assert budgets.main([many, "--out", out]) == 2
    assert "5 methods are too many" in capsys.readouterr().err
    assert budgets.main([many, "--out", out, "--methods", *names[:4]]) == 0
    (tmp_path / "file").touch()
    assert budgets.main([many, "--out", str(tmp_path / "file"), "--methods", names[0]]) == 2
    assert capsys.readouterr().err.count("\n") == 1
