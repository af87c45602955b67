"""The second stage's networks: three dense layers whose input skips to the output layer.

Without ``skip`` the output layer sees the last hidden layer alone, an ablation.
"""

from __future__ import annotations

import keras
from keras import layers

from models.networks import glorot, layer_seeds, posterior

UNITS = 1024
DEPTH = 3


def _stack(inputs, units, depth, seeds, skip):
    h = inputs
    for i in range(depth):
        name = f"dense{i + 1}"
        h = layers.Dense(
            units, activation="relu", kernel_initializer=glorot(next(seeds)), name=name
        )(h)
    if not skip:
        return h  # (batch, units)
    return layers.Concatenate(name="skip")([h, inputs])  # (batch, units + latent_dim)


def encoder(
    latent_dim: int = 64,
    units: int = UNITS,
    depth: int = DEPTH,
    seed: int = 0,
    *,
    skip: bool = True,
):
    """z ``(batch, latent_dim)`` -> ``mu_u``, ``sd_u``, each ``(batch, latent_dim)``."""
    seeds = layer_seeds(seed)
    z = keras.Input((latent_dim,), name="z")
    h = _stack(z, units, depth, seeds, skip)
    mu_u, sd_u = posterior(h, latent_dim, seeds)
    return keras.Model(z, [mu_u, sd_u], name="second_encoder")


def decoder(
    latent_dim: int = 64,
    units: int = UNITS,
    depth: int = DEPTH,
    seed: int = 0,
    *,
    skip: bool = True,
):
    """u ``(batch, latent_dim)`` -> z_hat ``(batch, latent_dim)``, unbounded."""
    seeds = layer_seeds(seed)
    u = keras.Input((latent_dim,), name="u")
    h = _stack(u, units, depth, seeds, skip)
    z_hat = layers.Dense(latent_dim, kernel_initializer=glorot(next(seeds)), name="z_hat")(h)
    return keras.Model(u, z_hat, name="second_decoder")
