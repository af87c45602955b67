"""Cached features come back as stored, and never when anything about them does not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluate.cache import cached_features
from experiments.errors import UserError

KEY = {"dataset": "mnist", "split": "test", "n": 4, "extractor": ["random-conv", "ab12"]}


class Counter:
    """A computation that counts its calls."""

    def __init__(self, value=0.0):
        self.calls = 0
        self.features = np.arange(12, dtype=np.float32).reshape(4, 3) + np.float32(value)

    def __call__(self):
        self.calls += 1
        return self.features


def fill(folder):
    compute = Counter()
    cached_features(folder, KEY, compute)
    (array_file,) = folder.glob("*.npy")
    (about_file,) = folder.glob("*.json")
    return compute, array_file, about_file


def test_computed_once_and_read_back_exactly(tmp_path):
    compute = Counter()
    first = cached_features(tmp_path / "new" / "folder", KEY, compute)
    second = cached_features(str(tmp_path / "new" / "folder"), dict(reversed(KEY.items())), compute)
    assert compute.calls == 1
    assert second.dtype == np.float32
    np.testing.assert_array_equal(first, compute.features)
    np.testing.assert_array_equal(second, compute.features)


def test_only_the_two_files_are_left(tmp_path):
    _, array_file, about_file = fill(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([array_file, about_file])
    assert array_file.stem == about_file.stem
    assert json.loads(about_file.read_text())["key"] == KEY


@pytest.mark.parametrize("change", [{"n": 5}, {"split": "train"}, {"extractor": ["x", "cd"]}])
def test_another_key_has_another_file(tmp_path, change):
    fill(tmp_path)
    other = Counter(100.0)
    found = cached_features(tmp_path, KEY | change, other)
    assert other.calls == 1
    np.testing.assert_array_equal(found, other.features)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def corrupt(array_file, about_file):
    content = bytearray(array_file.read_bytes())
    content[-1] ^= 1
    array_file.write_bytes(content)


def truncate(array_file, about_file):
    array_file.write_bytes(array_file.read_bytes()[:-5])


def lose_array(array_file, about_file):
    array_file.unlink()


def lose_description(array_file, about_file):
    about_file.unlink()


def spoil_description(array_file, about_file):
    about_file.write_text("[1, 2")


def change_key(array_file, about_file):
    about = json.loads(about_file.read_text())
    about["key"]["dataset"] = "fashion_mnist"
    about_file.write_text(json.dumps(about))


def empty_description(array_file, about_file):
    about_file.write_text("{}")


@pytest.mark.parametrize(
    "damage",
    [
        corrupt,
        truncate,
        lose_array,
        lose_description,
        spoil_description,
        change_key,
        empty_description,
    ],
)
def test_damaged_features_are_computed_again_and_stored(tmp_path, damage):
    compute, *files = fill(tmp_path)
    damage(*files)
    np.testing.assert_array_equal(cached_features(tmp_path, KEY, compute), compute.features)
    assert compute.calls == 2
    cached_features(tmp_path, KEY, compute)
    assert compute.calls == 2


def test_objects_are_neither_stored_nor_read(tmp_path):
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        cached_features(tmp_path, KEY, lambda: np.array([{"a": 1}], object))
    assert not list(tmp_path.iterdir())


def test_a_failed_computation_leaves_nothing(tmp_path):
    def fail():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        cached_features(tmp_path, KEY, fail)
    assert not list(tmp_path.iterdir())


def test_a_key_must_be_json(tmp_path):
    with pytest.raises(TypeError):
        cached_features(tmp_path, {"seed": np.int64(1)}, Counter())
    with pytest.raises(ValueError, match="JSON"):
        cached_features(tmp_path, {"scale": float("nan")}, Counter())


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(UserError, match=str(file)):
        cached_features(file, KEY, Counter())
