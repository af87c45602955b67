"""benchmarks/optimal_gamma.py: epochs to a score, by hand."""

from __future__ import annotations

import pytest

from benchmarks.optimal_gamma import curves, describe, epochs_to, savings


def made_up(method, epochs, score, **changes):
    """A made-up record: no run has produced these numbers."""
    record = {
        "dataset": "mnist",
        "method": method,
        "epochs": epochs,
        "fid": score,
        "protocol": "paper",
        "smoke": False,
        "status": "ok",
    }
    return record | changes


def test_epochs_to_a_score():
    curve = {5: 60.0, 10: 40.0, 20: 20.0, 40: 25.0}
    assert epochs_to(curve, 50.0) == 7.5  # halfway between 5 and 10
    assert epochs_to(curve, 20.0) == 20.0
    assert epochs_to(curve, 25.0) == 17.5  # the first time, not the last
    assert epochs_to(curve, 80.0) == 5.0
    assert epochs_to(curve, 19.0) is None


RECORDS = [
    *(made_up("two-stage", e, s) for e, s in ((5, 60.0), (10, 40.0), (20, 30.0))),
    *(made_up("two-stage-optimal-gamma", e, s) for e, s in ((5, 50.0), (10, 25.0), (20, 20.0))),
]


def test_savings():
    extra = [
        made_up("two-stage", 20, 32.0, trial=1),  # the learned gamma ends at 31
        made_up("two-stage", 40, 1.0, protocol="standard"),
        made_up("two-stage", 40, None, status="failed: stopped"),
        made_up("vae-learned-gamma", 20, 70.0),  # has no counterpart
    ]
    (row,) = savings(curves([*RECORDS, *extra], "paper"))
    assert row["target"] == 31.0
    assert row["epochs_learned"] == 20.0
    assert row["epochs_optimal"] == pytest.approx(5 + 5 * (50 - 31) / 25)
    assert row["epochs_saved"] == pytest.approx(11.2)
    assert "saves 11.2 epochs" in describe([row])


def test_a_target_of_ones_own_may_not_be_reached():
    (row,) = savings(curves(RECORDS, "paper"), target=22.0)
    assert row["epochs_learned"] is None
    assert row["epochs_optimal"] == 16.0
    assert row["epochs_saved"] is None
    assert "learned never reached, optimal 16.0 epochs" in describe([row])


def test_smoke_scores_are_called_so():
    records = [r | {"fid": None, "fd-random": r["fid"], "smoke": True} for r in RECORDS]
    (row,) = savings(curves(records, "paper"))
    assert row["score"] == "fd-random"
    assert "smoke scores" in describe([row])
    (row,) = savings(curves([r | {"smoke": True} for r in RECORDS], "paper"))
    assert row["score"] == "smoke-fid"
    assert "No data set" in describe([])
