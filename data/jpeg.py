"""One pass through JPEG, which the authors' CIFAR-10 images took before use."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

QUALITY = 75  # Pillow's default, which scipy.misc.imsave used


def jpeg_round_trip(
    images: np.ndarray,
    quality: int = QUALITY,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Each image written as JPEG and read back: ``(n, h, w, 1 or 3)`` uint8, the same shape.

    The authors' code saved CIFAR-10, training and test images alike, as JPEG files and trained and
    scored on what it read from them, which by their own account changes CIFAR-10's FID.
    ``progress(done, total)`` is called after each thousand images and at the end.
    """
    from PIL import Image

    result = np.empty_like(images)
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            buffer, "JPEG", quality=quality
        )
        decoded = np.asarray(Image.open(buffer))
        result[i] = decoded.reshape(image.shape)
        if progress is not None and ((i + 1) % 1000 == 0 or i + 1 == len(images)):
            progress(i + 1, len(images))
    return result
