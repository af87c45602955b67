"""Batches: complete, reproducible, resumable."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from experiments.errors import UserError


def take(dataset, n):
    return [batch.numpy() for batch in itertools.islice(dataset, n)]


def ids(n):
    return np.arange(n, dtype=np.int32)


@settings(max_examples=8, deadline=None)
@given(
    steps=st.integers(1, 6),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
)
def test_an_epoch_visits_every_example_once(steps, batch_size, seed):
    n = steps * batch_size
    batches = take(data.batches(ids(n), batch_size, seed), 2 * steps)
    for epoch in (batches[:steps], batches[steps:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), ids(n))


def test_the_incomplete_batch_is_dropped():
    assert data.steps_per_epoch(100, 32) == 3
    batches = take(data.batches(ids(100), 32, 0), 30)
    assert {len(batch) for batch in batches} == {32}
    left_out = []
    for start in range(0, 30, 3):
        epoch = np.concatenate(batches[start : start + 3])
        assert len(np.unique(epoch)) == 96
        left_out.append(frozenset(range(100)) - set(epoch))
    assert len(set(left_out)) > 1  # other examples each time


def test_epochs_and_seeds_differ():
    first = np.concatenate(take(data.batches(ids(64), 8, 1), 24)).reshape(3, 64)
    other = np.concatenate(take(data.batches(ids(64), 8, 2), 8))
    assert not (first == ids(64)).all(1).any()
    for a, b in itertools.combinations([*first, other], 2):
        assert (a == b).mean() < 0.2


def test_every_example_comes_equally_often_in_every_place():
    epochs = np.concatenate(take(data.batches(ids(10), 10, 7), 1000)).reshape(1000, 10)
    counts = np.stack([np.bincount(column, minlength=10) for column in epochs.T])
    assert abs(counts - 100).max() < 5 * np.sqrt(100 * 0.9)


def test_neighbours_meet_as_often_as_chance_has_it():
    """Sorted data need as good a mix as any: 40 a batch of 20,000 is one meeting in 500 pairs."""
    n, batch_size, epochs = 20_000, 40, 8
    steps = n // batch_size
    order = np.stack(take(data.batches(ids(n), batch_size, 3), epochs * steps))
    batch_of = np.empty((epochs, n), int)
    for epoch in range(epochs):
        rows = order[epoch * steps : (epoch + 1) * steps]
        batch_of[epoch][rows.ravel()] = np.repeat(np.arange(steps), batch_size)
    for distance in (1, 2, 16, 100):
        met = (batch_of[:, distance:] == batch_of[:, :-distance]).sum()
        expected = epochs * (n - distance) * (batch_size - 1) / (n - 1)
        assert abs(met - expected) < 5 * np.sqrt(expected)
    again = sum(
        (np.diff(np.sort(batch_of[e + 1][order[e * steps : (e + 1) * steps]])) == 0).sum()
        for e in range(epochs - 1)
    )
    expected = (epochs - 1) * n * (batch_size - 1) / 2 * (batch_size - 1) / (n - 1)
    assert again == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("start", [0, 1, 4, 5, 13])
def test_start_step_resumes_exactly(start):
    whole = take(data.batches(ids(50), 9, 3), 20)  # 5 steps an epoch
    rest = take(data.batches(ids(50), 9, 3, start_step=start), 20 - start)
    np.testing.assert_array_equal(whole[start:], rest)


def test_large_steps_and_seeds():
    """Step 3 * 10**9 is as good as any other."""
    batches = take(data.batches(ids(12), 4, 2**63 - 1, start_step=3 * 10**9), 3)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), ids(12))


def test_images_keep_type_and_content():
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), dtype=np.uint8)
    dataset = data.batches(images, 6, 0)
    assert dataset.element_spec.dtype == np.uint8
    assert dataset.element_spec.shape == (6, 5, 4, 3)
    known = {image.tobytes() for image in images}
    for batch in take(dataset, 3):
        assert {image.tobytes() for image in batch} <= known


def test_two_iterators_do_not_disturb_each_other():
    dataset = data.batches(ids(30), 5, 0)
    first, second = iter(dataset), iter(dataset)
    pairs = [(next(first).numpy(), next(second).numpy()) for _ in range(12)]
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_nothing_is_tuned_behind_the_pipeline():
    # TensorFlow's thread for that misses now and then that its iterator is gone: a training of
    # 47 seconds then ends after 82, when the thread wakes up. Whatever stands around it agrees.
    made = data.batches(ids(64), 8, 0)
    for dataset in (made, made.map(lambda x: x + 1), made.take(3)):
        assert dataset.options().autotune.enabled is False
    assert made.options().deterministic


def test_too_few_examples():
    with pytest.raises(UserError, match="5 examples do not fill one batch of 8"):
        data.batches(ids(5), 8, 0)
    with pytest.raises(UserError, match="at least 1"):
        data.steps_per_epoch(5, 0)


def test_arguments_are_checked():
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match="seed"):
            data.batches(ids(4), 2, seed)
    with pytest.raises(ValueError, match="start_step"):
        data.batches(ids(4), 2, 0, start_step=-1)


def test_the_arrays_are_not_copied():
    """A batch made after a change shows the change: the dataset reads the caller's array."""
    images = np.zeros((64, 2), np.uint8)
    batches = iter(data.batches(images, 8, 0))
    next(batches)
    images[:] = 1
    later = [next(batches).numpy() for _ in range(10)]  # the first few may be made already
    assert (later[-1] == 1).all()


def test_tensors_are_taken_too():
    import tensorflow as tf

    (batch,) = take(data.batches(tf.range(8), 8, 0), 1)
    np.testing.assert_array_equal(np.sort(batch), ids(8))
