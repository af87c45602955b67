"""Two sets of features -> the scores of a record of results.json."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from evaluate import tfgan
from evaluate.features import Extractor
from evaluate.frechet import frechet_distance
from evaluate.kernel import kernel_distance


def score(
    real: np.ndarray,
    fake: np.ndarray,
    extractor: Extractor,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Return the scores of features ``fake`` (m, d) against features ``real`` (n, d).

    Args:
        real, fake: what ``extractor`` made of the images, each in random order.
        extractor: says what the scores may be called.
        progress: called as ``progress(done, total)`` after each score.

    Returns:
        ``features``, ``features_note``, ``features_fingerprint``, ``n_real``, ``n_fake``, and
        ``fid``, ``kid``, ``kid_std`` (the standard error of ``kid``), ``fid_tfgan``,
        ``kid_tfgan`` (TF-GAN's own functions on the same features). Features other than Inception's
        have None there, and ``fd-random``, ``kd-random``, ``kd-random-std`` besides. A standard
        error is None for a single block.

    Raises:
        ValueError: features that do not fit ``evaluate.frechet_distance``.
    """
    steps: list[Callable[[], object]] = [
        lambda: frechet_distance(real, fake),
        lambda: kernel_distance(real, fake),
    ]
    if extractor.is_inception:
        steps += [
            lambda: tfgan.frechet_distance(real, fake),
            lambda: tfgan.kernel_distance(real, fake),
        ]
    values = []
    for done, step in enumerate(steps, start=1):
        values.append(step())
        if progress is not None:
            progress(done, len(steps))

    distance, (kernel, error) = values[:2]
    error = None if math.isnan(error) else error
    record = {
        "features": extractor.name,
        "features_note": extractor.note,
        "features_fingerprint": extractor.fingerprint,
        "n_real": len(real),
        "n_fake": len(fake),
        "fid": None,
        "kid": None,
        "kid_std": None,
        "fid_tfgan": None,
        "kid_tfgan": None,
    }
    if extractor.is_inception:
        scores = {
            "fid": distance,
            "kid": kernel,
            "kid_std": error,
            "fid_tfgan": values[2],
            "kid_tfgan": values[3][0],
        }
    else:
        scores = {"fd-random": distance, "kd-random": kernel, "kd-random-std": error}
    return record | scores
