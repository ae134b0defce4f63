"""Texts in Markdown, LaTeX and CSV: words from anywhere stay words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def csv_cell(cell: Any) -> Any:
    """Spreadsheets run a text that begins with = + - or @: an apostrophe keeps it a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def md_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def md_text(text: str) -> str:
    """Words from anywhere: no link, picture or markup comes of them."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_<>|#\[\]!(])", r"\\\1", flat)


def md_number(text: str) -> str:
    """Our own numbers, names of domains and marks: their brackets stay readable."""
    return re.sub(r"([\\`*_<>|#])", r"\\\1", text)


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "∞": r"$\infty$"}
_TEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
_TEX |= {char: f"\\{char}" for char in "&%$#_{}"}
_TEX |= {char: f"${char}$" for char in "<>"}


def tex_text(text: str) -> str:
    flat = " ".join(text.split())
    # After the end of a row [ and * would be its arguments.
    head = f"{{{flat[0]}}}" if flat[:1] in {"[", "*"} else ""
    return head + "".join(_TEX.get(char, char) for char in (flat[1:] if head else flat))
