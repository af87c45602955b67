"""Runs a plan: each run is trained, drawn, scored and written down before the next begins."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

import data
import models
from data import select_real
from data.cache import cache_dir
from evaluate import Extractor, figures, neighbours, prdc, protocols, report, scoring
from evaluate.cache import cached_features
from experiments import paper, presets
from experiments.errors import UserError
from experiments.files import read_json, write_atomically, write_json
from experiments.settings import GAMMAS, RENORMALISED, RunSettings, is_first_stage
from models.renormalised import aggregate_deviation, sample_both, sample_first
from training import distribution, latents, records, shards
from training.failures import RunFailed, explained
from training.folder import (
    HELD_OUT,
    MODEL_FOLDER,
    SETTINGS_FILE,
    TRAINED_ON_FILE,
    histories,
    load_images,
)
from training.plan import Plan
from training.train import train

RESULTS_FILE = "results.json"
RECORDS_FILE = "records.json"
FIGURES_FILE = "figures.json"
SAMPLES_FILE = "samples.npz"
LATENTS_FILE = "latents.json"
NEIGHBOURS_FILE = "neighbours.json"
GRID = 64  # images in a grid of samples
COPIES = 256  # samples of each method, and test images, whose nearest training image is sought
SIDE_BY_SIDE = 12  # images of each method in the picture of all methods
ALL_METHODS_FIGURE = "every method from the same noise"  # its caption too
PAIRS = 30  # images in a grid of reconstructions
GAMMA_CURVES = ("log_gamma", "rmse")
OPTIMAL_GAMMA_FIGURE = "learned_and_optimal_gamma"  # its caption too
FIRST_MODEL = Path(MODEL_FOLDER) / "first.keras"
EXPORT_FOLDER = Path("saved_model") / "1"
EXPORTED = EXPORT_FOLDER / "saved_model.pb"  # TensorFlow writes it last


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
    return _with_progress(extractor, title, images, unit="image", leave=True)


def distances(real: np.ndarray, fake: np.ndarray, extractor: Extractor, title: str) -> dict:
    """The scores of a record, under progress lines: they take minutes on 10,000 images."""
    found = _with_progress(scoring.score, f"{title}, distances", real, fake, extractor)
    if min(len(real), len(fake)) <= prdc.DENSITY_NEIGHBOURS:
        return found  # too few for neighbours
    more = _with_progress(prdc.prdc, f"{title}, precision and recall", real, fake)
    return {**found, **more._asdict()}


def _with_progress(function, title: str, *arguments, unit: str = "it", leave: bool = False):
    """``function(*arguments)`` with a ``progress(done, total)`` that moves a bar."""
    with tqdm(desc=title, unit=unit, leave=leave, mininterval=0.5) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return function(*arguments, progress=progress)


def real_features(settings: RunSettings, extractor: Extractor, test: np.ndarray, sha256: str):
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
        "selection_seed": data.REAL_SEED,
        "resize": "tf1-bilinear",
        "extractor": extractor.name,
        "fingerprint": extractor.fingerprint,
    }

    def compute():
        real = select_real(test, settings.n_real)
        return extract(extractor, real, f"{settings.dataset}, features of the test images")

    return cached_features(cache_dir() / "features", key, compute)


def fake_features(
    model,
    method: str,
    protocol: str,
    settings: RunSettings,
    extractor: Extractor,
    folder: Path,
    deviation: np.ndarray | None = None,
):
    """Features of generated images, kept in the run's folder so that scoring resumes."""
    key = {
        "kind": "generated",
        "weights": weights_digest(model),
        "method": method,
        "n": settings.n_fake,
        "seed": sampling_seed(settings),
        "protocol": protocol,
        "resize": "tf1-bilinear",
        "extractor": extractor.name,
        "fingerprint": extractor.fingerprint,
    }

    def compute():
        images = sample(model, method, settings.n_fake, sampling_seed(settings), deviation)
        scored = protocols.as_scored(images, protocol, generated=True)
        title = f"{settings.dataset}, features of {method}'s samples, {protocol} protocol"
        return extract(extractor, scored, title)

    return cached_features(folder / "features", key, compute)


