"""The paper's other methods: the flow VAE, WAE-MMD and the two-stage VAE trained jointly.

Each module has ``build``, which takes a network (a module of :mod:`models.networks`) and returns a
fresh model. Where a method has a part in common with the two-stage VAE, the same seed gives that
part the same initial weights.
"""

from __future__ import annotations

import keras


def mean_encoder(encoder: keras.Model) -> keras.Model:
    """The deterministic part of an encoder: x -> ``mu_z`` ``(batch, kappa)`` alone.

    Layers that only sd depends on are left out. Infogan computes mu and sd in one spectrally
    normalised layer: there the sd half of the kernel stays, and counts only in the norm.
    """
    return keras.Model(encoder.input, encoder.outputs[0], name=f"{encoder.name}_mean")
