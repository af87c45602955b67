"""Pictures of the theory's pages, from cells and their measurements; each returns the PNG's path.

``cells`` are lists of (settings, measurements), as theory.json holds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluate.figures import (
    BLUE,
    DPI,
    GREEN,
    INK,
    MUTED,
    PURPLE,
    RULE,
    VERMILLION,
    write_figure,
)
from theory.experiments import NOISE_FACTORS

ORANGE, SKY = "#e69f00", "#56b4e9"  # two more of the same palette
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, MUTED)

Cells = Sequence[tuple[dict, dict]]


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes, title: str, xlabel: str = "", ylabel: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color=MUTED)
    axes.set_ylabel(ylabel, fontsize=9, color=MUTED)
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)


def _legend(axes, **where) -> None:
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, **where)


def label(cell: dict) -> str:
    """A cell's ground truth in a few words."""
    return f"{cell['manifold']}, {cell['measure']}, r={cell['r']}, d={cell['d']}"


def densities(cells: Cells, path: Path) -> Path:
    """True and learned densities, r = d; a row a ground truth, with the KL over training."""
    groups: dict[tuple, list] = {}
    for cell, found in cells:
        groups.setdefault((cell["r"], cell["measure"], cell["seed"]), []).append((cell, found))
    figure = _figure(9.6, 2.7 * len(groups))
    grid = figure.subplots(len(groups), 4, squeeze=False)
    for row, ((r, measure, _), group) in zip(grid, sorted(groups.items()), strict=True):
        line = np.array(group[0][1]["axis"])
        true = np.array(group[0][1]["true"])
        if r == 1:
            gs = row[0].get_gridspec()
            for axes in row[:3]:
                axes.remove()
            axes = figure.add_subplot(gs[row[0].get_subplotspec().rowspan.start, :3])
            axes.fill_between(line, true, color=RULE, lw=0, label="true density")
            for (cell, found), colour in zip(group, PALETTE, strict=False):
                name = f"VAE, kappa = {cell['kappa']}"
                axes.plot(line, found["model"], color=colour, lw=1.6, label=name)
            axes.set_xlim(-4.5, 3.5)
            axes.set_ylim(bottom=0)
            _legend(axes)
            _dress(axes, f"{measure}, r = d = 1", "x", "density")
        else:
            images = [("true density", true)] + [
                (f"VAE, kappa = {cell['kappa']}", np.array(found["model"])) for cell, found in group
            ]
            extent = (line[0], line[-1]) * 2
            for axes, (name, image) in zip(row[:3], images, strict=False):
                axes.imshow(
                    image.T, origin="lower", extent=extent, cmap="magma_r", vmin=0, vmax=true.max()
                )
                axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xticks=[], yticks=[])
                _dress(axes, name if axes is not row[0] else f"{measure}: {name}")
            for axes in row[len(images) : 3]:
                axes.axis("off")
        axes = row[3]
        for (cell, found), colour in zip(group, PALETTE, strict=False):
            steps = [c["steps"] for c in found["checks"]]
            kls = [max(c["kl"], 1e-4) for c in found["checks"]]
            axes.plot(steps, kls, "o-", ms=3, color=colour, label=f"kappa = {cell['kappa']}")
        axes.axhline(group[0][1]["gaussian_kl"], color=MUTED, lw=1, ls=":", label="best Gaussian")
        axes.set_yscale("log")
        _legend(axes)
        _dress(axes, "KL(true | VAE)", "steps", "nats")
    return write_figure(figure, path)


