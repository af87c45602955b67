"""A run's pictures and those of several runs, from made-up folders: nothing is trained."""

from __future__ import annotations

import os
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluate import figures
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


@pytest.fixture
def runs(tmp_path):
    """A two-stage run and one with a fixed gamma, as training.results gathers them."""
    made = []
    for number, model in enumerate(("two-stage", "vae-fixed-gamma")):
        settings = presets.resolve("quick", "mnist").replace(model=model)
        folder = tmp_path / settings.name
        folder.mkdir()
        images = np.full((2, 4, 4, 3), 40 * number, np.uint8)
        pictures.save_samples({"test images": images, model: images}, folder)
        made.append(
            {
                "folder": str(folder),
                "settings": settings.to_dict(),
                "figures": {},
                "history": {"first": {"log_gamma": [0.0, -1.0], "rmse": [0.3, 0.1 + number]}},
            }
        )
    return made


def test_a_picture_is_drawn_again_only_if_it_shows_something_else(runs, tmp_path, monkeypatch):
    drawn = []
    for name in ("method_rows", "gamma_curves"):
        draw = getattr(figures, name)
        monkeypatch.setattr(
            figures, name, lambda shown, path, d=draw: (drawn.append(path), d(shown, path))[1]
        )

    def again() -> list[str]:
        """What is drawn, of the two pictures that the report always shows."""
        drawn.clear()
        pictures.add_gamma_curves(runs)
        (entry,) = pictures.draw_all_methods(runs, tmp_path)
        shown = [*entry["figures"].values(), runs[0]["figures"]["figure1a"]]
        assert all(Path(path).exists() for path in shown)
        return sorted(path.name for path in drawn)

    both = ["figure1a.png", "methods-mnist-infogan.png"]
    assert again() == both
    assert again() == []
    runs[1]["history"]["first"]["rmse"][-1] = 0.2
    assert again() == both[:1]
    # Samples from another machine may be older than the picture that lacks them.
    samples = Path(runs[1]["folder"]) / pictures.SAMPLES_FILE
    images = np.full((2, 4, 4, 3), 200, np.uint8)
    pictures.save_samples({"test images": images, "vae-fixed-gamma": images}, samples.parent)
    os.utime(samples, (0, 0))
    assert again() == both[1:]
    for name in both:
        next(tmp_path.rglob(name)).unlink()
    assert again() == both
    monkeypatch.setattr(pictures, "_drawn", {})  # as in a new process
    assert again() == both


def test_a_picture_of_methods_says_that_their_epochs_differ(runs, tmp_path):
    (entry,) = pictures.draw_all_methods(runs, tmp_path)
    assert "epochs" not in entry["title"]
    runs[1]["settings"]["epochs"] = 99
    (entry,) = pictures.draw_all_methods(runs, tmp_path)
    least = runs[0]["settings"]["epochs"]
    assert entry["title"].endswith(f"different numbers of epochs, {least} to 99")
