"""Scores of a record: what they are called and that they are the functions' own values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluate import frechet_distance, kernel_distance
from evaluate.features import Extractor
from evaluate.scoring import score


def extractor(is_inception):
    name, note = ("inception-x", "a caveat") if is_inception else ("random-conv", None)
    return Extractor(
        lambda images: images,
        name=name,
        note=note,
        fingerprint="00",
        dim=6,
        is_inception=is_inception,
    )


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2100, 6)).astype(np.float32)
    fake = (rng.normal(size=(2000, 6)) + 0.2).astype(np.float32)
    return real, fake


def test_inception_features_give_fid_and_kid_twice(sets):
    calls = []
    record = score(*sets, extractor(True), progress=lambda *call: calls.append(call))
    assert (record["features"], record["features_note"]) == ("inception-x", "a caveat")
    assert (record["n_real"], record["n_fake"]) == (2100, 2000)
    assert record["fid"] == frechet_distance(*sets)
    assert (record["kid"], record["kid_std"]) == kernel_distance(*sets)
    assert record["fid_tfgan"] == pytest.approx(record["fid"], rel=1e-8)
    assert record["kid_tfgan"] == pytest.approx(record["kid"], rel=1e-8)
    assert not any("random" in name for name in record)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    json.dumps(record, allow_nan=False)


def test_random_features_are_never_called_fid_or_kid(sets):
    record = score(*sets, extractor(False))
    for name in ("fid", "kid", "kid_std", "fid_tfgan", "kid_tfgan"):
        assert record[name] is None
    assert record["fd-random"] == frechet_distance(*sets)
    assert (record["kd-random"], record["kd-random-std"]) == kernel_distance(*sets)
    json.dumps(record, allow_nan=False)


def test_one_block_has_no_standard_error(sets):
    real, fake = (one[:50] for one in sets)
    record = score(real, fake, extractor(False))
    assert record["kd-random-std"] is None
    assert record["kd-random"] == kernel_distance(real, fake)[0]
