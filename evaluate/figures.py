"""Pictures of a run as PNG files: image grids, training curves, and the paper's figures.

Images in a grid are shown pixel by pixel, enlarged by a whole factor without smoothing. Figures are
drawn without pyplot, so nothing global changes and no display is needed.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator
from PIL import Image

from evaluate.latent import ACTIVE_BELOW
from evaluate.protocols import ROUNDING
from evaluate.terms import terms_of
from experiments.files import write_atomically

GAP = 2  # pixels between images, whatever the scale
DPI = 100
_FONT = 10.5  # points
INK, MUTED, RULE = "#1b1f24", "#59636e", "#d8dee4"
# Okabe and Ito's palette, which colour-blind readers can tell apart
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE)


def as_uint8(images: np.ndarray) -> np.ndarray:
    """Images (n, h, w, c) or (n, h, w), uint8 or float in [0, 1] -> uint8 (n, h, w, 3).

    Floats are rounded to the nearest of the 256 levels. Raises ValueError for another shape or
    type, no images, or floats that are not finite or outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            "expected images of shape (n, height, width, 1 or 3) with n at least 1, "
            f"got {images.shape}: reshape them first"
        )
    if np.issubdtype(images.dtype, np.floating):
        low, high = images.min(), images.max()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so that NaN is refused too
            raise ValueError(
                f"expected float images in [0, 1], got values from {low} to {high}: scale them"
            )
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise ValueError(f"expected uint8 or float images, got {images.dtype}: convert them")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def tile(
    images: np.ndarray, columns: int | None = None, scale: int | None = None, gap: int = GAP
) -> np.ndarray:
    """Images (n, h, w, c) -> one picture, uint8 (H, W, 3), row by row on white.

    columns: images in a row; the least that makes the grid no taller than wide if None.
    scale: pixels for each image pixel; the largest that keeps an image within 64 pixels if None.
    Image i covers rows gap + (i // columns) * (h * scale + gap) and on, columns likewise.
    """
    images = as_uint8(images)
    n, h, w, _ = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    scale = scale or max(1, 64 // max(h, w))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    h, w = h * scale, w * scale
    rows = math.ceil(n / columns)
    picture = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        picture[top : top + h, left : left + w] = image
    return picture


def image_grid(
    images: np.ndarray,
    path: str | os.PathLike,
    columns: int | None = None,
    scale: int | None = None,
) -> Path:
    """Write images as one grid; see tile. Return the path of the PNG."""
    return _write_picture(tile(images, columns, scale), path)


def compare_grids(
    panels: Sequence[tuple[str, np.ndarray]],
    path: str | os.PathLike,
    columns: int | None = None,
    scale: int | None = None,
) -> Path:
    """Write titled grids side by side, say real | stage 1 | stage 2. Return the path of the PNG.

    panels: (title, images) from left to right; images as in tile. Raises ValueError if empty.
    """
    if not panels:
        raise ValueError("expected at least one (title, images) panel, got none")
    head, space = 30, 18
    placed, labels, left = [], [], 0
    for title, images in panels:
        picture = tile(images, columns, scale)
        placed.append((head, left, picture))
        labels.append((left + GAP, head - 10, title, "left"))
        left += max(picture.shape[1], _text_width(title) + GAP) + space
    height = head + max(picture.shape[0] for _, _, picture in placed)
    return _write_labelled(placed, labels, height, left - space, path)


def reconstruction_grid(
    images: np.ndarray,
    reconstructions: np.ndarray,
    path: str | os.PathLike,
    columns: int = 10,
    scale: int | None = None,
) -> Path:
    """Write images above their reconstructions, in pairs of rows. Return the path of the PNG.

    Raises ValueError if the two do not have the same shape.
    """
    if np.shape(images) != np.shape(reconstructions):
        raise ValueError(
            "expected as many reconstructions as images, of the same shape, got "
            f"{np.shape(reconstructions)} for {np.shape(images)}"
        )
    return _write_pairs({"image": images, "reconstruction": reconstructions}, path, columns, scale)


def neighbours(
    samples: np.ndarray,
    nearest: np.ndarray,
    path: str | os.PathLike,
    columns: int = 10,
    scale: int | None = None,
) -> Path:
    """Write samples above their nearest training images. Return the path of the PNG.

    samples: (n, h, w, c). nearest: (n, k, h, w, c), nearest first, as training[index] with the
        index of evaluate.neighbours.nearest_images.
    Raises ValueError if the shapes do not fit.
    """
    samples, nearest = np.asarray(samples), np.asarray(nearest)
    if nearest.ndim != 5 or nearest.shape[:1] + nearest.shape[2:] != samples.shape:
        raise ValueError(
            "expected samples (n, h, w, c) and their nearest images (n, k, h, w, c), got shapes "
            f"{samples.shape} and {nearest.shape}"
        )
    count = nearest.shape[1]
    names = ["nearest"] if count == 1 else [f"nearest {rank}" for rank in range(1, count + 1)]
    rows = {name: nearest[:, rank] for rank, name in enumerate(names)}
    return _write_pairs({"sample": samples, **rows}, path, columns, scale)


def method_rows(
    rows: Mapping[str, np.ndarray], path: str | os.PathLike, scale: int | None = None
) -> Path:
    """Write each method's images in a row of its own, its name at the left. Return the PNG's path.

    rows: {name: images (n, h, w, c)}, from top to bottom, equally many of one size; image i of
        every method stands in column i, as it should if they come from the same noise.
    Raises ValueError for no rows or different shapes.
    """
    shapes = {np.shape(images) for images in rows.values()}
    if len(shapes) != 1:
        raise ValueError(f"expected rows of equally many images of one size, got {sorted(shapes)}")
    return _write_pairs(rows, path, columns=max(1, shapes.pop()[0]), scale=scale)


def interpolations(rows: np.ndarray, path: str | os.PathLike, scale: int | None = None) -> Path:
    """Write each row's images from left to right, one row below another. Return the PNG's path.

    rows: (r, s, h, w, c), r interpolations of s images each, ends included.
    Raises ValueError for another shape.
    """
    rows = np.asarray(rows)
    if rows.ndim != 5:
        raise ValueError(f"expected rows of images (r, s, h, w, c), got shape {rows.shape}")
    images = rows.reshape(-1, *rows.shape[2:])
    return _write_picture(tile(images, columns=rows.shape[1], scale=scale), path)


def curves(
    history: Mapping[str, Mapping[str, Sequence[float]]],
    path: str | os.PathLike,
    model: str | None = None,
) -> Path:
    """Write the training curves of one or both stages. Return the path of the PNG.

    history: {"first": {"loss": [...], "kl": [...], "reconstruction": [...], "log_gamma": [...]},
        "second": the same}, one number for each epoch; a stage or a quantity may be missing.
    model: its name in the settings, by which the terms are named, see evaluate.terms.
    Raises ValueError if there is nothing to draw.
    """
    stages = [s for s in ("first", "second") if any(len(v) for v in history.get(s, {}).values())]
    if not stages:
        raise ValueError(
            'expected history["first"] or history["second"] with a list of numbers for each '
            f"quantity, got {sorted(history)}"
        )
    terms = terms_of(model)
    both = {"reconstruction": (terms.reconstruction, VERMILLION), "kl": (terms.kl, GREEN)}
    panels = [
        ("Loss", terms.unit, {"loss": ("loss", BLUE)}),
        ("Terms of the loss", terms.unit, both),
    ]
    if terms.gamma:
        panels.append(("log gamma", "log of the decoder's sd", {"log_gamma": ("log gamma", BLUE)}))
    rows = len(panels)
    figure = _figure((4.4 * len(stages), 8.4 * rows / 3))
    grid = figure.subplots(rows, len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        for row, (title, unit, lines) in enumerate(panels):
            axes = grid[row, column]
            _draw(axes, history[stage], lines)
            head = f"{stage.capitalize()} stage\n\n{title}" if row == 0 else title
            below = "epoch" if row == rows - 1 else ""
            _name(axes, head, below, unit if column == 0 else "")
    figure.align_ylabels()
    figure.tight_layout(h_pad=1.6, w_pad=2.2)
    return write_figure(figure, path)


def gamma_curves(
    runs: Mapping[str, Mapping[str, Sequence[float]]], path: str | os.PathLike
) -> Path:
    """Write Figure 1a: log gamma and the pixel error over training. Return the path of the PNG.

    runs: {"learned gamma": {"log_gamma": [...], "rmse": [...]}, "fixed gamma": the same}, up to
        four, one number for each epoch; rmse is the root mean square error of a pixel of the
        reconstructions, on the scale from 0 to 1. Either may be missing from a run.
    Raises ValueError if there is nothing to draw or too much.
    """
    _check_lines(runs, [v for run in runs.values() for v in run.values()])
    panels = (
        ("log gamma", "log of the decoder's sd", "log_gamma"),
        ("Pixel error", "RMSE of reconstructions", "rmse"),
    )
    figure = _figure((9.0, 3.6))
    for axes, (title, unit, key) in zip(figure.subplots(1, 2), panels, strict=True):
        for (name, run), colour in zip(runs.items(), PALETTE, strict=False):
            _line(axes, run.get(key, ()), name, colour)
        _quiet(axes, legend_from=1)
        _name(axes, title, "epoch", unit)
        if not axes.lines:
            axes.set(xticks=[], yticks=[])
        elif key == "rmse":
            axes.set_ylim(bottom=0)  # so that a difference looks as large as it is
    figure.tight_layout(w_pad=2.2)
    return write_figure(figure, path)


def posterior_variances(
    variances: Sequence[float],
    path: str | os.PathLike,
    strips: Sequence[tuple[str, np.ndarray]] = (),
    threshold: float = ACTIVE_BELOW,
    scale: int | None = None,
) -> Path:
    """Write Figure 1b: the posterior variances, sorted, above what noise along them changes.

    variances: (kappa,), each latent dimension's sd_z^2 averaged over the data.
    strips: (label, images (n, h, w, c)) from top to bottom: decodings of noise along one direction
        of small variance each, then along ones of large variance, say.
    threshold: dimensions below it are counted as active.
    Raises ValueError for variances that are not numbers of 0 or more.
    """
    variances = np.sort(np.asarray(variances, float))
    if variances.ndim != 1 or not variances.size or not (variances >= 0).all():
        raise ValueError(
            f"expected variances (kappa,), numbers of 0 or more, got shape {variances.shape} with "
            f"values {variances}"
        )
    margin = max((_text_width(name) for name, _ in strips), default=0) + 12
    pictures = [tile(images, len(images), scale) for _, images in strips]
    width = max([margin + picture.shape[1] for picture in pictures] + [560])
    figure = _figure((width / DPI, 3.2), DPI)
    axes = figure.subplots()
    active = variances < threshold
    rank = np.arange(1, variances.size + 1)
    axes.axhline(threshold, color=RULE, lw=1.2, ls=(0, (4, 3)))
    for group, name, colour in (
        (active, f"{active.sum()} of {active.size} below {threshold:g}: active", VERMILLION),
        (~active, f"{(~active).sum()} at or above: inactive", BLUE),
    ):
        if group.any():
            axes.plot(rank[group], variances[group], "o", color=colour, ms=4, label=name)
    _quiet(axes)
    axes.set_ylim(-0.05, max(1.05, 1.05 * variances[-1]))
    _name(axes, "Posterior variances", "latent dimension, sorted", "mean of sd$^2$ over the data")
    figure.tight_layout()
    plot = _pixels(figure)

    placed, labels, top = [(0, 0, plot)], [], plot.shape[0] + 8
    for (name, _), picture in zip(strips, pictures, strict=True):
        placed.append((top, margin, picture))
        labels.append((margin - 8, top + picture.shape[0] // 2 + 4, name, "right"))
        top += picture.shape[0] - GAP
    return _write_labelled(placed, labels, top + GAP, max(width, plot.shape[1]), path)


def spectra(values: Mapping[str, Sequence[float]], path: str | os.PathLike) -> Path:
    """Write Figure 2: singular values of sample matrices, descending. Return the path of the PNG.

    values: {"Z": (kappa,), "U": (kappa,), "Gaussian": (kappa,)}, up to four, as
        evaluate.latent.singular_values gives them for equally many samples each; one named
        "Gaussian" is drawn as the reference.
    Raises ValueError if there is nothing to draw or too much.
    """
    _check_lines(values, values.values())
    figure = _figure((6.4, 3.8))
    axes = figure.subplots()
    colours = iter(PALETTE)
    for name, line in values.items():
        line = np.sort(np.asarray(line, float))[::-1]
        rank = np.arange(1, line.size + 1)
        if name == "Gaussian":
            axes.plot(rank, line, color=INK, lw=1.6, ls=(0, (4, 2)), label=name, zorder=3)
        else:
            axes.plot(rank, line, color=next(colours), lw=1.8, label=name)
    _quiet(axes, legend_from=1)
    axes.set_ylim(bottom=0)
    _name(axes, "Singular values of the samples", "rank", "singular value")
    figure.tight_layout()
    return write_figure(figure, path)


def against_epochs(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    levels: Mapping[str, float],
    unit: str,
    path: str | os.PathLike,
) -> Path:
    """Write a score after several schedules, epochs on a logarithmic axis. Return the PNG's path.

    lines: {"2-Stage VAE": (epochs, scores), ...}, up to four.
    levels: {"2-Stage VAE": score}: what is published for some of them, drawn as dashed lines in
        their colours.
    Raises ValueError if there is nothing to draw or too much.
    """
    _check_lines(lines, [scores for _, scores in lines.values()])
    figure = _figure((6.4, 3.8))
    axes = figure.subplots()
    for (name, (epochs, scores)), colour in zip(lines.items(), PALETTE, strict=False):
        axes.plot(epochs, scores, color=colour, lw=1.8, marker="o", ms=4.5, label=name)
        if name in levels:
            axes.axhline(levels[name], color=colour, lw=1.2, ls="--", label=f"{name}, paper")
    axes.set_xscale("log")
    _quiet(axes)
    ticks = sorted({e for epochs, _ in lines.values() for e in epochs})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    _name(axes, f"{unit} against epochs", "epochs of the first stage", unit)
    figure.tight_layout()
    return write_figure(figure, path)


def _check_lines(named: Mapping[str, object], lines: Iterable[Sequence[float]]) -> None:
    """Refuse figures without any line or with more lines than there are colours."""
    if not any(len(line) for line in lines) or len(named) > len(PALETTE):
        raise ValueError(
            f"expected 1 to {len(PALETTE)} named lists of numbers to draw, got {sorted(named)} "
            "with nothing in them or too many of them"
        )


def _draw(axes, values: Mapping[str, Sequence[float]], lines: Mapping) -> None:
    """Draw some of a stage's quantities into one panel, with quiet axes; say how gamma ends."""
    for key, (name, colour) in lines.items():
        _line(axes, values.get(key, ()), name, colour)
    _quiet(axes)
    series = values.get("log_gamma", ()) if "log_gamma" in lines else ()
    if len(series) and np.isfinite(series[-1]):
        end = f"{series[-1]:.2f} after epoch {len(series)}"
        axes.set_title(end, loc="right", fontsize=9.5, color=MUTED)


def _line(axes, values: Sequence[float], name: str, colour: str) -> None:
    """Draw one number for each epoch, if there are any; few of them as dots too."""
    line = np.asarray(values, float)
    if line.size:
        marker = "o" if line.size < 20 else None
        epochs = np.arange(1, line.size + 1)
        axes.plot(epochs, line, color=colour, lw=1.8, marker=marker, ms=3.5, label=name)


def _name(axes, title: str, x: str, y: str) -> None:
    """Write a panel's title and what stands on its axes; nothing where a text is empty."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=MUTED)
    axes.set_ylabel(y, fontsize=9.5, color=MUTED)


def _quiet(axes, legend_from: int = 2) -> None:
    """A legend from so many lines on, and axes that do not speak louder than they."""
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=MUTED)
    elif len(axes.lines) >= legend_from:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(axis="y", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.03, y=0.12)
    axes.tick_params(labelsize=9, labelcolor=MUTED, color=RULE, length=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


# Pixels to files.


def _figure(size: tuple[float, float], dpi: int = 110) -> Figure:
    """An empty figure, size in inches, that needs no display."""
    figure = Figure(figsize=size, dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure: Figure) -> np.ndarray:
    """The figure as it would be written, uint8 (H, W, 3)."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _text_width(text: str) -> int:
    """Width in pixels of a label drawn by _write_labelled."""
    renderer = RendererAgg(1, 1, DPI)
    width, _, _ = renderer.get_text_width_height_descent(text, FontProperties(size=_FONT), False)
    return math.ceil(width) + 2


def _write_pairs(
    rows: Mapping[str, np.ndarray], path: str | os.PathLike, columns: int, scale: int | None
) -> Path:
    """Write image i of every row in one column under another, the rows' names at the left.

    rows: {name: images (n, h, w, c)}, equally many; after ``columns`` images a new block begins.
    """
    n = len(next(iter(rows.values())))
    columns = min(columns, n)
    margin, space = max(map(_text_width, rows)) + 12, 10
    placed, labels, top = [], [], 0
    for start in range(0, n, columns):
        for name, images in rows.items():
            picture = tile(images[start : start + columns], columns, scale)
            placed.append((top, margin, picture))
            labels.append((margin - 8, top + picture.shape[0] // 2 + 4, name, "right"))
            top += picture.shape[0] - GAP
        top += space
    width = margin + placed[0][2].shape[1]
    return _write_labelled(placed, labels, top - space + GAP, width, path)


def _write_labelled(
    placed: Sequence[tuple[int, int, np.ndarray]],
    labels: Sequence[tuple[int, int, str, str]],
    height: int,
    width: int,
    path: str | os.PathLike,
) -> Path:
    """Write pictures at (top, left) and texts at (x, baseline), in pixels from the upper left."""
    # half a pixel more, since the canvas rounds its size down
    size = ((width + 0.5) / DPI, (height + 0.5) / DPI)
    figure = _figure(size, DPI)
    for x, y, text, align in labels:
        figure.text(
            x / width, 1 - y / height, text, ha=align, va="baseline",
            fontsize=_FONT, color=INK, parse_math=False,
        )  # fmt: skip
    page = _pixels(figure)
    for top, left, picture in placed:  # copied in, so that no pixel is resampled
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return _write_picture(page, path)


def _write_picture(picture: np.ndarray, path: str | os.PathLike) -> Path:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png", optimize=True)
    return write_atomically(path, stream.getvalue())


def write_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure as PNG, whole or not at all; the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return write_atomically(path, stream.getvalue())