def sample(
    model, method: str, n: int, seed: int, deviation: np.ndarray | None = None
) -> np.ndarray:
    """Samples by a method: of a TwoStageVAE several rows can be drawn.

    Args:
        deviation: ``(kappa,)``, of q(z); needed for the re-normalised rows alone.
    """
    if method.endswith(RENORMALISED):
        if not is_first_stage(method):
            return sample_both(model, n, deviation, seed)
        first = model.first if isinstance(model, models.TwoStageVAE) else model
        return sample_first(first, n, deviation, seed)
    if isinstance(model, models.TwoStageVAE):
        return model.sample(n, stage=1 if is_first_stage(method) else 2, seed=seed)
    return model.sample(n, seed=seed)


def draw_figures(
    model, settings: RunSettings, test: np.ndarray, folder: Path, methods, deviation=None
) -> dict:
    """Sample grids of the methods beside real images, reconstructions, and training curves.

    Returns the report's pictures: name -> file name below the run's ``figures/``.
    """
    out = folder / "figures"
    seed = sampling_seed(settings)
    real = select_real(test, GRID)
    grids = [("Test images", real)]
    kept = {"test images": real}
    paths = {"real": figures.image_grid(real, out / "real.png")}
    for method in methods:
        images = sample(model, method, GRID, seed, deviation)
        grids.append((paper.method_name(method), images))
        kept[method] = images
        name = f"Samples: {paper.method_name(method)}"
        paths[name] = figures.image_grid(images, out / f"samples-{method}.png")
    save_samples({name: images[:SIDE_BY_SIDE] for name, images in kept.items()}, folder)
    figures.compare_grids(grids, out / "samples.png")  # side by side, for a README or a talk
    pairs = real[:PAIRS]
    paths["reconstructions"] = figures.reconstruction_grid(
        pairs, model.reconstruct(pairs, seed=seed), out / "reconstructions.png"
    )
    history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
    paths["curves"] = figures.curves(history, out / "curves.png")
    return {name: Path(path).name for name, path in paths.items()}


