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

import data
import models
from models import vector
from models.optimizer import adam

# For processes that compile far longer than they compute: XLA's passes by LLVM left out.
QUICKLY_COMPILED = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "KERAS_BACKEND": "jax"}
IMAGE_SHAPE = (8, 8, 1)
LATENT_DIM = 3
BATCH = 16
EPOCHS = 2


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4 * BATCH, *IMAGE_SHAPE), dtype=np.uint8)


def posteriors() -> np.ndarray:
    rng = np.random.default_rng(3)
    mu_z, spread = rng.normal(size=(2, 4 * BATCH, LATENT_DIM)).astype("float32")
    return np.stack([mu_z, 0.1 + np.abs(spread)], axis=1)


def build(method: str):
    """A method's model; of a two-stage VAE, with either gamma, the second stage."""
    options = {"momentum": 0.9, "seed": 1}
    if method == "two-stage-optimal-gamma":
        method = "two-stage"
        options["optimal_gamma"] = True
    model = models.build(method, IMAGE_SHAPE, "infogan", LATENT_DIM, **options)
    return model.second if method == "two-stage" else model


def observed(method: str) -> np.ndarray:
    """What it is trained on."""
    return posteriors() if method.startswith("two-stage") else images()


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


def weights_after(stacked: bool) -> list[np.ndarray]:
    """A model's weights after two epochs of its own noise, step by step or in stacks of 3 and 1.

    By plain gradient descent: Adam would make steps of rounding where a gradient vanishes.
    """
    model = vector.build(5, LATENT_DIM, seed=1)
    model.compile(optimizer=keras.optimizers.SGD(1e-3))
    x = np.random.default_rng(1).normal(size=(4 * BATCH, 5)).astype("float32")
    elements = data.stacks(x, BATCH, seed=3, per_call=3 if stacked else 1)
    if not stacked:
        elements = ((stack[0],) for (stack,) in elements)
    steps = 2 if stacked else 4
    model.fit(elements, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


def _largest_difference(some, others) -> float:
    pairs = zip(some, others, strict=True)
    return max(float(np.abs(a.astype(float) - b).max(initial=0.0)) for a, b in pairs)


def main(folder: Path) -> None:
    start = vector.build(5, LATENT_DIM, seed=1).get_weights()
    stacked, single = weights_after(stacked=True), weights_after(stacked=False)
    differences = [_largest_difference(stacked, other) for other in (single, start)]
    (folder / "stacked.json").write_text(json.dumps(differences))
    for weights in sorted(folder.glob("weights-*.npz")):
        method = weights.stem.removeprefix("weights-")
        with np.load(weights) as stored:
            model = build(method)
            model.set_weights([stored[f"arr_{i}"] for i in range(len(stored.files))])
        record = {"backend": keras.backend.backend(), **history(model, observed(method))}
        record["tensorflow_imported"] = "tensorflow" in sys.modules
        (folder / f"loss-{method}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
