"""The paper's Diving48 results beside a leaderboard: as printed, with intervals from the sizes of its sets."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.paper.reference import CITATION, ReferenceRow, reference_rows
from benchmark.paper.tables import RATIO_COLUMNS
from benchmark.report.blocks import Cell, Column, estimate_cell, sortable
from benchmark.report.drawing import Axes, Curve, Drawing, Point, curves
from benchmark.report.figures import Figure
from benchmark.report.markup import Markup, el, join
from benchmark.report.page import figure
from benchmark.report.style import FAMILIES
from benchmark.report.texts import interval_text, value_text

PLACES = ("Bv.", "S1", "S2", "T")
IDENTIFIER = "paper"


def reference_section() -> Markup:
    """Its table and Figures 5-6."""
    rows = reference_rows()
    sizes = f"{rows[0].n_val} and {rows[0].n_target} clips"
    words = (
        f"{CITATION} on Diving48, reference entries. Reported without intervals, one training each: those shown are "
        f"of the delta method, of V exact, from the sizes of its sets ({sizes}), so they carry the clips alone. Not "
        "ranked: their clips are not at hand. * as printed: T/V means little where T/S1 < 1 does not hold."
    )
    head = el("h2", "Reported in the paper")
    return el("section", head, el("p", words), _table(rows), figure(drops(rows)), id=IDENTIFIER)


def drops(rows: Sequence[ReferenceRow]) -> Figure:
    """Main Figures 5 (experiments a-d) and 6 (e-h): the accuracies that the printed level and ratios imply."""
    drawings = []
    for experiment in dict.fromkeys(row.experiment for row in rows):
        drawings.append(_panel([row for row in rows if row.experiment == experiment]))
    caption = (
        "Accuracy from the level at which an experiment compares (Bv.) to S1, S2 and T, as Figures 5 and 6 of the "
        "paper. Bands: at Bv. the exact interval of the level, else the intervals of the ratios times the level."
    )
    legend = tuple((style, name) for name, style in FAMILIES.items())
    return Figure("paper-diving48-drops", "Diving48 accuracy drops in the paper", caption, tuple(drawings), legend, 4)


def _panel(rows: Sequence[ReferenceRow]) -> Drawing:
    lines, words = [], []
    for row in rows:
        V = row.accuracy
        points = [Point(0.0, V.value, V.low, V.high, f"{row.model}, Bv.: {V.value:.3f} {interval_text(V)}")]
        for number, place in enumerate(PLACES[1:], start=1):
            ratio = row.ratios[f"{place}/V"]
            value, low, high = (row.V * end for end in (ratio.value, ratio.low, ratio.high))
            points.append(Point(float(number), value, low, high, f"{row.model}, {place}: {value:.3f}"))
        lines.append(Curve(FAMILIES[row.model], tuple(points)))
        words.append(f"{row.model}: " + ", ".join(f"{p.value:.3f}" for p in points))
    title = f"{rows[0].experiment}) {rows[0].matched_by}, {rows[0].V:.1%}"
    ticks = {float(number): place for number, place in enumerate(PLACES)}
    return curves(title, f"Accuracy at Bv., S1, S2, T. {'; '.join(words)}.", Axes("", "accuracy", ticks, 0.6), lines)


def _table(rows: Sequence[ReferenceRow]) -> Markup:
    columns = [
        Column("model", kind="word", first="ascending"),
        Column("experiment", kind="word", first="ascending"),
        Column("matched by", kind="word", first="ascending"),
        Column("V"),
        *(Column(name) for name in RATIO_COLUMNS),
        Column("printed in", kind="word", first="ascending"),
    ]
    lines = []
    for row in rows:
        texts = (row.model, row.experiment, row.matched_by)
        cells = [Cell(join(text), text) for text in texts] + [estimate_cell(row.accuracy)]
        for name in RATIO_COLUMNS:
            ratio = row.ratios[name]
            star = "*" if name == "T/V" and row.asterisk else ""
            shown = join(f"{value_text(ratio)}{star}", el("small", interval_text(ratio)))
            cells.append(Cell(shown, estimate_cell(ratio).key))
        lines.append([*cells, Cell(join(row.source), row.source)])
    return sortable("Ratios as printed; brackets: 95% intervals of the delta method. Heads sort.", columns, lines)
