"""The report of a session of runs: report.html, one file that needs nothing else, and report.md.

Both show the tables, pictures and settings of every run, by data set. The HTML page carries its
pictures, styles and script inside and asks nothing of the network.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evaluate.formats import Table, escape_markdown, numeric_columns, to_markdown
from evaluate.rows import Record, data_label, is_smoke, method_label
from evaluate.tables import all_tables, write_tables
from experiments import paper, presets
from experiments.files import write_atomically

TITLE = "Diagnosing and Enhancing VAE Models, reproduced"
PAPER_URL = "https://arxiv.org/abs/1903.05789"

CAPTIONS = {
    "real": "Test images",
    "reconstructions": "Test images and their reconstructions",
    "curves": "Training curves",
    "figure1a": "Figure 1a: log gamma and the pixel error over training, gamma learned and fixed",
    "figure1b": "Figure 1b: posterior variances, and what noise along a small and a large one does",
    "figure2": "Figure 2: singular values of samples of q(z) and q(u), and of a Gaussian matrix",
    "interpolations": "Interpolations in u, from one sample at the left to another at the right",
    "neighbours": "Samples and their nearest training images, by distance between pixels",
}
PLOTS = ("curves", "figure1a", "figure1b", "figure2")  # lines and text: enlarged smoothly
LARGE = ("curves", "figure1b")  # too fine for a third of the page


@dataclass(frozen=True)
class _Section:
    """What there is to show of one data set."""

    anchor: str
    title: str
    facts: tuple[tuple[str, str], ...]
    tables: Mapping[str, Table]
    training: Table | None
    runs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _Head:
    """What stands above the tables."""

    title: str
    command: str
    preset: str
    notes: tuple[str, ...]
    summary: tuple[tuple[str, str], ...]


def write_report(
    folder: str | os.PathLike,
    records: Sequence[Record],
    runs: Sequence[Mapping[str, Any]],
    command: str,
    preset: str,
    *,
    title: str = TITLE,
    notes: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Write report.md, report.html and tables/ into a folder; return the two reports' paths.

    records: the list in results.json.
    runs: one dict for each training run, in the order to show, with the keys
        "dataset": the records' name of the data set, which decides the section;
        "title": a line such as "2-Stage VAE, trial 0";
        "folder": the run's folder, or None;
        "figures": {name: path of a PNG}, shown in that order; the names in CAPTIONS have captions,
            another name is its own (underscores become spaces); a file that does not exist is said
            to be missing;
        "settings": the resolved settings, any JSON values, nested or not;
        "history": {"first": {"loss": [...], "kl": ..., "reconstruction": ..., "log_gamma": ...},
            "second": ...} by epoch, as evaluate.figures.curves takes it; its last epoch is shown.
        All but "dataset" and "title" may be missing.
    command: the line that repeats the runs. preset: quick, lite or paper.
    notes: paragraphs to stand above the tables.

    Every text is escaped. Raises ValueError if two records claim the same trial.
    """
    folder = Path(folder)
    write_tables(records, folder / "tables")
    sections = _sections(records, runs)
    glance = all_tables(records, run_only=True)
    banner = (_banner(records), smoke_reasons(records))
    head = _Head(title, command, preset, tuple(notes), _summary(records))
    return (
        write_atomically(folder / "report.md", _markdown(folder, head, banner, glance, sections)),
        write_atomically(folder / "report.html", _page(folder, head, banner, glance, sections)),
    )


def smoke_reasons(records: Iterable[Record]) -> list[str]:
    """Why scores cannot be compared with the paper's; empty if there are no smoke records."""
    records = [r for r in records if is_smoke(r)]
    if not records:
        return []
    reasons = []
    if any(str(r.get("features") or "").startswith("random") for r in records):
        reasons.append("Features come from a seeded random network, not from Inception.")
    other = {data_label(r) for r in records} - set(paper.DATASETS.values())
    if other:
        reasons.append(f"The data are samples or stand-ins: {', '.join(sorted(other))}.")
    fewest = min((r["n_fake"] for r in records if r.get("n_fake")), default=10_000)
    if fewest < 10_000:
        reasons.append(
            f"Only {fewest:,} generated images are scored instead of 10,000, and both distances "
            "depend on that number."
        )
    if presets := {str(r.get("preset")) for r in records} - {"paper"}:
        reasons.append(f"Training is shorter than published (preset {', '.join(sorted(presets))}).")
    return reasons or ["These runs are marked as smoke runs."]


