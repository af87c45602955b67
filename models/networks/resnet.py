"""The residual network of the authors' CelebA samples (base_dim 32 and kappa 128 there).

Encoder: a 3x3 convolution to base_dim, then num_scale scales of residual blocks with 3x3/2
convolutions between them that double the channels, the mean over all pixels, and a dense residual
block. Decoder: dense to 2 x 2, then a 3x3/2 transposed convolution and a scale of residual blocks
for every doubling up to the image's side, and a 3x3 convolution to c.

The decoder's sides are powers of two. Images of another side are padded with zeros inside the
encoder, equally on all four sides, and cropped inside the decoder: 28 x 28 is 32 x 32 within. The
authors' code does not take such images.

The options' defaults are those of the authors' command line for every data set. num_scale 4 suits
all of them: the last scale is 8 x 8 for images of side 64 and 4 x 4 for 32 and 28.
"""

from __future__ import annotations

import keras
from keras import layers

from models.layers import BatchNormalization
from models.networks import BATCH_NORM_EPSILON, glorot, layer_seeds, posterior

FEATURES = "dense_sum"  # the encoder's last hidden layer, (batch, fc_dim)
NUM_SCALE = 4
BLOCK_PER_SCALE = 1
DEPTH_PER_BLOCK = 2
KERNEL_SIZE = 3
BASE_DIM = 16
FC_DIM = 512
MAX_DECODER_DIM = 1024


def check_image_shape(image_shape) -> None:
    """Raises ValueError unless the image is square with an even side and 1 or 3 channels."""
    height, width, channels = image_shape
    if height != width or height < 2 or height % 2 or channels not in (1, 3):
        raise ValueError(
            "The resnet network takes square images with an even side, with 1 or 3 channels; "
            f"got {tuple(image_shape)}."
        )


def padded_side(side: int) -> int:
    """The smallest power of two that holds an image of this side."""
    return 1 << (side - 1).bit_length()


def decoder_dims(side: int, base_dim: int = BASE_DIM) -> list[int]:
    """Channels of the decoder's scales, from 2 x 2 to ``side``, a power of two.

    From the image inwards they double from ``base_dim``, up to 1024.
    """
    scales = side.bit_length() - 1  # sides 2, 4, ..., side
    return [min(base_dim * 2**k, MAX_DECODER_DIM) for k in reversed(range(scales))]


def _conv(h, dim, kernel_size, seeds, name, *, strides=1, activation=None):
    return layers.Conv2D(
        dim,
        kernel_size,
        strides=strides,
        padding="same",
        activation=activation,
        kernel_initializer=glorot(next(seeds)),
        name=name,
    )(h)


def _scale(h, dim, blocks, depth, kernel_size, momentum, seeds, name):
    """Residual blocks: ``depth`` times (BN, relu, convolution), plus a convolution of the input."""
    for block in range(blocks):
        prefix = f"{name}_block{block}"
        shortcut = _conv(h, dim, kernel_size, seeds, f"{prefix}_shortcut")
        for i in range(depth):
            h = BatchNormalization(
                momentum=momentum, epsilon=BATCH_NORM_EPSILON, name=f"{prefix}_bn{i}"
            )(h)
            h = layers.ReLU(name=f"{prefix}_relu{i}")(h)
            h = _conv(h, dim, kernel_size, seeds, f"{prefix}_conv{i}")
        h = layers.Add(name=f"{prefix}_sum")([h, shortcut])
    return h


def _dense_block(h, units, depth, seeds):
    """``depth`` times (relu, dense), plus a dense layer of the input."""

    def dense(name):
        return layers.Dense(units, kernel_initializer=glorot(next(seeds)), name=name)

    shortcut = dense("dense_shortcut")(h)
    for i in range(depth):
        h = dense(f"dense{i}")(layers.ReLU(name=f"dense_relu{i}")(h))
    return layers.Add(name=FEATURES)([h, shortcut])


