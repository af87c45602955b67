"""Runs a plan: each run is trained, drawn, scored and written down before the next begins."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import data
import models
from data import select_real
from evaluate import Extractor
from experiments.files import read_json, write_atomically, write_json
from experiments.settings import RENORMALISED, WITHOUT_GAMMA, RunSettings
from models.renormalised import aggregate_deviation
from training import distribution, elsewhere, latents, records, shards
from training.failures import OutOfMemory, RunFailed, TrainingDiverged, explained
from training.folder import (
    HELD_OUT,
    alone_in,
    check_images,
    check_settings,
    forget_other_first_stage,
    histories,
    load_images,
)
from training.layout import (
    EXPORT_FOLDER,
    FIGURES_FILE,
    RECORDS_FILE,
    model_file,
)
from training.pictures import draw_figures
from training.plan import Plan
from training.progress import with_progress
from training.results import write_results
from training.samples import sample, sampling_seed, weights_digest
from training.scores import (
    FEATURES_FOLDER,
    distances,
    fake_features,
    real_features,
    study_copies,
)
from training.train import train

FIRST_MODEL = model_file(Path(), "first")
EXPORT = Path(EXPORT_FOLDER) / "1"


class Images(NamedTuple):
    """A run's data, ``(n, h, w, c)`` uint8."""

    train: np.ndarray
    test: np.ndarray


def share_first_stage(plan: Plan, settings: RunSettings) -> None:
    """Gives an ablation of the second stage the first stage of its two-stage run.

    A copy of another first stage, which that run had before it was trained again, is replaced, and
    what was trained on it goes.

    Raises:
        RunFailed: if neither that run nor the ablation's folder has a finished first stage.
    """
    if not settings.shares_first_stage:
        return
    folder = plan.folder(settings)
    own = folder / FIRST_MODEL
    source = plan.folder(settings.replace(model="two-stage"))
    if not (source / FIRST_MODEL).exists():
        if own.exists():
            return
        raise RunFailed(f"{source.name}, whose first stage it shares, has none")
    if own.exists():
        if own.read_bytes() == (source / FIRST_MODEL).read_bytes():
            return
        forget_other_first_stage(folder)
    elsewhere.share_first(source, folder)
    # The model last: once it is there, the first stage counts as finished.
    for name in (histories(source)["first"].path.name, FIRST_MODEL):
        write_atomically(folder / name, (source / name).read_bytes())


def execute(plan: Plan, settings: RunSettings, extractor: Extractor, strategy=None) -> list[dict]:
    """One run from data to records; every finished part is kept and not done again.

    ``strategy`` is as for :func:`training.train.train`. Of several workers the chief alone goes on
    after training; for the others there are no records.

    A loss that is not finite, or too little memory, gives records that say so; a first stage that
    was finished before is scored all the same, and the plan's other runs go on.
    """
    if not distribution.is_chief(strategy):
        return _execute(plan, settings, extractor, strategy)
    with alone_in(plan.folder(settings)):
        return _execute(plan, settings, extractor, strategy)


def _execute(plan: Plan, settings: RunSettings, extractor: Extractor, strategy) -> list[dict]:
    folder = plan.folder(settings)
    rows = plan.rows(settings)
    chief = distribution.is_chief(strategy)
    not_in = functools.partial(plan.without_score, settings, features=extractor.name)

    stored = records.stored_records(folder)
    made = still_valid(stored, plan, settings, extractor)
    missing = not_in(made)
    if not missing and made == stored:
        return made

    images = Images(*(load_images(settings, split, plan.data_dir) for split in ("train", "test")))
    check_settings(settings, folder)
    checksums = check_images(folder, *images)
    if chief and made and made != stored:
        write_json(folder / RECORDS_FILE, made)
    if not missing:
        return made

    model, error = trained(plan, settings, images, strategy)
    if not chief:
        return []
    about = origin(plan, settings, images, checksums)

    def lose(lost: Sequence[tuple[str, str]], what: str, error: RunFailed) -> None:
        failure = failed(settings, extractor, min(settings.n_real, len(images.test)), error)
        failure["seconds"] = stage_seconds(folder)
        made.extend({**records.base_record(settings, *row), **about, **failure} for row in lost)
        write_json(folder / RECORDS_FILE, made)
        print(f"{settings.name}: {what} stopped, {error}. The rest goes on.", flush=True)

    if error is not None:
        lost = [w for w in missing if model is None or settings.second_stage(w[0])]
        lose(lost, "training" if model is None else "its second stage", error)
        rows = [row for row in rows if not settings.second_stage(row)]
        if model is None or not not_in(made):
            return made

    made = of_this_model(made, model, settings)
    served = isinstance(model, models.TwoStageVAE) and not settings.shares_first_stage
    if served and not (folder / EXPORT / "saved_model.pb").exists():
        model.export(folder / EXPORT)
    try:
        for record in scored(settings, extractor, model, rows, not_in(made), images, about, folder):
            made.append(record)
            write_json(folder / RECORDS_FILE, made)
    except TrainingDiverged as error:
        lose(not_in(made), "scoring", error)
    shutil.rmtree(folder / FEATURES_FOLDER, ignore_errors=True)  # scored: 82 MB a row
    return made


