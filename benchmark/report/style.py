"""Colours, markers and dashes. A series differs from every other in at least two of them, so colour is never needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from benchmark.models import MODELS
from benchmark.report.entries import BoardEntry
from benchmark.report.markup import Markup, el

# Okabe and Ito's palette, darkened for white paper and lightened for a dark screen to a contrast of 3:1 and more.
SERIES_LIGHT = ("#0072b2", "#c24e00", "#007a59", "#a3447f", "#8a6a00", "#444444", "#3b87b8")
SERIES_DARK = ("#56b4e9", "#f0894a", "#2fc49a", "#dd9ec4", "#e6b73c", "#c8c8c8", "#9ad0f0")
LIGHT = {"paper": "#ffffff", "ink": "#1d2329", "muted": "#59636d", "rule": "#d5d9dd"}
DARK = {"paper": "#15181b", "ink": "#e3e6e9", "muted": "#9aa4ae", "rule": "#343a40"}
DASHES = (None, "7 3", "2 2.5", "9 3 2 3", "4 2 1 2 1 2")
FAMILIES = {"3D CNN": 0, "ConvLSTM": 1, "TimeSformer": 2}
"""Style of the families of the Diving48 experiments, as in the paper's figures: that of their models on clips."""
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "wedge")


def palette(basic: dict[str, str], series: Sequence[str]) -> dict[str, str]:
    """Name of a CSS variable, without its dashes -> colour."""
    return basic | {f"s{number}": colour for number, colour in enumerate(series)}


def styles_of(entries: Sequence[BoardEntry]) -> dict[str, int]:
    """Name of an entry -> number of its style, the same for all of its series and for no other.

    The paper's families always have the same style, a second series of one another. A family of the Diving48
    experiments is one series in all of them.
    """
    series = _series_of(entries)
    every = sorted(set(series.values()))
    styles: dict[_Series, int] = {}
    of_number = {number: family for family, number in FAMILIES.items()}
    for number, family in enumerate(MODELS):
        first = next((each for each in every if each[0] in {family, of_number.get(number)}), None)
        if first:
            styles[first] = number
    others = [each for each in every if each not in styles]
    styles |= {each: number for number, each in enumerate(others, start=len(MODELS))}
    return {name: styles[each] for name, each in series.items()}


_Series = tuple[str, str, str, str]


def _series_of(entries: Sequence[BoardEntry]) -> dict[str, _Series]:
    """Name of an entry -> what one line of a figure is made of: the model, the sweep or submission, and the protocol.

    Two entries of one source and size are two series, each named by its entry: their mean would be of nothing.
    """
    series: dict[str, _Series] = {}
    for entry in entries:
        if entry.study is not None:
            series[entry.name] = (entry.family, "study", "", "")
            continue
        origin = "" if entry.kind == "run" else entry.origin
        # A submission's protocol is words about it alone, and so is its origin.
        protocol = "" if entry.kind == "submission" else json.dumps(entry.protocol, sort_keys=True)
        series[entry.name] = (entry.model, origin, protocol, "")
    places = Counter((series[e.name], e.source.domain, e.hidden) for e in entries if e.study is None)
    return {
        e.name: (*series[e.name][:3], e.name if places[series[e.name], e.source.domain, e.hidden] > 1 else "")
        for e in entries
    }


def colour(style: int) -> str:
    return f"var(--s{style % len(SERIES_LIGHT)})"


def dash(style: int) -> str | None:
    return DASHES[style % len(DASHES)]


def marker(style: int, x: float, y: float, title: str | None = None, *, size: float = 1.0) -> Markup:
    """The sign of a series, centred on (x, y); ``title`` is shown by browsers under the mouse, ``size`` is relative."""
    shape = MARKERS[style % len(MARKERS)]
    look = {"fill": colour(style), "stroke": "var(--paper)"}
    tip = None if title is None else el("title", title)
    if shape == "circle":
        return el("circle", tip, cx=float(x), cy=float(y), r=3.6 * size, **look)
    if shape == "square":
        return el("rect", tip, x=x - 3.2 * size, y=y - 3.2 * size, width=6.4 * size, height=6.4 * size, **look)
    corners = [(x + dx * size, y + dy * size) for dx, dy in _CORNERS[shape]]
    return el("polygon", tip, points=" ".join(f"{cx:.2f},{cy:.2f}" for cx, cy in corners), **look)


_CORNERS = {
    "triangle": ((0, -4.4), (4.2, 3.2), (-4.2, 3.2)),
    "wedge": ((0, 4.4), (4.2, -3.2), (-4.2, -3.2)),
    "diamond": ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
    "cross": (
        *((-1.5, -4.3), (1.5, -4.3), (1.5, -1.5), (4.3, -1.5), (4.3, 1.5), (1.5, 1.5)),
        *((1.5, 4.3), (-1.5, 4.3), (-1.5, 1.5), (-4.3, 1.5), (-4.3, -1.5), (-1.5, -1.5)),
    ),
}