# What to show.


def _sections(records: Sequence[Record], runs: Sequence[Mapping[str, Any]]) -> list[_Section]:
    found = [str(r.get("dataset")) for r in records] + [str(r["dataset"]) for r in runs]
    datasets = [d for d in paper.DATASETS if d in found]
    datasets += [d for d in dict.fromkeys(found) if d not in paper.DATASETS]
    sections = []
    for number, dataset in enumerate(datasets, 1):
        mine = [r for r in records if str(r.get("dataset")) == dataset]
        sections.append(
            _Section(
                anchor=f"data-{number}",
                title=_distinct(mine, data_label) or dataset,
                facts=_facts(mine),
                tables=all_tables(mine, [dataset]),
                training=_training_table(mine),
                runs=tuple(r for r in runs if str(r["dataset"]) == dataset),
            )
        )
    return sections


def _summary(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What was run, on what and how long, over all records, as (name, text)."""
    if not records:
        return ()
    trainings: dict[tuple, dict[str, float]] = {}
    scoring = 0.0
    for r in records:
        model = presets.model_of(str(r.get("method")))  # one training may give two rows
        key = (model, *(str(r.get(k)) for k in ("dataset", "network", "trial", "seed", "schedule")))
        stages = trainings.setdefault(key, {"first": 0.0, "second": 0.0})
        seconds = r.get("seconds") or {}
        for stage in stages:
            stages[stage] = max(stages[stage], seconds.get(stage) or 0.0)
        scoring += seconds.get("scoring") or 0.0
    training = sum(sum(stages.values()) for stages in trainings.values())
    failed = sum(str(r.get("status", "ok")) != "ok" for r in records)
    time = f"{_duration(training)} of training, {_duration(scoring)} of scoring"
    facts = (
        ("Trained", f"{len(trainings)} model{'s' * (len(trainings) != 1)}"),
        ("Methods", _distinct(records, method_label)),
        ("Data", _distinct(records, data_label)),
        ("Schedules", _distinct(records, lambda r: r.get("schedule"))),
        ("Features", _distinct(records, lambda r: r.get("features"))),
        ("Failed", f"{failed} of {len(records)} rows" if failed else ""),
        ("Time", time if training or scoring else ""),
        ("Machine", _distinct(records, lambda r: r.get("machine"))),
        ("Versions", _distinct(records, _versions)),
    )
    return tuple((name, text) for name, text in facts if text)


def _versions(r: Record) -> str:
    return ", ".join(f"{k} {v}" for k, v in (r.get("versions") or {}).items())


def _distinct(records: Iterable[Record], get: Callable[[Record], Any]) -> str:
    """The distinct values among records, in order of appearance, as one text."""
    return ", ".join(dict.fromkeys(str(v) for r in records if (v := get(r)) not in (None, "")))


def _facts(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What was run, as (name, text); facts that no record holds are left out."""

    def field(name: str) -> Callable[[Record], Any]:
        return lambda r: r.get(name)

    def digest(split: str) -> Callable[[Record], Any]:
        return lambda r: (r.get("data_sha256") or {}).get(split)

    def count(r: Record) -> str | None:
        return f"{r['n_train']:,}" if r.get("n_train") else None

    def trained_on(r: Record) -> str:
        return ", ".join(f"{k} {v}" for k, v in (r.get("trained_on") or {}).items())

    facts = (
        ("Data source", _distinct(records, field("data_source"))),
        ("Data note", _distinct(records, field("data_note"))),
        ("Training images", _distinct(records, count)),
        ("SHA-256, training", _distinct(records, digest("train"))),
        ("SHA-256, test", _distinct(records, digest("test"))),
        ("Network", _distinct(records, field("network"))),
        ("Latent dimensions", _distinct(records, field("latent_dim"))),
        ("Schedule", _distinct(records, field("schedule"))),
        ("Seeds", _distinct(records, field("seed"))),
        ("Machine", _distinct(records, field("machine"))),
        ("Trained elsewhere, on", _distinct(records, trained_on)),
        ("Versions", _distinct(records, _versions)),
    )
    return tuple((name, text) for name, text in facts if text)


def _training_table(records: Sequence[Record]) -> Table | None:
    """Each training's length, end and cost, once for all protocols."""
    header = ("Method", "Trial", "Seed", "Steps", "log gamma", "Second steps", "log gamma, second")
    header += ("First stage", "Second stage", "Scoring", "Status")
    rows: dict[tuple, list[str]] = {}
    for r in records:
        seconds = r.get("seconds") or {}
        key = tuple(str(r.get(k)) for k in ("method", "network", "trial", "seed", "schedule"))
        row = [
            method_label(r),
            _text(r.get("trial")),
            _text(r.get("seed")),
            _text(r.get("steps"), ","),
            _text(r.get("log_gamma"), ".3f"),
            _text(r.get("second_steps") or None, ","),
            _text(r.get("log_gamma_z"), ".3f"),
            *(_duration(seconds.get(k)) for k in ("first", "second", "scoring")),
            str(r.get("status", "ok")),
        ]
        if key not in rows or rows[key][-1] == "ok":
            rows[key] = row
    if not rows:
        return None
    order = list(paper.ROWS)
    ranked = sorted(rows, key=lambda k: order.index(k[0]) if k[0] in order else len(order))
    note = (
        "VAE (learned gamma) is the first stage of the 2-Stage VAE: one training serves both rows."
    )
    both = {"vae-learned-gamma", "two-stage"} <= {k[0] for k in rows}
    return Table("Training", header, tuple(tuple(rows[k]) for k in ranked), (note,) * both)


def _last_epoch(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Table | None:
    """Both stages' quantities after their last epoch."""
    names = {
        "loss": "Loss",
        "kl": "KL",
        "reconstruction": "Reconstruction",
        "log_gamma": "log gamma",
    }
    rows = []
    for stage in ("first", "second"):
        values = {k: v for k, v in (history.get(stage) or {}).items() if k in names and len(v)}
        if values:
            epochs = max(len(v) for v in values.values())
            cells = (_text(values[k][-1], ".3f") if k in values else "" for k in names)
            rows.append((stage.capitalize(), str(epochs), *cells))
    if not rows:
        return None
    note = "Mean over the last epoch, in nats per example."
    return Table("Last epoch", ("Stage", "Epochs", *names.values()), tuple(rows), (note,))


def _text(value: Any, form: str = "") -> str:
    return "" if value is None else format(value, form)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _caption(name: str) -> str:
    return CAPTIONS.get(name, name.replace("_", " "))


def _relative(path: str | os.PathLike, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _banner(records: Sequence[Record]) -> str:
    some = "these" if all(map(is_smoke, records)) else "some of these"
    return f"Smoke run: {some} scores cannot be compared with the paper's"


_FORMATS = (("md", "Markdown"), ("csv", "CSV"), ("tex", "LaTeX"))


# Markdown.


def _markdown(
    folder: Path,
    head: _Head,
    banner: tuple[str, Sequence[str]],
    glance: Mapping[str, Table],
    sections: Sequence[_Section],
) -> str:
    warning, reasons = banner
    parts = [f"# {escape_markdown(head.title)}"]
    if reasons:
        lines = [f"**{warning}**", "", *(f"- {escape_markdown(r)}" for r in reasons)]
        parts.append("\n".join(f"> {line}".rstrip() for line in lines))
    parts.append(f"Preset {escape_markdown(head.preset)}. [The paper]({PAPER_URL}). The command:")
    parts.append(_fenced(" ".join(head.command.split()), "sh"))
    parts.append("\n".join(f"- {name}: {escape_markdown(text)}" for name, text in head.summary))
    parts += [escape_markdown(note, code=True) for note in head.notes]
    parts.append("## Scores")
    if not glance:
        parts.append("No scores yet.")
    for stem, table in glance.items():
        links = " · ".join(f"[{name}](tables/{stem}.{suffix})" for suffix, name in _FORMATS)
        parts.append(f"{to_markdown(table).rstrip()}\n\nWhole table: {links}")
    for section in sections:
        parts.append(f"## {escape_markdown(section.title)}")
        facts = (f"- {name}: {escape_markdown(text)}" for name, text in section.facts)
        parts.append("\n".join(facts))
        tables = [*section.tables.values(), *([section.training] if section.training else [])]
        parts += [to_markdown(table).rstrip() for table in tables]
        for run in section.runs:
            parts.append(f"### {escape_markdown(str(run['title']))}")
            if run.get("folder"):
                relative = _relative(run["folder"], folder)
                parts.append(f"Folder: [{escape_markdown(relative)}]({quote(relative)})")
            for name, path in (run.get("figures") or {}).items():
                parts.append(_markdown_figure(name, path, folder))
            if table := _last_epoch(run.get("history") or {}):
                parts.append("#" + to_markdown(table).rstrip())
            if run.get("settings"):
                settings = json.dumps(run["settings"], indent=2, default=str)
                parts.append("Settings:\n\n" + _fenced(settings, "json"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _fenced(text: str, language: str) -> str:
    fence = "~" * max(3, 1 + max((len(m) for m in re.findall("~+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _markdown_figure(name: str, path: str | os.PathLike, folder: Path) -> str:
    caption = escape_markdown(_caption(name)).replace("[", "\\[").replace("]", "\\]")
    if not Path(path).is_file():
        return f"{caption}: missing, expected at {escape_markdown(_relative(path, folder))}."
    return f"![{caption}]({quote(_relative(path, folder))})\n\n*{caption}*"


# HTML.


def _page(
    folder: Path,
    head: _Head,
    banner: tuple[str, Sequence[str]],
    glance: Mapping[str, Table],
    sections: Sequence[_Section],
) -> str:
    warning, reasons = banner
    aside = ""
    if reasons:
        items = "".join(f"<li>{_esc(r)}</li>" for r in reasons)
        aside = (
            f'<aside class="banner" role="note"><h2>{_esc(warning)}</h2><ul>{items}</ul></aside>'
        )
    summary = f'<dl class="summary">{_definitions(head.summary)}</dl>' if head.summary else ""
    links = "".join(f'<a href="#{s.anchor}">{_esc(s.title)}</a>' for s in sections)
    scores = "".join(_glance_html(stem, table) for stem, table in glance.items())
    body = "".join(_section_html(s, folder) for s in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_esc(head.title)}</title>
<style>{_template("report.css")}</style>
</head>
<body>
<header>
<h1>{_esc(head.title)}</h1>
<p class="lead">Bin Dai and David Wipf, ICLR 2019 (<a href="{PAPER_URL}">arXiv 1903.05789</a>).
Preset <strong>{_esc(head.preset)}</strong>.</p>
<pre class="command"><code>{_esc(head.command)}</code></pre>
{summary}
</header>
<main>
{aside}
{"".join(f"<p>{_esc(note)}</p>" for note in head.notes)}
<section><h2>Scores</h2>
<nav aria-label="Data sets">{links}</nav>
{scores or "<p>No scores yet.</p>"}
</section>
{body}
</main>
<dialog id="zoom" aria-label="Enlarged picture"><img alt=""></dialog>
<script>{_template("report.js")}</script>
</body>
</html>
"""


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def _template(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _esc(text: Any) -> str:
    return html.escape(str(text), quote=True)


def _glance_html(stem: str, table: Table) -> str:
    links = " · ".join(
        f'<a href="tables/{quote(stem)}.{suffix}">{name}</a>' for suffix, name in _FORMATS
    )
    files = f'<p class="files">Whole table: {links}</p>'
    if "extra" in stem or "mmd" in stem:  # beside the scores: unfolded by those who want them
        table_html = _table_html(table, 4, drop_data=False)
        return (
            f"<details><summary>{_esc(table.title)}</summary>"
            f"<div>{table_html}{files}</div></details>"
        )
    return _table_html(table, drop_data=False) + files


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{_esc(k)}</dt><dd>{_esc(v)}</dd></div>" for k, v in pairs)


def _compact(table: Table, drop_data: bool) -> tuple[Table, str]:
    """Leave out columns that tell rows nothing: the empty ones, and the ones that never change.

    Returns the narrower table, and a line that says what the constant columns held.
    """
    keep, line = [], []
    for i, name in enumerate(table.header):
        values = {row[i] for row in table.rows if row[i]}
        constant = len(values) == 1 and not re.search(r" \[\d+\]$", next(iter(values)))
        if constant and name in ("Schedule", "Images"):
            line.append(f"{name}: {values.pop()}")
        elif constant and name == "Data set" and drop_data:
            continue
        elif values or name in ("Paper", "Ours"):
            keep.append(i)
    header = tuple(table.header[i] for i in keep)
    rows = tuple(tuple(row[i] for i in keep) for row in table.rows)
    return replace(table, header=header, rows=rows), ". ".join(line)


def _table_html(table: Table, level: int = 3, drop_data: bool = True) -> str:
    table, line = _compact(table, drop_data)
    numeric = numeric_columns(table)
    long = {i for i, name in enumerate(table.header) if name in ("Schedule", "Status")}
    ours = table.header.index("Ours") if "Ours" in table.header else None

    def cell(i: int, text: str) -> str:
        kinds = ["n"] * numeric[i] + ["ours"] * (i == ours) + ["long"] * (i in long)
        kinds += ["bad"] * text.startswith("failed")
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        shown = _esc(text)
        shown = re.sub(r" \[(\d+)\]$", r"<sup>\1</sup>", shown)
        return f"<td{kind}>{shown}</td>"

    head = "".join(
        f'<th scope="col"{" class=n" if n else ""}><button type="button">{_esc(name)}</button></th>'
        for name, n in zip(table.header, numeric, strict=True)
    )
    rows = "".join(
        f"<tr{' class=idle' if ours is not None and not row[ours] else ''}>"
        f"{''.join(cell(i, text) for i, text in enumerate(row))}</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p>{_note_html(note)}</p>" for note in table.notes)
    return (
        f"<h{level}>{_esc(table.title)}</h{level}>"
        + (f'<p class="line">{_esc(line)}</p>' if line else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{_esc(table.title)}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="notes">{notes}</div>'
    )


def _note_html(note: str) -> str:
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", _esc(note))
    return re.sub(r"^\[(\d+)\] ", r"<sup>\1</sup> ", text)


def _section_html(section: _Section, folder: Path) -> str:
    facts = _definitions(section.facts)
    pictures = "".join(_run_html(run, folder) for run in section.runs)
    tables = list(section.tables.values())
    shown = "".join(_table_html(t) for t in tables[:1])
    folded = "".join(
        f"<details><summary>{_esc(t.title)}</summary>{_table_html(t, 4)}</details>"
        for t in tables[1:] + ([section.training] if section.training else [])
    )
    run = f"<details><summary>What was run</summary><dl>{facts}</dl></details>" if facts else ""
    return (
        f'<section id="{section.anchor}"><h2>{_esc(section.title)}</h2>'
        f"{pictures}{shown}{folded}{run}</section>"
    )


def _run_html(run: Mapping[str, Any], folder: Path) -> str:
    figures = "".join(_figure_html(n, p, folder) for n, p in (run.get("figures") or {}).items())
    last = _last_epoch(run.get("history") or {})
    settings = run.get("settings") or {}
    rows = _definitions(_flatten(settings))
    where = ""
    if run.get("folder"):
        where = f"<p class=files><code>{_esc(_relative(run['folder'], folder))}</code></p>"
    return (
        f"<article><h3>{_esc(run['title'])}</h3>"
        f'<div class="figures">{figures}</div>'
        + (
            f"<details><summary>Last epoch</summary>{_table_html(last, 4)}</details>"
            if last
            else ""
        )
        + (f"<details><summary>Settings</summary><dl>{rows}</dl></details>" if rows else "")
        + where
        + "</article>"
    )


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings -> (dotted name, text)."""
    flat = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat.append((f"{prefix}{key}", text))
    return flat


def _figure_html(name: str, path: str | os.PathLike, folder: Path) -> str:
    caption = _esc(_caption(name))
    try:
        data = Path(path).read_bytes()
        if data[:8] != b"\x89PNG\r\n\x1a\n":
            raise ValueError("not a PNG")
        width, height = struct.unpack(">II", data[16:24])
    except (OSError, ValueError, struct.error):
        missing = _esc(_relative(path, folder))
        return (
            f"<figure><figcaption>{caption}: missing, expected at {missing}</figcaption></figure>"
        )
    source = base64.b64encode(data).decode()
    kinds = ("wide",) * (width > 2.2 * height)
    kinds += ("large",) * (name in LARGE) + ("smooth",) * (name in PLOTS)
    return (
        f'<figure class="{" ".join(kinds)}"><button type="button" class="picture">'
        f'<img src="data:image/png;base64,{source}" alt="{caption}" '
        f'width="{width}" height="{height}"></button><figcaption>{caption}</figcaption></figure>'
    )
