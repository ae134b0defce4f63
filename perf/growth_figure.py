"""Cost against n, both axes logarithmic, in the look of the reports' figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from growth_model import Record, fit, peak_mib, points_of

from benchmark.report.drawing import BOTTOM, LEFT, PANEL, RIGHT, TOP, Drawing, standalone
from benchmark.report.markup import Markup, el, join
from benchmark.report.style import colour, dash, marker

SERIES = {
    "tsgen make, 5dot": 0,
    "tsgen make, mnist-bg": 1,
    "tsgen merge of 4 slices, 5dot": 2,
    "tsgen merge of 4 slices, mnist-bg": 3,
}
BEYOND = 10**9
PANELS: dict[str, tuple[str, str, bool]] = {
    "wall_s": ("Time", "s", True),
    "peak_mib": ("Peak memory", "MiB", False),
    "out_bytes": ("Size of the file", "bytes", True),
}
"""What is drawn -> title, unit, whether a line goes through it."""
LINE_PLACES = 40


def figure(record: Record) -> str:
    """The SVG: points are measured, lines fitted, dotted from the last point on."""
    drawings = [_panel(record, key, *PANELS[key]) for key in PANELS]
    known = [(style, name) for name, style in SERIES.items() if _is_there(record, name)]
    return standalone("Growth with the number of clips", drawings, known)


def _is_there(record: Record, measure: str) -> bool:
    return any(point["measure"] == measure for point in record["points"])


def _values(record: Record, measure: str, key: str) -> tuple[list[int], list[list[float]]]:
    points = points_of(record, measure)
    of_point = {
        "wall_s": lambda point: [run["wall_s"] for run in point["runs"]],
        "peak_mib": lambda point: [peak_mib(point)],
        "out_bytes": lambda point: [point["out_bytes"]],
    }[key]
    return [point["n"] for point in points], [of_point(point) for point in points]


def _panel(record: Record, key: str, title: str, unit: str, has_line: bool) -> Drawing:
    width, height = PANEL
    series = {name: _values(record, name, key) for name in SERIES if _is_there(record, name)}
    medians = {name: [statistics.median(each) for each in values] for name, (_, values) in series.items()}
    lines = {}
    if has_line:
        lines = {name: fit(sizes, values) for name, (sizes, values) in series.items() if len(sizes) > 1}
    largest = BEYOND if has_line else max(n for sizes, _ in series.values() for n in sizes)
    shown = [line.at(BEYOND) for line in lines.values()] + [y for each in medians.values() for y in each]
    x_of = _log_scale(min(n for sizes, _ in series.values() for n in sizes), largest, LEFT + 14, width - RIGHT - 12)
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    y_of = _log_scale(10.0**low, 10.0**high, height - BOTTOM, TOP)
    parts = [el("text", title, x=LEFT, y=14, fill="var(--ink)", font_weight="600"),
             *_axes(x_of, y_of, largest, low, high, unit)]  # fmt: skip
    for name, (sizes, _) in series.items():
        style = SERIES[name]
        stroke = {"fill": "none", "stroke": colour(style), "stroke_width": 1.6}
        if name in lines:
            line, last = lines[name], sizes[-1]
            for start, end, pattern in ((sizes[0], last, dash(style)), (last, BEYOND, "1 4")):
                places = [start * (end / start) ** (i / LINE_PLACES) for i in range(LINE_PLACES + 1)]
                corners = " ".join(f"{x_of(n):.2f},{y_of(max(line.at(n), 10.0**low)):.2f}" for n in places)
                parts.append(el("polyline", points=corners, stroke_dasharray=pattern, **stroke))
        for n, y in zip(sizes, medians[name], strict=True):
            parts.append(marker(style, x_of(n), y_of(y), f"{name}, n = {n:,}: {y:,.4g} {unit}"))
    description = f"{title} in {unit} against the number of clips, both logarithmic."
    return Drawing(width, height, title, description, join(*parts))


def _log_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * math.log(value / low) / math.log(high / low)


def _axes(
    x_of: Callable[[float], float], y_of: Callable[[float], float], largest: float, low: int, high: int, unit: str
) -> Sequence[Markup]:
    width, height = PANEL
    bottom = height - BOTTOM
    muted = {"fill": "var(--muted)"}
    parts = [el("text", unit, x=width - RIGHT, y=14, text_anchor="end", **muted)]
    step = max(1, math.ceil((high - low) / 7))
    for power in range(low, high + 1, step):
        y = y_of(10.0**power)
        parts.append(el("line", x1=LEFT, y1=y, x2=width - RIGHT, y2=y, stroke="var(--rule)"))
        parts.append(_power(power, LEFT - 6, y + 4, "end"))
    for power in range(3, round(math.log10(largest)) + 1):
        x = x_of(10.0**power)
        parts.append(el("line", x1=x, y1=bottom, x2=x, y2=bottom + 4, stroke="var(--muted)"))
        parts.append(_power(power, x, bottom + 16, "middle"))
    middle = (LEFT + width - RIGHT) / 2
    return [*parts, el("text", "clips", x=middle, y=bottom + 31, text_anchor="middle", **muted)]


def _power(power: int, x: float, y: float, anchor: str) -> Markup:
    raised = el("tspan", str(power), dy=-4, font_size=8)
    return el("text", "10", raised, x=float(x), y=float(y), text_anchor=anchor, fill="var(--muted)")
