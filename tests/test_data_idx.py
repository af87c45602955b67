"""MNIST's file format: round trips, and one clear error for every kind of damage."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import idx
from experiments.errors import UserError

SHAPE = (7, 28, 28)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def content(images):
    return struct.pack(">4I", 0x00000803, *SHAPE) + images.tobytes()


def test_reads_what_the_format_says(tmp_path, images, content):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    read = idx.read_images(path, (*SHAPE, 1))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images[..., None])


def test_write_is_read_back_and_always_the_same_bytes(tmp_path, images, content):
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    idx.write(first, images)
    idx.write(second, images)
    assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress(first.read_bytes()) == content
    np.testing.assert_array_equal(idx.read(first, SHAPE), images)


def test_labels(tmp_path):
    path = tmp_path / "labels.gz"
    idx.write(path, np.arange(5, dtype=np.uint8))
    np.testing.assert_array_equal(idx.read(path, (5,)), np.arange(5))


def test_write_refuses_other_types(tmp_path, images):
    with pytest.raises(TypeError, match="float64"):
        idx.write(tmp_path / "a.gz", images.astype(float))


def test_content_checksum(tmp_path, content):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    idx.read(path, SHAPE, hashlib.md5(content).hexdigest())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="images-idx3-ubyte is damaged or from another data set"):
        idx.read(path, SHAPE, hashlib.md5(content).hexdigest())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-1], "is damaged: only 5,503 bytes, its header announces 5,504"),
        (lambda c: c + b"\0", "is damaged: more bytes"),
        (lambda c: c[:10], "is truncated: 10 bytes"),
        (lambda c: b"", "is truncated: 0 bytes"),
        (lambda c: struct.pack(">I", 0x0801) + c[4:], "starts with 0x00000801"),
        (lambda c: c[:4] + struct.pack(">I", 8) + c[8:], "8 x 28 x 28 values, expected 7 x 28"),
        (lambda c: c[:8] + struct.pack(">2I", 32, 32) + c[16:], "7 x 32 x 32 values"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_names_the_file_and_the_fault(tmp_path, content, change, message, zipped):
    path = tmp_path / ("bad.gz" if zipped else "bad")
    path.write_bytes(gzip.compress(change(content)) if zipped else change(content))
    with pytest.raises(UserError, match=message) as caught:
        idx.read(path, SHAPE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 100, -9, -1])
def test_truncated_gzip(tmp_path, content, keep):
    path = tmp_path / "bad.gz"
    path.write_bytes(gzip.compress(content)[:keep])
    with pytest.raises(UserError, match=r"bad\.gz is truncated"):
        idx.read(path, SHAPE)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.gz"):
        idx.read(tmp_path / "none.gz", SHAPE)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_in_a_gzip_file_changes_the_images_unnoticed(tmp_path_factory, data):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "flipped.gz"
    idx.write(path, images)
    content = bytearray(path.read_bytes())
    # Bytes 3 to 9 of gzip's header (flags, time, system) do not protect the content.
    place = data.draw(st.integers(10, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        read = idx.read(path, SHAPE)
    except UserError:
        return
    np.testing.assert_array_equal(read, images)  # one of the few bits that pad the last byte


def test_a_flipped_pixel_in_a_gzip_file(tmp_path, content):
    path = tmp_path / "bad.gz"
    packed = bytearray(gzip.compress(content, compresslevel=0))
    packed[2000] ^= 1
    path.write_bytes(packed)
    with pytest.raises(UserError, match=r"bad\.gz is truncated or damaged \(CRC check failed"):
        idx.read(path, SHAPE)
