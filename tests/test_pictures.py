"""A run's pictures and those of several runs, from made-up folders: nothing is trained."""

from __future__ import annotations

import types

import numpy as np
from PIL import Image

from experiments import presets
from training import pictures
from training.callbacks import HISTORY_FIELDS
from training.folder import histories


def write_history(folder, stage="first", epochs=3):
    history = histories(folder)[stage]
    for epoch in range(1, epochs + 1):
        history.append(dict.fromkeys(HISTORY_FIELDS, epoch / 8) | {"epoch": epoch})


def test_a_run_without_gamma_has_no_curve_of_it(tmp_path):
    test = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    model = types.SimpleNamespace(reconstruct=lambda images, seed: images)
    heights = {}
    for name in ("vae-fixed-gamma", "wae-mmd"):
        folder = tmp_path / name
        folder.mkdir()
        write_history(folder)
        settings = presets.resolve("quick", "mnist").replace(model=name)
        pictures.draw_figures(model, settings, test, folder, methods=())
        with Image.open(folder / "figures" / "curves.png") as image:
            heights[name] = image.height
    assert 3 * heights["wae-mmd"] == 2 * heights["vae-fixed-gamma"]
