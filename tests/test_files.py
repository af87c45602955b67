"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from experiments import files
from experiments.environment import user_path
from experiments.errors import UserError


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write_atomically(tmp_path / "made" / "a.txt", "old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_said_with_the_files_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"):
        files.write_atomically(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_after_the_file_has_its_name_stays_ctrl_c(tmp_path, monkeypatch):
    replace = os.replace

    def replaced(*names):
        replace(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", replaced)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "a.txt", "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_what_killed_processes_left_is_swept(tmp_path):
    names = (".a.npz.1.tmp", ".a.npz.2.tmp", ".b.npz.3.tmp", ".a.npz.swp")
    old, fresh, *others = (tmp_path / name for name in names)
    before = time.time() - 2 * files.ABANDONED
    for path in (old, fresh, *others):
        path.touch()
        if path != fresh:
            os.utime(path, (before, before))
    files.write_atomically(tmp_path / "a.npz", b"new")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.npz", fresh, *others}


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_is_the_users_choice(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = files.write_atomically(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_json_round_trip(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    assert files.read_json(path) == {"a": [1, None, "é"]}
    assert files.read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize("content", [b'{"a": [1', b"", bytes(20), b"\xff"])
def test_damaged_json_is_not_taken_for_a_missing_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is damaged, it is not JSON .*: restore it"):
        files.read_json(path)


def test_a_path_of_nobodys_is_said():
    assert user_path("~/data") == Path.home() / "data"
    with pytest.raises(UserError, match="~no-such-user/data can't be resolved"):
        user_path("~no-such-user/data")
