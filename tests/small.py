"""Cuts that make a training take seconds: a narrow second stage, crops of few images."""

from __future__ import annotations

import dataclasses

import numpy as np

import models
from experiments.files import write_atomically
from models.networks import dense

RUN = {"image_shape": (16, 16, 1), "latent_dim": 4, "batch_size": 32}  # settings that fit ``crops``


def narrow_second_stage(assign=setattr, width: int = 64) -> None:
    """64 units in place of 1024: less to compute and to write. Undone if ``assign`` undoes it."""
    for part in (dense.encoder, dense.decoder):
        assign(part, "__defaults__", (64, width, 3, 0))


def no_export(assign=setattr) -> None:
    """An empty file in a SavedModel's place, which would take a third of a tiny run."""
    assign(
        models.TwoStageVAE,
        "export",
        lambda model, folder: write_atomically(folder / "saved_model.pb", ""),
    )


def crops(images: np.ndarray) -> np.ndarray:
    """The middle 16 x 16 pixels of the first 64 images of 28 x 28 or more."""
    return np.ascontiguousarray(images[:64, 6:22, 6:22])


def shorten_command(assign=setattr) -> None:
    """reproduce_paper.py on ``crops`` and narrow networks, everything else being its own."""
    import data
    import reproduce_paper
    from training import plan as planning
    from training import run

    plan_of = reproduce_paper.plan_of

    def small_plan_of(options, command):
        plan = plan_of(options, command)
        return dataclasses.replace(plan, runs=tuple(s.replace(**RUN) for s in plan.runs))

    def load_images(settings, split, data_dir):
        return crops(data.load(settings.source, split))

    assign(reproduce_paper, "plan_of", small_plan_of)
    assign(run, "load_images", load_images)
    assign(planning, "check_data", lambda plan: None)
    narrow_second_stage(assign)