def save_samples(images: dict[str, np.ndarray], folder: Path) -> None:
    """Keeps a few images of each method, rounded to 8 bits, for the picture of all methods."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: figures.as_uint8(rows) for name, rows in images.items()})
    write_atomically(folder / SAMPLES_FILE, stream.getvalue())


def load_samples(folder: Path) -> dict[str, np.ndarray]:
    """What :func:`save_samples` wrote: method, or "test images" -> ``(n, h, w, 3)`` uint8."""
    with np.load(folder / SAMPLES_FILE, allow_pickle=False) as stored:
        return dict(stored)


def draw_all_methods(runs: list[dict], out: Path) -> list[dict]:
    """One picture for each data set and network: every method's samples from the same noise.

    The runs of one trial draw their samples with one seed; the first trial is shown. u of a
    two-stage VAE is the z of the others.

    Args:
        runs: as :func:`write_results` gathers them.
        out: the output folder.

    Returns:
        Entries for the report, where more than one run is there.
    """
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        settings = run["settings"]
        if (Path(run["folder"]) / SAMPLES_FILE).exists():
            groups.setdefault((settings["dataset"], settings["network"]), []).append(run)
    entries = []
    for (dataset, network), found in groups.items():
        trial, seed = min((run["settings"]["trial"], run["settings"]["seed"]) for run in found)
        rows: dict[str, np.ndarray] = {}
        for run in found:
            if (run["settings"]["trial"], run["settings"]["seed"]) == (trial, seed):
                rows.update(load_samples(Path(run["folder"])))
        real = rows.pop("test images")
        order = sorted(rows, key=presets.ROW_ORDER.index)
        if len(order) < 2:
            continue
        shown = {"Test images": real} | {paper.method_name(m): rows[m] for m in order}
        path = out / "figures" / f"methods-{dataset}-{network}.png"
        figures.method_rows(shown, path)
        entries.append(
            {
                "dataset": dataset,
                "title": f"All methods side by side, network {network}, trial {trial}",
                "figures": {ALL_METHODS_FIGURE: str(path)},
            }
        )
    return entries


def study_latents(model, settings: RunSettings, train: np.ndarray, test: np.ndarray, folder: Path):
    """Table 3's fields of the record, computed once for a model, and the latent space's pictures.

    On as many training images as are scored, chosen with a seed.
    """
    seed = sampling_seed(settings)
    order = np.random.default_rng([seed, 5]).permutation(len(train))[: settings.n_fake]
    samples = latents.latent_samples(model, train[order], seed)
    key = {"weights": weights_digest(model), "n": len(order)}
    stored = read_json(folder / LATENTS_FILE) or {}
    if stored.get("key") != key:
        print(f"{settings.dataset}, distances of q(z) and q(u) from N(0, I)", flush=True)
        stored = {"key": key, "fields": latents.table3(samples, seed)}
        write_json(folder / LATENTS_FILE, stored)
    paths = latents.draw(model, samples, train, select_real(test, GRID), folder / "figures", seed)
    return stored["fields"], {name: Path(path).name for name, path in paths.items()}


def study_copies(
    model,
    settings: RunSettings,
    methods,
    train: np.ndarray,
    test: np.ndarray,
    folder: Path,
    deviation: np.ndarray | None = None,
) -> dict[str, dict]:
    """Are samples copies of training images? The record's fields about it, for each method.

    The median distance of samples from their nearest training images, and that of as many test
    images: computed once for a model.
    """
    seed = sampling_seed(settings)
    n = min(COPIES, len(test), settings.n_fake)
    key = {"weights": weights_digest(model), "n": n, "methods": list(methods)}
    stored = read_json(folder / NEIGHBOURS_FILE) or {}
    if stored.get("key") != key:
        sets = {m: sample(model, m, n, seed, deviation) for m in methods}
        sets["test images"] = select_real(test, n)
        title = f"{settings.dataset}, nearest training images"
        medians = _with_progress(neighbours.median_distances, title, sets, train, unit="image")
        stored = {"key": key, "medians": medians}
        write_json(folder / NEIGHBOURS_FILE, stored)
    medians = stored["medians"]
    return {
        method: {
            "nearest_sample": medians[method],
            "nearest_test": medians["test images"],
            "nearest_n": n,
        }
        for method in methods
    }


def share_first_stage(plan: Plan, settings: RunSettings) -> None:
    """Gives an ablation of the second stage the first stage of its two-stage run, if it has none.

    Raises:
        RunFailed: if that run has no finished first stage.
    """
    folder = plan.folder(settings)
    if not settings.shares_first_stage or (folder / FIRST_MODEL).exists():
        return
    source = plan.folder(settings.replace(model="two-stage"))
    if not (source / FIRST_MODEL).exists():
        raise RunFailed(f"{source.name}, whose first stage it shares, has none")
    # The model last: once it is there, the first stage counts as finished.
    for name in (histories(source)["first"].path.name, FIRST_MODEL):
        write_atomically(folder / name, (source / name).read_bytes())


def execute(plan: Plan, settings: RunSettings, extractor: Extractor, strategy=None) -> list[dict]:
    """One run from data to records; every finished part is kept and not done again.

    ``strategy`` is as for :func:`training.train.train`. Of several workers the chief alone goes on
    after training; for the others there are no records.

    A loss that is not finite, or too little memory, gives records that say so; the plan's other
    runs go on.
    """
    folder = plan.folder(settings)
    wanted = [
        (method, protocol, extractor.name, settings.n_fake)
        for method in plan.rows(settings)
        for protocol in plan.protocols
    ]
    made = [r for r in read_json(folder / RECORDS_FILE) or [] if r["status"] == "ok"]
    have = {(r["method"], r["protocol"], r["features"], r["n_fake"]) for r in made}
    if have.issuperset(wanted):
        return made

    train_images = load_images(settings, "train", plan.data_dir)
    test_images = load_images(settings, "test", plan.data_dir)
    about = {
        "data_source": data.source(settings.source, plan.data_dir),
        "data_note": plan.data_notes.get(settings.dataset),
        "data_sha256": {"train": data.digest(train_images), "test": data.digest(test_images)},
        "n_train": len(train_images),
        "versions": records.versions(),
        "machine": records.machine(),
    }
    if elsewhere := read_json(folder / TRAINED_ON_FILE):
        about["trained_on"] = elsewhere
    try:
        share_first_stage(plan, settings)
        model = train(
            settings,
            train_images,
            folder,
            second=plan.trains_second(settings),
            held_out=select_real(test_images, HELD_OUT),
            checkpoint_seconds=plan.checkpoint_seconds,
            strategy=strategy,
        )
    except RunFailed as error:
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

    if not distribution.is_chief(strategy):
        return []
    served = isinstance(model, models.TwoStageVAE) and not settings.shares_first_stage
    if served and not (folder / EXPORTED).exists():
        model.export(folder / EXPORT_FOLDER)
    deviation = None
    if any(row.endswith(RENORMALISED) for row in plan.rows(settings)):
        deviation = aggregate_deviation(*model.encode(train_images))
    pictures = draw_figures(model, settings, test_images, folder, plan.rows(settings), deviation)
    table3 = {}
    if isinstance(model, models.TwoStageVAE):
        table3, more = study_latents(model, settings, train_images, test_images, folder)
        pictures.update(more)
    write_json(folder / FIGURES_FILE, pictures)
    rows = plan.rows(settings)
    copies = study_copies(model, settings, rows, train_images, test_images, folder, deviation)

    history = histories(folder)
    start = time.monotonic()
    real = real_features(settings, extractor, test_images, about["data_sha256"]["test"])
    for method in plan.rows(settings):
        for protocol in plan.protocols:
            if (method, protocol, extractor.name, settings.n_fake) in have:
                continue
            fake = fake_features(model, method, protocol, settings, extractor, folder, deviation)
            steps = data.steps_per_epoch(len(train_images), settings.batch_size)
            two = settings.second_stage(method)
            record = {
                **records.base_record(settings, method, protocol),
                **about,
                **distances(real, fake, extractor, f"{settings.dataset}, {method}"),
                "steps": settings.epochs * steps,
                "second_steps": settings.second_epochs * steps if two else 0,
                "log_gamma": history["first"].rows[-1]["log_gamma"],
                "log_gamma_z": history["second"].rows[-1]["log_gamma"] if two else None,
                "smoke": records.is_smoke(settings, extractor.is_inception, len(real)),
                **(table3 if two else {}),
                **renormalisation(method, deviation),
                **copies[method],
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


def renormalisation(method: str, deviation: np.ndarray | None) -> dict:
    """A re-normalised row's own field: the variance of q(z), averaged over dimensions."""
    if not method.endswith(RENORMALISED):
        return {}
    return {"aggregate_variance": float(np.mean(np.square(deviation)))}