def trained(plan: Plan, settings: RunSettings, images: Images, strategy):
    """Trains what the plan asks of a run.

    Returns:
        The model, and None; where training failed, what is left of the model (a first stage, where
        its second stage failed, or None) and the error.
    """
    error = None
    for second in (True, False) if plan.trains_second(settings) else (False,):
        try:
            share_first_stage(plan, settings)
            model = train(
                settings,
                images.train,
                plan.folder(settings),
                second=second,
                held_out=select_real(images.test, HELD_OUT),
                checkpoint_seconds=plan.checkpoint_seconds,
                strategy=strategy,
            )
            return model, error
        except RunFailed as failure:
            error = failure
            # Without its second stage a run still gives its first one's rows.
            if not (plan.folder(settings) / FIRST_MODEL).exists():
                break
    return None, error


def scored(
    settings: RunSettings,
    extractor: Extractor,
    model,
    rows: Sequence[str],
    missing: Sequence[tuple[str, str]],
    images: Images,
    about: dict,
    folder: Path,
) -> Iterator[dict]:
    """Yields the records of ``missing``, pairs of a row and a protocol, one after the other.

    The pictures are those of all ``rows``; ``about`` is what all records say.
    """
    check_finite(model, settings, rows, images.test)
    deviation = None
    if any(row.endswith(RENORMALISED) for row in rows):
        title = f"{settings.dataset}, variances of q(z)"
        encoded = with_progress(model.encode, title, images.train, unit="image")
        deviation = aggregate_deviation(*encoded)
    found = look(model, settings, rows, images, folder, deviation)

    @functools.lru_cache(maxsize=1)  # both protocols score the same images
    def draw(method: str) -> np.ndarray:
        made = sample(model, method, settings.n_fake, sampling_seed(settings), deviation)
        if not np.isfinite(made).all():
            raise TrainingDiverged(f"its samples of {method} are not finite")
        return made

    weights = {method: weights_digest(model, method) for method in rows}
    start = time.monotonic()
    real = real_features(settings, extractor, images.test, about["data_sha256"]["test"])
    for method, protocol in missing:
        fake = fake_features(weights[method], method, protocol, settings, extractor, folder, draw)
        record = {
            **records.base_record(settings, method, protocol),
            **about,
            **distances(real, fake, extractor, f"{settings.dataset}, {method}"),
            **course(settings, method, len(images.train), folder),
            **found[method],
            "smoke": records.is_smoke(settings, extractor.is_inception, len(real)),
            "status": "ok",
            "weights": weights[method],
        }
        record["seconds"]["scoring"] = round(time.monotonic() - start, 1)
        start = time.monotonic()
        yield record


def check_finite(model, settings: RunSettings, rows: Sequence[str], test: np.ndarray) -> None:
    """Tries a model on a few images: its weights may be finite and what it gives not.

    Raises:
        TrainingDiverged: if posteriors, reconstructions or samples are not finite.
    """
    few = select_real(test, HELD_OUT)
    seed = sampling_seed(settings)
    given = {"posteriors": model.encode(few), "reconstructions": model.reconstruct(few, seed=seed)}
    for row in rows:
        if not row.endswith(RENORMALISED):
            given[f"samples of {row}"] = sample(model, row, HELD_OUT, seed)
    for name, arrays in given.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise TrainingDiverged(f"its {name} are not finite")


def failed(settings: RunSettings, extractor: Extractor, n_real: int, error: RunFailed) -> dict:
    """A record's fields about scores that there are not."""
    return {
        "features": extractor.name,
        "features_note": extractor.note,
        "features_fingerprint": extractor.fingerprint,
        "n_real": n_real,
        "n_fake": settings.n_fake,
        "smoke": records.is_smoke(settings, extractor.is_inception, n_real),
        **dict.fromkeys(("fid", "kid", "kid_std")),
        "status": f"failed: {error}",
    }


def still_valid(
    stored: list[dict], plan: Plan, settings: RunSettings, extractor: Extractor
) -> list[dict]:
    """Those of a run's records that still hold, with what is said of the data now.

    Those of another network under the extractor's name do not hold, nor failures of what this plan
    tries again.
    """
    note = data_note(plan, settings)
    made = []
    for record in stored:
        print_of = record.get("features_fingerprint") or extractor.fingerprint
        other = record.get("features") == extractor.name and print_of != extractor.fingerprint
        tried = record["method"] in plan.rows(settings) and record["protocol"] in plan.protocols
        if not other and (record["status"] == "ok" or not tried):
            made.append({**record, "data_note": note})
    return made


