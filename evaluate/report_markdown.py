"""report.md, from what :mod:`evaluate.report_contents` gathers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import quote

from evaluate.formats import escape_markdown, to_markdown
from evaluate.report_contents import (
    FORMATS,
    PAPER_URL,
    TITLE,
    Report,
    caption_of,
    last_epoch,
    relative,
)


def markdown(report: Report) -> str:
    """The whole file's text."""
    folder, head, warning, reasons, glance, sections = report
    parts = [f"# {TITLE}"]
    if reasons:
        lines = [f"**{warning}**", "", *(f"- {escape_markdown(r)}" for r in reasons)]
        parts.append("\n".join(f"> {line}".rstrip() for line in lines))
    parts.append(f"Preset {escape_markdown(head.preset)}. [The paper]({PAPER_URL}). The command:")
    parts.append(_fenced(" ".join(head.command.split()), "sh"))
    parts.append("\n".join(f"- {name}: {escape_markdown(text)}" for name, text in head.summary))
    parts.append("## Scores")
    if not glance:
        parts.append("No scores yet.")
    for stem, table in glance.items():
        links = " · ".join(f"[{name}](tables/{stem}.{suffix})" for suffix, name in FORMATS)
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
                place = relative(run["folder"], folder)
                parts.append(f"Folder: [{escape_markdown(place)}]({quote(place)})")
            for name, path in (run.get("figures") or {}).items():
                parts.append(_markdown_figure(name, path, folder))
            if table := last_epoch(run):
                parts.append("#" + to_markdown(table).rstrip())
            if run.get("settings"):
                settings = json.dumps(run["settings"], indent=2, default=str)
                parts.append("Settings:\n\n" + _fenced(settings, "json"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _fenced(text: str, language: str) -> str:
    fence = "~" * max(3, 1 + max((len(m) for m in re.findall("~+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _markdown_figure(name: str, path: str | os.PathLike, folder: Path) -> str:
    caption = escape_markdown(caption_of(name)).replace("[", "\\[").replace("]", "\\]")
    if not Path(path).is_file():
        return f"{caption}: missing, expected at {escape_markdown(relative(path, folder))}."
    return f"![{caption}]({quote(relative(path, folder))})\n\n*{caption}*"
