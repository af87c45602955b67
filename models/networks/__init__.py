"""Encoder and decoder builders, one module per architecture of the paper.

Each builder returns a functional ``keras.Model``. An encoder maps x to the pair
``(mu, sd)`` of the Gaussian posterior; a decoder maps the latent vector to the mean of x.
"""

from __future__ import annotations

import numpy as np


def layer_seeds(seed: int):
    """Endless distinct seeds for the initialisers of one network, all derived from ``seed``.

    Seeds counted up from ``seed`` would give trial 1's first layer the weights of trial 0's second.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    while True:
        yield int(generator.integers(2**31 - 1))
