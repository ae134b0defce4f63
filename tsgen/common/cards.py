"""Data cards: Markdown with a front matter of YAML between two lines of ``---`` and blocks that are filled from data.

A block is the text between ``<!-- BEGIN name -->`` and ``<!-- END name -->``. A filled card is a template again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, unknown_name

CARDS = ("temporal_shape", "diving48_domains", "diver_frames", "mini_diving48")
"""Names of the cards, files of ``data_cards/`` in the repository."""

_BLOCK = re.compile(r"<!-- BEGIN (?P<name>[a-z-]+) -->\n(?P<body>.*?)<!-- END (?P=name) -->", re.DOTALL)


def read_card(name: str) -> str:
    """The text of a card that came with this package. UsageError when there is none of this name."""
    if name not in CARDS:
        raise unknown_name("card", name, CARDS)
    # A wheel carries the cards inside; a checkout (and an editable install of it) has them at its top.
    shipped = resources.files("tsgen").joinpath("release", "cards", f"{name}.md")
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "data_cards" / f"{name}.md").read_text(encoding="utf-8")


def block_names(text: str) -> tuple[str, ...]:
    """Names of the blocks in their order. DataError when a mark has no partner, or a name is taken twice."""
    names = tuple(match["name"] for match in _BLOCK.finditer(text))
    marks = re.findall(r"<!-- (?:BEGIN|END) ", text)
    if len(marks) != 2 * len(names) or len(set(names)) != len(names):
        raise DataError(f"the marks of blocks do not pair up; whole blocks: {', '.join(names) or 'none'}.")
    return names


def block(text: str, name: str) -> str:
    """What a block holds. DataError when there is no such block."""
    for match in _BLOCK.finditer(text):
        if match["name"] == name:
            return match["body"]
    raise DataError(f"there is no block {name!r}; there are: {', '.join(block_names(text)) or 'none'}.")


def fill_blocks(text: str, bodies: Mapping[str, str]) -> str:
    """``text`` with the named blocks replaced and all else as it is. DataError when one of them is absent."""
    absent = sorted(set(bodies) - set(block_names(text)))
    if absent:
        raise DataError(f"the card has no block {', '.join(absent)}; it has: {', '.join(block_names(text)) or 'none'}.")

    def filled(match: re.Match[str]) -> str:
        name = match["name"]
        body = bodies[name].rstrip("\n") + "\n" if name in bodies else match["body"]
        return f"<!-- BEGIN {name} -->\n{body}<!-- END {name} -->"

    return _BLOCK.sub(filled, text)


def split_card(text: str) -> tuple[str, str]:
    """The YAML of the front matter, and the Markdown after it. DataError when there is no front matter."""
    parts = re.fullmatch(r"---\n(.*?\n)---\n(.*)", text, flags=re.DOTALL)
    if parts is None:
        raise DataError("the card does not begin with YAML between two lines of '---'.")
    return parts[1], parts[2]


def join_card(front_matter: Mapping[str, Any], body: str) -> str:
    """The card of a front matter and Markdown: the opposite of :func:`split_card`."""
    import yaml

    text = yaml.safe_dump(dict(front_matter), sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{text}---\n{body}"
