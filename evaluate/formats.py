"""A table of text, and how it is written: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text. A cell's ``[1]`` refers to the note that begins with ``[1]``."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


_NUMBER = re.compile(r"[~+-]?\d[\d.,]*(e[+-]?\d+)?( ± [\d.]+(e[+-]?\d+)?| of \d+( \[\d+\])?)?")
_MEAN_STD = re.compile(r"(\S+) ± (\S+)")


def numeric_columns(table: Table) -> tuple[bool, ...]:
    """Which columns hold numbers (beside empty cells and failures), and so align to the right."""

    def numeric(cells: list[str]) -> bool:
        values = [c for c in cells if c and not c.startswith("failed")]
        return bool(values) and all(_NUMBER.fullmatch(c) for c in values)

    return tuple(numeric([row[i] for row in table.rows]) for i in range(len(table.header)))


def to_markdown(table: Table) -> str:
    """A heading, a pipe table and the notes, in GitHub's Markdown."""
    align = ["---:" if numeric else "---" for numeric in numeric_columns(table)]
    lines = [tuple(map(escape_markdown, table.header)), align]
    lines += [tuple(map(escape_markdown, row)) for row in table.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n\n".join(escape_markdown(note, code=True) for note in table.notes)
    return f"### {escape_markdown(table.title)}\n\n{body}\n\n{notes}\n"


def escape_markdown(text: str, code: bool = False) -> str:
    """Text that Markdown shows as it is, on one line; with code, `backticks` keep their meaning."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\*_|])" if code else r"([\\`*_|])", r"\\\1", text)


def to_csv(table: Table) -> str:
    """Comma-separated values with a header.

    A column of "mean ± std" becomes two columns of plain numbers, and the notes that a row refers
    to stand in a last column, "Notes".
    """
    texts = {m[1]: note for note in table.notes if (m := re.match(r"\[(\d+)\] ", note))}
    split = [
        any(_MEAN_STD.fullmatch(row[i]) for row in table.rows) for i in range(len(table.header))
    ]

    def cells(row: tuple[str, ...]) -> list[str]:
        out, marks = [], []
        for cell, two in zip(row, split, strict=True):
            marks += [m for m in re.findall(r" \[(\d+)\]", cell) if m in texts]
            cell = re.sub(r" \[(\d+)\]", lambda m: "" if m[1] in texts else m[0], cell)
            cell = " ".join(cell.split())  # some readers split rows at a quoted line break
            pair = _MEAN_STD.fullmatch(cell)
            out += list(pair.groups()) if pair else [cell, ""] if two else [cell]
        return [*out, " ".join(texts[m].split(" ", 1)[1] for m in dict.fromkeys(marks))]

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = []
    for name, two in zip(table.header, split, strict=True):
        header += [name, f"{name} std"] if two else [name]
    lines = [[*header, "Notes"], *(cells(row) for row in table.rows)]
    # Python 3.10's csv can't write a NUL, and no reader wants one.
    writer.writerows([text.replace("\0", "") for text in line] for line in lines)
    return stream.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "\u00d7": r"$\times$",
} | {c: f"\\{c}" for c in "&%$#_{}"}


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is, on one line."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def to_latex(table: Table) -> str:
    """A table environment; its preamble needs booktabs and graphicx."""

    def line(cells: tuple[str, ...]) -> str:
        return " & ".join(re.sub(r"^-(?=[\d.]+$)", "$-$", escape_latex(c)) for c in cells) + r" \\"

    columns = "".join("r" if numeric else "l" for numeric in numeric_columns(table))
    notes = "".join(f"\\par {escape_latex(note.replace('`', ''))}\n" for note in table.notes)
    rows = "".join(line(row) + "\n" for row in table.rows)
    return (
        "% needs \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape_latex(table.title)}}}\n"
        "\\resizebox{\\textwidth}{!}{%\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(table.header)}\n\\midrule\n"
        f"{rows}\\bottomrule\n\\end{{tabular}}}}\n"
        f"\\par\\medskip\\begin{{minipage}}{{\\textwidth}}\\footnotesize\n{notes}"
        "\\end{minipage}\n\\end{table}\n"
    )