def costs(cells: Cells, path: Path, window: tuple[float, float]) -> Path:
    """Cost against log10 gamma at fixed gammas, and local slopes in units of d - r."""
    figure = _figure(9.6, 4.6)
    left, right = figure.subplots(1, 2)
    for i, (cell, found) in enumerate(cells):
        x = np.array(found["log_gammas"]) / math.log(10)
        y = np.array([c["loss"] for c in found["costs"]])
        colour, marker = PALETTE[i % len(PALETTE)], "os^v"[i // len(PALETTE)]
        style = {"color": colour, "marker": marker, "ms": 3.5, "lw": 1.3}
        left.plot(x, y / (cell["d"] - cell["r"]), label=label(cell), **style)
        slopes = np.diff(y) / np.diff(found["log_gammas"]) / (cell["d"] - cell["r"])
        right.plot((x[1:] + x[:-1]) / 2, slopes, **style)
    for axes in (left, right):
        axes.axvspan(*window, color=RULE, alpha=0.45, lw=0, zorder=0)
        axes.invert_xaxis()
    right.axhline(1, color=INK, lw=1, ls=":")
    right.set_ylim(0, 1.6)
    left.set_ylim(-7, 3)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=8.5, labelcolor=INK,
    )  # fmt: skip
    _dress(left, "Cost per superfluous ambient dimension", "log10 g", "cost / (d - r), nats")
    _dress(right, "Its slope; theory: 1", "log10 g", "slope / (d - r)")
    return write_figure(figure, path)


def learned_gammas(cells: Cells, path: Path) -> Path:
    """Learned gamma over training, on data with several amounts of noise."""
    figure = _figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    noises = sorted({cell["noise"] for cell, _ in cells}, reverse=True)
    colours = dict(zip(noises, PALETTE, strict=False))
    for cell, found in cells:
        history, noise = found["history"], cell["noise"]
        dash = "-" if cell["manifold"] == "linear" else "--"
        log10 = np.array(history["log_gamma"]) / math.log(10)
        left.plot(history["steps"], log10, dash, color=colours[noise], lw=1.4)
    for noise in noises:
        if noise:
            left.axhline(math.log10(noise), color=colours[noise], lw=1, ls=":")
        left.plot([], [], color=colours[noise], label=f"noise {noise:g}")
    _legend(left)
    _dress(left, "Learned g over training (dotted: the noise)", "steps", "log10 g")
    low = min(math.exp(found["log_gamma"]) for _, found in cells)
    for name, marker in (("linear", "o"), ("curved", "s")):
        mine = [(c, f) for c, f in cells if c["manifold"] == name]
        right.plot(
            [c["noise"] or low / 3 for c, _ in mine],
            [math.exp(f["log_gamma"]) for _, f in mine],
            marker,
            color=BLUE if name == "linear" else VERMILLION,
            ms=5,
            label=name,
        )
    right.plot([low / 3, 0.5], [low / 3, 0.5], color=RULE, zorder=0)
    right.set(xscale="log", yscale="log")
    _legend(right)
    _dress(right, "Final g against the data's noise (leftmost: none)", "noise", "learned g")
    return write_figure(figure, path)


def reconstruction(cells: Cells, path: Path) -> Path:
    """Errors against the encoder's noise, and against gamma."""
    figure = _figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    ranks = sorted({c["r"] for c, _ in cells})
    colours = dict(zip(ranks, PALETTE, strict=False))
    for cell, found in cells:
        colour = colours[cell["r"]]
        left.plot(NOISE_FACTORS, found["relative_error_by_factor"], color=colour, lw=0.8, alpha=0.7)
        relative_gamma = math.exp(found["log_gamma"]) / found["spread"]
        right.plot(relative_gamma, found["relative_error"], "o", color=colour, ms=4)
        if cell["kappa"] > cell["r"]:
            right.plot(relative_gamma, found["moved_by_inactive"], "x", color=colour, ms=4)
    for r, colour in colours.items():
        left.plot([], [], color=colour, label=f"r = {r}")
    left.set_ylim(bottom=0)
    _legend(left)
    right.plot([], [], "o", color=MUTED, ms=4, label="error of x_hat(z), z ~ q(z|x)")
    right.plot([], [], "x", color=MUTED, ms=4, label="moved by redrawing inactive z")
    right.set_yscale("log")
    right.set_xlim(left=0)
    _legend(right)
    _dress(left, "Error as the encoder's noise is scaled", "times sd_z", "rms error / spread")
    _dress(right, "Error against learned g", "g / spread", "relative to spread")
    return write_figure(figure, path)


