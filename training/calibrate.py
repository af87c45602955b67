"""How long a plan will take on this machine, from a few timed steps."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np

import data
from evaluate import Extractor
from experiments import presets
from experiments.settings import RunSettings
from models.optimizer import adam
from training.folder import build, epochs_left
from training.plan import Plan, checkpoint_bytes, kept_bytes, memory_bytes
from training.records import stored_records

WARM_UP, TIMED = 2, 4
ENOUGH = 10.0  # seconds after which one timed step has to do
SCORED = 32  # images sent through the feature network


@dataclass(frozen=True)
class Pace:
    """Seconds per step of either stage, and per scored image (None: not measured)."""

    first: float
    second: float
    image: float | None


def _seconds(action) -> float:
    times = []
    begin = time.perf_counter()
    for i in range(WARM_UP + TIMED):
        start = time.perf_counter()
        action()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
            if time.perf_counter() - begin > ENOUGH:
                break
    return statistics.median(times)


def kind(settings: RunSettings) -> tuple:
    """What runs of about one pace share: a baseline costs about what a first stage does."""
    network = (settings.network, settings.network_options)
    return network, settings.image_shape, settings.batch_size


def measure(settings: RunSettings, extractor: Extractor | None) -> Pace:
    """Times training steps and feature extraction on random images of the run's shape."""
    model = build(settings.replace(model="two-stage", options=()))
    rng = np.random.default_rng(0)
    shape = (settings.batch_size, *settings.image_shape)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    posteriors = np.ones((settings.batch_size, 2, settings.latent_dim), "float32")
    paces = []
    for stage, batch in ((model.first, images), (model.second, posteriors)):
        stage.compile(optimizer=adam(settings.learning_rate), jit_compile=False)
        paces.append(_seconds(lambda stage=stage, batch=batch: stage.train_on_batch(batch)))
    image = None
    if extractor is not None:
        scored = rng.integers(0, 256, (SCORED, *settings.image_shape), dtype=np.uint8)
        image = _seconds(lambda: extractor(scored)) / SCORED
    return Pace(*paces, image)


def seconds_of(settings: RunSettings, plan: Plan, pace: Pace) -> tuple[float, float | None]:
    """Training and scoring time of one run, of what its folder does not hold yet.

    A scoring that has begun counts as a whole one; scores by other features are not told apart.
    """
    folder = plan.folder(settings)
    records = stored_records(folder)
    missing = plan.without_score(settings, [r for r in records if r["status"] == "ok"])
    if not missing:
        return 0.0, 0.0
    steps = data.spec(settings.source).n_train // settings.batch_size
    first, second = epochs_left(settings, folder)
    training = 0.0 if settings.shares_first_stage else first * steps * pace.first
    if plan.trains_second(settings):
        training += second * steps * pace.second
    if pace.image is None:
        return training, None
    n_real = min(settings.n_real, data.spec(settings.source).n_test)
    return training, (n_real + settings.n_fake * len(missing)) * pace.image


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def data_at_hand(plan: Plan) -> str:
    """Which data sets are there, and which would be downloaded, in a sentence."""
    there, absent = [], []
    for name in dict.fromkeys(settings.source for settings in plan.runs):
        missing = data.missing(name, plan.data_dir)
        size = sum(remote.size for remote in missing)
        absent += [f"{name} ({size / 1e6:,.0f} MB)"] if missing else []
        there += [] if missing else [name]
    where = f" to {plan.data_dir}" if plan.data_dir else ""
    parts = (("at hand", there), (f"to be downloaded{where}", absent))
    found = (f"{', '.join(names)} {state}" for state, names in parts if names)
    return f"Data: {'; '.join(found)}."


def describe(plan: Plan, paces: dict[tuple, Pace], at_hand: str) -> str:
    """The plan as text: a line per run, then the totals.

    Args:
        paces: by :func:`kind` of run.
        at_hand: :func:`data_at_hand`'s sentence.
    """
    header = (
        "run",
        "methods",
        "tables",
        "epochs",
        "steps",
        "images",
        "scored",
        "memory",
        "disk",
        "time left",
    )
    rows = [header]
    total, scoring_known = 0.0, True
    for settings in plan.runs:
        spec = data.spec(settings.source)
        steps = spec.n_train // settings.batch_size
        training, scoring = seconds_of(settings, plan, paces[kind(settings)])
        total += training + (scoring or 0.0)
        scoring_known &= scoring is not None
        second = settings.second_epochs if plan.trains_second(settings) else 0
        rows.append(
            (
                settings.name,
                ", ".join(plan.rows(settings)),
                ", ".join(presets.tables_of(settings, plan.rows(settings))),
                f"{settings.epochs} + {second}",
                f"{settings.epochs * steps:,} + {second * steps:,}",
                f"{spec.n_train:,}",
                f"{settings.n_fake:,} x {len(plan.rows(settings)) * len(plan.protocols)}",
                f"{memory_bytes(settings) / 2**30:.1f} GiB",
                f"{(kept_bytes(settings, plan) + checkpoint_bytes(settings)) / 2**30:.1f} GiB",
                duration(training + (scoring or 0.0)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    preset = plan.runs[0].preset
    notes = [
        at_hand,
        f"Preset {preset}; features: {plan.features}; results in {plan.out}.",
        f"Estimated time on this machine: {duration(total)}, from a short calibration"
        + ("." if scoring_known else "; scoring left out, the Inception network is not at hand."),
    ]
    return "\n".join([*lines, "", *notes])
