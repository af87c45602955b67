"""What one call of the command will do, resolved and checked before anything is trained.

Mistakes in names and numbers are found before Keras and TensorFlow are imported: that takes
seconds, and TensorFlow has things to say of its own.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import data
from evaluate import PROTOCOLS, Extractor, load_inception, random_network
from experiments import presets
from experiments.environment import CACHE_VARIABLE, cache_dir
from experiments.errors import UserError
from experiments.settings import (
    CHECKPOINT_SECONDS,
    GAMMAS,
    RENORMALISED,
    SECOND_STAGE_ABLATIONS,
    RunSettings,
    trial_seed,
)

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
    data_notes: dict[str, str | None] = field(default_factory=dict)
    protocols: tuple[str, ...] = PROTOCOLS
    deterministic: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    distribute: str = "none"  # see training.distribution: one run on several devices
    gathers: bool = True  # whether results.json and the report are written; shards don't

    def rows(self, settings: RunSettings) -> tuple[str, ...]:
        """The methods that a run is scored as."""
        return tuple(method for method in settings.methods if method in self.methods)

    def without_score(
        self, settings: RunSettings, records: list[dict], features: str | None = None
    ) -> list[tuple[str, str]]:
        """The run's rows and protocols that ``records`` lack, by ``features`` (None: by any)."""
        scored = {
            (r["method"], r["protocol"])
            for r in records
            if r["n_fake"] == settings.n_fake and features in (None, r.get("features"))
        }
        wanted = [(method, p) for method in self.rows(settings) for p in self.protocols]
        return [pair for pair in wanted if pair not in scored]

    def trains_second(self, settings: RunSettings) -> bool:
        """Whether a run needs its second stage."""
        return any(map(settings.second_stage, self.rows(settings)))

    def folder(self, settings: RunSettings) -> Path:
        """The run's folder."""
        return self.out / settings.name


