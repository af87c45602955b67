"""Pixel values of the two protocols, and TensorFlow 1's resize against one written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.protocols import PROTOCOLS, as_scored, resize_tf1, to_rgb


def resize_by_hand(images, size):
    """TensorFlow 1's bilinear rule: source position i * h / size, no half-pixel shift."""
    n, h, w, c = images.shape
    result = np.empty((n, size, size, c))
    for i in range(size):
        y = i * h / size
        top, below = int(y), min(int(y) + 1, h - 1)
        for j in range(size):
            x = j * w / size
            left, right = int(x), min(int(x) + 1, w - 1)
            fy, fx = y - top, x - left
            upper = images[:, top, left] * (1 - fx) + images[:, top, right] * fx
            lower = images[:, below, left] * (1 - fx) + images[:, below, right] * fx
            result[:, i, j] = upper * (1 - fy) + lower * fy
    return result


@pytest.mark.parametrize(("h", "w", "c", "size"), [(28, 28, 1, 61), (8, 5, 3, 13), (40, 31, 3, 17)])
def test_the_resize_is_tensorflow_1s(h, w, c, size):
    images = np.random.default_rng(0).integers(0, 256, (2, h, w, c)).astype(np.uint8)
    expected = (resize_by_hand(images.astype(np.float64), size) - 128) / 128
    found = resize_tf1(images, size).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_the_resize_repeats_the_last_row_and_column():
    # Without corner alignment the last source pixel is reached before the last output pixel.
    image = np.array([[0.0, 128.0], [128.0, 255.0]], np.float32).reshape(1, 2, 2, 1)
    found = resize_tf1(image, 4).numpy()[0, :, :, 0] * 128 + 128
    np.testing.assert_allclose(found[0], [0, 64, 128, 128])
    np.testing.assert_allclose(found[-1], found[2])


def test_the_default_size_is_inceptions():
    assert resize_tf1(np.zeros((1, 28, 28, 3), np.uint8)).shape == (1, 299, 299, 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_real_images_stay_as_they_are(protocol):
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    scored = as_scored(images, protocol, generated=False)
    assert scored.dtype == np.uint8
    np.testing.assert_array_equal(scored, images)


def test_standard_rounds_and_does_not_stretch():
    image = np.array([0.0, 0.1, 0.5 / 255, 0.9], np.float32).reshape(1, 2, 2, 1)
    scored = as_scored(image, "standard", generated=True)
    assert scored.dtype == np.uint8
    assert scored.ravel().tolist() == [0, 26, 0, 230]  # 25.5 rounds to 26, 0.5 to 0, 229.5 to 230


def test_standard_clips_rounding_error():
    image = np.array([-1e-6, 1 + 1e-6, 0.0, 1.0], np.float32).reshape(1, 2, 2, 1)
    assert as_scored(image, "standard", generated=True).ravel().tolist() == [0, 255, 0, 255]


def test_paper_stretches_each_image_over_all_its_channels_without_rounding():
    first = np.array([0.2, 0.3, 0.6, 0.4]).reshape(1, 1, 1, 4)
    second = np.array([0.0, 0.25, 1.0, 0.5]).reshape(1, 1, 1, 4)
    images = np.concatenate([first, second]).reshape(2, 2, 1, 2).astype(np.float32)
    scored = as_scored(images, "paper", generated=True)
    assert scored.dtype == np.float32
    expected = 255 * np.array([[0.0, 0.25, 1.0, 0.5], [0.0, 0.25, 1.0, 0.5]])
    np.testing.assert_allclose(scored.reshape(2, 4), expected, rtol=1e-5, atol=1e-4)


def test_paper_gives_zero_for_an_image_of_one_value():
    images = np.full((2, 4, 4, 1), 0.7, np.float32)
    np.testing.assert_array_equal(as_scored(images, "paper", generated=True), 0.0)


def test_the_input_is_not_written_to():
    images = np.random.default_rng(2).random((2, 4, 4, 3), np.float32)
    before = images.copy()
    for protocol in PROTOCOLS:
        as_scored(images, protocol, generated=True)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("images", "protocol", "generated", "words"),
    [
        (np.zeros((1, 2, 2, 1), np.float32), "author", True, "'author'"),
        (np.zeros((2, 2, 1), np.float32), "paper", True, r"\(2, 2, 1\)"),
        (np.zeros((1, 2, 2, 1), np.float32), "paper", False, "expected uint8, got float32"),
        (np.zeros((1, 2, 2, 1), np.uint8), "paper", True, "got uint8"),
        (np.full((1, 2, 2, 1), 200.0, np.float32), "standard", True, "200.0"),
        (np.full((1, 2, 2, 1), 1.002, np.float32), "paper", True, r"1\.00\d+ to 1\.00"),
        (np.full((1, 2, 2, 1), -0.002, np.float32), "paper", True, r"-0\.00\d+ to -0\.00"),
        (np.full((3, 2, 2, 1), np.nan, np.float32), "paper", True, "3 of 3"),
    ],
)
def test_unusable_images_are_refused(images, protocol, generated, words):
    with pytest.raises(ValueError, match=words):
        as_scored(images, protocol, generated)


def test_to_rgb():
    grey = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    colour = to_rgb(grey)
    assert colour.shape == (2, 2, 2, 3)
    for channel in range(3):
        np.testing.assert_array_equal(colour[..., channel], grey[..., 0])
    np.testing.assert_array_equal(to_rgb(colour), colour)
    with pytest.raises(ValueError, match=r"\(2, 2, 2, 2\)"):
        to_rgb(colour[..., :2])
