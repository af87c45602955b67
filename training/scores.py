"""A run's scores: features of real and generated images, and what is computed from them.

Features are kept, so that scoring goes on where it stopped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

import data
from data import select_real
from evaluate import Extractor, neighbours, prdc, protocols, scoring
from evaluate.cache import cached_features
from experiments.environment import cache_dir
from experiments.files import read_json, write_json
from experiments.settings import RunSettings
from training.progress import with_progress
from training.records import in_tf32
from training.samples import sample, sampling_seed, weights_digest

NEIGHBOURS_FILE = "neighbours.json"
FEATURES_FOLDER = "features"  # of a run's generated images, until it is scored
RESIZE = "tf1-bilinear"  # of evaluate.protocols.resize_tf1, in the keys of kept features
PIECE = 512  # images between two times that features are stored
COPIES = 256  # samples of each method, and test images, whose nearest training image is sought


def distances(real: np.ndarray, fake: np.ndarray, extractor: Extractor, title: str) -> dict:
    """The scores of a record, under progress lines: they take minutes on 10,000 images."""
    found = with_progress(scoring.score, f"{title}, distances", real, fake, extractor)
    if min(len(real), len(fake)) <= prdc.DENSITY_NEIGHBOURS:
        return found  # too few for neighbours
    more = with_progress(prdc.prdc, f"{title}, precision and recall", real, fake)
    return {**found, **more._asdict()}


def features(
    extractor: Extractor,
    title: str,
    folder: Path,
    key: dict,
    images: Callable[[], np.ndarray],
) -> np.ndarray:
    """Features of images, kept piece by piece: what stops in between has lost one piece at most.

    Args:
        extractor: what makes them.
        title: of the progress line.
        folder: where they are kept.
        key: what they depend on, see :func:`evaluate.cache.cached_features`; "n" is their number.
        images: makes the images; called if anything is missing.

    Returns:
        ``(n, dim)`` float32.
    """
    made = functools.cache(images)

    def whole(progress):
        pieces = []
        for start in range(0, key["n"], PIECE):
            end = min(start + PIECE, key["n"])

            def compute(start=start, end=end):
                return extractor(
                    made()[start:end],
                    progress=lambda done, _: progress(start + done, key["n"]),
                )

            pieces.append(cached_features(folder, {**key, "piece": [start, end]}, compute))
            progress(end, key["n"])
        return np.concatenate(pieces)

    return with_progress(whole, title, unit="image", leave=True)


def _network(extractor: Extractor) -> dict:
    """What features depend on besides images: the network, and how exactly it multiplies."""
    rounded = {"tf32": True} if in_tf32() else {}
    return {"extractor": extractor.name, "fingerprint": extractor.fingerprint, **rounded}


def real_features(settings: RunSettings, extractor: Extractor, test: np.ndarray, sha256: str):
    """Features of the real images, computed once for a data set and an extractor.

    They are the same under both protocols: neither changes real images. Of all test images if there
    are fewer than are asked for.
    """
    n = min(settings.n_real, len(test))
    key = {
        "kind": "real",
        "source": settings.source,
        "split": "test",
        "sha256": sha256,
        "jpeg": settings.jpeg,
        "n": n,
        "selection_seed": data.REAL_SEED,
        "resize": RESIZE,
        **_network(extractor),
    }

    title = f"{settings.dataset}, features of the test images"
    folder = cache_dir() / "features"
    return features(extractor, title, folder, key, lambda: select_real(test, n))


def fake_features(
    weights: str,
    method: str,
    protocol: str,
    settings: RunSettings,
    extractor: Extractor,
    folder: Path,
    draw: Callable[[str], np.ndarray],
):
    """Features of generated images, kept in the run's folder so that scoring resumes.

    ``weights`` is the digest of those that made them; ``draw`` makes a method's scored samples,
    where features are missing.
    """
    key = {
        "kind": "generated",
        "weights": weights,
        "method": method,
        "n": settings.n_fake,
        "seed": sampling_seed(settings),
        "protocol": protocol,
        "resize": RESIZE,
        **_network(extractor),
    }

    def images():
        return protocols.as_scored(draw(method), protocol, generated=True)

    title = f"{settings.dataset}, features of {method}'s samples, {protocol} protocol"
    return features(extractor, title, folder / FEATURES_FOLDER, key, images)


def study_copies(
    model,
    settings: RunSettings,
    methods,
    train: np.ndarray,
    test: np.ndarray,
    folder: Path,
    deviation: np.ndarray | None = None,
) -> dict[str, dict]:
    """Are samples copies of training images? The record's fields about it, for each method.

    The median distance of samples from their nearest training images, and that of as many test
    images: computed once for a model.
    """
    seed = sampling_seed(settings)
    n = min(COPIES, len(test), settings.n_fake)
    key = {"weights": weights_digest(model), "n": n, "methods": list(methods)}
    stored = read_json(folder / NEIGHBOURS_FILE) or {}
    if stored.get("key") != key:
        sets = {m: sample(model, m, n, seed, deviation) for m in methods}
        sets["test images"] = select_real(test, n)
        title = f"{settings.dataset}, nearest training images"
        medians = with_progress(neighbours.median_distances, title, sets, train, unit="image")
        stored = {"key": key, "medians": medians}
        write_json(folder / NEIGHBOURS_FILE, stored)
    medians = stored["medians"]
    return {
        method: {
            "nearest_sample": medians[method],
            "nearest_test": medians["test images"],
            "nearest_n": n,
        }
        for method in methods
    }
