"""The neutral architecture of Table 1: the InfoGAN network, as Lucic et al. (2018) compare it.

Encoder: 4x4/2 convolutions 64 and 128, dense 1024, dense 2 kappa, all spectrally normalised.
Decoder: dense 1024, dense 128 (s/4)^2, 4x4/2 transposed convolutions 64 and c.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from models.layers import PACKAGE, BatchNormalization, SpectralNormalization
from models.networks import BATCH_NORM_EPSILON, layer_seeds

FEATURES = "lrelu3"  # the encoder's last hidden layer, (batch, 1024)
SD_FLOOR = 1e-6
LEAKY_SLOPE = 0.2


@keras.saving.register_keras_serializable(PACKAGE)
class MeanAndDeviation(layers.Layer):
    """Splits ``(batch, 2 kappa)`` into the mean and sd = 1e-6 + softplus(second half)."""

    def call(self, inputs):
        mu, raw_sd = ops.split(inputs, 2, axis=-1)
        return mu, SD_FLOOR + ops.softplus(raw_sd)


def _truncated(seed):
    return keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)


def _normal(seed):
    return keras.initializers.RandomNormal(stddev=0.02, seed=seed)


def check_image_shape(image_shape) -> None:
    """Raises ValueError unless the sides are multiples of 4 and there are 1 or 3 channels."""
    height, width, channels = image_shape
    if height % 4 or width % 4 or channels not in (1, 3):
        raise ValueError(
            "The infogan network takes images whose sides are multiples of 4, with 1 or 3 "
            f"channels; got {tuple(image_shape)}."
        )


def encoder(image_shape, latent_dim: int = 64, momentum: float = 0.999, seed: int = 0):
    """x ``(batch, h, w, c)`` in [0, 1] -> ``mu_z``, ``sd_z``, each ``(batch, latent_dim)``.

    Args:
        image_shape: ``(h, w, c)``; h and w multiples of 4.
        latent_dim: kappa.
        momentum: decay of the batch normalisation's moving averages.
        seed: for all initial weights.
    """
    check_image_shape(image_shape)
    seeds = layer_seeds(seed)

    def normalised(layer):
        return SpectralNormalization(layer, seed=next(seeds), name=f"sn_{layer.name}")

    def batch_norm(name):
        return BatchNormalization(momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=name)

    def conv(filters, name):
        return normalised(
            layers.Conv2D(
                filters,
                4,
                strides=2,
                padding="same",
                kernel_initializer=_truncated(next(seeds)),
                name=name,
            )
        )

    def dense(units, name):
        return normalised(layers.Dense(units, kernel_initializer=_normal(next(seeds)), name=name))

    x = keras.Input(image_shape, name="x")
    h = conv(64, "conv1")(x)  # (batch, h/2, w/2, 64)
    h = layers.LeakyReLU(LEAKY_SLOPE, name="lrelu1")(h)
    h = conv(128, "conv2")(h)  # (batch, h/4, w/4, 128)
    h = layers.LeakyReLU(LEAKY_SLOPE, name="lrelu2")(batch_norm("bn2")(h))
    h = layers.Flatten(name="flatten")(h)  # (batch, 8 h w)
    h = dense(1024, "dense3")(h)  # (batch, 1024)
    h = layers.LeakyReLU(LEAKY_SLOPE, name="lrelu3")(batch_norm("bn3")(h))
    h = dense(2 * latent_dim, "dense4")(h)  # (batch, 2 latent_dim)
    mu_z, sd_z = MeanAndDeviation(name="posterior")(h)
    return keras.Model(x, [mu_z, sd_z], name="infogan_encoder")


def decoder(image_shape, latent_dim: int = 64, momentum: float = 0.999, seed: int = 0):
    """z ``(batch, latent_dim)`` -> x_hat ``(batch, h, w, c)`` in [0, 1]; arguments as encoder's."""
    check_image_shape(image_shape)
    height, width, channels = image_shape
    seeds = layer_seeds(seed)

    def batch_norm(name):
        return BatchNormalization(momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=name)

    def dense(units, name):
        return layers.Dense(units, kernel_initializer=_normal(next(seeds)), name=name)

    def deconv(filters, name, activation=None):
        return layers.Conv2DTranspose(
            filters,
            4,
            strides=2,
            padding="same",
            activation=activation,
            kernel_initializer=_normal(next(seeds)),
            name=name,
        )

    z = keras.Input((latent_dim,), name="z")
    h = layers.ReLU(name="relu1")(batch_norm("bn1")(dense(1024, "dense1")(z)))
    h = dense(128 * (height // 4) * (width // 4), "dense2")(h)  # (batch, 8 h w)
    h = layers.ReLU(name="relu2")(batch_norm("bn2")(h))
    h = layers.Reshape((height // 4, width // 4, 128), name="reshape")(h)
    h = deconv(64, "deconv3")(h)  # (batch, h/2, w/2, 64)
    h = layers.ReLU(name="relu3")(batch_norm("bn3")(h))
    x_hat = deconv(channels, "deconv4", activation="sigmoid")(h)  # (batch, h, w, c)
    return keras.Model(z, x_hat, name="infogan_decoder")
