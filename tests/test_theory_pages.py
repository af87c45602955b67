"""Verdicts, pages, resumption and the command of the theory's run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import reproduce_paper
from experiments.errors import UserError
from theory import claims, run
from theory.claims import FAILED, NOT_SHOWN, SHOWN
from theory.experiments import Cell

BASE = {"manifold": "linear", "measure": "hole", "r": 2, "d": 10, "kappa": 4, "seed": 0}
HISTORY = {"steps": [1, 2], "loss": [3.0, 2.0], "kl": [1.0, 1.0], "log_gamma": [-1.0, -3.0]}


def grid(active=2, manifold="linear", error=0.01, seed=0):
    cell = {**BASE, "kind": "grid", "manifold": manifold, "seed": seed, "steps": 5}
    found = {
        "log_gamma": -3.0, "history": HISTORY, "variances": [0.01] * active + [0.99] * (4 - active),
        "active": active, "spread": 1.0, "relative_error": error, "moved_by_inactive": 0.001,
        "relative_error_by_factor": [0.0, 0.005, error, 0.02, 0.04],
    }  # fmt: skip
    return cell, found


def levels(slope=8.0, **change):
    exponents = np.array([0, -0.5, -0.75, -1, -1.25, -1.5])
    cell = {**BASE, "kind": "levels", "steps": 5, **change}
    logs = exponents * math.log(10)
    costs = [{"loss": 1 + slope * g, "kl": 1.0, "reconstruction": 1.0} for g in logs]
    return cell, {"log_gammas": logs.tolist(), "costs": costs, "active": 2}


def stages(one=0.005, two=0.4, seed=0, mmd_u=0.0):
    def samples(p, energy):
        return {
            "distance_median": 0.001, "distance_90": 0.002, "p": p, "rejected": 0.5,
            "energy": energy, "coordinates": [[0.1, 0.2], [0.3, -0.4], [1.0, 1.0]],
        }  # fmt: skip

    cell = {**BASE, "kind": "stages", "seed": seed, "steps": 5}
    return cell, {
        "spread": 1.0, "stage1": samples(one, 0.03), "stage2": samples(two, 0.006),
        "truth": samples(0.5, 0.004), "mmd_z": 0.02, "mmd_u": mmd_u, "mmd_normal": 0.0,
        "true_coordinates": [[0.0, 0.1], [0.2, -0.3], [-1.0, 1.0]],
    }  # fmt: skip


def test_dimensions_need_95_percent_of_all_cells_closed_ones_counted(tmp_path):
    good = [grid(seed=i) for i in range(19)]
    page = claims.dimension_claim([*good, grid(3, "sphere")], [levels()], tmp_path)
    assert page.verdict == SHOWN
    assert "19 of 20 cells" in page.summary
    assert "0 of 1 on closed ones" in page.summary
    assert [f.verdict for f in page.findings].count(NOT_SHOWN) == 1
    page = claims.dimension_claim([*good, grid(3), grid(1)], [levels()], tmp_path)
    assert page.verdict == NOT_SHOWN


def test_every_slope_has_to_be_within_five_percent(tmp_path):
    assert claims.fitted_slope(levels(8.0)[1]) == pytest.approx(8.0)
    cells = [levels(8.0), levels(8.39)]
    assert claims.dimension_claim([grid()], cells, tmp_path).verdict == SHOWN
    cells = [levels(8.0), levels(8.41)]
    page = claims.dimension_claim([grid()], cells, tmp_path)
    assert page.verdict == NOT_SHOWN
    assert page.findings[-1].measured == "slope 8.410 (+5.1%)"


def test_the_slope_looks_at_its_window_alone():
    found = levels(8.0)[1]
    found["log_gammas"].append(-3 * math.log(10))
    found["costs"].append({"loss": 1000.0})
    assert claims.fitted_slope(found) == pytest.approx(8.0)


def test_the_measure_needs_both_p_values_in_every_seed(tmp_path):
    assert claims.measure_claim([stages(), stages(seed=1)], tmp_path).verdict == SHOWN
    for bad in (stages(one=0.02), stages(two=0.04)):
        page = claims.measure_claim([stages(), bad], tmp_path)
        assert page.verdict == NOT_SHOWN
        assert len(page.findings) == 2


def test_the_controls_first_stage_has_to_pass(tmp_path):
    cell, found = stages(one=0.5)
    cell["measure"] = "gaussian"
    assert claims.measure_claim([(cell, found)], tmp_path).verdict == SHOWN
    found["stage1"]["p"] = 0.005
    assert claims.measure_claim([(cell, found)], tmp_path).verdict == NOT_SHOWN


def test_latents_must_come_ten_times_nearer(tmp_path):
    assert claims.latent_claim([stages(mmd_u=0.0019)], tmp_path).verdict == SHOWN
    assert claims.latent_claim([stages(mmd_u=0.0021)], tmp_path).verdict == NOT_SHOWN


def test_a_failed_training_is_a_finding(tmp_path):
    cell, _ = grid()
    page = claims.reconstruction_claim([(cell, {"error": "the loss is nan"})], tmp_path)
    assert page.findings[0].verdict == FAILED
    assert "the loss is nan" in page.findings[0].measured
    assert page.verdict == NOT_SHOWN


def test_nothing_measured_is_nothing_shown(tmp_path):
    assert {c.verdict for c in claims.all_claims([], tmp_path)} == {NOT_SHOWN}


def test_pages_and_json(tmp_path):
    cell, found = grid()
    cell["manifold"] = '<b>"linear"</b>'
    results = [(cell, {**found, "seconds": 1.0}), levels(), stages()]
    page_claims, markdown, page = run.report(results, tmp_path, "quick", "python x.py --theory")
    assert [c.id for c in page_claims] == ["1", "2", "3", "4", "5", "6", "7", "kappa < r"]
    text = page.read_text()
    assert "<b>" not in text.split("<main>")[1]
    assert text.count('<section id="claim-') == 8
    assert 'src="data:image/png;base64,' in text
    assert "http" not in text.split("</style>")[1]
    assert "](figures/claim4.png)" in markdown.read_text()
    stored = json.loads((tmp_path / "theory.json").read_text())
    assert set(stored["findings"][0]) == {"claim", "setting", "expected", "measured", "verdict"}
    assert "history" not in stored["cells"][0]["found"]
    assert len(stored["cells"]) == 3


@pytest.mark.parametrize("preset", run.PRESETS)
def test_plans_have_no_two_cells_of_one_name(preset):
    cells = run.plan(preset)
    assert len({c.name for c in cells}) == len(cells)
    kinds = {c.kind for c in cells}
    assert kinds == {"density", "stages", "levels", "noise", "few", "joint", "grid"}
    grids = [c for c in cells if c.kind == "grid"]
    assert all(c.kappa >= c.r for c in grids)
    if preset == "paper":
        assert {c.r for c in grids} == {1, 2, 3, 5, 8}
        assert {c.d for c in grids} == {10, 20, 50}
        by_case = {}
        for c in cells:
            if c.kind == "stages":
                by_case.setdefault((c.measure, c.r), set()).add(c.seed)
        assert all(len(seeds) == 5 for seeds in by_case.values())
    seeds = {"quick": {7}, "paper": {7, 8, 9, 10, 11}}
    assert {c.seed for c in run.plan(preset, seed=7)} == seeds[preset]


def test_finished_cells_are_not_run_again_and_failed_ones_are(tmp_path, monkeypatch):
    cells = [Cell("grid", "linear", "gaussian", 1, 3, 2, s, 5) for s in (0, 1)]
    calls = []

    def fake(cell):
        calls.append(cell.seed)
        if cell.seed == 1 and calls.count(1) == 1:
            raise FloatingPointError("the loss is nan")
        return {"active": 1}

    monkeypatch.setattr("theory.experiments.run_cell", fake)
    results = run.run_cells(cells, tmp_path)
    assert results[1][1]["error"] == "the loss is nan"
    results = run.run_cells(cells, tmp_path)
    assert calls == [0, 1, 1]
    assert [found["active"] for _, found in results] == [1, 1]
    # Other settings under the same name: trained anew.
    longer = [Cell("grid", "linear", "gaussian", 1, 3, 2, 0, 10)]
    run.run_cells(longer, tmp_path)
    assert calls == [0, 1, 1, 0]
    # So is one whose file is damaged: it can be made again.
    for number, damaged in enumerate(('{"cell": ', "[]", "{}", "null"), 1):
        (tmp_path / run.CELLS_FOLDER / f"{longer[0].name}.json").write_text(damaged)
        assert run.run_cells(longer, tmp_path)[0][1]["active"] == 1
        assert calls == [0, 1, 1, 0] + [0] * number


def test_command(capsys, tmp_path):
    assert reproduce_paper.main(["--theory", "--preset", "quick", "--dry-run"]) == 0
    assert "trainings" in capsys.readouterr().out
    assert reproduce_paper.main(["--theory", "--preset", "lite"]) == 2
    assert "quick or paper" in capsys.readouterr().err
    assert reproduce_paper.main(["--theory", "--all"]) == 2
    assert "runs alone" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        run.run("quick", tmp_path / "file", "command")
