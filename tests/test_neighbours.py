"""Nearest training images, against a plain search and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import neighbours
from evaluate.neighbours import nearest_images


def made_up_images(n, seed, side=4, c=1):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, c), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 30), st.booleans())
def test_equals_a_plain_search(seed, n, m, floats):
    images, training = made_up_images(n, seed, 2, 3), made_up_images(m, seed + 1, 2, 3)
    query = images / 255.0 if floats else images
    found = nearest_images(query, training, k=min(3, m))
    for i in range(n):
        difference = images[i].astype(float) - training.astype(float)
        rms = np.sqrt(np.square(difference / 255.0).mean(axis=(1, 2, 3)))
        order = np.argsort(rms, kind="stable")[: min(3, m)]
        np.testing.assert_allclose(found.distance[i], rms[order], rtol=1e-9)
        np.testing.assert_allclose(rms[found.index[i]], rms[order], rtol=1e-9)


def test_chunks_do_not_change_the_result(monkeypatch):
    images, training = made_up_images(5, 0), made_up_images(47, 1)
    whole = nearest_images(images, training, k=4)
    monkeypatch.setattr(neighbours, "CHUNK", 3)  # fewer than k at first
    seen = []
    parts = nearest_images(images, training, k=4, progress=lambda *state: seen.append(state))
    np.testing.assert_array_equal(parts.index, whole.index)
    np.testing.assert_array_equal(parts.distance, whole.distance)
    assert parts.index.dtype == np.int64
    assert seen[-1] == (47, 47)


def test_a_copy_is_found_at_no_distance_and_the_first_of_equals_wins():
    training = made_up_images(20, 2)
    training[13] = training[4]
    found = nearest_images(training[[4, 9]], training, k=2)
    assert found.index[:, 0].tolist() == [4, 9]
    assert found.distance[:, 0].tolist() == [0.0, 0.0]
    assert (found.index[0, 1], found.distance[0, 1]) == (13, 0.0)


def test_distance_by_hand():
    # 1 of 4 pixels differs by 51 of 255 levels: sqrt(0.2^2 / 4) = 0.1
    image = np.zeros((1, 2, 2, 1), np.uint8)
    training = image.copy()
    training[0, 0, 0, 0] = 51
    assert nearest_images(image, training).distance[0, 0] == pytest.approx(0.1)


def test_one_level_in_one_pixel_of_a_large_image_is_seen():
    image = np.full((1, 64, 64, 3), 250, np.uint8)
    training = np.repeat(image, 3, axis=0)
    training[0, 5, 5, 1] += 1
    training[1, 7, 7, 2] += 2
    assert nearest_images(image, training, k=3).index.tolist() == [[2, 0, 1]]


@pytest.mark.parametrize(
    ("images", "k", "words"),
    [
        (np.zeros((1, 3, 3, 1), np.uint8), 1, "of the same size"),
        (np.zeros((0, 4, 4, 1), np.uint8), 1, "of the same size"),
        (np.zeros((1, 4, 4, 1), np.uint8), 6, "from 1 to 5"),
        (np.zeros((1, 4, 4, 1), np.int64), 1, "got int64"),
        (np.full((1, 4, 4, 1), 1.01), 1, r"in \[0, 1\]"),
        (np.full((1, 4, 4, 1), -0.01), 1, r"in \[0, 1\]"),
        (np.full((1, 4, 4, 1), np.nan), 1, r"in \[0, 1\]"),
    ],
)
def test_unusable_input_is_refused(images, k, words):
    with pytest.raises(ValueError, match=words):
        nearest_images(images, made_up_images(5, 3), k)


def test_medians_by_hand_and_copies_at_0():
    training = np.zeros((3, 2, 2, 1), np.uint8)
    training[1:] = np.array([100, 200]).reshape(2, 1, 1, 1)
    near = np.array([10, 103, 190]).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1))
    sets = {
        "copies": (training + 0.3) / 255.0,  # within the rounding to 8 bits
        "near": near.astype(np.uint8),  # 10, 3 and 10 levels away
        "one": np.full((1, 2, 2, 1), 0.2, np.float32),  # level 51, 49 from the nearest
    }
    found = neighbours.median_distances(sets, training)
    assert list(found) == list(sets)
    assert found["copies"] == 0.0
    assert found["near"] == pytest.approx(10 / 255)
    assert found["one"] == pytest.approx(49 / 255)


def test_held_out_images_of_the_same_kind_are_farther_than_copies():
    training, held_out = made_up_images(50, 0), made_up_images(20, 1)
    copies = np.clip(training[:20].astype(int) + 1, 0, 255).astype(np.uint8)
    found = neighbours.median_distances({"copies": copies, "held out": held_out}, training)
    assert found["copies"] < 0.1 * found["held out"]
    alone = nearest_images(held_out, training).distance[:, 0]
    assert found["held out"] == pytest.approx(np.median(alone))
