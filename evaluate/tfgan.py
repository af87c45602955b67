"""TF-GAN's metrics on a TensorFlow that TF-GAN's package root no longer imports with.

``import tensorflow_gan`` (2.1.0) needs ``tf.estimator``, gone since TensorFlow 2.16, and, on its
way, ``distutils``, gone since Python 3.12 (tensorflow/gan issues 55 and 59). Its metrics need
neither: ``tensorflow_gan.python.eval`` works when the two package roots above it are not run. So
for the time of the import two empty packages with the right search path stand in for the roots;
afterwards ``sys.modules`` is as it was, and a plain ``import tensorflow_gan`` does what it always
did. The import takes about a second beyond TensorFlow's (TensorFlow Probability), hence it waits
for the first call.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from packaging.version import parse

from evaluate.checks import as_feature_pair
from experiments.environment import HUB_CACHE_VARIABLE, INCEPTION_VARIABLE, cache_dir
from experiments.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

PACKAGE = "tensorflow_gan"
ROOTS = (PACKAGE, f"{PACKAGE}.python")


class Modules(NamedTuple):
    """What this project uses of TF-GAN and TensorFlow Hub."""

    classifier_metrics: types.ModuleType
    inception_metrics: types.ModuleType
    hub: types.ModuleType


@functools.cache
def modules() -> Modules:
    """Import TF-GAN's metrics and TensorFlow Hub.

    Raises:
        UserError: one of them, or TensorFlow Probability or tf_keras, is not installed.
    """
    try:
        with _removed_modules(), _without_roots():
            metrics = importlib.import_module(f"{PACKAGE}.python.eval.classifier_metrics")
            inception = importlib.import_module(f"{PACKAGE}.python.eval.inception_metrics")
    except ImportError as error:
        raise UserError(
            f"TF-GAN's metrics cannot be imported ({error}); install the versions this project is "
            "tested with: pip install -r requirements.txt"
        ) from error
    return Modules(metrics, inception, inception.tfhub)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return TF-GAN's Frechet distance between features ``a`` (n, d) and ``b`` (m, d).

    TF-GAN computes in float64 and casts the result to the type of the features, so float32
    features would lose the last nine digits; here they are handed over as float64. It takes
    square roots of covariances by way of singular values (those below 1e-10 are left unrooted),
    which makes it slower than ``evaluate.frechet_distance`` and, for covariances without full
    rank, less exact.
    """
    a, b = as_feature_pair(a, b)
    distance = modules().classifier_metrics.frechet_classifier_distance_from_activations
    return float(distance(_tensor(a), _tensor(b)))


def kernel_distance(a: np.ndarray, b: np.ndarray, block_size: int = 1000) -> tuple[float, float]:
    """Return TF-GAN's kernel distance between ``a`` and ``b``, and its standard error (float64).

    ``block_size`` is TF-GAN's ``max_block_size`` (1024 there; this project's 1000 cuts 10,000
    images into the same ten blocks).
    """
    a, b = as_feature_pair(a, b)
    distance = modules().classifier_metrics.kernel_classifier_distance_and_std_from_activations
    with _quiet():
        mean, error = distance(_tensor(a), _tensor(b), max_block_size=block_size)
    return float(mean), float(error)


def inception() -> tuple[Callable[[tf.Tensor], tf.Tensor], Path]:
    """Return TF-GAN's Inception network (2015-12-05) and the folder it was downloaded to.

    The network maps images, float32 (n, 299, 299, 3) in [-1, 1], to pool_3, float32 (n, 2048).
    TF-GAN's own handle and ``run_classifier_fn``; not its ``run_inception``, which reads the
    module from disk again for every batch and calls ``tf.compat.v1.layers.flatten``, which
    Keras 3 lacks.

    Raises:
        UserError: the network cannot be downloaded.
    """
    metrics, inception_metrics, hub = modules()
    handle, output = inception_metrics.INCEPTION_TFHUB, inception_metrics.INCEPTION_FINAL_POOL
    # TensorFlow Hub's own choice is the folder for temporary files, which does not last.
    os.environ.setdefault(HUB_CACHE_VARIABLE, str(cache_dir() / "tfhub"))
    try:
        folder = hub.resolve(handle)
        module = hub.load(folder)
    except Exception as error:  # TensorFlow Hub lets urllib, tarfile and TensorFlow errors through.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"TF-GAN's Inception network could not be had from {handle} ({reason}): go online, or "
            "download it elsewhere, unpack it and name its folder with --inception DIR (or in the "
            f"environment variable {INCEPTION_VARIABLE}). If an earlier download is damaged, "
            f"remove {os.environ[HUB_CACHE_VARIABLE]}"
        ) from error

    def pool_3(images: tf.Tensor) -> tf.Tensor:
        return metrics.run_classifier_fn(images, classifier_fn=module)[output]

    return pool_3, Path(folder)


def _tensor(array: np.ndarray) -> tf.Tensor:
    import tensorflow as tf

    return tf.constant(array, tf.float64)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, TensorFlow does not log that TF-GAN uses a deprecated argument."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _without_roots() -> Iterator[None]:
    """Within the block, TF-GAN's submodules import without running its two package roots."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"No module named {PACKAGE!r}", name=PACKAGE)
    before = {name: module for name, module in sys.modules.items() if _is_tfgan(name)}
    for name in before:
        del sys.modules[name]
    folders = [list(spec.submodule_search_locations)]
    folders.append([str(Path(folder) / "python") for folder in folders[0]])
    for name, locations in zip(ROOTS, folders, strict=True):
        stand_in = importlib.machinery.ModuleSpec(name, None, is_package=True)
        stand_in.submodule_search_locations = locations
        sys.modules[name] = importlib.util.module_from_spec(stand_in)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_tfgan(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_tfgan(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


@contextmanager
def _removed_modules() -> Iterator[None]:
    """Within the block, version comparison works as TF-GAN's two companions still do it.

    When imported, TensorFlow Hub 0.16.1 compares versions with ``pkg_resources``, which setuptools
    has dropped (and warned about for some time before), and TensorFlow Probability 0.25 with
    ``distutils``, which Python 3.12 has dropped. Where they are missing, modules with that one
    function stand in.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(pkg_resources|distutils)")
        stand_ins = {}
        if importlib.util.find_spec("pkg_resources") is None:
            stand_ins["pkg_resources"] = _module("pkg_resources", parse_version=parse)
        if importlib.util.find_spec("distutils") is None:
            version = _module("distutils.version", LooseVersion=parse)
            stand_ins["distutils"] = _module("distutils", version=version)
            stand_ins["distutils.version"] = version
        sys.modules.update(stand_ins)
        try:
            yield
        finally:
            for name in stand_ins:
                del sys.modules[name]


def _module(name: str, **contents: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(contents)
    return module
