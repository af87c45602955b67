"""The two-stage VAE trained in one go, in the two forms the paper tried and found not to help.

- "fused": one deeper VAE whose latent variable is u. The second stage's networks are stacked on
  the first's, x -> z -> u -> z_hat -> x_hat, with z the first encoder's mean; one KL term, on u,
  and one gamma. That is an ordinary :class:`models.VAE` of composed networks.
- "merged": both stages as they are, their objectives summed; see :class:`MergedVAE`.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from models.baselines import mean_encoder
from models.layers import PACKAGE
from models.losses import Objective
from models.networks import dense, part_seeds
from models.two_stage import LatentVAE
from models.vae import VAE

FORMS = ("fused", "merged")


def fused_encoder(encoder: keras.Model, second_encoder: keras.Model) -> keras.Model:
    """x -> mu_z(x) -> ``mu_u``, ``sd_u``, each ``(batch, kappa)``."""
    x = encoder.input
    return keras.Model(x, second_encoder(mean_encoder(encoder)(x)), name="fused_encoder")


def fused_decoder(decoder: keras.Model, second_decoder: keras.Model) -> keras.Model:
    """u ``(batch, kappa)`` -> z_hat(u) -> ``x_hat`` in [0, 1]."""
    u = second_decoder.input
    return keras.Model(u, decoder(second_decoder(u)), name="fused_decoder")


@keras.saving.register_keras_serializable(PACKAGE)
class MergedVAE(VAE):
    """Both stages of a two-stage VAE, trained together on the sum of their objectives.

    L_1(x; z) + L_2(z; u), each a KL term and a Gaussian reconstruction with its own gamma, and z
    one and the same draw from q(z|x) in both. The gradient of L_2 flows through z into the first
    encoder: that is the difference from training one stage after the other.

    ``kl`` and ``reconstruction`` are the sums over both stages. Encoding, decoding and
    reconstructing are the first stage's; ``sample`` is the two-stage VAE's.

    Args:
        encoder, decoder: of the first stage, as :class:`models.VAE`'s.
        second: ``LatentVAE`` of the same latent dimension.
        kwargs: as :class:`models.VAE`'s, for the first stage.

    Raises:
        ValueError: if the two latent dimensions differ.
    """

    def __init__(self, encoder, decoder, second, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        if second.decoder.output_shape[-1] != self.latent_dim:
            raise ValueError(
                f"The second stage models z of {second.decoder.output_shape[-1]} dimensions, the "
                f"first stage has {self.latent_dim}: build both with the same latent_dim."
            )
        self.second = second

    NOISES = 2

    def prior_draw(self, u, eps):
        """z_hat(u) + gamma_z * eps, ``(batch, kappa)``."""
        gamma_z = ops.exp(self.second.log_gamma)
        return self.second.decoder(u, training=False) + gamma_z * eps

    def objective(self, x, training=False) -> Objective:
        """Both stages' terms summed, for x ``(batch, ...)``: each ``(batch,)``."""
        mu_z, sd_z = self.encoder(x, training=training)
        z = self.sampler(mu_z, sd_z)
        x_hat = self.decoder(z, training=training)
        if training:
            self.renew_gamma(x, x_hat)
        first = self.negative_elbo(x, x_hat, mu_z, sd_z)
        second = self.second.objective(z, training=training)
        return Objective(*(a + b for a, b in zip(first, second, strict=True)))

    def _logs(self, terms: Objective) -> dict:
        return {**super()._logs(terms), "log_gamma_z": self.second.log_gamma}

    def sample(self, n: int, seed: int | None = None) -> np.ndarray:
        """Images ``(n, h, w, c)``: u ~ N(0, I), z = z_hat(u) + gamma_z * eps, x = x_hat(z)."""
        return self.decode(self.second.sample(n, seed))

    def get_config(self):
        return {
            **super().get_config(),
            "second": keras.saving.serialize_keras_object(self.second),
        }

    @classmethod
    def from_config(cls, config):
        second = keras.saving.deserialize_keras_object(config["second"])
        return super().from_config({**config, "second": second})


def build(
    parts,
    image_shape,
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    seed: int = 0,
    form: str = "fused",
    optimal_gamma: bool = False,
) -> VAE:
    """A fresh joint model on a network, ``parts``; arguments as :func:`models.build`'s.

    Args:
        form: "fused" (a VAE of u: its ``encode`` and ``decode`` speak of u) or "merged" (a
            MergedVAE, of z).
        optimal_gamma: see :class:`models.VAE`; of all gammas.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}.")
    seeds = part_seeds(seed, 6)
    encoder = parts.encoder(image_shape, latent_dim, momentum=momentum, seed=seeds[0])
    decoder = parts.decoder(image_shape, latent_dim, momentum=momentum, seed=seeds[1])
    second_encoder = dense.encoder(latent_dim, seed=seeds[3])
    second_decoder = dense.decoder(latent_dim, seed=seeds[4])
    gamma = {
        "initial_log_gamma": initial_log_gamma,
        "gamma_speed": gamma_speed,
        "optimal_gamma": optimal_gamma,
    }
    if form == "fused":
        return VAE(
            fused_encoder(encoder, second_encoder),
            fused_decoder(decoder, second_decoder),
            seed=seeds[2],
            name="two_stage_fused",
            **gamma,
        )
    second = LatentVAE(second_encoder, second_decoder, seed=seeds[5], name="second_stage", **gamma)
    return MergedVAE(encoder, decoder, second, seed=seeds[2], name="two_stage_merged", **gamma)
