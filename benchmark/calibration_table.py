"""What :mod:`benchmark.calibration` found as plain text, Markdown and a figure. No torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from benchmark.calibration import MEASURES, SWAP, CalibrationRow, Trend
from benchmark.config import VIDEO_SOURCE
from benchmark.report.drawing import Axes, Curve, Point, curves
from benchmark.report.figures import Figure
from benchmark.report.style import FAMILIES
from benchmark.statistics import Estimate
from benchmark.study_record import Pair, name_of

Y_MAX = 2.0  # intervals that reach further are cut: they say nothing; values never are
SHORT = {pair: name_of(pair).replace("-predicted", "*") for pair in MEASURES}
WORDS = (
    f"*: masks of a segmenter, the others are true ones. {name_of(SWAP)}: accuracy that is left where textures are "
    "those of other classes; what is lost there the model owed to the texture. Brackets: 95% intervals; of one seed "
    "they carry the variance of the clips alone, of two or three take them as 90% ones. Those of trends come from how "
    "far the points lie off the line. !: V is not above guessing by its interval, so the ratios mean nothing; such "
    "points are not drawn and not in the trends."
)


def render_calibration(rows: Sequence[CalibrationRow], trends: Sequence[Trend]) -> str:
    """Plain text: a line for each family and rho, and the trend of each measure; no trailing newline."""
    width, shown = 19, _shown(rows)
    head = f"{'family':<12}{'rho':>5}{'V':>19}  " + "".join(f"{SHORT[pair]:<{width}}" for pair in shown)
    lines = [head.rstrip(), "-" * len(head.rstrip())]
    for row in rows:
        cells = "".join(f"{_cell(row.ratios[pair]):<{width}}" for pair in shown)
        lines.append(f"{row.title:<12}{row.rho:>5g}{_source(row):>19}  {cells}".rstrip())
    if trends:
        lines += ["", "From rho = 0 to 1 a ratio gains (a line through the points):"]
    for trend in trends:
        lines.append(f"{trend.title:<12}{SHORT[trend.measure]:<12}{_gain(trend)} ({trend.points} points)")
    return "\n".join([*lines, "", *textwrap.wrap(WORDS, 120)])


def markdown(rows: Sequence[CalibrationRow], trends: Sequence[Trend]) -> str:
    """The same as two tables, for the documentation."""
    shown = _shown(rows)
    names = [SHORT[pair].replace("*", "\\*") for pair in shown]
    lines = ["| family | rho | V | " + " | ".join(names) + " |", "|---|---|---|" + "---|" * len(names)]
    for row in rows:
        cells = [_source(row), *(_cell(row.ratios[pair]) for pair in shown)]
        lines.append(f"| {row.title} | {row.rho:g} | " + " | ".join(cells) + " |")
    if not trends:
        return "\n".join(lines) + "\n"
    titles = list(dict.fromkeys(trend.title for trend in trends))
    lines += ["", "| gained from rho = 0 to 1 | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    of = {(trend.title, trend.measure): trend for trend in trends}
    for pair, name in zip(shown, names, strict=True):
        cells = [_trend_cell(of.get((title, pair))) for title in titles]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figure_of(rows: Sequence[CalibrationRow]) -> Figure:
    """Each measure against rho, a line for each family."""
    titles = list(dict.fromkeys(row.title for row in rows))
    styles = {title: FAMILIES.get(title, number) for number, title in enumerate(titles)}
    ticks = {rho: f"{rho:g}" for rho in sorted({row.rho for row in rows})}
    drawings = []
    for pair in _shown(rows):
        title = MEASURES[pair]
        lines = [Curve(styles[name], tuple(_point(row, pair) for row in rows if row.title == name)) for name in titles]
        points = [point for line in lines for point in line.points if point]
        highs = [point.high for point in points if math.isfinite(point.high)]
        top = max([1.0, min(Y_MAX, max(highs, default=1.0)), *(point.value for point in points)])
        axes = Axes("rho", name_of(pair), ticks, top, reference=(1.0, ""))
        drawings.append(curves(title, f"{title} against rho.", axes, lines))
    caption = f"Ratios against the share of clips whose texture follows the class. {WORDS}"
    legend = tuple((styles[title], title) for title in titles)
    return Figure("calibration", "Measures of texture bias against the bias", caption, tuple(drawings), legend)


def _point(row: CalibrationRow, pair: Pair) -> Point | None:
    one = row.ratios[pair]
    if one is None or not row.valid:
        return None
    return Point(row.rho, one.value, one.low, one.high, f"{row.title}, rho = {row.rho:g}: {_cell(one)}")


def _shown(rows: Sequence[CalibrationRow]) -> list[Pair]:
    """Not all data have all domains."""
    return [pair for pair in MEASURES if any(row.ratios[pair] is not None for row in rows)]


def _source(row: CalibrationRow) -> str:
    return ("" if row.valid else "! ") + _cell(row.accuracies[VIDEO_SOURCE])


def _cell(one: Estimate | None) -> str:
    if one is None:
        return "-"
    high = f"{one.high:.2f}" if math.isfinite(one.high) else "inf"
    return f"{one.value:.2f} [{one.low:.2f}, {high}]"


def _trend_cell(trend: Trend | None) -> str:
    return "-" if trend is None else f"{_gain(trend)}, {trend.points} points"


def _gain(trend: Trend) -> str:
    return f"{trend.slope:+.2f} [{trend.low:+.2f}, {trend.high:+.2f}] {trend.verdict}"
