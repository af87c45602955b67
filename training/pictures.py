"""A run's pictures, and those that set several runs side by side."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data import select_real
from evaluate import figures
from experiments import paper, presets
from experiments.files import UNREADABLE, write_atomically
from experiments.settings import RunSettings
from training.folder import histories
from training.layout import FIGURES_FOLDER, SAMPLES_FILE
from training.records import run_row
from training.samples import sample, sampling_seed

GRID = 64  # images in a grid of samples
SIDE_BY_SIDE = 12  # images of each method in the picture of all methods
ALL_METHODS_FIGURE = "every method from the same noise"  # its caption too
PAIRS = 30  # images in a grid of reconstructions
GAMMA_CURVES = ("log_gamma", "rmse")
OPTIMAL_GAMMA_FIGURE = "learned_and_optimal_gamma"  # its caption too

_drawn: dict[Path, str] = {}  # by this process: a picture -> the digest of what it shows


def draw_figures(
    model, settings: RunSettings, test: np.ndarray, folder: Path, methods, deviation=None
) -> dict:
    """Sample grids of the methods beside real images, reconstructions, and training curves.

    Returns the report's pictures: name -> file name below the run's ``figures/``.
    """
    out = folder / FIGURES_FOLDER
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
    kept = {name: images[:SIDE_BY_SIDE] for name, images in kept.items()}
    others = {name: rows for name, rows in load_samples(folder).items() if name not in kept}
    save_samples(kept | others, folder)  # an earlier command may have drawn more rows
    if not others:
        figures.compare_grids(grids, out / "samples.png")  # side by side, for a README or a talk
    pairs = real[:PAIRS]
    paths["reconstructions"] = figures.reconstruction_grid(
        pairs, model.reconstruct(pairs, seed=seed), out / "reconstructions.png"
    )
    history = {name: h.columns() for name, h in histories(folder).items() if h.rows}
    paths["curves"] = figures.curves(history, out / "curves.png", settings.model)
    return {name: Path(path).name for name, path in paths.items()}


def save_samples(images: dict[str, np.ndarray], folder: Path) -> None:
    """Keeps a few images of each method, rounded to 8 bits, for the picture of all methods."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: figures.as_uint8(rows) for name, rows in images.items()})
    write_atomically(folder / SAMPLES_FILE, stream.getvalue())


def load_samples(folder: Path) -> dict[str, np.ndarray]:
    """What :func:`save_samples` wrote: method, or "test images" -> ``(n, h, w, 3)`` uint8.

    Nothing where there is no such file, or a damaged one: pictures can be drawn again.
    """
    path = folder / SAMPLES_FILE
    try:
        # A file of our own: NumPy leaves its own open if it is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            samples = dict(stored)
    except FileNotFoundError:
        return {}
    except UNREADABLE as error:
        print(f"{path} is damaged ({error}): its samples are left out until they are drawn again.")
        return {}
    return samples if "test images" in samples else {}


def draw_all_methods(runs: list[dict], out: Path) -> list[dict]:
    """One picture for each data set and network: every method's samples from the same noise.

    The runs of one trial draw their samples with one seed; the first trial is shown. u of a
    two-stage VAE is the z of the others.

    Args:
        runs: as :func:`training.results.write_results` gathers them.
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
        shown_runs = [
            run
            for run in found
            if (run["settings"]["trial"], run["settings"]["seed"]) == (trial, seed)
        ]
        rows: dict[str, np.ndarray] = {}
        for run in shown_runs:
            rows.update(load_samples(Path(run["folder"])))
        real = rows.pop("test images", None)  # none if all that are shown are damaged
        order = sorted(rows, key=presets.ROW_ORDER.index)
        if len(order) < 2:
            continue
        shown = {"Test images": real} | {paper.method_name(m): rows[m] for m in order}
        path = out / FIGURES_FOLDER / f"methods-{dataset}-{network}.png"
        _draw_once(figures.method_rows, shown, path)
        title = f"All methods side by side, network {network}, trial {trial}"
        epochs = sorted({run["settings"]["epochs"] for run in shown_runs})
        if len(epochs) > 1:
            title += f"; trained for different numbers of epochs, {epochs[0]} to {epochs[-1]}"
        entries.append(
            {
                "dataset": dataset,
                "title": title,
                "figures": {ALL_METHODS_FIGURE: str(path)},
            }
        )
    return entries


def add_gamma_curves(runs: list[dict]) -> None:
    """Draws log gamma and the pixel error of one trial's runs with different gammas.

    Figure 1a in the learned run where one with fixed gamma is there too; beyond the paper, the
    learned beside the optimal gamma, in the optimal run. Their epochs, which the axis shows, may
    differ.
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
                path = Path(run["folder"]) / FIGURES_FOLDER / f"{figure}.png"
                _draw_once(figures.gamma_curves, curves, path)
                run["figures"][figure] = str(path)


def _draw_once(draw: Callable, shown: dict, path: Path) -> None:
    """``draw(shown, path)``, unless this process has: a report is made again after every run.

    What is shown decides, not the times of files, which folders bring along from where they were
    copied. A new process draws anew, so that today's code has drawn what today's report shows.
    """
    digest = hashlib.sha256(pickle.dumps(shown)).hexdigest()
    if _drawn.get(path) != digest or not path.exists():
        draw(shown, path)
        _drawn[path] = digest
