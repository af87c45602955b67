"""The maximum mean discrepancy between two batches, as WAE-MMD trains on it."""

from __future__ import annotations

from keras import ops

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the authors' code, github.com/tolstikhin/wae


def squared_distances(a, b):
    """|a_i - b_j|^2, ``(n, m)``, of ``a`` ``(n, dim)`` and ``b`` ``(m, dim)``."""
    norms_a = ops.sum(ops.square(a), axis=-1)[:, None]
    norms_b = ops.sum(ops.square(b), axis=-1)[None, :]
    inner = ops.matmul(a, ops.transpose(b))
    return ops.maximum(norms_a + norms_b - 2.0 * inner, 0.0)  # rounding may fall below 0


def inverse_multiquadratics(a, b):
    """k(a_i, b_j) = sum over the scales s of C / (C + |a_i - b_j|^2) with C = 2 dim s, ``(n, m)``.

    2 dim is the expected squared distance of two draws from N(0, I).
    """
    distances = squared_distances(a, b)
    widths = [2.0 * a.shape[-1] * scale for scale in SCALES]
    return sum(width / (width + distances) for width in widths)


def unbiased_mmd2(a, b):
    """Unbiased estimate of the squared MMD of two distributions from a sample of each.

    mean of k(a_i, a_j), i != j, plus mean of k(b_i, b_j), i != j, minus 2 mean of k(a_i, b_j):
    its expectation is 0 for equal distributions, so that it falls below 0 now and then.

    Args:
        a: ``(n, dim)``, n at least 2; a batch of one has no pairs and their mean is taken as 0.
        b: ``(m, dim)``, likewise.

    Returns:
        Scalar.
    """

    def mean_of_pairs(x):
        kernel = inverse_multiquadratics(x, x)
        n = ops.cast(ops.shape(x)[0], kernel.dtype)
        return (ops.sum(kernel) - ops.trace(kernel)) / ops.maximum(n * (n - 1.0), 1.0)

    return mean_of_pairs(a) + mean_of_pairs(b) - 2.0 * ops.mean(inverse_multiquadratics(a, b))
