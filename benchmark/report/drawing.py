"""Curves with bands and forest plots as SVG, in user units of one pixel. Pure: numbers in, markup out.

Colours are CSS variables of the page around a drawing; :func:`standalone` puts those of light paper in their place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.report.markup import Markup, el, join
from benchmark.report.style import LIGHT, SERIES_LIGHT, colour, dash, marker, palette

PANEL = (340, 250)
FOREST_WIDTH = 440
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 26, 36
ROW_PX = 17
NAME_PX, NUMBERS_PX = 146, 124
CHARACTER_PX = 5.8  # of the 11 px type, on average
FONT = "Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Drawing:
    """Size in px and markup; ``description`` says in words what is to be seen."""

    width: int
    height: int
    title: str
    description: str
    body: Markup


@dataclass(frozen=True)
class Point:
    """A value with its interval; ``high`` may be infinite. ``label`` is shown under the mouse."""

    x: float
    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Curve:
    """Points from left to right; None breaks the line."""

    style: int
    points: tuple[Point | None, ...]


@dataclass(frozen=True)
class Axes:
    """``ticks``: place on the x axis -> its text. ``reference``: a level drawn across, and its name."""

    x_name: str
    y_name: str
    ticks: dict[float, str]
    y_max: float
    log_x: bool = False
    reference: tuple[float, str] | None = None


@dataclass(frozen=True)
class ForestRow:
    """``point`` None: nothing to show, ``text`` says why; otherwise it is the number."""

    style: int
    name: str
    point: Point | None
    text: str


def curves(title: str, description: str, axes: Axes, lines: Sequence[Curve]) -> Drawing:
    """Lines with bands. A curve of one point is drawn with a bar instead of a band."""
    width, height = PANEL
    x_of = _scale(axes.ticks, LEFT + 14, width - RIGHT - 12, log=axes.log_x)

    def y_of(value: float) -> float:
        return TOP + (height - TOP - BOTTOM) * (1 - min(value, axes.y_max) / axes.y_max)

    parts = [_text(title, LEFT, 14, weight="600"), *_y_axis(axes, y_of, width), *_x_axis(axes, x_of, width, height)]
    parts += [_band(line, x_of, y_of) for line in lines]
    parts += [_line(line, x_of, y_of) for line in lines]
    return Drawing(width, height, title, description, join(*parts))


def forest(
    title: str, description: str, x_name: str, x_max: float, rows: Sequence[ForestRow], reference: float
) -> Drawing:
    """A row with its interval for each entry, and a vertical line at ``reference``."""
    height = TOP + ROW_PX * len(rows) + BOTTOM
    left, right = NAME_PX, FOREST_WIDTH - NUMBERS_PX
    bottom = height - BOTTOM

    def x_of(value: float) -> float:
        return left + (right - left) * min(value, x_max) / x_max

    parts = [_text(title, 4, 14, weight="600")]
    for tick in nice_ticks(x_max, 4):
        parts.append(_rule(x_of(tick), TOP, x_of(tick), bottom))
        parts.append(_text(f"{tick:g}", x_of(tick), bottom + 14, anchor="middle", fill="muted"))
    parts.append(_text(x_name, (left + right) / 2, bottom + 29, anchor="middle", fill="muted"))
    if reference <= x_max:
        parts.append(_rule(x_of(reference), TOP, x_of(reference), bottom, strong=True))
    for number, row in enumerate(rows):
        y = TOP + ROW_PX * (number + 0.5)
        parts.append(_text(_shortened(row.name, NAME_PX - 12), 4, y + 4))
        parts.append(_text(row.text, FOREST_WIDTH - 4, y + 4, anchor="end", fill="muted"))
        if row.point is not None:
            parts += _whisker(row.style, x_of(row.point.low), x_of(row.point.high), y, row.point.high > x_max)
            parts.append(marker(row.style, x_of(row.point.value), y, row.point.label, size=0.75))
    return Drawing(FOREST_WIDTH, height, title, description, join(*parts))


def legend_key(style: int) -> Drawing:
    """A short stroke with its marker, 30 x 12."""
    stroke = el("line", x1=1, y1=6, x2=29, y2=6, stroke=colour(style), stroke_width=1.8, stroke_dasharray=dash(style))
    return Drawing(30, 12, "", "", join(stroke, marker(style, 15, 6)))


def inline(drawing: Drawing, identifier: str) -> Markup:
    """For a page, as wide as there is room; ``identifier`` is unique in the page. A drawing without title is silent."""
    label = [el("title", drawing.title, id=f"{identifier}-t"), el("desc", drawing.description, id=f"{identifier}-d")]
    spoken = {"role": "img", "aria-labelledby": f"{identifier}-t {identifier}-d"}
    silent = {"aria-hidden": "true", "width": drawing.width, "height": drawing.height}
    return el(
        "svg",
        *(label if drawing.title else []),
        drawing.body,
        viewBox=f"0 0 {drawing.width} {drawing.height}",
        **(spoken if drawing.title else silent),
    )


def standalone(title: str, drawings: Sequence[Drawing], legend: Sequence[tuple[int, str]], columns: int = 3) -> str:
    """One SVG file on white paper: drawings in rows of ``columns``, the legend below."""
    gap = 10
    rows = [list(drawings[start : start + columns]) for start in range(0, len(drawings), columns)]
    width = max(sum(each.width + gap for each in row) for row in rows) + gap
    parts: list[Markup] = []
    y = gap
    for row in rows:
        left = gap
        for each in row:
            named = (el("title", each.title), el("desc", each.description))
            parts.append(el("g", *named, each.body, transform=f"translate({left} {y})"))
            left += each.width + gap
        y += max(each.height for each in row) + gap
    x = gap + 4.0
    for style, name in legend:
        needed = 36 + CHARACTER_PX * len(name) + 18
        if x + needed > width and x > gap + 4:
            x, y = gap + 4.0, y + 18
        parts.append(el("g", legend_key(style).body, transform=f"translate({x:.0f} {y})"))
        parts.append(_text(name, x + 36, y + 10))
        x += needed
    height = y + 18 + gap if legend else y
    body = join(
        el("title", title),
        el("desc", " ".join(each.description for each in drawings)),
        el("rect", width=width, height=height, fill="var(--paper)"),
        *parts,
    )
    whole = el(
        "svg",
        body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        font_family=FONT,
        font_size=11,
    )
    colours = palette(LIGHT, SERIES_LIGHT)
    # Only whole attribute values: a text that holds the same letters stays as it is.
    painted = re.sub(r'"var\(--(\w+)\)"', lambda found: f'"{colours[found[1]]}"', whole)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{painted}\n'


def nice_ticks(top: float, about: int = 5) -> list[float]:
    """0 and multiples of 1, 2 or 5 times a power of ten, up to ``top``."""
    if top <= 0:
        return [0.0]
    raw = top / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    return [round(step * number, 10) for number in range(int(top / step + 1e-9) + 1)]


def _scale(ticks: dict[float, str], start: float, end: float, *, log: bool) -> Callable[[float], float]:
    def place(x: float) -> float:
        return math.log(x) if log else x

    low, high = place(min(ticks)), place(max(ticks))
    if low == high:
        return lambda x: (start + end) / 2
    return lambda x: start + (end - start) * (place(x) - low) / (high - low)


def _y_axis(axes: Axes, y_of: Callable[[float], float], width: int) -> list[Markup]:
    parts = []
    for tick in nice_ticks(axes.y_max):
        parts.append(_rule(LEFT, y_of(tick), width - RIGHT, y_of(tick)))
        parts.append(_text(f"{tick:g}", LEFT - 6, y_of(tick) + 4, anchor="end", fill="muted"))
    parts.append(_text(axes.y_name, width - RIGHT, 14, anchor="end", fill="muted"))
    if axes.reference and axes.reference[0] <= axes.y_max:
        level, name = axes.reference
        parts.append(_rule(LEFT, y_of(level), width - RIGHT, y_of(level), strong=True))
        # Below the line on the left, where curves are least likely to run; above it where the axis is too near.
        below = y_of(level) + 11
        parts.append(_text(name, LEFT + 2, below if below <= y_of(0.0) else y_of(level) - 4, fill="muted"))
    return parts


def _x_axis(axes: Axes, x_of: Callable[[float], float], width: int, height: int) -> list[Markup]:
    parts, free_from = [], -math.inf
    bottom = height - BOTTOM
    for tick in sorted(axes.ticks):
        text, x = axes.ticks[tick], x_of(tick)
        half = CHARACTER_PX * len(text) / 2
        parts.append(el("line", x1=x, y1=bottom, x2=x, y2=bottom + 4, stroke="var(--muted)"))
        if x - half >= free_from:  # a text that would touch its neighbour is left out; its tick stays
            centre = min(x, width - half)
            parts.append(_text(text, centre, bottom + 16, anchor="middle", fill="muted"))
            free_from = centre + half + 4
    middle = (LEFT + width - RIGHT) / 2
    parts.append(_text(axes.x_name, middle, bottom + 31, anchor="middle", fill="muted"))
    return parts


def _runs(line: Curve) -> list[list[Point]]:
    """The points between the breaks."""
    runs: list[list[Point]] = [[]]
    for point in line.points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _band(line: Curve, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Markup:
    parts = []
    for run in _runs(line):
        upper = [(x_of(point.x), y_of(point.high)) for point in run]
        lower = [(x_of(point.x), y_of(point.low)) for point in reversed(run)]
        if len(run) == 1:
            ends = {"x1": upper[0][0], "y1": upper[0][1], "x2": lower[0][0], "y2": lower[0][1]}
            parts.append(el("line", **ends, stroke=colour(line.style), stroke_width=1.4))
        else:
            parts.append(el("polygon", points=_points(upper + lower), fill=colour(line.style), fill_opacity=0.15))
    return join(*parts)


def _line(line: Curve, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Markup:
    parts = []
    stroke = {"fill": "none", "stroke": colour(line.style), "stroke_width": 1.8, "stroke_dasharray": dash(line.style)}
    for run in _runs(line):
        places = [(x_of(point.x), y_of(point.value)) for point in run]
        if len(run) > 1:
            parts.append(el("polyline", points=_points(places), **stroke))
        parts += [marker(line.style, x, y, point.label) for (x, y), point in zip(places, run, strict=True)]
    return join(*parts)


def _whisker(style: int, start: float, end: float, y: float, beyond: bool) -> list[Markup]:
    parts = [el("line", x1=start, y1=y, x2=end, y2=y, stroke=colour(style), stroke_width=1.8)]
    if beyond:  # an arrow: the interval ends outside the picture
        corners = [(end + 5, y), (end, y - 3.5), (end, y + 3.5)]
        parts.append(el("polygon", points=_points(corners), fill=colour(style)))
    return parts


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def _rule(x1: float, y1: float, x2: float, y2: float, *, strong: bool = False) -> Markup:
    look = {"stroke": "var(--muted)", "stroke_dasharray": "2 3"} if strong else {"stroke": "var(--rule)"}
    return el("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **look)


def _text(
    text: str, x: float, y: float, *, anchor: str | None = None, fill: str = "ink", weight: str | None = None
) -> Markup:
    place = {"x": float(x), "y": float(y), "text_anchor": anchor}
    return el("text", text, **place, fill=f"var(--{fill})", font_weight=weight)


def _shortened(text: str, room_px: float) -> str:
    most = int(room_px / CHARACTER_PX)
    return text if len(text) <= most else f"{text[: most - 1]}…"
