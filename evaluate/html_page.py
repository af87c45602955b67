"""What every HTML page here is made of: a document that needs nothing else, and its pictures.

Style and script are inside, and a policy in the page's head forbids everything else.
"""

from __future__ import annotations

import base64
import html
import struct
from pathlib import Path
from typing import Any

_TEMPLATES = Path(__file__).parent / "templates"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(text: Any) -> str:
    """Text as it may stand in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def document(title: str, body: str, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: text.
        body: HTML of everything between ``<body>`` and its end.
        style: rules besides those of templates/report.css.
        script: the name of a template; none is allowed to run without one.
    """
    policy, code = _POLICY, ""
    if script:
        policy += "; script-src 'unsafe-inline'"
        code = f"<script>{_template(script)}</script>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{_template("report.css")}{style}</style>
</head>
<body>
{body}{code}</body>
</html>
"""


def image(path: str | Path, alt: str) -> tuple[str, int, int]:
    """A PNG inside the page: ``<img>``, and its width and height in pixels.

    Raises:
        OSError: if the file can't be read.
        ValueError: if it is no PNG.
    """
    data = Path(path).read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise ValueError(f"{path} is no PNG")
    width, height = struct.unpack(">II", data[16:24])
    source = base64.b64encode(data).decode()
    tag = (
        f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}">'
    )
    return tag, width, height


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
