"""Tables built from made-up records."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import formats, tables
from evaluate.beyond import extra_table
from evaluate.formats import Table
from evaluate.tables import fid_table, kid_table, mmd_table, smoke_table
from experiments import paper, presets

SMOKE = {
    "data_source": "mnist-sample",
    "preset": "quick",
    "schedule": "8 + 15 epochs",
    "epochs": 8,
    "second_epochs": 15,
    "smoke": True,
    "features": "random-conv",
    "fid": None,
    "kid": None,
    "kid_std": None,
    "fid_tfgan": None,
    "kid_tfgan": None,
    "fd-random": 0.123456,
    "kd-random": 0.0123,
    "kd-random-std": 0.002,
}


def made_up(**changes):
    """A made-up record: no run has produced these numbers."""
    record = {
        "dataset": "mnist",
        "data_source": "official",
        "data_note": None,
        "data_sha256": {"train": "a1", "test": "b2"},
        "n_train": 60000,
        "method": "two-stage",
        "network": "infogan",
        "latent_dim": 64,
        "preset": "paper",
        "schedule": "400 + 800 epochs",
        "trial": 0,
        "seed": 0,
        "protocol": "paper",
        "features": "inception-2015-12-05",
        "features_note": None,
        "fid": 14.0,
        "kid": 0.0123,
        "kid_std": 0.0007,
        "fid_tfgan": 14.0,
        "kid_tfgan": 0.0123,
        "n_real": 10000,
        "n_fake": 10000,
        "epochs": 400,
        "second_epochs": 800,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "smoke": False,
        "status": "ok",
    }
    return record | changes


def rows(table: Table, **wanted: str) -> list[dict[str, str]]:
    """Rows as dicts whose cells begin with what is wanted: data_set="MNIST", method="2-Stage"."""
    found = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    names = {name.lower().replace(" ", "_"): name for name in table.header}
    return [r for r in found if all(r[names[k]].startswith(v) for k, v in wanted.items())]


def row(table: Table, **wanted: str) -> dict[str, str]:
    (found,) = rows(table, **wanted)
    return found


# Values.


def test_one_trial_stands_beside_the_paper():
    got = row(fid_table([made_up()], "paper"), data_set="MNIST", method="2-Stage")
    assert got == {
        "Data set": "MNIST",
        "Method": "2-Stage VAE",
        "Paper": "12.6 ± 1.5",
        "Ours": "14.0",
        "Difference": "+1.4",
        "Within 2 std": "yes",
        "Trials": "1",
        "By TF-GAN": "14.0",
        "Schedule": "paper: 400 + 800 epochs",
        "Images": "10,000 / 10,000",
        "Features": "inception-2015-12-05",
    }


def test_trials_give_mean_and_sample_std():
    # 12, 15, 18: mean 15; squared deviations 9 + 0 + 9 = 18; 18 / (3 - 1) = 9; std 3
    records = [made_up(trial=i, seed=i, fid=f) for i, f in enumerate((12.0, 15.0, 18.0))]
    got = row(fid_table(records, "paper"), data_set="MNIST", method="2-Stage")
    assert (got["Ours"], got["Trials"], got["Difference"]) == ("15.0 ± 3.0", "3", "+2.4")


@pytest.mark.parametrize(
    ("fid", "within"), [(15.6, "yes"), (15.7, "no"), (9.6, "yes"), (9.5, "no"), (14.9, "yes")]
)
def test_within_two_std_includes_the_bounds(fid, within):
    got = row(fid_table([made_up(fid=fid)], "paper"), data_set="MNIST", method="2-Stage")
    assert got["Within 2 std"] == within


@pytest.mark.parametrize(
    "changes", [{"features": "inception-2015-12-05-rebuilt"}, {"protocol": "standard"}]
)
def test_agreement_is_claimed_only_for_official_features_and_the_papers_protocol(changes):
    record = made_up(**changes)
    table = fid_table([record], record["protocol"])
    got = row(table, data_set="MNIST", method="2-Stage")
    assert (got["Difference"], got["Within 2 std"]) == ("+1.4", "")
    assert any("is said only for" in note for note in table.notes)


def test_rows_not_run_are_there_and_empty():
    table = fid_table([made_up()], "paper")
    assert len(table.rows) == 4 * 14
    got = row(table, data_set="CelebA", method="WAE-MMD")
    assert (got["Paper"], got["Ours"], got["Schedule"]) == ("62.9 ± 0.8", "", "")
    assert len(fid_table([made_up()], "paper", datasets=["mnist"]).rows) == 14
    assert len(fid_table([made_up()], "paper", run_only=True).rows) == 1


def test_quoted_rows_say_so():
    table = fid_table([], "paper")
    got = row(table, data_set="MNIST", method="WGAN (")
    assert got["Method"] == "WGAN (optimized), quoted [1]"
    assert got["Paper"] == "6.7 ± 0.4"
    assert row(table, data_set="MNIST", method="Best GAN")["Paper"] == "~10"
    assert any(n.startswith("[1] Quoted from Lucic et al.") for n in table.notes)


def test_kid_has_an_empty_published_column_and_the_reason():
    table = kid_table([made_up(), made_up(method="vae-learned-gamma", kid_std=math.nan)], "paper")
    assert "Difference" not in table.header
    assert all(not r["Paper"] for r in rows(table))
    got = row(table, data_set="MNIST", method="2-Stage")
    assert (got["Ours"], got["Std error"]) == ("0.0123", "0.0007")
    assert row(table, data_set="MNIST", method="VAE (learned")["Std error"] == ""
    assert any("could not be transcribed" in note for note in table.notes)


# What may not be mixed.


@pytest.mark.parametrize(
    "changes",
    [
        {"features": "inception-local-1a2b3c4d"},
        {"preset": "lite"},
        {"schedule": "10 + 20 epochs", "epochs": 10, "second_epochs": 20},
        {"n_fake": 5000},
        {"data_sha256": {"train": "other", "test": "b2"}},
        {"data_note": "made-up data in MNIST's place"},
        {"data_source": "mnist-sample"},
        {"data_missing": "Only 9 of 99 train images"},
        {"network": "resnet"},
        {"latent_dim": 16},
        {"learning_rate": 1e-3},
        {"batch_size": 100},
        {"gamma_speed": 10.0},
        {"jpeg": True},
    ],
)
def test_different_experiments_are_never_averaged(changes):
    table = fid_table([made_up(fid=10.0), made_up(fid=20.0, trial=1, seed=1, **changes)], "paper")
    ours = [r["Ours"] for r in rows(table) if r["Ours"]]
    assert sorted(ours) == ["10.0", "20.0"]


def test_trials_of_a_first_stage_are_one_row_whatever_the_second_one_had():
    first = {"method": "vae-learned-gamma", "second_epochs": 0}
    records = [
        made_up(fid=10.0, **first),
        made_up(fid=20.0, trial=1, seed=1, **first, schedule="400 + 1200 epochs"),
    ]
    (got,) = rows(fid_table(records, "paper", run_only=True))
    assert (got["Ours"].split()[0], got["Trials"]) == ("15.0", "2")


def test_protocols_have_tables_of_their_own():
    records = [made_up(fid=10.0), made_up(fid=20.0, protocol="standard")]
    for protocol, fid in (("paper", "10.0"), ("standard", "20.0")):
        table = fid_table(records, protocol)
        assert [r["Ours"] for r in rows(table) if r["Ours"]] == [fid]
        assert protocol in table.title


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "cifar10-standin", "data_source": "cifar10-standin"},
        {"dataset": "cifar10", "data_source": "cifar10-standin"},
        {"dataset": "celeba", "data_source": "local", "data_note": "made-up faces"},
        {"dataset": "celeba", "data_source": "local", "data_missing": "Only 9 of 99 train images"},
        {"network": "resnet"},
        {"latent_dim": 16},
    ],
)
def test_what_the_paper_did_not_run_has_no_paper_number_beside_it(changes):
    got = [r for r in rows(fid_table([made_up(**changes)], "paper")) if r["Ours"]]
    assert len(got) == 1
    assert (got[0]["Paper"], got[0]["Difference"], got[0]["Within 2 std"]) == ("", "", "")
    assert (got[0]["Data set"], got[0]["Method"]) not in {
        ("CIFAR-10", "2-Stage VAE"),
        ("CelebA", "2-Stage VAE"),
        ("MNIST", "2-Stage VAE"),
    }


def test_table_2_is_for_the_wae_network():
    record = made_up(dataset="celeba140", network="wae", fid=35.0)
    got = row(fid_table([record], "paper", ["celeba140"]), method="2-Stage")
    assert (got["Paper"], got["Difference"], got["Within 2 std"]) == ("34", "+1.0", "")


@pytest.mark.parametrize(("dataset", "usual"), [("mnist", False), ("cifar10", True)])
def test_images_prepared_otherwise_are_said_to_be_and_not_judged(dataset, usual, monkeypatch):
    monkeypatch.setattr(presets, "ASSUMED_OF_DATASET", {})  # for which CIFAR-10 is not judged
    published = presets.PAPER[dataset]
    record = made_up(
        dataset=dataset,
        fid=72.9,
        epochs=published.epochs,
        second_epochs=published.second_epochs,
    )
    as_theirs = fid_table([record | {"jpeg": usual}], "paper", [dataset])
    otherwise = fid_table([record | {"jpeg": not usual}], "paper", [dataset])
    before, after = (row(t, method="2-Stage") for t in (as_theirs, otherwise))
    assert before["Within 2 std"] in ("yes", "no")
    assert after["Within 2 std"] == ""
    assert after["Difference"] == before["Difference"]
    assert after["Data set"] == f"{before['Data set']} [2]"
    assert "through JPEG" in " ".join(otherwise.notes)
    assert "through JPEG" not in " ".join(as_theirs.notes)


@pytest.mark.parametrize(
    ("changes", "assumption"),
    [
        ({"method": "vae-flow"}, "10 planar flows"),
        ({"method": "wae-mmd"}, "the weights"),
        ({"dataset": "cifar10"}, "learning rate decays"),
        ({"dataset": "celeba140", "network": "wae"}, "Table 2's schedule"),
        ({"dataset": "celeba140", "network": "wae", "method": "wae-mmd"}, "most likely quoted"),
    ],
)
def test_what_rests_on_an_assumption_says_so_and_is_not_judged(changes, assumption):
    record = made_up(**changes)
    published = presets.PAPER[record["dataset"]]
    record |= {"epochs": published.epochs, "second_epochs": published.second_epochs}
    table = fid_table([record], "paper", [record["dataset"]], run_only=True)
    (got,) = rows(table)
    assert got["Difference"]
    assert got["Within 2 std"] == ""
    note = re.search(r"\[\d\]$", got["Method"]).group()
    assert any(n.startswith(note) and assumption in n for n in table.notes)


@pytest.mark.parametrize("changes", [{"n_fake": 50_000}, {"n_real": 19_962}])
def test_another_number_of_images_is_not_judged(changes):
    got = row(fid_table([made_up(**changes)], "paper"), data_set="MNIST", method="2-Stage")
    assert (got["Difference"], got["Within 2 std"]) == ("+1.4", "")


def test_a_first_stage_alone_is_said_to_have_its_own_epochs():
    both = [made_up(method=method) for method in ("vae-learned-gamma", "two-stage")]
    table = fid_table(both, "paper", run_only=True)
    assert [r["Schedule"] for r in rows(table)] == ["paper: 400 epochs", "paper: 400 + 800 epochs"]


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "lite", "epochs": 40, "second_epochs": 80, "gamma_speed": 10.0},
        {"epochs": 1},
        {"second_epochs": 80},
        {"gamma_speed": 10.0},
        {"learning_rate": 1e-3},
    ],
)
def test_another_schedule_is_not_judged(change):
    published = {"gamma_speed": 1.0, "fid": 12.6}
    for method, second in (("two-stage", 800), ("vae-learned-gamma", 0)):
        record = made_up(method=method, **{**published, "second_epochs": second})
        as_published = fid_table([record], "paper", run_only=True)
        assert rows(as_published)[0]["Within 2 std"] in ("yes", "no")
        assert "schedule" not in " ".join(as_published.notes)
    otherwise = fid_table([made_up(**{**published, **change})], "paper", run_only=True)
    (got,) = rows(otherwise)
    assert (got["Difference"], got["Within 2 std"]) == ("+0.0", "")
    notes = " ".join(otherwise.notes)
    assert "is said only for the published schedule" in notes
    assert "a difference from the paper is the schedule's as well" in notes


def test_ones_own_files_and_downloaded_ones_are_one_row():
    records = [made_up(data_source="local"), made_up(trial=1, seed=1, fid=16.0)]
    (got,) = rows(fid_table(records, "paper", run_only=True))
    assert (got["Trials"], got["Ours"]) == ("2", "15.0 ± 1.4")
    other = made_up(trial=1, seed=1, data_sha256={"train": "a1", "test": "c3"})
    assert len(rows(fid_table([records[0], other], "paper", run_only=True))) == 2


def test_table_2_names_its_network():
    wae = made_up(dataset="celeba140", network="wae")
    other = made_up(dataset="celeba140", network="infogan")
    titles = [fid_table([r], "paper", ["celeba140"]).title for r in (wae, other)]
    assert ["WAE network" in title for title in titles] == [True, False]


def test_table_2_stands_apart_from_table_1():
    records = [made_up(), made_up(dataset="celeba140", network="wae", fid=35.0)]
    built = tables.all_tables(records)
    assert list(built) == ["fid-paper", "kid-paper", "fid-table2-paper", "kid-table2-paper"]
    assert "Table 2" in built["fid-table2-paper"].title
    assert "Table 2" not in built["fid-paper"].title + built["kid-paper"].title
    assert {r["Data set"] for r in rows(built["fid-table2-paper"])} == {"celeba140"}
    assert "celeba140" not in {r["Data set"] for r in rows(built["fid-paper"])}
    assert len(built["fid-paper"].rows) == 4 * 14
    second = built["fid-table2-paper"]
    assert [(r["Method"], r["Paper"], r["Ours"]) for r in rows(second)] == [
        ("VAE, quoted [1]", "63", ""),
        ("WAE-GAN, quoted [2]", "42", ""),
        ("WAE-MMD", "55", ""),
        ("2-Stage VAE [3]", "34", "35.0"),
    ]
    assert list(tables.all_tables(records, ["celeba140"])) == list(built)[2:]
    assert list(tables.all_tables(records, ["mnist"])) == list(built)[:2]
    assert len(tables.all_tables(records, ["mnist"])["fid-paper"].rows) == 14


def test_another_network_on_table_2s_data_says_so():
    record = made_up(dataset="celeba140", network="infogan")
    got = [r for r in rows(fid_table([record], "paper", ["celeba140"])) if r["Ours"]]
    assert [(r["Method"], r["Paper"]) for r in got] == [("2-Stage VAE, network infogan", "")]


def test_one_trial_twice_is_refused():
    with pytest.raises(ValueError, match="two for trial 0 of two-stage on mnist"):
        fid_table([made_up(), made_up()], "paper")


# Smoke scores.


@pytest.mark.parametrize(
    "record",
    [
        made_up(**SMOKE),
        made_up(**SMOKE | {"smoke": False}),
        made_up(smoke=True, preset="quick"),
    ],
)
def test_smoke_scores_are_never_called_fid_or_kid(record):
    assert not any(r["Ours"] for r in rows(fid_table([record], "paper")))
    assert not any(r["Ours"] for r in rows(kid_table([record], "paper")))
    built = tables.all_tables([record])
    assert list(built) == ["smoke-paper"]
    header = built["smoke-paper"].header
    assert not {"FID", "KID", "Paper", "Ours", "Difference", "Within 2 std"} & set(header)
    text = formats.to_markdown(built["smoke-paper"])
    assert "12.6" not in text
    assert not re.search(r"\b[FK]ID\b", text)


def test_smoke_table_names_its_scores():
    got = row(smoke_table([made_up(**SMOKE)], "paper"))
    assert got["Data set"] == "mnist-sample"
    assert (got["fd-random"], got["kd-random"]) == ("0.1235", "0.0123")
    inception = row(smoke_table([made_up(smoke=True)], "paper"))
    assert (inception["smoke-fid"], inception["smoke-kid"]) == ("14", "0.0123")
    assert "fd-random" not in inception


# Table 3, and more than the paper.

MMD = {
    "mmd_z": 0.0321,
    "mmd_u": 0.00123,
    "mmd_floor": 1e-5,
    "mmd_floor_std": 3.4e-4,
    "mmd_kernel": "IMQ: made-up formula",
    "mmd_n": 10000,
}
EXTRA = {"precision": 0.75, "recall": 0.5, "density": 1.25, "coverage": 0.625}


def test_mmd_table_has_an_empty_published_column_and_the_reason():
    table = mmd_table([made_up(**MMD)])
    assert row(table) == {
        "Data set": "MNIST",
        "Method": "2-Stage VAE",
        "Paper": "",
        "q(z), first stage": "0.0321",
        "q(u), second stage": "0.00123",
        "N(0, I) itself": "1e-05 ± 0.00034",
        "Trials": "1",
        "Schedule": "paper: 400 + 800 epochs",
        "Samples": "10,000",
        "Kernel": "IMQ [1]",
    }
    assert table.title.startswith("Table 3")
    assert paper.TABLE3_MISSING in table.notes
    assert "[1] IMQ: made-up formula" in table.notes
    assert any("without bias" in note for note in table.notes)


def test_mmd_counts_a_training_once_and_averages_over_trials():
    # 0.01, 0.02, 0.03: mean 0.02, sample standard deviation 0.01
    records = [
        made_up(trial=i, seed=i, protocol=p, features=f, **MMD | {"mmd_z": 0.01 * (i + 1)})
        for i in range(3)
        for p in ("paper", "standard")
        for f in ("inception-2015-12-05", "inception-local-1")
    ]
    got = row(mmd_table(records))
    assert (got["q(z), first stage"], got["Trials"]) == ("0.02 ± 0.01", "3")


@pytest.mark.parametrize(
    "changes",
    [
        {"mmd_kernel": "RBF: another"},
        {"mmd_n": 5000},
        {"schedule": "10 + 20 epochs", "epochs": 10, "second_epochs": 20},
        {"method": "two-stage-joint"},
        {"network": "resnet"},
    ],
)
def test_mmds_of_different_experiments_are_never_averaged(changes):
    other = made_up(trial=1, seed=1, **MMD | {"mmd_z": 0.5} | changes)
    table = mmd_table([made_up(**MMD), other])
    assert sorted(r["q(z), first stage"] for r in rows(table)) == ["0.0321", "0.5"]


def test_extra_table_says_that_it_is_not_the_papers():
    table = extra_table([made_up(**EXTRA), made_up(protocol="standard")], "paper")
    got = row(table, data_set="MNIST")
    scores = (got["Precision"], got["Recall"], got["Density"], got["Coverage"])
    assert scores == ("0.750", "0.500", "1.250", "0.625")
    assert table.title.startswith("More than the paper")
    assert "Paper" not in table.header
    assert any("Not in the paper" in note for note in table.notes)


OPTIMAL = {"method": "two-stage-optimal-gamma", "fid": 9.5, "log_gamma": -3.5}


def test_a_variant_stands_beside_its_row_and_never_in_the_papers_tables():
    records = [
        *(made_up(), made_up(method="vae-learned-gamma", fid=50.0), made_up(**OPTIMAL)),
        *(made_up(dataset="celeba"), made_up(schedule="40 epochs", epochs=40, fid=77.0)),
        made_up(**OPTIMAL | MMD, trial=1, seed=1),
    ]
    built = tables.all_tables(records)
    for stem in ("fid-paper", "kid-paper"):
        assert not rows(built[stem], method="2-Stage VAE (optimal")
    assert "table3-mmd" not in built
    table = built["beyond-paper"]
    assert list(built)[-1] == "beyond-paper"
    assert table.title.startswith("More than the paper")
    assert not {"Paper", "Difference"} & set(table.header)
    # CelebA has no variant, and 40 epochs are another experiment
    assert [(r["Method"], r["FID"]) for r in rows(table)] == [
        ("2-Stage VAE", "14.0"),
        ("2-Stage VAE (optimal gamma)", "9.5 ± 0.0"),
    ]
    assert row(table, method="2-Stage VAE (opt")["log gamma"] == "-3.500 ± 0.000"
    assert "Variance of z" not in table.header  # nothing is re-normalised


def test_smoke_variants_have_a_table_of_their_own():
    records = [made_up(**SMOKE), made_up(**SMOKE | OPTIMAL | {"fid": None})]
    built = tables.all_tables(records)
    assert list(built) == ["smoke-paper", "smoke-beyond-paper"]
    assert len(built["smoke-paper"].rows) == 1
    table = built["smoke-beyond-paper"]
    assert table.title.startswith("Smoke scores")
    assert "FID" not in table.header
    assert [r["fd-random"] for r in rows(table)] == ["0.1235", "0.1235"]


NEAREST = {"nearest_sample": 0.06, "nearest_test": 0.08, "nearest_n": 256}


def test_distances_from_training_images_count_a_training_once():
    records = [
        made_up(trial=i, seed=i, protocol=p, **NEAREST | {"nearest_sample": 0.05 + 0.02 * i})
        for i in range(2)
        for p in ("paper", "standard")
    ]
    built = tables.all_tables([*records, made_up(**SMOKE, **NEAREST, method="wae-mmd")])
    got = row(built["nearest"])
    # 0.05 and 0.07: mean 0.06, sample standard deviation 0.0141; 0.06 / 0.08
    assert (got["Samples"], got["Test images"]) == ("0.0600 ± 0.0141", "0.0800 ± 0.0000")
    assert (got["Ratio"], got["Trials"], got["Images"]) == ("0.75", "2", "256")
    assert built["nearest"].title.startswith("More than the paper")
    assert row(built["smoke-nearest"])["Method"] == "WAE-MMD"
    assert built["smoke-nearest"].title.startswith("Smoke scores")


def test_tables_appear_only_with_their_numbers():
    plain = [made_up(), made_up(protocol="standard"), made_up(**SMOKE)]
    before = tables.all_tables(plain)
    assert list(before) == [
        *("fid-paper", "kid-paper", "smoke-paper"),
        *("fid-standard", "kid-standard"),
    ]
    lost = made_up(**MMD, **EXTRA, trial=1, seed=1, status="failed: stopped")
    assert list(tables.all_tables([*plain, lost])) == list(before)
    with_mmd = tables.all_tables([plain[0] | MMD, *plain[1:]])
    assert set(with_mmd) - set(before) == {"table3-mmd"}
    assert all(with_mmd[stem] == before[stem] for stem in before)
    with_extra = tables.all_tables([plain[0] | EXTRA, *plain[1:]])
    assert set(with_extra) - set(before) == {"extra-paper"}
    assert list(with_extra)[-1] == "extra-paper"
    assert all(with_extra[stem] == before[stem] for stem in before)


def test_smoke_runs_have_an_mmd_and_an_extra_table_of_their_own():
    record = made_up(**SMOKE, **MMD, **EXTRA)
    built = tables.all_tables([record], ["mnist"])
    assert list(built) == ["smoke-paper", "smoke-mmd", "smoke-extra-paper"]
    for table in built.values():
        assert "Smoke scores" in table.title
        assert not {"Paper", "Ours"} & set(table.header)
        assert row(table)["Data set"] == "mnist-sample"
    assert not mmd_table([record]).rows
    assert not extra_table([record], "paper").rows
    assert tables.all_tables([record], ["celeba"]) == {}


# Failures and notes.


def test_a_failed_cell_says_why():
    record = made_up(status="failed: out of memory", fid=None, kid=None, n_fake=None)
    got = row(fid_table([record], "paper"), data_set="MNIST", method="2-Stage")
    assert (got["Ours"], got["Trials"]) == ("failed: out of memory", "0 of 1")
    assert (got["Difference"], got["By TF-GAN"]) == ("", "")


def test_a_failed_smoke_cell_says_why_once():
    lost = SMOKE | {"fd-random": None, "kd-random": None, "kd-random-std": None}
    lost = made_up(**lost, method="vae-learned-gamma", status="failed: stopped")
    got = row(smoke_table([made_up(**SMOKE), lost], "paper"), method="VAE")
    assert (got["fd-random"], got["kd-random"]) == ("failed: stopped", "")


def test_a_failure_before_any_protocol_is_shown():
    lost = made_up(protocol=None, status="failed: stopped", fid=None)
    got = row(tables.all_tables([lost], run_only=True)["fid-paper"])
    assert got["Ours"] == "failed: stopped"


def test_a_failed_trial_joins_the_others():
    lost = made_up(trial=1, seed=1, status="failed: stopped", fid=None, n_fake=None, features=None)
    table = fid_table([made_up(), lost], "paper", run_only=True)
    got = row(table)
    assert (got["Ours"], got["Trials"]) == ("14.0", "1 of 2 [1]")
    assert "[1] Trial 1 failed: stopped" in [n for n in table.notes if "Trial" in n]


def test_caveats_stand_under_every_table_that_uses_them():
    note = {"features_note": "made-up caveat", "features": "inception-local-1"}
    place = {"data_note": "made-up place"}
    for table in (
        fid_table([made_up(**note, **place)], "paper", run_only=True),
        kid_table([made_up(**note, **place)], "paper", run_only=True),
        smoke_table([made_up(**note, **place, smoke=True)], "paper"),
        extra_table([made_up(**note, **place, **EXTRA)], "paper"),
    ):
        got = row(table)
        assert table.notes[-2:] == ("[1] made-up place.", "[2] made-up caveat")
        assert got["Data set"] == "mnist (other data) [1]"
        assert got["Features"] == "inception-local-1 [2]"
    assert not any("caveat" in n for n in fid_table([made_up()], "paper").notes)


# Renderers.

HOSTILE = Table(
    "Made-up & <b>50%</b> of {x}",
    ("A|B", "N_1"),
    (("a|b\nc \\ ~ ^ $x$ #", "12.6 ± 1.5"), ("<script>alert(1)</script> [1]", "-1.0")),
    ("`code` & a general note", "[1] one, \"two\", 'three'"),
)


def test_markdown_has_the_same_columns_in_every_line():
    for table in (HOSTILE, fid_table([made_up()], "paper"), smoke_table([], "paper")):
        lines = [x for x in formats.to_markdown(table).splitlines() if x.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        assert {len(re.findall(r"(?<!\\)\|", x)) for x in lines} == {len(table.header) + 1}
    assert "<script" not in formats.to_markdown(HOSTILE)


def test_csv_parses_back_with_numbers_apart_and_notes():
    got = list(csv.DictReader(io.StringIO(formats.to_csv(HOSTILE))))
    assert list(got[0]) == ["A|B", "N_1", "N_1 std", "Notes"]
    assert got[0]["A|B"] == "a|b c \\ ~ ^ $x$ #"
    assert (got[0]["N_1"], got[0]["N_1 std"]) == ("12.6", "1.5")
    assert got[1] == {
        "A|B": "<script>alert(1)</script>",
        "N_1": "-1.0",
        "N_1 std": "",
        "Notes": "one, \"two\", 'three'",
    }
    lines = list(csv.reader(io.StringIO(formats.to_csv(fid_table([made_up()], "paper")))))
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 57


def assert_balanced(latex: str) -> None:
    plain = re.sub(r"\\[\\{}&%$#_]", "", latex)
    depth = 0
    for c in plain:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    begun = re.findall(r"\\begin\{(\w+)\}", latex)
    assert sorted(begun) == sorted(re.findall(r"\\end\{(\w+)\}", latex))


def test_latex_is_balanced_and_escaped():
    for table in (HOSTILE, fid_table([made_up()], "paper"), kid_table([made_up()], "standard")):
        latex = formats.to_latex(table)
        assert_balanced(latex)
        body = latex[latex.index("\\toprule") : latex.index("\\bottomrule")]
        lines = [x for x in body.splitlines() if x.endswith(r"\\")]
        assert len(lines) == len(table.rows) + 1
        columns = {len(re.findall(r"(?<!\\)&", x)) for x in lines}
        assert columns == {len(table.header) - 1}
    latex = formats.to_latex(HOSTILE)
    assert r"\caption{Made-up \& \textless{}b\textgreater{}50\%" in latex
    assert r"12.6 $\pm$ 1.5" in latex
    assert "$-$1.0" in latex


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_text_keeps_the_structure(a, b):
    table = Table(a, ("x", "y"), ((a, b), (b, a)), (a, b))
    assert_balanced(formats.to_latex(table))
    lines = [x for x in formats.to_markdown(table).splitlines() if x.startswith("| ")]
    for line in lines[:4]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    lines = list(csv.reader(io.StringIO(formats.to_csv(table), newline="")))
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1


def test_numbers_align_right_and_failures_do_not_hinder():
    cells = (
        ("~10", "a", "", "1 of 2 [1]"),
        ("failed: x", "1.5", "", "3"),
        ("-1.2e-05", "", "", ""),
    )
    table = Table("t", ("n", "mixed", "empty", "trials"), cells, ())
    assert formats.numeric_columns(table) == (True, False, False, True)


# Files.


def test_write_tables(tmp_path):
    records = [made_up(), made_up(protocol="standard"), made_up(**SMOKE)]
    paths = tables.write_tables(records, tmp_path / "tables")
    names = {p.name for p in paths}
    stems = ("fid-paper", "kid-paper", "fid-standard", "kid-standard", "smoke-paper")
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("md", "csv", "tex")}
    assert {p.name for p in (tmp_path / "tables").iterdir()} == names


def test_hostile_protocol_stays_in_the_folder(tmp_path):
    paths = tables.write_tables([made_up(protocol="../../x")], tmp_path / "tables")
    assert {p.parent for p in paths} == {tmp_path / "tables"}
