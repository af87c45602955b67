"""Encoder and decoder builders, one module per architecture of the paper.

Each builder returns a functional ``keras.Model``. An encoder maps x to the pair
``(mu, sd)`` of the Gaussian posterior; a decoder maps the latent vector to the mean of x.

A module of first-stage networks also has ``check_image_shape``, which raises ValueError for images
the network can't take, and ``FEATURES``, the name of the encoder's last hidden layer: the tensor
``(batch, features)`` from which mu and sd are computed, where another posterior can be attached:
``encoder.get_layer(FEATURES).output``.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

BATCH_NORM_EPSILON = 1e-5


def part_seeds(seed: int, n: int) -> list[int]:
    """``n`` independent seeds derived from ``seed``; a longer list begins with the shorter one.

    One for each network and each source of noise of a model, in the same order for all methods:
    where two methods have a part in common, the same seed gives it the same initial weights.
    """
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(n) // 2]


def layer_seeds(seed: int):
    """Endless distinct seeds for the initialisers of one network, all derived from ``seed``.

    Seeds counted up from ``seed`` would give trial 1's first layer the weights of trial 0's second.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    while True:
        yield int(generator.integers(2**31 - 1))


def glorot(seed: int):
    """TensorFlow 1's default initialiser of kernels, which every network but Infogan has."""
    return keras.initializers.GlorotUniform(seed=seed)


def posterior(h, latent_dim: int, seeds):
    """mu and sd = exp(log sd), each ``(batch, latent_dim)``: a dense layer each on the same h.

    Args:
        h: ``(batch, features)``.
        latent_dim: kappa.
        seeds: iterator as from :func:`layer_seeds`; two are taken.
    """
    mu = layers.Dense(latent_dim, kernel_initializer=glorot(next(seeds)), name="mu")(h)
    log_sd = layers.Dense(latent_dim, kernel_initializer=glorot(next(seeds)), name="log_sd")(h)
    return mu, layers.Activation("exponential", name="sd")(log_sd)
