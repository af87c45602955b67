"""Where images come from: one registry of data sets, one cache, one pipeline.

``load(name, split)`` gives uint8 images (n, h, w, c) of a data set in ``SPECS``;
``batches(arrays, batch_size, seed)`` feeds arrays to training.
"""

from data.loading import digest, load, missing, source
from data.pipeline import REAL_SEED, batches, select_real, stacks, steps_per_epoch
from data.registry import IMAGE_SHAPES, SPECS, SPLITS, Remote, Spec, spec
from experiments.environment import cache_dir

__all__ = [
    "IMAGE_SHAPES",
    "REAL_SEED",
    "SPECS",
    "SPLITS",
    "Remote",
    "Spec",
    "batches",
    "cache_dir",
    "digest",
    "load",
    "missing",
    "select_real",
    "source",
    "spec",
    "stacks",
    "steps_per_epoch",
]
