"""From a name to images: registry, bundled data, folders, sources, and what is reported."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data
from data import cache, download, loading, registry
from experiments.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = [name for name, entry in data.SPECS.items() if entry.bundled]


# ---------------------------------------------------------------- registry


def test_names():
    official = ["mnist", "fashion_mnist", "cifar10", "celeba", "celeba140"]
    assert set(data.SPECS) == {*official, *BUNDLED}
    assert BUNDLED == ["mnist-sample", "fashion_mnist-sample", "cifar10-standin", "celeba-standin"]
    assert data.IMAGE_SHAPES["mnist"] == (28, 28, 1)
    assert data.IMAGE_SHAPES["cifar10"] == (32, 32, 3)
    assert data.IMAGE_SHAPES["celeba"] == (64, 64, 3)


@pytest.mark.parametrize("name", data.SPECS)
def test_every_published_file_has_source_size_and_checksum(name):
    entry = data.spec(name)
    assert entry.bundled == (not entry.remotes)
    assert entry.licence
    for remote in entry.remotes:
        assert bool(remote.urls) != bool(remote.drive_id)
        assert len(bytes.fromhex(remote.sha256)) == 32
        assert remote.size > 1e6
        assert all(url.endswith(remote.name) for url in remote.urls)
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"


@pytest.mark.parametrize("name", ["nist", "MNIST", "", None])
def test_unknown_name(name):
    with pytest.raises(UserError, match=r"unknown data set .*; the known ones are mnist, fashion"):
        data.load(name)


def test_unknown_split():
    with pytest.raises(UserError, match="unknown split 'validation'"):
        data.load("mnist-sample", "validation")


# ---------------------------------------------------------------- bundled


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name):
    train, test = data.load(name), data.load(name, "test")
    shape = data.IMAGE_SHAPES[name]
    assert train.shape == (1000 if name == "celeba-standin" else 2000, *shape)
    assert test.shape == (1000, *shape)
    assert train.dtype == test.dtype == np.uint8
    assert data.source(name) == name
    assert data.missing(name) == ()
    seen = {image.tobytes() for image in train}
    assert len(seen) == len(train)
    assert not seen & {image.tobytes() for image in test}


def test_the_samples_look_like_their_data_sets():
    """The mean pixel of the whole sets is 33.3 (MNIST) and 72.9 (Fashion-MNIST)."""
    assert data.load("mnist-sample").mean() == pytest.approx(33.3, abs=1.5)
    assert data.load("fashion_mnist-sample").mean() == pytest.approx(72.9, abs=2)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_licences_are_beside_the_samples(name):
    text = (loading.SAMPLES / name / "LICENSE").read_text(encoding="utf-8")
    assert {"mnist": "Share Alike 3.0", "fashion_mnist": "MIT License"}[name] in text


def test_digest():
    a = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    assert data.digest(a) == data.digest(a.copy())
    assert data.digest(a) == data.digest(np.asfortranarray(a))
    assert len({data.digest(x) for x in (a, a + 1, a.reshape(2, 3, 2, 1), a.astype("u4"))}) == 4
    assert data.digest(a) == hashlib.sha256(b"|u1 (2, 2, 3, 1)\n" + bytes(range(12))).hexdigest()


def test_no_tensorflow_is_loaded_to_read_images():
    code = "import sys, data; data.load('mnist-sample'); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---------------------------------------------------------------- cache folder


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("TWO_STAGE_VAE_CACHE", str(tmp_path / "c"))
    assert data.cache_dir() == tmp_path / "c"
    monkeypatch.delenv("TWO_STAGE_VAE_CACHE")
    assert data.cache_dir().is_absolute()
    assert "two-stage-vae" in str(data.cache_dir())


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "a" / "file"
    with cache.writing(path) as file:
        file.write(b"first")
        assert not path.exists()

    def interrupted():
        with cache.writing(path) as file:
            file.write(b"second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


# ---------------------------------------------------------------- a small stand-in for MNIST


def idx_file(images):
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """The registry's "mnist" with 6 training and 4 test images; returns the two files' contents."""
    rng = np.random.default_rng(0)
    contents, remotes = {}, []
    for remote, n in zip(data.spec("mnist").remotes, (6, 4), strict=True):
        content = idx_file(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        packed = gzip.compress(content, mtime=0)
        contents[remote.name] = packed
        remotes.append(
            dataclasses.replace(
                remote,
                size=len(packed),
                sha256=hashlib.sha256(packed).hexdigest(),
                content_md5=hashlib.md5(content).hexdigest(),
            )
        )
    changed = dataclasses.replace(data.spec("mnist"), n_train=6, n_test=4, remotes=tuple(remotes))
    monkeypatch.setitem(registry.SPECS, "mnist", changed)
    return contents


TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"


@pytest.fixture
def offline(monkeypatch):
    def fail(remote, part, progress):
        return ["no network"]

    monkeypatch.setattr(download, "_from_mirrors", fail)
    monkeypatch.setattr(download, "_from_drive", lambda remote, part: ["no network"])


@pytest.fixture
def online(monkeypatch, tiny):
    fetched = []

    def serve(remote, part, progress):
        fetched.append(remote.name)
        part.write_bytes(tiny[remote.name])
        return []

    monkeypatch.setattr(download, "_from_mirrors", serve)
    return fetched


@pytest.mark.parametrize("folder", ["mnist", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_local_files(tmp_path, tiny, offline, folder, packed):
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in tiny.items():
        path = tmp_path / folder / name
        if packed:
            path.write_bytes(content)
        else:
            path.with_suffix("").write_bytes(gzip.decompress(content))
    images = data.load("mnist", "train", tmp_path)
    assert images.shape == (6, 28, 28, 1)
    assert images.tobytes() == gzip.decompress(tiny[TRAIN])[16:]
    assert data.load("mnist", "test", str(tmp_path)).shape == (4, 28, 28, 1)
    assert data.source("mnist", tmp_path) == "local"
    assert data.missing("mnist", tmp_path) == ()


def test_downloads_into_the_data_folder(tmp_path, tiny, online):
    assert [r.name for r in data.missing("mnist", tmp_path)] == [TRAIN, TEST]
    assert data.source("mnist", tmp_path) == "official"
    first = data.load("mnist", "train", tmp_path)
    assert online == [TRAIN]
    assert [r.name for r in data.missing("mnist", tmp_path)] == [TEST]
    data.load("mnist", "test", tmp_path)  # the folder now holds one file, but it is our own
    np.testing.assert_array_equal(data.load("mnist", "train", tmp_path), first)
    assert online == [TRAIN, TEST]
    assert data.source("mnist", tmp_path) == "official"
    assert (tmp_path / "mnist" / TRAIN).exists()


def test_a_data_folder_that_is_made_is_said_before_the_download(
    tmp_path, tiny, monkeypatch, capsys
):
    said = []

    def serve(remote, part, progress):
        said.append(capsys.readouterr().out)
        part.write_bytes(tiny[remote.name])
        return []

    monkeypatch.setattr(download, "_from_mirrors", serve)
    root = tmp_path / "mistyped"
    data.missing("mnist", root)  # as --dry-run does: nothing is made
    data.source("mnist", root)
    assert not root.exists()
    data.load("mnist", "train", root)
    data.load("mnist", "test", root)
    line = f"{root} does not exist: it will be made, and what is missing downloaded into it.\n"
    assert said == [line, ""]
    data.load("mnist", "train")  # the cache folder is nobody's to type
    assert said[2:] == [""]
    assert capsys.readouterr().out == ""


def test_downloads_into_the_cache(tiny, online):
    data.load("mnist", "test")
    assert (data.cache_dir() / "data" / "mnist" / TEST).exists()
    assert data.source("mnist") == "official"


def test_no_network_and_no_files(tmp_path, offline):
    with pytest.raises(UserError) as caught:
        data.load("mnist", "train", tmp_path)
    message = str(caught.value)
    assert "cannot download train-images-idx3-ubyte.gz (no network)" in message
    assert "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte" in message
    assert f"put it at {tmp_path / 'mnist' / TRAIN}" in message
    assert f"(and {TEST} likewise)" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "celeba", "celeba140"])
def test_no_network_names_every_source(tmp_path, offline, name):
    with pytest.raises(UserError, match=r"cannot download .* by hand from http.* and put it at"):
        data.load(name, "test", tmp_path)


def test_a_half_filled_folder_is_reported_not_completed(tmp_path, tiny, online):
    (tmp_path / TRAIN).write_bytes(tiny[TRAIN])
    data.load("mnist", "train", tmp_path)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz is missing, though train-"):
        data.load("mnist", "test", tmp_path)
    assert online == []


def test_celeba_without_its_partition(tmp_path, offline):
    (tmp_path / "celeba" / "img_align_celeba").mkdir(parents=True)
    with pytest.raises(UserError, match=r"list_eval_partition\.txt is missing, though img_align"):
        data.load("celeba", "train", tmp_path)


def test_another_data_set_in_the_same_format_is_refused(tmp_path, tiny, offline, monkeypatch):
    changed = dataclasses.replace(data.spec("fashion_mnist"), n_train=6)
    monkeypatch.setitem(registry.SPECS, "fashion_mnist", changed)
    (tmp_path / TRAIN).write_bytes(tiny[TRAIN])
    with pytest.raises(UserError, match=r"ubyte\.gz is damaged or from another data set"):
        data.load("fashion_mnist", "train", tmp_path)


def test_wrong_count(tmp_path, offline):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_file(np.zeros((9, 28, 28), np.uint8)))
    with pytest.raises(UserError, match="holds 9 x 28 x 28 values, expected 10000 x 28 x 28"):
        data.load("mnist", "test", tmp_path)


def test_damaged_file(tmp_path, tiny, offline):
    (tmp_path / TRAIN).write_bytes(tiny[TRAIN][:-3])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is truncated or damaged"):
        data.load("mnist", "train", tmp_path)


def test_a_file_in_place_of_the_data_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        data.load("mnist", "train", tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_unwritable_folder(tmp_path, online):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot make the folder"):
        data.load("mnist", "train", tmp_path)


# ---------------------------------------------------------------- the real addresses


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (28, 28, 1)), ("fashion_mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))],
)
def test_official_files(tmp_path, name, shape):
    assert data.load(name, "test", tmp_path).shape == (10_000, *shape)
    assert data.source(name, tmp_path) == "official"
