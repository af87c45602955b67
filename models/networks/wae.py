"""The architecture of Table 2: the network of Tolstikhin et al. (2018) for 64 x 64 faces.

Encoder: 5x5 convolutions 128 (stride 1), 256, 512, 1024 (stride 2), each with batch normalisation.
Decoder: dense (h/8)(w/8) 1024, 5x5/2 transposed convolutions 512, 256, 128, one of stride 1 to c.
The authors' code is fixed to 64 x 64 x 3; here the dense layer's size follows the image.
"""

from __future__ import annotations

import keras
from keras import layers

from models.layers import BatchNormalization
from models.networks import BATCH_NORM_EPSILON, glorot, layer_seeds, posterior

FEATURES = "flatten"  # the encoder's last hidden layer, (batch, (h/8)(w/8) 8 base_dim)
BASE_DIM = 128
KERNEL_SIZE = 5


def check_image_shape(image_shape) -> None:
    """Raises ValueError unless the sides are multiples of 8 and there are 1 or 3 channels."""
    height, width, channels = image_shape
    if height % 8 or width % 8 or channels not in (1, 3):
        raise ValueError(
            "The wae network takes images whose sides are multiples of 8, with 1 or 3 channels; "
            f"got {tuple(image_shape)}. The infogan network takes multiples of 4, the resnet "
            "network any square image with an even side."
        )


def encoder(
    image_shape,
    latent_dim: int = 64,
    momentum: float = 0.999,
    seed: int = 0,
    base_dim: int = BASE_DIM,
):
    """x ``(batch, h, w, c)`` in [0, 1] -> ``mu_z``, ``sd_z``, each ``(batch, latent_dim)``.

    Args:
        image_shape: ``(h, w, c)``; h and w multiples of 8.
        latent_dim: kappa.
        momentum: decay of the batch normalisation's moving averages.
        seed: for all initial weights.
        base_dim: channels at full resolution, 128 in the paper; they double with every halving.

    Raises:
        ValueError: for a shape the network can't take.
    """
    check_image_shape(image_shape)
    seeds = layer_seeds(seed)

    x = keras.Input(image_shape, name="x")
    h = x
    for i, strides in enumerate((1, 2, 2, 2), start=1):  # ends at (batch, h/8, w/8, 8 base_dim)
        h = layers.Conv2D(
            base_dim * 2 ** (i - 1),
            KERNEL_SIZE,
            strides=strides,
            padding="same",
            kernel_initializer=glorot(next(seeds)),
            name=f"conv{i}",
        )(h)
        h = BatchNormalization(momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=f"bn{i}")(h)
        h = layers.ReLU(name=f"relu{i}")(h)
    h = layers.Flatten(name=FEATURES)(h)
    mu_z, sd_z = posterior(h, latent_dim, seeds)
    return keras.Model(x, [mu_z, sd_z], name="wae_encoder")


def decoder(
    image_shape,
    latent_dim: int = 64,
    momentum: float = 0.999,
    seed: int = 0,
    base_dim: int = BASE_DIM,
):
    """z ``(batch, latent_dim)`` -> x_hat ``(batch, h, w, c)`` in [0, 1]; arguments as encoder's."""
    check_image_shape(image_shape)
    height, width, channels = image_shape
    base = (height // 8, width // 8, 8 * base_dim)
    seeds = layer_seeds(seed)

    def deconv(filters, strides, name, activation=None):
        return layers.Conv2DTranspose(
            filters,
            KERNEL_SIZE,
            strides=strides,
            padding="same",
            activation=activation,
            kernel_initializer=glorot(next(seeds)),
            name=name,
        )

    z = keras.Input((latent_dim,), name="z")
    h = layers.Dense(
        base[0] * base[1] * base[2],
        activation="relu",  # alone without batch normalisation, as in the authors' code
        kernel_initializer=glorot(next(seeds)),
        name="dense",
    )(z)
    h = layers.Reshape(base, name="reshape")(h)
    for i, factor in enumerate((4, 2, 1), start=1):  # ends at (batch, h, w, base_dim)
        h = deconv(factor * base_dim, 2, f"deconv{i}")(h)
        h = BatchNormalization(momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=f"bn{i}")(h)
        h = layers.ReLU(name=f"relu{i}")(h)
    x_hat = deconv(channels, 1, "deconv4", activation="sigmoid")(h)  # (batch, h, w, c)
    return keras.Model(z, x_hat, name="wae_decoder")
