"""Trains models a few steps on the backend of KERAS_BACKEND; run by test_jax_backend.py.

    python -m tests.jax_worker FOLDER

FOLDER/weights-METHOD.npz holds the initial weights, loss-METHOD.json takes each epoch's figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np

import models
from models.optimizer import adam

IMAGE_SHAPE = (8, 8, 1)
LATENT_DIM = 3
BATCH = 16
EPOCHS = 2


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4 * BATCH, *IMAGE_SHAPE), dtype=np.uint8)


def build(method: str):
    model = models.build(method, IMAGE_SHAPE, "infogan", LATENT_DIM, momentum=0.9, seed=1)
    return model.first if method == "two-stage" else model


def fixed_noise(shape, dtype=None, seed=None, **kwargs):
    """In the place of ``keras.random.normal``: the backends' own generators differ."""
    noise = np.random.default_rng(2).normal(size=(2 * BATCH, LATENT_DIM))
    rows = shape[0] if isinstance(shape[0], int) else BATCH
    return keras.ops.cast(keras.ops.convert_to_tensor(noise[:rows]), dtype or "float32")


def history(model, array) -> dict:
    """What ``fit`` reports, by epoch, with noise and order fixed."""
    keras.random.normal, kept = fixed_noise, keras.random.normal
    try:
        model.compile(optimizer=adam(1e-4))
        fitted = model.fit(array, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
        tested = model.evaluate(array, batch_size=BATCH, verbose=0, return_dict=True)
    finally:
        keras.random.normal = kept
    return {"train": fitted.history, "test": tested}


def main(folder: Path) -> None:
    for weights in sorted(folder.glob("weights-*.npz")):
        method = weights.stem.removeprefix("weights-")
        with np.load(weights) as stored:
            model = build(method)
            model.set_weights([stored[f"arr_{i}"] for i in range(len(stored.files))])
        record = {"backend": keras.backend.backend(), **history(model, images())}
        record["tensorflow_imported"] = "tensorflow" in sys.modules
        (folder / f"loss-{method}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
