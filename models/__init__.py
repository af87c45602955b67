"""What is trained: the VAE with learned gamma, and the two-stage VAE made of two of them."""

from __future__ import annotations

import numpy as np

from models.networks import dense, infogan
from models.two_stage import LatentVAE, TwoStageVAE
from models.vae import VAE, save

__all__ = ["METHODS", "NETWORKS", "VAE", "LatentVAE", "TwoStageVAE", "build", "save"]

METHODS = ("vae-fixed-gamma", "vae-learned-gamma", "two-stage")
NETWORKS = {"infogan": infogan}


def build(
    method: str,
    image_shape: tuple[int, int, int],
    network: str = "infogan",
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    seed: int = 0,
) -> VAE | TwoStageVAE:
    """A fresh model, its weights drawn from ``seed``.

    Args:
        method: one of ``METHODS``.
        image_shape: ``(h, w, c)``.
        network: one of ``NETWORKS``; the first stage's encoder and decoder.
        latent_dim: kappa.
        momentum: decay of the batch normalisation's moving averages, 0.999 in the paper's code.
        initial_log_gamma, gamma_speed: see :class:`models.VAE`; of both stages.
        seed: for the initial weights and the noise of training.

    Raises:
        ValueError: for an unknown method or network, or a shape the network can't take.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {network!r}.")
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
    parts = NETWORKS[network]
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(6) // 2]
    gamma = {"initial_log_gamma": initial_log_gamma, "gamma_speed": gamma_speed}
    first = VAE(
        parts.encoder(image_shape, latent_dim, momentum=momentum, seed=seeds[0]),
        parts.decoder(image_shape, latent_dim, momentum=momentum, seed=seeds[1]),
        learn_gamma=method != "vae-fixed-gamma",
        seed=seeds[2],
        name="first_stage",
        **gamma,
    )
    if method != "two-stage":
        return first
    second = LatentVAE(
        dense.encoder(latent_dim, seed=seeds[3]),
        dense.decoder(latent_dim, seed=seeds[4]),
        seed=seeds[5],
        name="second_stage",
        **gamma,
    )
    return TwoStageVAE(first, second)
