"""Files are written whole or not at all."""

from __future__ import annotations

import pytest

from experiments import files


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write_atomically(tmp_path / "made" / "a.txt", "old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_json_round_trip_and_damage(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    assert files.read_json(path) == {"a": [1, None, "é"]}
    path.write_text(path.read_text()[:-4])
    assert files.read_json(path) is None
    assert files.read_json(tmp_path / "none.json") is None
