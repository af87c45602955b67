"""MkDocs hooks: equations become MathML while the site is built, and docstring roles plain code.

Browsers draw MathML themselves, so the pages need neither a script nor the network for it.
"""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*\\[(\[](?P<tex>.*?)\\[)\]]\s*</(?P=tag)>', re.S
)
_LOG = re.compile(r"\\log\s*(?=[a-z0-9]|\\(?!left|big|,))")  # before what is no bracket
_ROLE = re.compile(r":(?:mod|class|func|meth|attr):(?=<code>)")


def _mathml(match: re.Match) -> str:
    display = "block" if match["tag"] == "div" else "inline"
    tex = _LOG.sub(r"\\log\\, ", html.unescape(match["tex"]).strip())  # log x, not logx
    return convert(tex, display=display)


def on_page_content(page_html: str, **_) -> str:
    """The page with arithmatex's LaTeX as MathML and Sphinx roles such as ``:mod:`` left out."""
    return _ROLE.sub("", _EQUATION.sub(_mathml, page_html))