def dimensions(cells: Cells, path: Path) -> Path:
    """Every cell's posterior variances as a row of dots, and the counts against r."""
    figure = _figure(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    for i, (_, found) in enumerate(cells):
        values = np.array(found["variances"])
        left.scatter(values, np.full(values.size, i), s=9, c=np.where(values < 0.5, 1, 0),
                     cmap=_two_colours(), vmin=0, vmax=1, lw=0)  # fmt: skip
    left.axvline(0.5, color=MUTED, lw=1, ls=":")
    left.set_yticks([])
    _dress(left, "Posterior variances, a row a cell", "mean sd_z^2 over the data", "cells")
    rng = np.random.default_rng(0)
    ranks = sorted({c["r"] for c, _ in cells})
    right.plot([0.5, max(ranks) + 0.5], [0.5, max(ranks) + 0.5], color=RULE, zorder=0)
    for name, marker, colour, keep in (
        ("open manifold", "o", BLUE, lambda c: c["manifold"] not in ("torus", "sphere")),
        ("closed manifold", "D", VERMILLION, lambda c: c["manifold"] in ("torus", "sphere")),
    ):
        mine = [(c["r"], f["active"]) for c, f in cells if keep(c)]
        if mine:
            x, y = np.array(mine, float).T
            spread = rng.uniform(-0.25, 0.25, x.size)
            right.plot(x + spread, y, marker, color=colour, ms=4, alpha=0.6, lw=0, label=name)
    right.set_xticks(ranks)
    _legend(right)
    _dress(right, "Active dimensions against r (jittered)", "r", "active dimensions")
    return write_figure(figure, path)


def _two_colours():
    from matplotlib.colors import ListedColormap

    return ListedColormap([BLUE, VERMILLION])


def samples(cells: Cells, path: Path) -> Path:
    """Intrinsic coordinates of the truth and of both stages' samples, one seed a case."""
    cases: dict[tuple, tuple[dict, dict]] = {}
    for cell, found in cells:
        cases.setdefault((cell["manifold"], cell["measure"], cell["r"]), (cell, found))
    figure = _figure(9.6, 2.9 * len(cases))
    grid = figure.subplots(len(cases), 3, squeeze=False)
    for row, (cell, found) in zip(grid, cases.values(), strict=True):
        panels = [
            ("true measure", found["true_coordinates"], MUTED),
            ("first stage", found["stage1"]["coordinates"], VERMILLION),
            ("both stages", found["stage2"]["coordinates"], BLUE),
        ]
        true = np.array(panels[0][1])
        low, high = true.min(0) - 0.5, true.max(0) + 0.5
        for axes, (name, values, colour) in zip(row, panels, strict=True):
            t = np.array(values)
            if cell["r"] == 1:
                bins = np.linspace(low[0], high[0], 50)
                axes.hist(true[:, 0], bins, color=RULE, density=True)
                axes.hist(t[:, 0], bins, color=colour, density=True, histtype="step", lw=1.5)
                axes.set_yticks([])
            else:
                axes.plot(t[:, 0], t[:, 1], ".", color=colour, ms=2.2, alpha=0.6)
                axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
            case = f"{cell['manifold']}, {cell['measure']}, r={cell['r']}"
            title = f"{case}:\n{name}" if axes is row[0] else name
            _dress(axes, title, "t_1", "t_2" if cell["r"] > 1 else "")
    return write_figure(figure, path)


def p_values(cells: Cells, path: Path) -> Path:
    """p of every case, seed and stage."""
    names = list(dict.fromkeys(label(c) for c, _ in cells))
    figure = _figure(9.6, 1.1 + 0.55 * len(names))
    axes = figure.subplots()
    kinds = (
        ("stage1", "first stage", VERMILLION, 0.18),
        ("stage2", "both stages", BLUE, 0.0),
        ("truth", "the truth, drawn afresh", MUTED, -0.18),
    )
    for key, name, colour, shift in kinds:
        x = [max(f[key]["p"], 1e-3) for _, f in cells]
        y = [names.index(label(c)) + shift for c, _ in cells]
        axes.plot(x, y, "o", color=colour, ms=5, alpha=0.7, label=name)
    for level in (0.01, 0.05):
        axes.axvline(level, color=MUTED, lw=1, ls=":")
        axes.text(level, len(names) - 0.45, f"{level:g}", fontsize=8, color=MUTED, ha="center")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    _dress(axes, "", "p, median of the tests; a dot a seed")
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, ncols=3, loc="lower left",
        bbox_to_anchor=(0, 1.0),
    )  # fmt: skip
    return write_figure(figure, path)


