"""Pictures of a run as PNG files: sample grids, reconstructions, training curves.

Images in a grid are shown pixel by pixel, enlarged by a whole factor without smoothing. Figures are
drawn without pyplot, so nothing global changes and no display is needed.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator
from PIL import Image

from evaluate.protocols import ROUNDING
from experiments.files import write_atomically

GAP = 2  # pixels between images, whatever the scale
DPI = 100
_FONT = 10.5  # points
INK, MUTED, RULE = "#1b1f24", "#59636e", "#d8dee4"
# Okabe and Ito's palette, which colour-blind readers can tell apart
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"


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
    columns = min(columns, len(images))
    names = ("image", "reconstruction")
    margin, space = max(map(_text_width, names)) + 12, 10
    placed, labels, top = [], [], 0
    for start in range(0, len(images), columns):
        for name, source in zip(names, (images, reconstructions), strict=True):
            picture = tile(source[start : start + columns], columns, scale)
            placed.append((top, margin, picture))
            labels.append((margin - 8, top + picture.shape[0] // 2 + 4, name, "right"))
            top += picture.shape[0] - GAP
        top += space
    width = margin + placed[0][2].shape[1]
    return _write_labelled(placed, labels, top - space + GAP, width, path)


def curves(history: Mapping[str, Mapping[str, Sequence[float]]], path: str | os.PathLike) -> Path:
    """Write the training curves of one or both stages. Return the path of the PNG.

    history: {"first": {"loss": [...], "kl": [...], "reconstruction": [...], "log_gamma": [...]},
        "second": the same}, one number for each epoch; a stage or a quantity may be missing.
    Raises ValueError if there is nothing to draw.
    """
    stages = [s for s in ("first", "second") if any(len(v) for v in history.get(s, {}).values())]
    if not stages:
        raise ValueError(
            'expected history["first"] or history["second"] with a list of numbers for each '
            f"quantity, got {sorted(history)}"
        )
    panels = (
        ("Loss", "nats per example", {"loss": ("loss", BLUE)}),
        (
            "Terms of the loss",
            "nats per example",
            {"reconstruction": ("reconstruction", VERMILLION), "kl": ("KL", GREEN)},
        ),
        (
            "log gamma",
            "log of the decoder's sd",
            {"log_gamma": ("log gamma", BLUE)},
        ),
    )
    figure = Figure(figsize=(4.4 * len(stages), 8.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        for row, (title, unit, lines) in enumerate(panels):
            axes = grid[row, column]
            _draw(axes, history[stage], lines)
            head = f"{stage.capitalize()} stage\n\n{title}" if row == 0 else title
            axes.set_title(head, loc="left", fontsize=11, fontweight="bold", color=INK)
            if column == 0:
                axes.set_ylabel(unit, fontsize=9.5, color=MUTED)
        grid[-1, column].set_xlabel("epoch", fontsize=9.5, color=MUTED)
    figure.align_ylabels()
    figure.tight_layout(h_pad=1.6, w_pad=2.2)
    return _write_figure(figure, path)


def _draw(axes, values: Mapping[str, Sequence[float]], lines: Mapping) -> None:
    """Draw some of a stage's quantities into one panel, with quiet axes."""
    for key, (name, colour) in lines.items():
        line = np.asarray(values.get(key, ()), float)
        if line.size:
            epochs = np.arange(1, line.size + 1)
            marker = "o" if line.size < 20 else None
            axes.plot(epochs, line, color=colour, lw=1.8, marker=marker, ms=3.5, label=name)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=9.5, labelcolor=INK)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=MUTED)
    elif key == "log_gamma" and np.isfinite(line[-1]):
        last = f"{line[-1]:.2f} after epoch {line.size}"
        axes.set_title(last, loc="right", fontsize=9.5, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(axis="y", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.03, y=0.12)
    axes.tick_params(labelsize=9, labelcolor=MUTED, color=RULE, length=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


# Pixels to files.


def _text_width(text: str) -> int:
    """Width in pixels of a label drawn by _write_labelled."""
    renderer = RendererAgg(1, 1, DPI)
    width, _, _ = renderer.get_text_width_height_descent(text, FontProperties(size=_FONT), False)
    return math.ceil(width) + 2


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
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for x, y, text, align in labels:
        figure.text(
            x / width, 1 - y / height, text, ha=align, va="baseline",
            fontsize=_FONT, color=INK, parse_math=False,
        )  # fmt: skip
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    for top, left, picture in placed:  # copied in, so that no pixel is resampled
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return _write_picture(page, path)


def _write_picture(picture: np.ndarray, path: str | os.PathLike) -> Path:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png", optimize=True)
    return write_atomically(path, stream.getvalue())


def _write_figure(figure: Figure, path: str | os.PathLike) -> Path:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return write_atomically(path, stream.getvalue())
