"""Samples whose latent variables get the variance that the aggregate posterior has.

Asperti and Trentin (2020): per dimension the latent variables of the data have the variance

    v_j = Var_x[mu_j(x)] + E_x[sd_j(x)^2],

which is 1 if q(z), the average of the posteriors, matches N(0, I), their "variance law". A trained
encoder keeps to it only about. What is sampled should have the variance that is met in the data:

- first stage: z = sqrt(v) eps with eps ~ N(0, I), instead of eps itself;
- both stages: the decoder's mean z_hat(u) has less variance than z, since the second stage is an
  autoencoder too. It is stretched about its mean until each dimension has variance v_j, in place
  of the noise gamma_z eps that the paper adds.

The authors' code has one factor for all dimensions, the root of their mean; here each has its own.
Not part of Dai and Wipf's method.
"""

from __future__ import annotations

import numpy as np

from models.two_stage import TwoStageVAE
from models.vae import VAE, standard_normal

_SMALLEST = 1e-6  # a generated dimension narrower than this is constant and stays so


def aggregate_deviation(mu_z, sd_z) -> np.ndarray:
    """sqrt(v) ``(kappa,)`` float32: q(z)'s standard deviations, by the law of total variance.

    Args:
        mu_z, sd_z: ``(n, kappa)``, the posteriors of the data.
    """
    mu_z, sd_z = np.asarray(mu_z, np.float64), np.asarray(sd_z, np.float64)
    return np.sqrt(mu_z.var(axis=0) + np.square(sd_z).mean(axis=0)).astype(np.float32)


def sample_first(vae: VAE, n: int, deviation: np.ndarray, seed: int | None = None) -> np.ndarray:
    """Images ``(n, h, w, c)`` in [0, 1] of z ~ N(0, diag(deviation^2)).

    From the same noise as ``vae.sample`` with the same seed.

    Args:
        vae: any first stage.
        deviation: ``(kappa,)``, see :func:`aggregate_deviation`.
    """
    return vae.decode(standard_normal(n, vae.latent_dim, seed) * deviation)


def sample_both(
    model: TwoStageVAE, n: int, deviation: np.ndarray, seed: int | None = None
) -> np.ndarray:
    """Images ``(n, h, w, c)`` in [0, 1] of z = stretched z_hat(u), u ~ N(0, I).

    From the same u as ``model.sample`` with the same seed. The stretch is that of these n samples.

    Args:
        deviation: ``(kappa,)``, of q(z).
    """
    u, _ = np.split(standard_normal(2 * n, model.latent_dim, seed), 2)
    return model.first.decode(stretched(model.second.decode(u), deviation))


def stretched(z: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """``z`` ``(n, kappa)`` about its mean, so that each dimension has this standard deviation."""
    mean, width = z.mean(axis=0), z.std(axis=0)
    factor = np.where(width > _SMALLEST, deviation / np.maximum(width, _SMALLEST), 1.0)
    return (mean + (z - mean) * factor).astype(np.float32)