def gather(out: Path) -> list[dict]:
    """The records of every run below the output folder, this call's and earlier ones'."""
    found = [r for path in Path(out).glob(f"*/{RECORDS_FILE}") for r in read_json(path) or []]
    return sorted(found, key=_table_order)


def _table_order(record: dict) -> tuple[int, int, int]:
    """The paper's order of data sets, a stand-in where the real one would be, methods, trials."""
    base = record["dataset"].removesuffix("-standin")
    method = presets.ROW_ORDER.index(record["method"])
    return presets.DATASETS.index(base), method, record["trial"]


def write_results(out: Path, command: str) -> tuple[Path, Path]:
    """Writes results.json, the tables and the reports from what the output folder holds.

    Returns:
        The paths of report.md and report.html.

    Raises:
        UserError: if it holds no run.
    """
    found = gather(out)
    if not found:
        raise UserError(f"{out} holds no scored runs: name their folder with --out.")
    write_json(out / RESULTS_FILE, found)
    runs = []
    for path in out.glob(f"*/{FIGURES_FILE}"):
        folder = path.parent
        settings = read_json(folder / SETTINGS_FILE)
        history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
        runs.append(
            {
                "dataset": settings["dataset"],
                "title": f"{run_name(settings)}, trial {settings['trial']}",
                "folder": str(folder),
                "figures": {k: str(folder / "figures" / v) for k, v in read_json(path).items()},
                "settings": settings,
                "history": history,
            }
        )
    runs.sort(key=lambda run: _table_order({**run["settings"], "method": run_row(run["settings"])}))
    add_gamma_curves(runs)
    runs = draw_all_methods(runs, out) + runs
    return report.write_report(out, found, runs, command, found[0]["preset"])


