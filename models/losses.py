"""The terms of the VAE objective, as the paper's code writes them.

Images x lie in [0, 1] and have d = h * w * c pixels; the encoder gives the mean ``mu_z`` and the
standard deviation ``sd_z`` of q(z|x) in kappa dimensions; the decoder gives x_hat. ``gamma`` is a
*standard deviation* here, the learned scalar of the code (the paper's theory writes gamma for the
variance: its gamma is this one squared).

Every function sums over pixels or latent dimensions and returns one value per example; the mean
over the batch is left to the caller. The objective, to be minimised, is ``kl + reconstruction``.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

HALF_LOG_TWO_PI = 0.91893  # 1/2 log(2 pi), with the five digits of the author's code
CROSS_ENTROPY_FLOOR = 1e-8


class Objective(NamedTuple):
    """What is minimised and its two terms, each ``(batch,)``; of a VAE the negative ELBO."""

    loss: object
    kl: object
    reconstruction: object


def kl_divergence(mu_z, sd_z):
    """KL( N(mu_z, sd_z^2) || N(0, I) ) = 1/2 sum_j (mu_j^2 + sd_j^2 - 2 log sd_j - 1).

    Args:
        mu_z: ``(batch, kappa)``.
        sd_z: ``(batch, kappa)``, above 0.

    Returns:
        ``(batch,)``, at least 0 up to rounding.
    """
    return 0.5 * ops.sum(ops.square(mu_z) + ops.square(sd_z) - 2.0 * ops.log(sd_z) - 1.0, axis=-1)


def gaussian_reconstruction(x, x_hat, log_gamma):
    """-log N(x; x_hat, gamma^2 I) = sum_i ( ((x_i - x_hat_i) / gamma)^2 / 2 + log gamma + c ).

    c is 1/2 log(2 pi). Its derivative in log gamma, sum_i (1 - ((x_i - x_hat_i) / gamma)^2),
    vanishes where gamma is the root mean squared error: that is how gamma is learned.

    Args:
        x, x_hat: ``(batch, ...)``, the same shape.
        log_gamma: scalar.

    Returns:
        ``(batch,)``.
    """
    axes = tuple(range(1, len(x.shape)))
    scaled = (x - x_hat) / ops.exp(log_gamma)
    return ops.sum(ops.square(scaled) / 2.0 + log_gamma + HALF_LOG_TWO_PI, axis=axes)


def cross_entropy_reconstruction(x, x_hat):
    """-sum_i ( x_i log x_hat_i + (1 - x_i) log(1 - x_hat_i) ), each log's argument at least 1e-8.

    Args:
        x, x_hat: ``(batch, ...)`` in [0, 1], the same shape.

    Returns:
        ``(batch,)``.
    """
    axes = tuple(range(1, len(x.shape)))
    log_on = ops.log(ops.maximum(x_hat, CROSS_ENTROPY_FLOOR))
    log_off = ops.log(ops.maximum(1.0 - x_hat, CROSS_ENTROPY_FLOOR))
    return -ops.sum(x * log_on + (1.0 - x) * log_off, axis=axes)
