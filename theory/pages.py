"""The theory's pages, a section a claim: theory.md, and theory.html, which needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from evaluate.formats import Table, escape_markdown, to_markdown
from evaluate.html_page import document, escape, image
from experiments.files import write_atomically
from theory.claims import SHOWN, Claim

TITLE = "The theory, measured"
LEAD = (
    "What Dai and Wipf (ICLR 2019) prove of variational autoencoders, on ground truths whose "
    "dimension, measure and density are known. g is the decoder's standard deviation, the scalar "
    "that is learned; the paper's theory writes gamma for the variance g^2."
)
_STYLE = """
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: 99px; font-size: .82rem;
  border: 1px solid currentColor; white-space: nowrap; }
.yes { color: #1a7f37; } .no { color: var(--bad); }
td.wrap { white-space: normal; min-width: 14rem; }
th { padding: .45rem .6rem; font-size: .8rem; color: var(--soft); }
"""


def write_pages(
    folder: Path, claims: Sequence[Claim], command: str, preset: str, facts: Sequence[str]
) -> tuple[Path, Path]:
    """Writes theory.md and theory.html into ``folder``; returns their paths.

    Args:
        claims: in the order of the pages; their pictures must exist.
        command: the line that repeats the run.
        facts: lines about the run, such as its time and versions.
    """
    folder = Path(folder)
    return (
        write_atomically(folder / "theory.md", _markdown(folder, claims, command, preset, facts)),
        write_atomically(folder / "theory.html", _page(claims, command, preset, facts)),
    )


def _overview(claims: Sequence[Claim]) -> Table:
    rows = tuple((c.id, c.title, c.verdict, c.summary) for c in claims)
    return Table("Verdicts", ("Claim", "", "Verdict", "Findings"), rows, ())


def _findings(claim: Claim) -> Table:
    header = ("Setting", "Expected", "Measured", "Verdict")
    rows = tuple((f.setting, f.expected, f.measured, f.verdict) for f in claim.findings)
    return Table("Findings", header, rows, ())


def _markdown(folder, claims, command, preset, facts) -> str:
    parts = [f"# {TITLE}", LEAD, f"Preset {preset}. The command:", f"~~~sh\n{command}\n~~~"]
    parts += [escape_markdown(fact) for fact in facts]
    parts.append(to_markdown(_overview(claims)).rstrip().replace("### ", "## ", 1))
    for claim in claims:
        parts += [
            f"## {_heading(claim)}",
            f"**{claim.verdict}.** {escape_markdown(claim.summary)}",
            f"*Statement.* {escape_markdown(claim.statement)}",
            f"*Experiment.* {escape_markdown(claim.experiment)}",
            *(escape_markdown(note) for note in claim.notes),
        ]
        for caption, path in claim.pictures:
            relative = path.relative_to(folder).as_posix()
            parts.append(f"![{escape_markdown(caption)}]({quote(relative)})\n\n*{caption}*")
        parts.append(to_markdown(_findings(claim)).rstrip())
    return "\n\n".join(parts) + "\n"


def _heading(claim: Claim) -> str:
    name = f"Claim {claim.id}" if claim.id.isdigit() else claim.id
    return f"{name}. {claim.title}"


def _badge(verdict: str) -> str:
    kind = "yes" if verdict == SHOWN else "no"
    return f'<span class="verdict {kind}">{escape(verdict)}</span>'


def _table(table: Table, links: Sequence[str] = ()) -> str:
    def cell(row: int, name: str, text: str) -> str:
        if name == "Verdict":
            return f"<td>{_badge(text)}</td>"
        if name == "Claim" and links:
            return f'<td><a href="#{links[row]}">{escape(text)}</a></td>'
        return f'<td class="wrap">{escape(text)}</td>'

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "".join(
        "<tr>" + "".join(cell(i, n, t) for n, t in zip(table.header, row, strict=True)) + "</tr>"
        for i, row in enumerate(table.rows)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _picture(caption: str, path: Path) -> str:
    img, _, _ = image(path, caption)
    return (
        f'<figure class="wide smooth"><div class="picture" style="cursor: auto">{img}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _section(claim: Claim, anchor: str) -> str:
    pictures = "".join(_picture(*picture) for picture in claim.pictures)
    notes = "".join(f"<p>{escape(note)}</p>" for note in claim.notes)
    bad = sum(f.verdict != SHOWN for f in claim.findings)
    fold = (
        f"<details{' open' if bad and len(claim.findings) <= 30 else ''}><summary>"
        f"{len(claim.findings)} findings, {bad} not as expected</summary>"
        f"{_table(_findings(claim))}</details>"
    )
    return (
        f'<section id="{anchor}"><h2>{escape(_heading(claim))}</h2>'
        f"<p>{_badge(claim.verdict)} {escape(claim.summary)}</p>"
        f"<p><strong>Statement.</strong> {escape(claim.statement)}</p>"
        f"<p><strong>Experiment.</strong> {escape(claim.experiment)}</p>{notes}"
        f'<article><div class="figures">{pictures}</div>{fold}</article></section>'
    )


def _page(claims, command, preset, facts) -> str:
    anchors = [f"claim-{i}" for i in range(1, len(claims) + 1)]
    sections = "".join(map(_section, claims, anchors))
    body = f"""<header>
<h1>{TITLE}</h1>
<p class="lead">{escape(LEAD)} Preset <strong>{escape(preset)}</strong>.</p>
<pre class="command"><code>{escape(command)}</code></pre>
</header>
<main>
<section><h2>Verdicts</h2>
{_table(_overview(claims), anchors)}
<div class="notes">{"".join(f"<p>{escape(fact)}</p>" for fact in facts)}</div>
</section>
{sections}
</main>
"""
    return document(TITLE, body, _STYLE)