def of_this_model(made: list[dict], model, settings: RunSettings) -> list[dict]:
    """The records that are about this model: a stage may have been trained again since."""
    whole = isinstance(model, models.TwoStageVAE)
    stale = {
        r["method"]
        for r in made
        if (whole or not settings.second_stage(r["method"]))
        and r.get("weights") not in (None, weights_digest(model, r["method"]))
    }
    first_too = not all(settings.second_stage(method) for method in stale)  # on which all stand
    return [r for r in made if "weights" not in r or not (first_too or r["method"] in stale)]


def data_note(plan: Plan, settings: RunSettings) -> str | None:
    """What is said of a run's data: by this command, otherwise by the one that said it last."""
    stored = records.stored_records(plan.folder(settings))
    earlier = next((r["data_note"] for r in stored if r.get("data_note")), None)
    return plan.data_notes.get(settings.dataset, earlier)


def data_missing(settings: RunSettings, images: Images) -> str | None:
    """What a reduced data set lacks, as CelebA's may: its list says what there is."""
    spec = data.spec(settings.source)
    parts = [
        f"{len(found):,} of {spec.count(split):,} {split} images"
        for split, found in images._asdict().items()
        if len(found) != spec.count(split)
    ]
    return f"Only {' and '.join(parts)}" if parts else None


def origin(plan: Plan, settings: RunSettings, images: Images, checksums: dict[str, str]) -> dict:
    """The record's fields about the images, the versions and the machine, of a trained run."""
    about = {
        "data_source": data.source(settings.source, plan.data_dir),
        "data_note": data_note(plan, settings),
        "data_missing": data_missing(settings, images),
        "data_sha256": checksums,
        "n_train": len(images.train),
        "versions": records.versions(),
        "machine": records.machine(),
    }
    if places := elsewhere.other_places(plan.folder(settings), records.place()):
        about["trained_on"] = places
    return about


def look(
    model,
    settings: RunSettings,
    rows: Sequence[str],
    images: Images,
    folder: Path,
    deviation: np.ndarray | None,
) -> dict[str, dict]:
    """Draws a trained model's pictures; what they are drawn from is in its records too.

    Returns:
        For each row of the tables its fields about the latent space and the nearest images.
    """
    pictures = draw_figures(model, settings, images.test, folder, rows, deviation)
    table3 = {}
    if isinstance(model, models.TwoStageVAE):
        table3, more = latents.study(model, settings, *images, folder)
        pictures.update(more)
    earlier = read_json(folder / FIGURES_FILE, dict) or {}  # perhaps of more rows than these
    write_json(folder / FIGURES_FILE, earlier | pictures)
    found = study_copies(model, settings, rows, *images, folder, deviation)
    for method in rows:
        if settings.second_stage(method):
            found[method] |= table3
        if method.endswith(RENORMALISED):
            found[method]["aggregate_variance"] = float(np.mean(np.square(deviation)))
    return found


def course(settings: RunSettings, method: str, n_train: int, folder: Path) -> dict:
    """The record's fields about the training that a row of the tables stands on."""
    history = histories(folder)
    seconds = stage_seconds(folder)
    steps = data.steps_per_epoch(n_train, settings.batch_size)
    two = settings.second_stage(method)
    return {
        "steps": settings.epochs * steps,
        "second_steps": settings.second_epochs * steps if two else 0,
        "log_gamma": None if method in WITHOUT_GAMMA else history["first"].rows[-1]["log_gamma"],
        "log_gamma_z": history["second"].rows[-1]["log_gamma"] if two else None,
        "seconds": seconds if two else {**seconds, "second": 0.0},
    }


def stage_seconds(folder: Path) -> dict[str, float]:
    """How long each stage has been trained, and scored: not yet."""
    spent = {stage: round(history.seconds, 1) for stage, history in histories(folder).items()}
    return {**spent, "scoring": 0.0}


def run_plan(plan: Plan, extractor: Extractor, strategy=None) -> tuple[Path, Path] | None:
    """Executes all runs in order; results and report are renewed after each.

    ``strategy`` is as for :func:`training.train.train`.

    Returns:
        The paths of report.md and report.html; None for a shard and for workers other
        than the chief, which write neither.

    Raises:
        OutOfMemory: if runs could not be scored for lack of memory: after all others, naming them.
    """
    paths, too_large = None, []
    if not plan.gathers:
        shards.keep_command(plan.out, plan.command)
    for number, settings in enumerate(plan.runs, 1):
        print(f"Run {number} of {len(plan.runs)}: {settings.name}, {settings.schedule}", flush=True)
        try:
            with explained(plan.folder(settings)):
                execute(plan, settings, extractor, strategy)
            if plan.gathers and distribution.is_chief(strategy):
                paths = write_results(plan.out, plan.command)
        except OutOfMemory as error:  # in scoring: of training there is a record
            too_large.append(settings.name)
            print(f"{settings.name}: {error}. The rest goes on.", flush=True)
        finally:
            keras.utils.clear_session()  # dozens of models would pile up
    distribution.wait_for_all(strategy)
    if too_large:
        raise OutOfMemory(f"out of memory in scoring {', '.join(too_large)}")
    return paths
