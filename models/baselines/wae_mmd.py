"""WAE-MMD (Tolstikhin et al. 2018): a deterministic autoencoder with codes like draws from N(0, I).

The objective is r |x - x_hat|^2 + lambda MMD^2(q(z), N(0, I)), the penalty estimated without bias
on each batch, see :mod:`models.mmd`. Dai and Wipf give no weights: r and lambda are those of the
WAE authors' code. Its other habits (noise of deviation 0.01 on the encoder's input, an encoder
trained beforehand to match the prior's moments, its own learning rates) are left out: as for every
row of the paper's table, only the method differs.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from models.baselines import mean_encoder
from models.layers import PACKAGE
from models.losses import Objective
from models.mmd import unbiased_mmd2
from models.networks import part_seeds
from models.vae import VAE, predict


class Weights(NamedTuple):
    """The weights of the objective's two terms, for pixels in [0, 1]."""

    reconstruction: float
    penalty: float


# From github.com/tolstikhin/wae: 0.05 times the squared error in both cases, lambda 10 for MNIST
# and 100 for CelebA; CelebA's pixels lie in [-1, 1] there, which makes squared errors four times
# those of pixels in [0, 1].
GREY_WEIGHTS = Weights(reconstruction=0.05, penalty=10.0)
COLOUR_WEIGHTS = Weights(reconstruction=0.2, penalty=100.0)


@keras.saving.register_keras_serializable(PACKAGE)
class WAE(VAE):
    """A Wasserstein autoencoder with the MMD penalty and a deterministic encoder.

    It has no likelihood, gamma is not used and stays frozen. Of the objective's terms, ``kl`` holds
    the penalty, lambda MMD^2: one number a batch, repeated for each of its examples, and below 0
    now and then. ``encode`` gives sd 0, so that ``reconstruct`` has nothing random.

    Args:
        encoder: model, x ``(batch, ...)`` -> ``mu_z`` ``(batch, kappa)``; see
            :func:`models.baselines.mean_encoder`.
        decoder: model, z ``(batch, kappa)`` -> ``x_hat`` in [0, 1], shaped like x.
        reconstruction_weight: r, of the squared error summed over pixels in [0, 1].
        penalty_weight: lambda.
        seed: for the draws from N(0, I) with which codes are compared.

    Raises:
        ValueError: if a weight is below 0.
    """

    def __init__(
        self,
        encoder,
        decoder,
        reconstruction_weight=GREY_WEIGHTS.reconstruction,
        penalty_weight=GREY_WEIGHTS.penalty,
        seed=None,
        **kwargs,
    ):
        super().__init__(encoder, decoder, learn_gamma=False, seed=seed, **kwargs)
        weights = {
            "reconstruction_weight": reconstruction_weight,
            "penalty_weight": penalty_weight,
        }
        for name, value in weights.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}.")
        self.reconstruction_weight = reconstruction_weight
        self.penalty_weight = penalty_weight

    def forward(self, x, training=False):
        """Encodes x and decodes its code: ``mu_z``, zeros for ``sd_z``, ``x_hat``."""
        mu_z = self.encoder(x, training=training)
        return mu_z, ops.zeros_like(mu_z), self.decoder(mu_z, training=training)

    def code(self, x):
        """``mu_z``, zeros, and ``mu_z`` again, each ``(batch, kappa)``."""
        mu_z = self.encoder(x, training=False)
        return mu_z, ops.zeros_like(mu_z), mu_z

    def objective(self, x, training=False) -> Objective:
        """The objective for x ``(batch, ...)``, each term ``(batch,)``; the penalty is ``kl``."""
        mu_z, _, x_hat = self.forward(x, training=training)
        axes = tuple(range(1, len(x.shape)))
        error = self.reconstruction_weight * ops.sum(ops.square(x - x_hat), axis=axes)
        prior = self.sampler(ops.zeros_like(mu_z), ops.ones_like(mu_z))  # z ~ N(0, I)
        penalty = self.penalty_weight * unbiased_mmd2(mu_z, prior) * ops.ones_like(error)
        return Objective(error + penalty, penalty, error)

    def encode(self, images, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """``mu_z`` and zeros, each ``(n, kappa)`` float32, of images ``(n, h, w, c)`` uint8."""
        mu_z = predict(self.encoder, self.check_images(images), self.scale, progress)
        return mu_z, np.zeros_like(mu_z)

    def get_config(self):
        config = super().get_config()
        unused = ("likelihood", "learn_gamma", "initial_log_gamma", "gamma_speed", "optimal_gamma")
        for name in unused:
            del config[name]
        return {
            **config,
            "reconstruction_weight": self.reconstruction_weight,
            "penalty_weight": self.penalty_weight,
        }


def build(
    parts,
    image_shape,
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    seed: int = 0,
    reconstruction_weight: float | None = None,
    penalty_weight: float | None = None,
) -> WAE:
    """A fresh WAE on a network, ``parts``; arguments as :func:`models.build`'s.

    Args:
        initial_log_gamma, gamma_speed: not used, there is no gamma.
        reconstruction_weight, penalty_weight: None for ``GREY_WEIGHTS`` on images of one channel,
            ``COLOUR_WEIGHTS`` on others.
    """
    weights = GREY_WEIGHTS if image_shape[-1] == 1 else COLOUR_WEIGHTS
    seeds = part_seeds(seed, 3)
    encoder = parts.encoder(image_shape, latent_dim, momentum=momentum, seed=seeds[0])
    return WAE(
        mean_encoder(encoder),
        parts.decoder(image_shape, latent_dim, momentum=momentum, seed=seeds[1]),
        weights.reconstruction if reconstruction_weight is None else reconstruction_weight,
        weights.penalty if penalty_weight is None else penalty_weight,
        seed=seeds[2],
        name="wae_mmd",
    )
