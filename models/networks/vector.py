"""Networks for data that are vectors: dense layers whose input skips to the output layer.

The second stage's networks (:mod:`models.networks.dense`) with the two sizes apart, x of d and z of
kappa dimensions. The skip makes every linear map exact whatever the hidden layers do; the smooth
activation suits smooth manifolds. They are not the paper's: its networks are for images.
"""

from __future__ import annotations

import keras
from keras import layers

from models.networks import glorot, layer_seeds, posterior

UNITS = 64
DEPTH = 2
ACTIVATION = "silu"


def _stack(inputs, units, depth, activation, seeds):
    h = inputs
    for i in range(depth):
        h = layers.Dense(
            units,
            activation=activation,
            kernel_initializer=glorot(next(seeds)),
            name=f"dense{i + 1}",
        )(h)
    return layers.Concatenate(name="skip")([h, inputs])  # (batch, units + inputs)


def encoder(
    dim: int,
    latent_dim: int,
    units: int = UNITS,
    depth: int = DEPTH,
    activation: str = ACTIVATION,
    seed: int = 0,
):
    """x ``(batch, dim)`` -> ``mu_z``, ``sd_z``, each ``(batch, latent_dim)``."""
    seeds = layer_seeds(seed)
    x = keras.Input((dim,), name="x")
    h = _stack(x, units, depth, activation, seeds)
    return keras.Model(x, list(posterior(h, latent_dim, seeds)), name="vector_encoder")


def decoder(
    dim: int,
    latent_dim: int,
    units: int = UNITS,
    depth: int = DEPTH,
    activation: str = ACTIVATION,
    seed: int = 0,
):
    """z ``(batch, latent_dim)`` -> x_hat ``(batch, dim)``, unbounded."""
    seeds = layer_seeds(seed)
    z = keras.Input((latent_dim,), name="z")
    h = _stack(z, units, depth, activation, seeds)
    x_hat = layers.Dense(dim, kernel_initializer=glorot(next(seeds)), name="x_hat")(h)
    return keras.Model(z, x_hat, name="vector_decoder")
