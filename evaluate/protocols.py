"""How images reach the scoring network: the paper's way and the standard one.

``paper``     as the authors' code scores: each generated image is stretched to [0, 255] by its own
              minimum and maximum and keeps its fractions; real images stay as they are.
``standard``  as FID is usually reported: generated images are rounded to uint8, nothing stretched.

Both then follow the 2015 Inception graph: grey repeated to three channels, TensorFlow 1's bilinear
resize of the raw image, (x - 128) / 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

PROTOCOLS = ("paper", "standard")
INCEPTION_SIZE = 299
ROUNDING = 1e-3  # Values this far outside [0, 1] are clipped; farther ones are a mistake.


def as_scored(images: np.ndarray, protocol: str, generated: bool) -> np.ndarray:
    """Return the pixel values that ``protocol`` scores.

    Args:
        images: (n, h, w, c); uint8 if real, floats in [0, 1] if generated.
        protocol: one of ``PROTOCOLS``.
        generated: True for a model's images, reconstructions included.

    Returns:
        (n, h, w, c) in [0, 255]: uint8, but float32 for generated images under ``paper``. A
        generated image of one single value becomes 0 there (the authors' code divides by zero).
        ``standard`` rounds halves to even.

    Raises:
        ValueError: an unknown protocol, a shape, type or range other than the above, or NaN.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"expected a protocol of {', '.join(PROTOCOLS)}, got {protocol!r}")
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"expected images (n, h, w, c), got shape {images.shape}")
    if not generated:
        if images.dtype != np.uint8:
            raise ValueError(f"real images: expected uint8, got {images.dtype}")
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"generated images: expected floats in [0, 1], got {images.dtype}")
    unusable = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
    if unusable:
        raise ValueError(f"{unusable} of {len(images)} generated images hold NaN or infinity")
    if images.size and (images.min() < -ROUNDING or images.max() > 1.0 + ROUNDING):
        raise ValueError(
            f"generated images: expected values in [0, 1], got {images.min()} to {images.max()}"
        )
    images = np.clip(images.astype(np.float32, copy=False), 0.0, 1.0)
    if protocol == "standard":
        return np.rint(images * 255.0).astype(np.uint8)
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    return (images - low) / np.where(span > 0.0, span, np.float32(1.0)) * np.float32(255.0)


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Return images (n, h, w, 3): a grey channel is repeated, colour comes back unchanged."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected images (n, h, w, 1 or 3), got shape {images.shape}")
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def resize_tf1(images, size: int = INCEPTION_SIZE) -> tf.Tensor:
    """Return Inception's input, float32 (n, size, size, c) in [-1, 1), for values in [0, 255].

    TensorFlow 1's bilinear rule: output pixel i reads input position i * h / size, corners not
    aligned and pixel centres not shifted by a half; then (x - 128) / 128. Takes an array or a
    tensor, also while a graph is traced.
    """
    import tensorflow as tf

    resized = tf.raw_ops.ResizeBilinear(
        images=tf.cast(images, tf.float32),
        size=[size, size],
        align_corners=False,
        half_pixel_centers=False,
    )
    return (resized - 128.0) / 128.0
