"""report.html, from what :mod:`evaluate.report_contents` gathers: one file that needs nothing else.

The page carries styles, script and pictures inside and asks nothing of the network. Of a method's
trials the first has its pictures inside; those of the others, which look much the same, are links:
the page of hundreds of runs would be too large to be written after each of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evaluate.formats import Table, numeric_columns
from evaluate.html_page import document, escape, image
from evaluate.report_contents import (
    FORMATS,
    PAPER_URL,
    TITLE,
    Report,
    Section,
    caption_of,
    last_epoch,
    relative,
)

PLOTS = ("curves", "figure1a", "figure1b", "figure2")  # lines and text: enlarged smoothly
LARGE = ("curves", "figure1b")  # too fine for a third of the page


def page(report: Report) -> str:
    """The whole file's text."""
    folder, head, warning, reasons, glance, sections = report
    aside = ""
    if reasons:
        items = "".join(f"<li>{escape(r)}</li>" for r in reasons)
        aside = (
            f'<aside class="banner" role="note"><h2>{escape(warning)}</h2><ul>{items}</ul></aside>'
        )
    summary = f'<dl class="summary">{_definitions(head.summary)}</dl>' if head.summary else ""
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    scores = "".join(_glance_html(stem, table) for stem, table in glance.items())
    data_sets = "".join(_section_html(s, folder) for s in sections)
    body = f"""<header>
<h1>{escape(TITLE)}</h1>
<p class="lead">Bin Dai and David Wipf, ICLR 2019 (<a href="{PAPER_URL}">arXiv 1903.05789</a>).
Preset <strong>{escape(head.preset)}</strong>.</p>
<pre class="command"><code>{escape(head.command)}</code></pre>
{summary}
</header>
<main>
{aside}
<section><h2>Scores</h2>
<nav aria-label="Data sets">{links}</nav>
{scores or "<p>No scores yet.</p>"}
</section>
{data_sets}
</main>
<dialog id="zoom" aria-label="Enlarged picture"><img alt=""></dialog>
"""
    return document(TITLE, body, script="report.js")


def _glance_html(stem: str, table: Table) -> str:
    links = " · ".join(
        f'<a href="tables/{quote(stem)}.{suffix}">{name}</a>' for suffix, name in FORMATS
    )
    files = f'<p class="files">Whole table: {links}</p>'
    if "extra" in stem or "mmd" in stem:  # beside the scores: unfolded by those who want them
        table_html = _table_html(table, 4, drop_data=False)
        return (
            f"<details><summary>{escape(table.title)}</summary>"
            f"<div>{table_html}{files}</div></details>"
        )
    return _table_html(table, drop_data=False) + files


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)


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
        shown = escape(text)
        shown = re.sub(r" \[(\d+)\]$", r"<sup>\1</sup>", shown)
        return f"<td{kind}>{shown}</td>"

    head = "".join(
        f'<th scope="col"{" class=n" if n else ""}>'
        f'<button type="button">{escape(name)}</button></th>'
        for name, n in zip(table.header, numeric, strict=True)
    )
    rows = "".join(
        f"<tr{' class=idle' if ours is not None and not row[ours] else ''}>"
        f"{''.join(cell(i, text) for i, text in enumerate(row))}</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p>{_note_html(note)}</p>" for note in table.notes)
    return (
        f"<h{level}>{escape(table.title)}</h{level}>"
        + (f'<p class="line">{escape(line)}</p>' if line else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="notes">{notes}</div>'
    )


def _note_html(note: str) -> str:
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))
    return re.sub(r"^\[(\d+)\] ", r"<sup>\1</sup> ", text)


def _section_html(section: Section, folder: Path) -> str:
    facts = _definitions(section.facts)
    first = {_but_trial(run): run for run in reversed(section.runs)}
    pictures = "".join(
        _run_html(run, folder, first[_but_trial(run)] is run) for run in section.runs
    )
    tables = list(section.tables.values())
    shown = "".join(_table_html(t) for t in tables[:1])
    folded = "".join(
        f"<details><summary>{escape(t.title)}</summary>{_table_html(t, 4)}</details>"
        for t in tables[1:] + ([section.training] if section.training else [])
    )
    run = f"<details><summary>What was run</summary><dl>{facts}</dl></details>" if facts else ""
    return (
        f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>'
        f"{pictures}{shown}{folded}{run}</section>"
    )


def _but_trial(run: Mapping[str, Any]) -> str:
    """What the trials of one method have in common; a run without settings has it for itself."""
    settings = run.get("settings") or {"run": id(run)}
    common = {k: v for k, v in settings.items() if k not in ("trial", "seed")}
    return json.dumps(common, sort_keys=True, default=str)


def _run_html(run: Mapping[str, Any], folder: Path, inside: bool) -> str:
    """One run; ``inside``: whether the page carries its pictures, or leads to them."""
    shown = _figure_html if inside else _link_html
    figures = [shown(name, path, folder) for name, path in (run.get("figures") or {}).items()]
    if inside:
        pictures = f'<div class="figures">{"".join(figures)}</div>'
    else:
        pictures = f'<p class="files">{" · ".join(figures)}</p>'
    last = last_epoch(run)
    settings = run.get("settings") or {}
    rows = _definitions(_flatten(settings))
    where = ""
    if run.get("folder"):
        where = f"<p class=files><code>{escape(relative(run['folder'], folder))}</code></p>"
    return (
        f"<article><h3>{escape(run['title'])}</h3>"
        + pictures
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
    caption = escape(caption_of(name))
    try:
        img, width, height = image(path, caption_of(name))
    except (OSError, ValueError):
        missing = _missing(caption, path, folder)
        return f"<figure><figcaption>{missing}</figcaption></figure>"
    kinds = ("wide",) * (width > 2.2 * height)
    kinds += ("large",) * (name in LARGE) + ("smooth",) * (name in PLOTS)
    return (
        f'<figure class="{" ".join(kinds)}"><button type="button" class="picture">{img}</button>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _link_html(name: str, path: str | os.PathLike, folder: Path) -> str:
    caption = escape(caption_of(name))
    if not Path(path).is_file():
        return _missing(caption, path, folder)
    return f'<a href="{quote(relative(path, folder))}">{caption}</a>'


def _missing(caption: str, path: str | os.PathLike, folder: Path) -> str:
    return f"{caption}: missing, expected at {escape(relative(path, folder))}"
