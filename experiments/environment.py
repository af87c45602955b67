"""Environment variables that TensorFlow and NumPy read once, when they are imported."""

from __future__ import annotations

import os

DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    # NumPy's threads spin while they wait: beside TensorFlow's they cost six times what they save.
    "OPENBLAS_NUM_THREADS": "1",
    # TensorFlow turns oneDNN on by itself only on processors with AVX-512 VNNI or the like. Its
    # products are the faster ones elsewhere too, see docs/performance.md.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def missing() -> dict[str, str]:
    """Those of ``DEFAULTS`` that the user has not set, to be set before TensorFlow is imported."""
    return {name: value for name, value in DEFAULTS.items() if name not in os.environ}
