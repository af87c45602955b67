"""Runs a plan: each run is trained, drawn, scored and written down before the next begins."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import data
import models
from data.cache import cache_dir
from evaluate import Extractor, figures, protocols, report, scoring
from evaluate.cache import cached_features
from experiments import presets
from experiments.files import read_json, write_json
from experiments.settings import RunSettings
from training import records
from training.plan import Plan, load_images
from training.train import SETTINGS_FILE, TrainingDiverged, histories, train

RESULTS_FILE = "results.json"
RECORDS_FILE = "records.json"
FIGURES_FILE = "figures.json"
GRID = 64  # images in a grid of samples
PAIRS = 30  # images in a grid of reconstructions
REAL_SEED = 0  # which test images, and in which order: the same for all trials
STAGE_TITLES = {1: "Stage 1: VAE (learned gamma)", 2: "Stage 2: 2-Stage VAE"}
STAGE_METHODS = {1: "vae-learned-gamma", 2: "two-stage"}
EXPORT_FOLDER = Path("saved_model") / "1"


def select_real(images: np.ndarray, n: int) -> np.ndarray:
    """``n`` of the test images, or all if there are fewer, in a seeded random order.

    Kernel distances are averaged over blocks, so the order must carry no information.
    """
    order = np.random.default_rng(REAL_SEED).permutation(len(images))
    return images[order[:n]]


def sampling_seed(settings: RunSettings) -> int:
    """Seed of the scored samples; of its own, so that no training noise is met again."""
    return int(np.random.SeedSequence([settings.seed, 2]).generate_state(1)[0] // 2)


def weights_digest(model: models.VAE | models.TwoStageVAE) -> str:
    """SHA-256 of all weights: cached features of samples are those of exactly this model."""
    parts = (model.first, model.second) if isinstance(model, models.TwoStageVAE) else (model,)
    digest = hashlib.sha256()
    for part in parts:
        for weight in part.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def extract(extractor: Extractor, images: np.ndarray, title: str) -> np.ndarray:
    """Features of images under a progress line."""
    with tqdm(total=len(images), desc=title, unit="image", mininterval=0.5) as bar:
        return extractor(images, progress=lambda done, _: bar.update(done - bar.n))


def distances(real: np.ndarray, fake: np.ndarray, extractor: Extractor, title: str) -> dict:
    """The scores of a record, under a progress line: each takes seconds on 10,000 images."""
    with tqdm(desc=title, unit="score", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return scoring.score(real, fake, extractor, progress)


def real_features(plan: Plan, settings: RunSettings, extractor: Extractor, sha256: str):
    """Features of the real images, computed once for a data set and an extractor.

    They are the same under both protocols: neither changes real images.
    """
    key = {
        "kind": "real",
        "source": settings.source,
        "split": "test",
        "sha256": sha256,
        "jpeg": settings.jpeg,
        "n": settings.n_real,
        "selection_seed": REAL_SEED,
        "resize": "tf1-bilinear",
        "extractor": extractor.name,
        "fingerprint": extractor.fingerprint,
    }

    def compute():
        real = select_real(load_images(plan, settings, "test"), settings.n_real)
        return extract(extractor, real, f"{settings.dataset}, features of the test images")

    return cached_features(cache_dir() / "features", key, compute)


def fake_features(
    model, stage: int, protocol: str, settings: RunSettings, extractor: Extractor, folder: Path
):
    """Features of generated images, kept in the run's folder so that scoring resumes."""
    key = {
        "kind": "generated",
        "weights": weights_digest(model),
        "stage": stage,
        "n": settings.n_fake,
        "seed": sampling_seed(settings),
        "protocol": protocol,
        "resize": "tf1-bilinear",
        "extractor": extractor.name,
        "fingerprint": extractor.fingerprint,
    }

    def compute():
        images = sample(model, settings.n_fake, stage, sampling_seed(settings))
        scored = protocols.as_scored(images, protocol, generated=True)
        title = f"{settings.dataset}, features of stage {stage}'s samples, {protocol} protocol"
        return extract(extractor, scored, title)

    return cached_features(folder / "features", key, compute)


def sample(model, n: int, stage: int, seed: int) -> np.ndarray:
    """Samples of a TwoStageVAE's stage, or of a first stage alone."""
    if isinstance(model, models.TwoStageVAE):
        return model.sample(n, stage=stage, seed=seed)
    return model.sample(n, seed=seed)


def draw_figures(model, settings: RunSettings, test: np.ndarray, folder: Path, stages) -> dict:
    """Sample grids of the stages beside real images, reconstructions, and training curves.

    Returns the report's pictures: name -> file name below the run's ``figures/``.
    """
    out = folder / "figures"
    seed = sampling_seed(settings)
    real = select_real(test, GRID)
    grids = [("Test images", real)]
    paths = {"real": figures.image_grid(real, out / "real.png")}
    for stage in stages:
        images = sample(model, GRID, stage, seed)
        grids.append((STAGE_TITLES[stage], images))
        paths[f"stage{stage}"] = figures.image_grid(images, out / f"samples-stage{stage}.png")
    figures.compare_grids(grids, out / "samples.png")  # side by side, for a README or a talk
    pairs = real[:PAIRS]
    paths["reconstructions"] = figures.reconstruction_grid(
        pairs, model.reconstruct(pairs, seed=seed), out / "reconstructions.png"
    )
    history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
    paths["curves"] = figures.curves(history, out / "curves.png")
    return {name: Path(path).name for name, path in paths.items()}