def encoder(
    image_shape,
    latent_dim: int = 64,
    momentum: float = 0.999,
    seed: int = 0,
    *,
    num_scale: int = NUM_SCALE,
    block_per_scale: int = BLOCK_PER_SCALE,
    depth_per_block: int = DEPTH_PER_BLOCK,
    kernel_size: int = KERNEL_SIZE,
    base_dim: int = BASE_DIM,
    fc_dim: int = FC_DIM,
):
    """x ``(batch, s, s, c)`` in [0, 1] -> ``mu_z``, ``sd_z``, each ``(batch, latent_dim)``.

    Args:
        image_shape: ``(s, s, c)``, s even; padded to ``(p, p, c)`` with p the next power of two.
        latent_dim: kappa.
        momentum: decay of the batch normalisation's moving averages.
        seed: for all initial weights.
        num_scale: resolutions p, p/2, ..., p/2^(num_scale - 1) with residual blocks.
        block_per_scale: residual blocks at each resolution.
        depth_per_block: convolutions in a residual block, and dense layers in the dense one.
        kernel_size: of all convolutions.
        base_dim: channels at full resolution.
        fc_dim: units of the dense residual block.

    Raises:
        ValueError: for a shape the network can't take, or more scales than it has room for.
    """
    check_image_shape(image_shape)
    side = padded_side(image_shape[0])
    if not 1 <= num_scale <= side.bit_length():
        raise ValueError(
            f"num_scale must be between 1 and {side.bit_length()} for images of side {side} "
            f"(after padding), got {num_scale}."
        )
    seeds = layer_seeds(seed)

    x = keras.Input(image_shape, name="x")
    h = layers.ZeroPadding2D((side - image_shape[0]) // 2, name="pad")(x)  # (batch, p, p, c)
    h = _conv(h, base_dim, kernel_size, seeds, "conv")
    for i in range(num_scale):  # (batch, p/2^i, p/2^i, base_dim 2^i)
        dim = base_dim * 2**i
        if i > 0:
            h = _conv(h, dim, kernel_size, seeds, f"down{i}", strides=2)
        h = _scale(
            h, dim, block_per_scale, depth_per_block, kernel_size, momentum, seeds, f"scale{i}"
        )
    h = layers.GlobalAveragePooling2D(name="mean")(h)  # (batch, base_dim 2^(num_scale - 1))
    h = _dense_block(h, fc_dim, depth_per_block, seeds)
    mu_z, sd_z = posterior(h, latent_dim, seeds)
    return keras.Model(x, [mu_z, sd_z], name="resnet_encoder")


def decoder(
    image_shape,
    latent_dim: int = 64,
    momentum: float = 0.999,
    seed: int = 0,
    *,
    block_per_scale: int = BLOCK_PER_SCALE,
    depth_per_block: int = DEPTH_PER_BLOCK,
    kernel_size: int = KERNEL_SIZE,
    base_dim: int = BASE_DIM,
):
    """z ``(batch, latent_dim)`` -> x_hat ``(batch, s, s, c)`` in [0, 1]; arguments as encoder's.

    It has as many scales as it takes to reach the image from 2 x 2, whatever the encoder's.
    """
    check_image_shape(image_shape)
    height, _, channels = image_shape
    side = padded_side(height)
    first_dim, *dims = decoder_dims(side, base_dim)
    seeds = layer_seeds(seed)

    z = keras.Input((latent_dim,), name="z")
    h = layers.Dense(2 * 2 * first_dim, kernel_initializer=glorot(next(seeds)), name="dense")(z)
    h = layers.Reshape((2, 2, first_dim), name="reshape")(h)
    for i, dim in enumerate(dims):  # (batch, 4, 4, ...) to (batch, p, p, base_dim)
        h = layers.Conv2DTranspose(
            dim,
            kernel_size,
            strides=2,
            padding="same",
            kernel_initializer=glorot(next(seeds)),
            name=f"up{i}",
        )(h)
        h = _scale(
            h, dim, block_per_scale, depth_per_block, kernel_size, momentum, seeds, f"scale{i}"
        )
    h = _conv(h, channels, kernel_size, seeds, "conv", activation="sigmoid")
    x_hat = layers.Cropping2D((side - height) // 2, name="crop")(h)  # (batch, s, s, c)
    return keras.Model(z, x_hat, name="resnet_decoder")
