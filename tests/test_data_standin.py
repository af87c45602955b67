"""The drawn images: reproducible, varied, and low-dimensional."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data import standin

SIZES = {"cifar10-standin": 32, "celeba-standin": 64}


@pytest.fixture(scope="module", params=SIZES)
def drawn(request):
    return request.param, standin.draw(request.param, "train", 200)


def test_shape_and_range(drawn):
    name, images = drawn
    assert images.shape == (200, SIZES[name], SIZES[name], 3)
    assert images.dtype == np.uint8
    assert images.min() < 30
    assert images.max() > 240


def test_a_smaller_set_is_the_beginning_of_a_larger_one(drawn):
    name, images = drawn
    np.testing.assert_array_equal(standin.draw(name, "train", 73), images[:73])


def test_splits_and_seeds_differ(drawn):
    name, images = drawn
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200
    for other in (standin.draw(name, "test", 50), standin.draw(name, "train", 50, seed=1)):
        both = np.concatenate([images, other]).reshape(250, -1)
        assert len(np.unique(both, axis=0)) == 250


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10-standin", "7c7aa635a677036d"),
        ("celeba-standin", "a5db7310e8de6c44"),
    ],
)
def test_the_same_on_every_machine(name, expected):
    """Only exactly rounded operations are used, so one digest holds everywhere."""
    content = standin.draw(name, "train", 100).tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == expected


def test_few_directions_hold_most_of_the_variation(drawn):
    """Structure to learn: 20 principal components explain most; noise would give 20 / 200."""
    _, images = drawn
    flat = images[:, ::2, ::2].reshape(200, -1).astype(np.float64)
    flat -= flat.mean(0)
    spectrum = np.linalg.eigvalsh(flat @ flat.T)  # ascending
    assert spectrum[-20:].sum() / spectrum.sum() > 0.75


def test_edges_are_smoothed(drawn):
    """Anti-aliasing: nearly every image has many more shades than the handful of its colours."""
    _, images = drawn
    shades = [len(np.unique(image.reshape(-1, 3), axis=0)) for image in images[:20]]
    assert min(shades) > 200
