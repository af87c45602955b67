"""CelebA's folder and archive, its crop and cache, on a dozen made-up photographs."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from data import celeba, registry
from experiments.errors import UserError

CROP = registry.spec("celeba").crop
PARTS = "000001222200"  # of the photographs 000001.jpg ...; "1" is the validation split
NAMES = [f"{i + 1:06d}.jpg" for i in range(len(PARTS))]


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def photos():
    """Smooth coloured pictures, (218, 178, 3) each, as JPEG files."""
    rng = np.random.default_rng(0)
    files = {}
    for name in NAMES:
        coarse = rng.integers(0, 256, (7, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC)
        files[name] = jpeg(np.asarray(picture))
    return files


@pytest.fixture
def root(tmp_path, photos):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, content in photos.items():
        (folder / "img_align_celeba" / name).write_bytes(content)
    lines = [f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def load(root, split="train", images="img_align_celeba", progress=lambda *_: None):
    partition = root / "list_eval_partition.txt"
    return celeba.load(root / images, partition, split, CROP, progress)


def pack(root, prefix="img_align_celeba/", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w", compression) as archive:
        for path in sorted((root / "img_align_celeba").iterdir()):
            archive.writestr(f"{prefix}{path.name}", path.read_bytes())


def test_splits_follow_the_partition(root, photos):
    train, test = load(root), load(root, "test")
    assert train.shape == (7, 64, 64, 3)
    assert test.shape == (4, 64, 64, 3)
    assert train.dtype == np.uint8
    np.testing.assert_array_equal(test[1], celeba.decode(photos["000008.jpg"], CROP, ""))
    np.testing.assert_array_equal(train[5], celeba.decode(photos["000011.jpg"], CROP, ""))


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [("celeba", (45, 173), (25, 153)), ("celeba140", (39, 179), (19, 159))],
)
def test_crop_and_size(name, rows, columns):
    """Against the resize written out: a triangle filter as wide as the reduction."""
    y, x = np.mgrid[0:218, 0:178]
    pixels = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    content = jpeg(pixels)
    decoded = np.asarray(Image.open(io.BytesIO(content)))[slice(*rows), slice(*columns)]
    scale = (rows[1] - rows[0]) / 64
    centres = (np.arange(64) + 0.5) * scale
    distance = np.abs(np.arange(rows[1] - rows[0]) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distance / scale)
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("iy,jx,yxc->ijc", weights, weights, decoded.astype(float))
    found = celeba.decode(content, registry.spec(name).crop, "")
    assert np.abs(found - expected).max() <= 1.01  # Pillow rounds after each direction


@pytest.mark.parametrize("prefix", ["img_align_celeba/", ""])
def test_archive_and_folder_agree(root, prefix):
    pack(root, prefix)
    np.testing.assert_array_equal(load(root), load(root, images="img_align_celeba.zip"))


def test_converted_once_and_read_only(root, monkeypatch):
    first = load(root)
    monkeypatch.setattr(celeba, "_convert", lambda *_: pytest.fail("converted again"))
    second = load(root)
    np.testing.assert_array_equal(first, second)
    assert not second.flags.writeable
    assert not list((celeba.cache_dir() / "celeba").glob("*.tmp"))


def test_a_changed_photograph_is_noticed(root, photos):
    first = load(root)
    path = root / "img_align_celeba" / NAMES[0]
    path.write_bytes(photos[NAMES[1]])
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(load(root)[0], first[1])


def test_crops_are_cached_apart(root):
    partition = root / "list_eval_partition.txt"
    other = registry.spec("celeba140").crop
    wide = celeba.load(root / "img_align_celeba", partition, "train", other, lambda *_: None)
    assert (wide != load(root)).any()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY nonsense", None])
def test_a_damaged_cache_is_made_again(root, damage):
    first = np.array(load(root))
    (cached,) = (celeba.cache_dir() / "celeba").iterdir()
    cached.write_bytes(cached.read_bytes()[:-5] if damage is None else damage)
    np.testing.assert_array_equal(load(root), first)


def test_an_interruption_leaves_nothing_and_the_next_call_finishes(root):
    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(root, progress=interrupt)
    assert list((celeba.cache_dir() / "celeba").iterdir()) == []
    assert len(load(root)) == 7


def test_progress_reaches_its_end(root):
    calls = []
    load(root, progress=lambda *call: calls.append(call))
    assert calls[0] == ("CelebA, train", 0, 7)
    assert calls[-1] == ("CelebA, train", 7, 7)


DAMAGE = {
    "empty": lambda c: b"",
    "other": lambda c: b"no JPEG at all",
    "half": lambda c: c[: len(c) // 2],
    "end missing": lambda c: c[:-2],
    "header": lambda c: c[:2] + bytes(100) + c[102:],
    "zeros inside": lambda c: c[: len(c) // 2] + bytes(400) + c[len(c) // 2 + 400 :],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupt_photograph_is_named(root, photos, damage):
    (root / "img_align_celeba" / NAMES[3]).write_bytes(DAMAGE[damage](photos[NAMES[3]]))
    with pytest.raises(UserError, match=r"000004\.jpg is not a readable JPEG") as caught:
        load(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "other", "half", "header"])
def test_a_corrupt_photograph_packed_into_an_archive_is_named(root, photos, damage):
    (root / "img_align_celeba" / NAMES[3]).write_bytes(DAMAGE[damage](photos[NAMES[3]]))
    pack(root)
    with pytest.raises(UserError, match=r"000004\.jpg is not a readable JPEG"):
        load(root, images="img_align_celeba.zip")


def test_damage_inside_an_archive_is_named(root, photos):
    pack(root, compression=zipfile.ZIP_STORED)
    path = root / "img_align_celeba.zip"
    content = path.read_bytes()
    place = content.index(photos[NAMES[3]]) + 1000
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(UserError, match=r"celeba\.zip: 000004\.jpg is damaged"):
        load(root, images="img_align_celeba.zip")


def test_truncated_archive(root):
    pack(root)
    path = root / "img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"img_align_celeba\.zip is truncated or damaged"):
        load(root, images="img_align_celeba.zip")


def test_other_formats_and_sizes_are_refused(root):
    path = root / "img_align_celeba" / NAMES[0]
    Image.new("RGB", (218, 178)).save(path, "JPEG")
    with pytest.raises(UserError, match=r"000001\.jpg has 218 x 178 pixels, expected 178 x 218"):
        load(root)
    Image.new("RGB", (178, 218)).save(path, "PNG")
    with pytest.raises(UserError, match=r"000001\.jpg is not a readable JPEG"):
        load(root)


@pytest.mark.parametrize("name", [NAMES[0], NAMES[5]])  # of the split, and of another
def test_every_listed_photograph_must_be_there(root, name):
    (root / "img_align_celeba" / name).unlink()
    with pytest.raises(UserError, match=rf"lacks {name}, which .*list_eval_partition\.txt lists"):
        load(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("000001.jpg\n", r"line 1: expected a file name and 0, 1 or 2, got '000001\.jpg'"),
        ("000001.jpg 0\n000002.jpg 3\n", "line 2"),
        ("000001.jpg 0\n000001.jpg 0\n", "line 2: 000001.jpg is listed twice"),
        ("../../secret.jpg 0\n", "line 1"),
        ("/etc/passwd 0\n", "line 1"),
        (".. 0\n", "line 1"),
        ("000001.jpg 1\n", "lists no photograph of the train split"),
    ],
)
def test_partition_errors(root, text, message):
    (root / "list_eval_partition.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        load(root)


def test_binary_partition(root):
    (root / "list_eval_partition.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is damaged: it is not plain text"):
        load(root)


def test_full_disk(root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(UserError, match="no space left"):
        load(root)
    assert list((celeba.cache_dir() / "celeba").iterdir()) == []
