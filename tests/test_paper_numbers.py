"""The published numbers, against the table's text typed a second time."""

from __future__ import annotations

import dataclasses

import pytest

from experiments import paper

# Typed column by column, where the module has rows.
MNIST = "9.8 6.8 7.8 6.7 20.3 7.6 13.1 10 16.6 52.0 54.5 54.8 115.0 12.6"
FASHION = "29.6 26.5 30.7 21.5 24.5 27.7 22.9 32 43.6 84.6 60.0 62.1 101.7 29.3"
CIFAR10 = "72.7 58.5 87.1 55.2 55.8 69.8 71.4 70 106.0 160.5 76.7 81.2 80.9 72.9"
CELEBA = "65.6 55.0 53.9 41.3 30.3 42.3 38.9 49 53.3 55.9 60.5 65.7 62.9 44.4"
STDS = {
    "mnist": "0.9 0.5 0.6 0.4 5.0 0.4 1.0 - 0.4 0.6 1.0 2.8 1.1 1.5",
    "fashion_mnist": "1.6 1.6 2.2 1.6 2.1 1.2 0.9 - 0.7 0.9 1.1 1.6 0.8 1.0",
    "cifar10": "3.6 1.9 47.5 2.3 0.9 2.0 1.6 - 1.0 1.1 0.8 2.0 0.4 0.9",
    "celeba": "4.2 3.3 2.8 2.0 1.0 3.0 0.9 - 0.6 0.6 0.6 2.8 0.8 0.7",
}


@pytest.mark.parametrize(
    ("dataset", "means"),
    [("mnist", MNIST), ("fashion_mnist", FASHION), ("cifar10", CIFAR10), ("celeba", CELEBA)],
)
def test_table_1_column(dataset, means):
    column = [row[dataset] for row in paper.TABLE1.values()]
    assert [p.mean for p in column] == [float(x) for x in means.split()]
    stds = [None if x == "-" else float(x) for x in STDS[dataset].split()]
    assert [p.std for p in column] == stds
    assert [p.quoted for p in column] == [True] * 8 + [False] * 6
    assert [p.approximate for p in column] == [i == 7 for i in range(14)]


def test_table_1_rows_are_named_as_printed():
    names = [paper.ROWS[row].name for row in paper.TABLE1]
    assert names[:2] == ["MM GAN (optimized)", "NS GAN (optimized)"]
    assert names[7:] == [
        "Best GAN (default settings)",
        "VAE (cross-entr.)",
        "VAE (fixed gamma)",
        "VAE (learned gamma)",
        "VAE + Flow",
        "WAE-MMD",
        "2-Stage VAE",
    ]


def test_table_2():
    values = {row: scores["celeba140"].mean for row, scores in paper.TABLE2.items()}
    assert values == {"vae": 63, "wae-mmd": 55, "wae-gan": 42, "two-stage": 34}


@pytest.mark.parametrize("table", [paper.TABLE1, paper.TABLE2])
def test_quoted_rows_name_their_source_and_no_other_row_does(table):
    for row, scores in table.items():
        assert {p.quoted for p in scores.values()} == {paper.ROWS[row].source is not None}


def test_unknown_columns_are_empty_and_say_why():
    assert "transcribed" in paper.KID_MISSING
    assert "not available" in paper.TABLE3_MISSING


def test_data_cannot_be_changed():
    with pytest.raises(TypeError):
        paper.TABLE1["two-stage"]["mnist"] = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.TABLE1["two-stage"]["mnist"].mean = 1.0


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        (("two-stage", "mnist", "infogan", 64), 12.6),
        (("two-stage", "celeba140", "wae", 64), 34),
        (("two-stage", "mnist", "infogan", 16), None),
        (("two-stage", "celeba", "resnet", 64), None),
        (("two-stage", "celeba", "wae", 64), None),
        (("two-stage", "cifar10-standin", "infogan", 64), None),
        (("two-stage-joint", "mnist", "infogan", 64), None),
    ],
)
def test_published_fid_only_for_the_papers_settings(settings, mean):
    published = paper.published_fid(*settings)
    assert (published and published.mean) == mean
