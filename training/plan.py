"""What one call of the command will do, resolved and checked before anything is trained."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import data
from data.jpeg import jpeg_round_trip
from evaluate import PROTOCOLS, Extractor, load_inception, random_network
from experiments import presets
from experiments.errors import UserError
from experiments.settings import RunSettings, trial_seed
from training.train import check_settings

MIB = 2**20
ADAM_COPIES = 4  # weights, gradients, two moments
TENSORFLOW_BYTES = 1200 * MIB  # the libraries and their working memory, as measured on a CPU
FEATURE_BYTES = 2048 * 4


@dataclass(frozen=True)
class Plan:
    """All runs of a call, in order, and what they have in common."""

    runs: tuple[RunSettings, ...]
    methods: tuple[str, ...]
    out: Path
    command: str
    features: str = "inception"  # or "random"
    inception: str | None = None  # a local SavedModel's folder; None: TF-GAN's network
    data_dir: str | None = None
    data_notes: dict[str, str] = field(default_factory=dict)
    protocols: tuple[str, ...] = PROTOCOLS
    deterministic: bool = False

    @property
    def stages(self) -> tuple[int, ...]:
        """Which stages are sampled and scored."""
        stage = {"vae-learned-gamma": 1, "two-stage": 2}
        return tuple(sorted(stage[method] for method in self.methods))

    def folder(self, settings: RunSettings) -> Path:
        """The run's folder."""
        return self.out / settings.name


def make_plan(
    *,
    preset: str,
    datasets: list[str],
    methods: list[str],
    out: Path,
    command: str,
    trials: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    second_epochs: int | None = None,
    images: int | None = None,
    jpeg: bool | None = None,
    **common,
) -> Plan:
    """Resolves the command's options into a :class:`Plan`.

    Args:
        preset, datasets, methods: names; see :mod:`experiments.presets`.
        trials: independent runs of each, with seeds derived from ``seed``.
        epochs, second_epochs, images, jpeg: in place of the preset's, if not None.
        common: the plan's other fields.

    Raises:
        UserError: for an unknown name or a number out of range.
    """
    for name in datasets:
        _known("data set", name, presets.DATASETS)
    for name in methods:
        _known("method", name, presets.METHODS)
    for name, value in (("--trials", trials), ("--epochs", epochs), ("--images", images)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, got {value}.")
    if second_epochs is not None and second_epochs < 1:
        raise UserError(f"--second-epochs must be at least 1, got {second_epochs}.")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2^31 - 1, got {seed}.")
    if images is not None and images < 2:
        raise UserError(f"--images must be at least 2, got {images}: covariances need two.")
    changes = {
        "epochs": epochs,
        "second_epochs": second_epochs,
        "n_fake": images,
        "n_real": images,
        "jpeg": jpeg,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    runs = []
    for dataset in dict.fromkeys(datasets):
        settings = presets.resolve(preset, dataset)
        for trial in range(trials):
            runs.append(settings.replace(trial=trial, seed=trial_seed(seed, trial), **changes))
    return Plan(
        runs=tuple(runs), methods=tuple(dict.fromkeys(methods)), out=out, command=command, **common
    )


def _known(kind: str, name: str, names) -> None:
    if name not in names:
        raise UserError(f"unknown {kind} {name!r}: expected one of {', '.join(names)}.")


def load_images(plan: Plan, settings: RunSettings, split: str) -> np.ndarray:
    """The run's images of one split, ``(n, h, w, c)`` uint8, through JPEG where it says so."""
    images = data.load(settings.source, split, plan.data_dir)
    return jpeg_round_trip(images) if settings.jpeg else images


def load_extractor(plan: Plan) -> Extractor:
    """The network whose features are scored.

    Raises:
        UserError: if Inception is wanted and can't be had.
    """
    if plan.features == "random":
        return random_network()
    return load_inception(plan.inception)


def check_output(plan: Plan) -> None:
    """Makes sure that results can be written.

    Raises:
        UserError: if the output folder can't be made or written, has too little room, or holds
            runs with other settings.
    """
    probe = plan.out / f".probe-{os.getpid()}"
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0" * 65_536)  # a full disk takes an empty file
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise UserError(
            f"the output folder {plan.out} can't be written ({error.strerror or error}): name "
            "another with --out."
        ) from error
    for settings in plan.runs:
        check_settings(settings, plan.folder(settings))
    needed = sum(disk_bytes(s, plan) for s in plan.runs if not plan.folder(s).exists())
    free = shutil.disk_usage(plan.out).free
    if needed > free:
        raise UserError(
            f"the output folder {plan.out} has {free / MIB:,.0f} MiB free, the runs need about "
            f"{needed / MIB:,.0f} MiB: make room or name another with --out."
        )


def check_data(plan: Plan) -> None:
    """Reads every data set once, fetching what is missing, so that errors come before training.

    Raises:
        UserError: naming the file that is missing, damaged or of the wrong shape.
    """
    for settings in {s.source: s for s in plan.runs}.values():
        print(f"Checking {settings.source}", flush=True)
        for split in ("train", "test"):
            images = data.load(settings.source, split, plan.data_dir)
            if images.shape[1:] != settings.image_shape:
                raise UserError(
                    f"{settings.source}: expected images of {settings.image_shape}, got "
                    f"{images.shape[1:]}."
                )
            data.steps_per_epoch(len(images), settings.batch_size if split == "train" else 1)


# --- sizes, for --dry-run and for the check of the disk -----------------------------------------


def parameter_counts(settings: RunSettings) -> tuple[int, int]:
    """Weights of the first and the second stage, batch norm's averages left out.

    By the formula for Infogan and the dense second stage rather than by building the networks: a
    dry run of four data sets should not need their memory.
    """
    height, width, channels = settings.image_shape
    kappa = settings.latent_dim
    flat = 8 * height * width  # 128 channels at a quarter of the side
    encoder = (16 * channels * 64 + 64) + (16 * 64 * 128 + 128) + 2 * 128
    encoder += (flat * 1024 + 1024) + 2 * 1024 + (1024 * 2 * kappa + 2 * kappa)
    decoder = (kappa * 1024 + 1024) + 2 * 1024 + (1024 * flat + flat) + 2 * flat
    decoder += (16 * 128 * 64 + 64) + 2 * 64 + (16 * 64 * channels + channels)
    hidden = (kappa * 1024 + 1024) + 2 * (1024 * 1024 + 1024)
    output = (1024 + kappa) * kappa + kappa
    return encoder + decoder + 1, 2 * hidden + 3 * output + 1


def disk_bytes(settings: RunSettings, plan: Plan) -> int:
    """Room for the run at its peak: model, SavedModel, two checkpoints with moments, features."""
    first, second = parameter_counts(settings)
    features = FEATURE_BYTES * settings.n_fake * len(plan.stages) * len(plan.protocols)
    return 4 * (2 * (first + second) + 2 * 3 * first) + features


def memory_bytes(settings: RunSettings) -> int:
    """Rough peak of main memory: weights with Adam's copies, both splits, features, TensorFlow."""
    first, second = parameter_counts(settings)
    height, width, channels = settings.image_shape
    spec = data.spec(settings.source)
    images = (spec.n_train + spec.n_test) * height * width * channels
    posteriors = spec.n_train * 2 * settings.latent_dim * 4
    fakes = settings.n_fake * height * width * channels * 4 * 2
    features = FEATURE_BYTES * (settings.n_fake + settings.n_real) * 3
    weights = 4 * ADAM_COPIES * (first + second)
    return weights + images + posteriors + fakes + features + TENSORFLOW_BYTES