def run_row(settings: dict) -> str:
    """The last row of the tables that a run with these settings gives, by settings.json."""
    gamma = settings.get("gamma", "learned")
    return GAMMAS[gamma][1] if settings["model"] == "two-stage" else settings["model"]


def run_name(settings: dict) -> str:
    """A run's name in the report."""
    return paper.method_name(run_row(settings))


def add_gamma_curves(runs: list[dict]) -> None:
    """Draws log gamma and the pixel error of runs that differ in their gamma alone.

    Figure 1a in the learned run where one with fixed gamma is there too; beyond the paper, the
    learned beside the optimal gamma, in the optimal run.
    """
    names = {"two-stage": "learned gamma", "vae-fixed-gamma": "gamma fixed at 1"}
    names["two-stage-optimal-gamma"] = "optimal gamma"
    found: dict[tuple, dict[str, dict]] = {}
    for run in runs:
        row = run_row(run["settings"])
        if row in names:
            key = tuple(run["settings"][k] for k in ("dataset", "network", "trial"))
            found.setdefault(key, {})[row] = run
    for by_row in found.values():
        for other, place, figure in (
            ("vae-fixed-gamma", "two-stage", "figure1a"),
            ("two-stage-optimal-gamma", "two-stage-optimal-gamma", OPTIMAL_GAMMA_FIGURE),
        ):
            if "two-stage" in by_row and other in by_row:
                curves = {
                    names[row]: {k: by_row[row]["history"]["first"][k] for k in GAMMA_CURVES}
                    for row in ("two-stage", other)
                }
                run = by_row[place]
                path = Path(run["folder"]) / "figures" / f"{figure}.png"
                run["figures"][figure] = str(figures.gamma_curves(curves, path))


def run_plan(plan: Plan, extractor: Extractor, strategy=None) -> tuple[Path, Path] | None:
    """Executes all runs in order; results and report are renewed after each.

    ``strategy`` is as for :func:`training.train.train`.

    Returns:
        The paths of report.md and report.html; None for a shard and for workers other
        than the chief, which write neither.
    """
    paths = None
    if not plan.gathers:
        shards.keep_command(plan.out, plan.command)
    for number, settings in enumerate(plan.runs, 1):
        print(f"Run {number} of {len(plan.runs)}: {settings.name}, {settings.schedule}", flush=True)
        with explained(plan.folder(settings)):
            execute(plan, settings, extractor, strategy)
        if plan.gathers and distribution.is_chief(strategy):
            paths = write_results(plan.out, plan.command)
        keras.utils.clear_session()  # dozens of models would pile up
    distribution.wait_for_all(strategy)
    return paths
