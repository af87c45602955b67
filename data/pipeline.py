"""Training batches from arrays in memory, in an order that can be taken up at any step."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from experiments.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tensorflow as tf

REAL_SEED = 0  # which test images, and in which order: the same for all trials
PREFETCH = 4  # batches made ahead; gathering one takes far less than a training step


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in ``n`` examples; the rest of an epoch is dropped, as the authors do.

    Raises UserError if there is not even one.
    """
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, got {batch_size}")
    if n < batch_size:
        raise UserError(
            f"{n} examples do not fill one batch of {batch_size}; choose a smaller batch size"
        )
    return n // batch_size


def select_real(images: np.ndarray, n: int) -> np.ndarray:
    """``n`` of the test images, or all if there are fewer, in a seeded random order.

    Kernel distances are averaged over blocks, so the order must carry no information.
    """
    order = np.random.default_rng(REAL_SEED).permutation(len(images))
    return images[order[:n]]


def batches(
    array: np.ndarray,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    part: tuple[int, int, int] = (0, 1, 1),
) -> tf.data.Dataset:
    """An endless dataset of shuffled batches.

    ``array`` is (n, ...); an element is a tensor (batch_size, ...) of its type. Epoch e visits the
    examples in a permutation that depends on (seed, e) alone, without the incomplete last batch.
    Step s, counted from 0 over all epochs, is therefore always the same batch, and ``start_step=s``
    goes on exactly where an interrupted run was. ``seed`` is in [0, 2**63). Raises UserError if
    there is less than one batch.

    With ``part=(first, end, n)`` every batch is cut into n equal pieces, one after the other, and
    those from ``first`` to before ``end`` come as elements ``(batch_size / n, ...)`` of their own:
    the share of one of the processes that train on the same batches together.
    """
    import tensorflow as tf

    array = np.asarray(array)
    n = len(array)
    steps = steps_per_epoch(n, batch_size)
    if not 0 <= seed < 2**63:
        raise ValueError(f"the seed must be in [0, 2**63), got {seed}")
    if start_step < 0:
        raise ValueError(f"start_step must not be negative, got {start_step}")

    first, end, pieces = part
    if not 0 <= first < end <= pieces or batch_size % pieces:
        raise ValueError(f"a batch of {batch_size} can't be divided as part={part} says")
    piece = batch_size // pieces

    def epoch_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        # Not index_shuffle, which needs no array of indices: its permutations are far from random.
        order = tf.random.experimental.stateless_shuffle(
            tf.range(n, dtype=tf.int64), seed=tf.stack([seed, epoch]), alg="philox"
        )
        whole = tf.reshape(order[: steps * batch_size], (steps, pieces, piece))
        ours = tf.reshape(whole[:, first:end], (steps * (end - first), piece))
        return tf.data.Dataset.from_tensor_slices(ours)

    def gather(indices: tf.Tensor) -> tf.Tensor:
        # In NumPy, because TensorFlow would copy the whole array two or three times; and so an
        # array that is mapped from a file stays there.
        rows = tf.numpy_function(lambda chosen: array[chosen], [indices], array.dtype)
        rows.set_shape((piece, *array.shape[1:]))
        return rows

    first_epoch, first_position = divmod(start_step, steps)
    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    indices = epochs.flat_map(epoch_indices).skip(first_position * (end - first))
    options = tf.data.Options()
    options.deterministic = True
    # Nothing here is left to tune; and the thread that would now and then misses that its iterator
    # is thrown away: it sleeps on, up to a minute, while training waits for it to end.
    options.autotune.enabled = False
    return indices.map(gather).prefetch(PREFETCH).with_options(options)


def stacks(
    array: np.ndarray, batch_size: int, seed: int, per_call: int, start_epoch: int = 0
) -> Iterator[tuple[np.ndarray]]:
    """Endless shuffled batches without TensorFlow, ``per_call`` of them stacked in one array.

    An element is ``(stack,)``, the stack ``(per_call, batch_size, ...)``; the last one of an epoch
    is shorter if need be. Epoch e visits the examples in a permutation that depends on (seed, e)
    alone (another one than ``batches``'), without the incomplete last batch. Raises UserError if
    there is less than one batch.
    """
    steps = steps_per_epoch(len(array), batch_size)
    for epoch in itertools.count(start_epoch):
        order = np.random.default_rng([seed, epoch]).permutation(len(array))
        rows = order[: steps * batch_size].reshape(steps, batch_size)
        for start in range(0, steps, per_call):
            yield (array[rows[start : start + per_call]],)