def execute(plan: Plan, settings: RunSettings, extractor: Extractor) -> list[dict]:
    """One run from data to records; every finished part is kept and not done again.

    A loss that is not finite gives records that say so; the plan's other runs go on.
    """
    folder = plan.folder(settings)
    wanted = [
        (STAGE_METHODS[stage], protocol, extractor.name, settings.n_fake)
        for stage in plan.stages
        for protocol in plan.protocols
    ]
    made = [r for r in read_json(folder / RECORDS_FILE) or [] if r["status"] == "ok"]
    have = {(r["method"], r["protocol"], r["features"], r["n_fake"]) for r in made}
    if have.issuperset(wanted):
        return made

    train_images = load_images(plan, settings, "train")
    test_images = load_images(plan, settings, "test")
    about = {
        "data_source": data.source(settings.source, plan.data_dir),
        "data_note": plan.data_notes.get(settings.dataset),
        "data_sha256": {"train": data.digest(train_images), "test": data.digest(test_images)},
        "n_train": len(train_images),
        "versions": records.versions(),
        "machine": records.machine(),
    }
    try:
        model = train(settings, train_images, folder, second=2 in plan.stages)
    except TrainingDiverged as error:
        failed = [
            {
                **records.base_record(settings, method, protocol),
                **about,
                "features": features,
                "status": f"failed: {error}",
            }
            for method, protocol, features, _ in wanted
        ]
        write_json(folder / RECORDS_FILE, failed)
        print(f"{settings.name}: training stopped, {error}. The other runs go on.", flush=True)
        return failed

    if isinstance(model, models.TwoStageVAE) and not (folder / EXPORT_FOLDER).exists():
        model.export(folder / EXPORT_FOLDER)
    write_json(
        folder / FIGURES_FILE, draw_figures(model, settings, test_images, folder, plan.stages)
    )

    history = histories(folder)
    start = time.monotonic()
    real = real_features(plan, settings, extractor, about["data_sha256"]["test"])
    for stage in plan.stages:
        method = STAGE_METHODS[stage]
        for protocol in plan.protocols:
            if (method, protocol, extractor.name, settings.n_fake) in have:
                continue
            fake = fake_features(model, stage, protocol, settings, extractor, folder)
            steps = data.steps_per_epoch(len(train_images), settings.batch_size)
            two = stage == 2
            record = {
                **records.base_record(settings, method, protocol),
                **about,
                **distances(real, fake, extractor, f"{settings.dataset}, distances"),
                "steps": settings.epochs * steps,
                "second_steps": settings.second_epochs * steps if two else 0,
                "log_gamma": history["first"].rows[-1]["log_gamma"],
                "log_gamma_z": history["second"].rows[-1]["log_gamma"] if two else None,
                "smoke": records.is_smoke(settings, extractor.is_inception, len(real)),
                "status": "ok",
                "seconds": {
                    "first": round(history["first"].seconds, 1),
                    "second": round(history["second"].seconds, 1) if two else 0.0,
                    "scoring": round(time.monotonic() - start, 1),
                },
            }
            start = time.monotonic()
            made.append(record)
            write_json(folder / RECORDS_FILE, made)
    return made


def gather(out: Path) -> list[dict]:
    """The records of every run below the output folder, this call's and earlier ones'."""
    found = [r for path in Path(out).glob(f"*/{RECORDS_FILE}") for r in read_json(path) or []]
    return sorted(found, key=_table_order)


def _dataset_order(entry: dict) -> tuple[int, int]:
    """The data sets' order in the paper, a stand-in where the real one would be; then trials."""
    names = presets.DATASETS
    known = [i for i, name in enumerate(names) if entry["dataset"].startswith(name)]
    return (*known, len(names))[0], entry["trial"]


def _table_order(record: dict) -> tuple[int, int, int]:
    return *_dataset_order(record), presets.METHODS.index(record["method"])


def write_results(plan: Plan) -> tuple[Path, Path]:
    """Writes results.json, the tables and the reports from what the output folder holds."""
    found = gather(plan.out)
    write_json(plan.out / RESULTS_FILE, found)
    runs = []
    for path in plan.out.glob(f"*/{FIGURES_FILE}"):
        folder = path.parent
        settings = read_json(folder / SETTINGS_FILE)
        history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
        runs.append(
            {
                "dataset": settings["dataset"],
                "title": f"trial {settings['trial']}, seed {settings['seed']}",
                "folder": str(folder),
                "figures": {k: str(folder / "figures" / v) for k, v in read_json(path).items()},
                "settings": settings,
                "history": history,
            }
        )
    runs.sort(key=lambda run: _dataset_order(run["settings"]))
    preset = plan.runs[0].preset
    return report.write_report(plan.out, found, runs, plan.command, preset)


def run_plan(plan: Plan, extractor: Extractor) -> tuple[Path, Path]:
    """Executes all runs in order; results and report are renewed after each."""
    for number, settings in enumerate(plan.runs, 1):
        print(f"Run {number} of {len(plan.runs)}: {settings.name}, {settings.schedule}", flush=True)
        execute(plan, settings, extractor)
        paths = write_results(plan)
    return paths