def make_plan(
    *,
    preset: str,
    datasets: list[str] | None,
    methods: list[str] | None,
    out: Path,
    command: str,
    tables: list[str] | None = None,
    trials: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    second_epochs: int | None = None,
    images: int | None = None,
    jpeg: bool | None = None,
    network: str | None = None,
    gamma: str = "learned",
    extras: bool = False,
    protocols: list[str] | None = None,
    **common,
) -> Plan:
    """Resolves the command's options into a :class:`Plan`.

    Args:
        preset: a name; see :mod:`experiments.presets`.
        datasets, methods, tables: names. ``tables`` gives the data sets and methods of these
            tables, narrowed by the other two; without it the default is Table 1's data sets and
            the two methods that one run gives. "all" stands for all methods or all tables.
        trials: independent runs of each, with seeds derived from ``seed``.
        epochs, second_epochs, images, jpeg, network: in place of the preset's, if not None.
        gamma: "optimal" for runs of the two default methods whose gamma is computed; their rows
            have names of their own.
        extras: whether the two default methods are scored with re-normalised latents as well.
        protocols: names; both if None.
        common: the plan's other fields.

    Raises:
        UserError: for an unknown name or a number out of range.
    """
    cells = _cells(datasets, methods, tables)
    for name, value, least in (
        ("--trials", trials, 1),
        ("--epochs", epochs, 1),
        ("--second-epochs", second_epochs, 1),
        ("--images", images, 2),  # a covariance needs two
    ):
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}, got {value}.")
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2^31 - 1, got {seed}.")
    if network is not None:
        _known("network", network, presets.NETWORKS)
    _known("gamma", gamma, GAMMAS)
    for name in protocols or ():
        _known("protocol", name, PROTOCOLS)
    rows = dict.fromkeys(presets.with_gamma(m, gamma) for _, m in cells)
    if extras:
        more = [row + RENORMALISED for row in rows if row in GAMMAS[gamma]]
        if not more:
            raise UserError(
                f"--extras adds rows to {' and '.join(presets.DEFAULT_METHODS)}, and neither is "
                "asked for: add one to --methods."
            )
        rows |= dict.fromkeys(more)
    changes = {
        "network": network,
        "network_options": network and presets.network_options(preset, network),
        "epochs": epochs,
        "second_epochs": second_epochs,
        "n_fake": images,
        "n_real": images,
        "jpeg": jpeg,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    resolved = [
        (dataset, presets.resolve(preset, dataset, model).replace(gamma=gamma, **changes))
        for dataset, model in dict.fromkeys((d, presets.model_of(m)) for d, m in cells)
    ]
    import models

    runs = []
    for dataset, settings in resolved:
        try:
            models.NETWORKS[settings.network].check_image_shape(settings.image_shape)
        except ValueError as error:
            raise UserError(f"{dataset} with {settings.network}: {error}") from error
        for trial in range(trials):
            runs.append(settings.replace(trial=trial, seed=trial_seed(seed, trial)))
    return Plan(
        runs=tuple(runs),
        methods=tuple(rows),
        out=out,
        command=command,
        protocols=tuple(p for p in PROTOCOLS if p in (protocols or PROTOCOLS)),
        **common,
    )


def _cells(datasets, methods, tables) -> list[tuple[str, str]]:
    """The (data set, method) pairs that are asked for, in the paper's order."""
    for kind, names, known in (
        ("data set", datasets, presets.DATASETS),
        ("method", methods, (*presets.METHODS, *SECOND_STAGE_ABLATIONS, "all")),
        ("table", tables, (*presets.TABLES, "all")),
    ):
        for name in names or ():
            _known(kind, name, known)
    ablations = [m for m in methods or () if m in SECOND_STAGE_ABLATIONS]
    if methods and "all" in methods:
        methods = (*presets.METHODS, *ablations)
    if ablations and tables:
        raise UserError(f"no table of the paper has {ablations[0]}: name it without --tables.")
    if ablations:
        methods = ("two-stage", *methods)  # whose first stage they share, and their measure
    if tables:
        wanted = presets.TABLES if "all" in tables else tables
        pairs = {(d, m) for t in wanted for d in presets.TABLES[t][0] for m in presets.TABLES[t][1]}
        datasets = datasets or presets.DATASETS
        methods = methods or presets.METHODS
        chosen = [(d, m) for d in datasets for m in methods if (d, m) in pairs]
    else:
        chosen = [
            (d, m)
            for d in datasets or presets.TABLE1_DATASETS
            for m in methods or presets.DEFAULT_METHODS
        ]
    if not chosen:
        raise UserError("the tables that were asked for have no such data sets and methods.")
    return sorted(
        set(chosen), key=lambda c: (presets.DATASETS.index(c[0]), presets.ROW_ORDER.index(c[1]))
    )


def _known(kind: str, name: str, names) -> None:
    if name not in names:
        raise UserError(f"unknown {kind} {name!r}: expected one of {', '.join(names)}.")


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
        UserError: if the output folder or the cache folder can't be made or written, or if the
            former has too little room or holds runs with other settings.
    """
    _try_to_write(plan.out, f"the output folder {plan.out}", "name another with --out")
    _try_to_write(
        cache_dir(),
        f"the cache folder {cache_dir()}, where features of real images are kept,",
        f"name another by the environment variable {CACHE_VARIABLE}",
    )
    check_runs(plan)
    check_room(plan)


def _try_to_write(folder: Path, name: str, otherwise: str) -> None:
    # Not the process id: machines that share the folder may have the same.
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0" * 65_536)  # a full disk takes an empty file
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise UserError(
            f"{name} can't be written ({error.strerror or error}): {otherwise}."
        ) from error


def check_runs(plan: Plan) -> None:
    """Makes sure that the output folder, if it is there, can take the plan's runs.

    Raises:
        UserError: if it holds one with other settings, naming what differs, one run twice, or a
            damaged file.
    """
    from training.folder import check_settings
    from training.results import gather

    gather(plan.out)
    for settings in plan.runs:
        check_settings(settings, plan.folder(settings))


def check_room(plan: Plan, at_once: int = 1) -> None:
    """Makes sure that the disk has room for the runs that have not begun.

    Args:
        plan: its output folder is there.
        at_once: the runs in training at a time, each with its checkpoints.

    Raises:
        UserError: if it has not.
    """
    new = [s for s in plan.runs if not plan.folder(s).exists()]
    checkpoints = sorted(map(checkpoint_bytes, new), reverse=True)
    needed = sum(kept_bytes(s, plan) for s in new) + sum(checkpoints[:at_once])
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


@functools.cache
def parameter_counts(
    network: str, image_shape: tuple, latent_dim: int, network_options: tuple = ()
) -> tuple[int, int]:
    """Weights of a first and a second stage; other models have about as many as the first."""
    import models
    from models.networks import dense

    parts = models.with_options(models.NETWORKS[network], dict(network_options))
    counts = []
    for encoder, decoder in (
        (parts.encoder(image_shape, latent_dim), parts.decoder(image_shape, latent_dim)),
        (dense.encoder(latent_dim), dense.decoder(latent_dim)),
    ):
        counts.append(encoder.count_params() + decoder.count_params())
    return tuple(counts)


def _counts(settings: RunSettings) -> tuple[int, int]:
    first, second = parameter_counts(
        settings.network, settings.image_shape, settings.latent_dim, settings.network_options
    )
    return first, second if settings.two_stages else 0


def kept_bytes(settings: RunSettings, plan: Plan) -> int:
    """Room for what stays of a run: model, the two-stage runs' SavedModel, features."""
    copies = 2 if settings.model == "two-stage" else 1
    features = FEATURE_BYTES * settings.n_fake * len(plan.rows(settings)) * len(plan.protocols)
    return copies * 4 * sum(_counts(settings)) + features


def checkpoint_bytes(settings: RunSettings) -> int:
    """Room for the checkpoints of a run in training: weights and two moments, three times.

    The third is the one being written, before the oldest goes.
    """
    return 3 * 3 * 4 * _counts(settings)[0]


def memory_bytes(settings: RunSettings) -> int:
    """Rough peak of main memory: weights with Adam's copies, both splits, features, TensorFlow."""
    first, second = _counts(settings)
    height, width, channels = settings.image_shape
    spec = data.spec(settings.source)
    images = (spec.n_train + spec.n_test) * height * width * channels
    posteriors = spec.n_train * 2 * settings.latent_dim * 4
    fakes = settings.n_fake * height * width * channels * 4 * 2
    features = FEATURE_BYTES * (settings.n_fake + settings.n_real) * 3
    weights = 4 * ADAM_COPIES * (first + second)
    return weights + images + posteriors + fakes + features + TENSORFLOW_BYTES
