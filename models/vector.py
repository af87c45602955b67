"""The models of this package on data that are vectors in R^d instead of images."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from models.baselines.joint import FORMS, MergedVAE, fused_decoder, fused_encoder
from models.layers import PACKAGE
from models.networks import dense, part_seeds, vector
from models.two_stage import LatentVAE, TwoStageVAE
from models.vae import VAE


class _OfVectors:
    """Replaces what a VAE assumes of images: x ``(n, d)`` has no range to bring to [0, 1]."""

    def scale(self, vectors):
        """Vectors ``(batch, d)`` as they are."""
        return ops.cast(vectors, self.compute_dtype)

    def check_images(self, vectors) -> np.ndarray:
        """``vectors`` as float32 ``(n, d)``; ValueError if their shape is another."""
        vectors = np.asarray(vectors, dtype="float32")
        expected = self.encoder.input_shape[-1]
        if vectors.ndim != 2 or vectors.shape[1] != expected:
            raise ValueError(f"vectors must have shape (n, {expected}), got {vectors.shape}.")
        return vectors


@keras.saving.register_keras_serializable(PACKAGE)
class VectorVAE(_OfVectors, VAE):
    """:class:`models.VAE` of vectors ``(n, d)``; only its scaling of x is another."""


@keras.saving.register_keras_serializable(PACKAGE)
class VectorMergedVAE(_OfVectors, MergedVAE):
    """Both stages trained together on vectors, see :class:`models.baselines.joint.MergedVAE`."""


def build(
    dim: int,
    latent_dim: int,
    *,
    seed: int = 0,
    learn_gamma: bool = True,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    name: str = "vector_vae",
    **network,
) -> VectorVAE:
    """A fresh VAE of vectors.

    Args:
        dim: d. latent_dim: kappa.
        network: ``units``, ``depth``, ``activation``, see :mod:`models.networks.vector`.
        Others as :class:`models.VAE`.
    """
    seeds = part_seeds(seed, 3)
    return VectorVAE(
        vector.encoder(dim, latent_dim, seed=seeds[0], **network),
        vector.decoder(dim, latent_dim, seed=seeds[1], **network),
        learn_gamma=learn_gamma,
        initial_log_gamma=initial_log_gamma,
        gamma_speed=gamma_speed,
        seed=seeds[2],
        name=name,
    )


def build_two_stage(
    dim: int,
    latent_dim: int,
    *,
    seed: int = 0,
    second_units: int = 64,
    second_depth: int = 3,
    gamma_speed: float = 1.0,
    second_gamma_speed: float | None = None,
    second_initial_log_gamma: float = 0.0,
    **network,
) -> TwoStageVAE:
    """A fresh two-stage VAE of vectors; the second stage's networks are :mod:`.dense`'s.

    Args:
        second_gamma_speed: gamma_z's; the first stage's if None.
        second_initial_log_gamma: log gamma_z at the start. z has about unit variance, so that at
            the usual 0 the second stage's posteriors are at the edge of collapse from the start.
        Others as :func:`build`.
    """
    seeds = part_seeds(seed, 6)
    first = build(
        dim, latent_dim, seed=seed, gamma_speed=gamma_speed, name="first_stage", **network
    )
    second = LatentVAE(
        dense.encoder(latent_dim, second_units, second_depth, seed=seeds[3]),
        dense.decoder(latent_dim, second_units, second_depth, seed=seeds[4]),
        gamma_speed=gamma_speed if second_gamma_speed is None else second_gamma_speed,
        initial_log_gamma=second_initial_log_gamma,
        seed=seeds[5],
        name="second_stage",
    )
    return TwoStageVAE(first, second)


def build_joint(
    dim: int,
    latent_dim: int,
    form: str,
    *,
    seed: int = 0,
    second_units: int = 64,
    second_depth: int = 3,
    gamma_speed: float = 1.0,
    **network,
) -> VAE:
    """Both stages to be trained in one go, "fused" or "merged"; see :mod:`models.baselines.joint`.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}.")
    stages = build_two_stage(
        dim,
        latent_dim,
        seed=seed,
        second_units=second_units,
        second_depth=second_depth,
        gamma_speed=gamma_speed,
        **network,
    )
    first, second = stages.first, stages.second
    if form == "fused":
        return VectorVAE(
            fused_encoder(first.encoder, second.encoder),
            fused_decoder(first.decoder, second.decoder),
            gamma_speed=gamma_speed,
            seed=first.seed,
            name="fused",
        )
    return VectorMergedVAE(
        first.encoder,
        first.decoder,
        second,
        gamma_speed=gamma_speed,
        seed=first.seed,
        name="merged",
    )
