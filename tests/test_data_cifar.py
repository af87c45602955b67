"""CIFAR-10's four layouts, and what is refused. Files hold 20 images each to keep this fast."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from data import cifar
from experiments.errors import UserError

N = 20
STEMS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(cifar, "IMAGES_PER_FILE", N)


@pytest.fixture
def planes():
    """The pixels of each file as CIFAR-10 orders them: (n, channel * row * column)."""
    rng = np.random.default_rng(0)
    return {stem: rng.integers(0, 256, (N, 3072), dtype=np.uint8) for stem in STEMS}


def binary(pixels):
    labels = np.arange(len(pixels), dtype=np.uint8)[:, None] % 10
    return np.concatenate([labels, pixels], 1).tobytes()


def python3(pixels):
    """A batch pickled by today's Python and NumPy."""
    return pickle.dumps({b"data": pixels, b"labels": [0] * len(pixels)}, protocol=2)


def python2(pixels):
    """The opcodes which Python 2's cPickle wrote for the published files."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n"
    array += b"K\x00\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"K" + bytes([len(pixels)]) + b"M\x00\x0c\x86"  # (n, 3072)
    raw = b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes()
    state = b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + b"]" + b"u."


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


LAYOUTS = {
    "binary folder": ("cifar-10-batches-bin", ".bin", binary),
    "binary archive": ("cifar-10-binary.tar.gz", ".bin", binary),
    "python 2 folder": ("cifar-10-batches-py", "", python2),
    "python 3 folder": ("cifar-10-batches-py", "", python3),
    "python archive": ("cifar-10-python.tar.gz", "", python2),
}


def lay_out(folder, layout, planes):
    name, suffix, encode = LAYOUTS[layout]
    path = folder / name
    contents = {f"{stem}{suffix}": encode(pixels) for stem, pixels in planes.items()}
    if name.endswith(".gz"):
        inner = "cifar-10-batches-bin" if suffix else "cifar-10-batches-py"
        archive(path, {f"{inner}/{file}": content for file, content in contents.items()})
    else:
        path.mkdir()
        for file, content in contents.items():
            (path / file).write_bytes(content)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images(tmp_path, planes, layout):
    path = lay_out(tmp_path, layout, planes)
    train, test = cifar.load(path, "train"), cifar.load(path, "test")
    assert train.shape == (5 * N, 32, 32, 3)
    assert train.dtype == np.uint8
    # Image 3 of the second file: red comes first, then green, then blue.
    for channel in range(3):
        plane = planes["data_batch_2"][3, channel * 1024 : (channel + 1) * 1024]
        np.testing.assert_array_equal(train[N + 3, :, :, channel], plane.reshape(32, 32))
    assert test.shape == (N, 32, 32, 3)
    np.testing.assert_array_equal(test[0, 5, 7], planes["test_batch"][0, [167, 1191, 2215]])


@pytest.mark.parametrize("layout", ["binary folder", "python 2 folder"])
def test_a_file_stands_for_its_folder(tmp_path, planes, layout):
    path = lay_out(tmp_path, layout, planes)
    file = path / ("test_batch.bin" if "binary" in layout else "test_batch")
    np.testing.assert_array_equal(cifar.load(file, "train"), cifar.load(path, "train"))


def test_missing_file_is_named(tmp_path, planes):
    path = lay_out(tmp_path, "binary folder", planes)
    (path / "data_batch_4.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_4\.bin is missing"):
        cifar.load(path, "train")


def test_missing_member_is_named(tmp_path, planes):
    del planes["data_batch_4"]
    path = lay_out(tmp_path, "binary archive", planes)
    with pytest.raises(UserError, match=r"binary\.tar\.gz .*data_batch_4\.bin is not in it"):
        cifar.load(path, "train")


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b""])
@pytest.mark.parametrize("layout", ["binary folder", "binary archive"])
def test_wrong_size(tmp_path, planes, layout, change, monkeypatch):
    name, suffix, _ = LAYOUTS[layout]
    monkeypatch.setitem(LAYOUTS, layout, (name, suffix, lambda pixels: change(binary(pixels))))
    path = lay_out(tmp_path, layout, planes)
    with pytest.raises(UserError, match=r"test_batch\.bin is truncated or damaged: expected"):
        cifar.load(path, "test")


def test_impossible_label(planes):
    content = bytearray(binary(planes["test_batch"]))
    content[3073] = 10
    with pytest.raises(UserError, match="here is damaged: a label is 10"):
        cifar.parse_binary(bytes(content), "here")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("layout", ["binary archive", "python archive"])
def test_truncated_archive(tmp_path, planes, layout, keep):
    path = lay_out(tmp_path, layout, planes)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"\.tar\.gz"):
        cifar.load(path, "test")


def test_flipped_bit_in_an_archive(tmp_path, planes):
    path = lay_out(tmp_path, "binary archive", planes)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4  # in a training batch; the test batch itself is sound
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"binary\.tar\.gz is truncated or damaged"):
        cifar.load(path, "test")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_in_archives_are_refused(tmp_path, kind):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match=r"test_batch\.bin is not one plain file"):
        cifar.load(path, "test")


def test_members_elsewhere_are_not_taken_and_nothing_is_extracted(tmp_path, planes):
    path = tmp_path / "in" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    archive(path, {"../test_batch.bin": binary(planes["test_batch"])})
    with pytest.raises(UserError, match=r"test_batch\.bin is not in it"):
        cifar.load(path, "test")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Hostile:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_a_pickle_runs_nothing(tmp_path, planes):
    mark = tmp_path / "was run"
    content = pickle.dumps({b"data": Hostile(os.mkdir, str(mark))}, protocol=2)
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.mkdir, which no CIFAR-10 batch"):
        cifar.parse_python(content, "here")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        {b"data": None},
        {b"labels": [1]},
        {b"data": np.zeros((N, 3072), np.float32)},
        {b"data": np.zeros((N, 3071), np.uint8)},
        {b"data": np.zeros((N - 1, 3072), np.uint8)},
        {b"data": np.zeros(N * 3072, np.uint8)},
        {b"data": np.asfortranarray(np.zeros((N, 3072), np.uint8))},
    ],
)
def test_other_pickles_are_refused(value):
    with pytest.raises(UserError, match="here"):
        cifar.parse_python(pickle.dumps(value, protocol=2), "here")


def test_truncated_pickle(planes):
    with pytest.raises(UserError, match="here is truncated or damaged"):
        cifar.parse_python(python2(planes["test_batch"])[:-40], "here")


def test_not_an_archive(tmp_path):
    for content in (b"hello", gzip.compress(b"hello" * 300)):
        path = tmp_path / "cifar-10-binary.tar.gz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"binary\.tar\.gz"):
            cifar.load(path, "train")
