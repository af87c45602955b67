"""What is measured: images -> features -> scores, and the tables and figures that show them.

Importing this package does not import TensorFlow; the functions that need it do.
"""

from evaluate.features import Extractor, inception_features, load_inception, random_network
from evaluate.frechet import (
    Statistics,
    frechet_distance,
    frechet_from_statistics,
    statistics,
    streamed_statistics,
)
from evaluate.kernel import kernel_distance
from evaluate.protocols import PROTOCOLS, as_scored

__all__ = [
    "PROTOCOLS",
    "Extractor",
    "Statistics",
    "as_scored",
    "frechet_distance",
    "frechet_from_statistics",
    "inception_features",
    "kernel_distance",
    "load_inception",
    "random_network",
    "statistics",
    "streamed_statistics",
]