def latents(cells: Cells, path: Path) -> Path:
    """Squared MMD from N(0, I) of q(z), q(u) and N(0, I) itself."""
    names = list(dict.fromkeys(label(c) for c, _ in cells))
    figure = _figure(9.6, 1.1 + 0.55 * len(names))
    axes = figure.subplots()
    kinds = (
        ("mmd_z", "z ~ q(z)", VERMILLION, 0.18),
        ("mmd_u", "u ~ q(u)", BLUE, 0.0),
        ("mmd_normal", "N(0, I) itself", MUTED, -0.18),
    )
    for key, name, colour, shift in kinds:
        x = [f[key] for _, f in cells]
        y = [names.index(label(c)) + shift for c, _ in cells]
        axes.plot(x, y, "o", color=colour, ms=5, alpha=0.7, label=name)
    axes.set_xscale("symlog", linthresh=1e-3)
    axes.set_yticks(range(len(names)), names)
    axes.axvline(0, color=RULE, zorder=0)
    _dress(axes, "", "squared MMD from N(0, I); a dot a seed")
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, ncols=3, loc="lower left",
        bbox_to_anchor=(0, 1.0),
    )  # fmt: skip
    return write_figure(figure, path)


def joint(stages: Cells, joints: Cells, path: Path) -> Path:
    """Energy distance from the true measure: apart, fused, merged."""
    cases = [c for c in dict.fromkeys(label(c) for c, _ in stages)
             if c in {label(j) for j, _ in joints}]  # fmt: skip
    figure = _figure(9.6, 3.4)
    columns = ("truth", "both stages", "first stage", "fused", "merged")
    colours = (MUTED, BLUE, VERMILLION, GREEN, PURPLE)
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        values: dict[str, list[float]] = {name: [] for name in columns}
        for cell, found in stages:
            if label(cell) == case:
                keys = {"truth": "truth", "both stages": "stage2", "first stage": "stage1"}
                for name, key in keys.items():
                    values[name].append(found[key]["energy"])
        for cell, found in joints:
            if label(cell) == case:
                values[cell["form"]].append(found["samples"]["energy"])
        for i, (name, colour) in enumerate(zip(columns, colours, strict=True)):
            y = values[name]
            axes.plot(np.full(len(y), i), y, "o", color=colour, ms=5, alpha=0.7)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yscale("log")
        _dress(axes, case, "", "energy distance from the truth")
    return write_figure(figure, path)


def too_few(cells: Cells, path: Path) -> Path:
    """Learned gamma over training for kappa below r and kappa = r."""
    cases = list(dict.fromkeys(label(c) for c, _ in cells))
    figure = _figure(9.6, 3.4)
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        mine = [(c, f) for c, f in cells if label(c) == case]
        for (cell, found), colour in zip(mine, PALETTE, strict=False):
            history = found["history"]
            log10 = np.array(history["log_gamma"]) / math.log(10)
            name = f"kappa = {cell['kappa']}: {found['active']} active"
            axes.plot(history["steps"], log10, color=colour, lw=1.5, label=name)
            if cell["kappa"] < cell["r"]:
                axes.axhline(math.log10(found["pca_gamma"]), color=colour, lw=1, ls=":")
        _legend(axes)
        _dress(axes, case, "steps", "log10 g")
    return write_figure(figure, path)
