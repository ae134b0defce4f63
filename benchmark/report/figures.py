"""The paper's figures from the entries of a board: Figures 3-6, the supplement's 2-4, and forest plots of rr.

An experiment on Diving48 has a panel of its own, as in Figures 5-6; all other entries share one.

Bands and bars are the 95 % intervals of the scorecards. rr of an entry whose V is not above guessing is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.config import VIDEO_SOURCE
from benchmark.report.boards import Board, studies_of
from benchmark.report.drawing import Axes, Curve, Drawing, ForestRow, Point, curves, forest, nice_ticks
from benchmark.report.entries import BoardEntry
from benchmark.report.style import styles_of
from benchmark.report.texts import interval_text, value_text
from benchmark.scoring import Row
from benchmark.statistics import Estimate
from benchmark.study_record import Study

MAX_ORIGINS = 2  # named in a legend
CONTROLS = {
    "O": "the test clips as they are",
    "C": "through the same steps without an edit",
    "T_union": "as T, with one box for the whole clip",
    "B": "the moving box alone on a flat background",
}
"""Target of Diving48 that the paper does not have -> what its clips show, in the order of a figure."""
RR_MAX = 1.5  # what reaches further is cut: such an interval says nothing


@dataclass(frozen=True)
class Figure:
    """``name`` is that of its file; ``legend``: style and text of each series; ``columns``: drawings side by side."""

    name: str
    title: str
    caption: str
    drawings: tuple[Drawing, ...]
    legend: tuple[tuple[int, str], ...]
    columns: int = 3


def figures_of(board: Board, styles: dict[str, int] | None = None) -> list[Figure]:
    """All that the entries of the board allow: curves need two sizes h of a model. ``styles``: of ``styles_of``."""
    chosen = styles_of(board.entries) if styles is None else styles
    figures = [_drops(board, chosen), *_controls(board, chosen), _forest(board, chosen)]
    if any(len({entry.hidden for entry in entries}) > 1 for entries in _series(_apart(board), chosen).values()):
        figures += [_against_hidden(board, chosen, "accuracy"), _against_hidden(board, chosen, "rr")]
    return figures


def _apart(board: Board) -> list[BoardEntry]:
    """Entries that are of no experiment: those are compared at a level, not over sizes."""
    return [entry for entry in board.entries if entry.study is None]


def _series(entries: Sequence[BoardEntry], styles: dict[str, int]) -> dict[int, list[BoardEntry]]:
    """Style of a series -> its entries by size."""
    series: dict[int, list[BoardEntry]] = {}
    for entry in entries:
        series.setdefault(styles[entry.name], []).append(entry)
    return series


def _against_hidden(board: Board, styles: dict[str, int], quantity: str) -> Figure:
    """Supplement Figures 2-3 (accuracy) and 4 (rr; main Figure 4)."""
    series = {style: [e for e in entries if e.hidden] for style, entries in _series(_apart(board), styles).items()}
    series = {style: entries for style, entries in series.items() if entries}
    sizes = sorted({entry.hidden for entries in series.values() for entry in entries})
    pick = _PICK[quantity]
    drawings = []
    for number, domain in enumerate((board.source, *board.targets)):
        if quantity == "rr" and number == 0:
            continue
        lines = []
        for style, entries in series.items():
            points = [_point(entry, float(entry.hidden), pick(entry, entry.card.rows[number])) for entry in entries]
            lines.append(Curve(style, tuple(points)))
        chance = board.entries[0].card.chance
        axes = Axes(
            x_name="hidden units a layer, h",
            y_name=quantity,
            ticks={float(size): str(size) for size in sizes},
            y_max=1.0 if quantity == "accuracy" else _top(lines),
            log_x=True,
            reference=(chance, "chance") if quantity == "accuracy" else (1.0, ""),
        )
        title = f"{domain}{' (source)' if number == 0 else ''}"
        drawings.append(curves(title, _words(quantity, domain, board, series), axes, lines))
    left_out = sum(not entry.card.valid for entries in series.values() for entry in entries)
    caption = f"{'Accuracy' if quantity == 'accuracy' else 'Robustness ratio'} against the number of hidden units a "
    caption += f"layer (logarithmic), trained on {board.source}. Bands: 95% intervals."
    if quantity == "rr" and left_out:
        caption += f" Left out: {left_out} whose V is not above guessing."
    title = f"{'Accuracy' if quantity == 'accuracy' else 'Robustness ratio'} against model size, {board.source}"
    return Figure(f"{_stem(board)}-{quantity}-against-h", title, caption, tuple(drawings), _legend(series))


_PICK: dict[str, Callable[[BoardEntry, Row], Estimate | None]] = {
    "accuracy": lambda entry, row: row.accuracy,
    "rr": lambda entry, row: row.rr if entry.card.valid else None,
}


def _drops(board: Board, styles: dict[str, int]) -> Figure:
    """Main Figures 3, 5 and 6: from the best source validation (Bv.) to the targets."""
    caption = f"Accuracy from the best source validation (Bv., {board.source}) to the targets. "
    if studies_of([board]):
        caption += "In an experiment Bv. is V of the checkpoints at its level. "
    title = f"Accuracy from source to targets, {board.source}"
    return _panels(board, styles, board.targets, "drops", title, caption)


def _controls(board: Board, styles: dict[str, int]) -> list[Figure]:
    """Of videos, what all entries answer beyond S1, S2 and T, on the same clips; empty where that is nothing."""
    of_entry = [{(row.domain, row.content_hash) for row in entry.targets} for entry in board.entries]
    shared = {domain for domain, _ in set.intersection(*of_entry)}
    names = [name for name in CONTROLS if name in shared and name not in board.targets]
    if board.source != VIDEO_SOURCE or not names:
        return []
    words = "; ".join(f"{name}: {CONTROLS[name]}" for name in names)
    title = f"Accuracy on the controls, {board.source}"
    return [_panels(board, styles, names, "controls", title, f"Controls, the same checkpoints. {words}. ")]


def _panels(
    board: Board, styles: dict[str, int], targets: Sequence[str], name: str, title: str, caption: str
) -> Figure:
    """Lines of accuracy from the source to ``targets``."""
    groups = [("Accuracy drops", _apart(board))]
    studies = studies_of([board])
    titles = [study_title(study) for study in studies]
    for study, plain in zip(studies, titles, strict=True):
        head = plain if titles.count(plain) == 1 else f"{plain} ({study.name})"
        groups.append((head, [entry for entry in board.entries if entry.study is study]))
    panels = [(head, _lines(_series(entries, styles), targets)) for head, entries in groups if entries]
    top = max(point.high for _, lines in panels for line, _ in lines for point in line.points if point)
    ticks = {float(number): place for number, place in enumerate(("Bv.", *targets))}
    chance = (board.entries[0].card.chance, "chance")
    axes = Axes("", "accuracy", ticks, 1.0 if top > 0.6 else _ceiling(top), reference=chance)
    drawings = []
    for head, lines in panels:
        words = f"Lines of accuracy: {'; '.join(text for _, text in lines)}."
        drawings.append(curves(head, words, axes, [line for line, _ in lines]))
    caption += _band_words(_series(_apart(board), styles))
    columns = 4 if len(drawings) > 3 else 3
    return Figure(
        f"{_stem(board)}-{name}", title, caption, tuple(drawings), _legend(_series(board.entries, styles)), columns
    )


def study_title(study: Study) -> str:
    """Of its panel, as in Figures 5 and 6."""
    return f"{study.config.letter}) {study.config.of_paper.matched_by}, {study.config.level_text}"


def _lines(series: dict[int, list[BoardEntry]], targets: Sequence[str]) -> list[tuple[Curve, str]]:
    """A line of each series and what it shows in words; the mean over the sizes h that all of them have."""
    shared, lines = _shared_sizes(series), []
    for style, entries in series.items():
        chosen = [entry for entry in entries if entry.hidden in shared] or entries
        family = chosen[0].series_title
        points = []
        for number, name in enumerate((chosen[0].source.domain, *targets)):
            mean = _mean([row.accuracy for entry in chosen for row in entry.card.rows if row.domain == name])
            label = f"{family}, {name if number else 'Bv.'}: {mean.value:.3f} {interval_text(mean)}"
            points.append(Point(float(number), mean.value, mean.low, mean.high, label))
        shown = ", ".join(f"{p.value:.3f} on {name}" for p, name in zip(points[1:], targets, strict=True))
        lines.append((Curve(style, tuple(points)), f"{family} from {points[0].value:.3f} to {shown}"))
    return lines


def _shared_sizes(series: dict[int, list[BoardEntry]]) -> set[int]:
    of_series = [{entry.hidden for entry in entries if entry.hidden} for entries in series.values()]
    return set.intersection(*filter(None, of_series)) if any(of_series) else set()


def _band_words(series: dict[int, list[BoardEntry]]) -> str:
    if not any(len(entries) > 1 for entries in series.values()):
        return "Bands: 95% intervals."
    sizes = ", ".join(str(size) for size in sorted(_shared_sizes(series)) if size)
    return (
        f"Mean over {f'the sizes that all share (h = {sizes})' if sizes else 'the sizes of each'}; "
        "the band is the mean of their intervals, which is never narrower than the interval of the mean."
    )


def _forest(board: Board, styles: dict[str, int]) -> Figure:
    several = len({(entry.label, entry.family) for entry in board.entries}) < len(board.entries)
    of_target: dict[str, list[ForestRow]] = {}
    for number, target in enumerate(board.targets, start=1):
        for entry in board.entries:
            rr = _PICK["rr"](entry, entry.card.rows[number])
            name = entry.label if entry.study is None else f"{entry.study.config.letter}) {entry.family}"
            name = f"{name} · {entry.origin}" if several else name
            text = f"{value_text(rr)} {interval_text(rr)}" if rr else "V at guessing"
            row = ForestRow(styles[entry.name], name, _point(entry, 0.0, rr), text)
            of_target.setdefault(target, []).append(row)
    # Room for the values: one wide interval must not make all others small, and ends in an arrow.
    values = [row.point.value for rows in of_target.values() for row in rows if row.point]
    top = _ceiling(min(max([1.0, *values]), RR_MAX))
    drawings = []
    for target, rows in of_target.items():
        words = "; ".join(f"{row.name}: {row.text}" for row in rows)
        drawings.append(forest(target, f"rr with 95% intervals: {words}.", "rr", top, rows, 1.0))
    caption = f"Robustness ratios with 95% intervals, trained on {board.source}. Dotted line: no loss (rr = 1)."
    title = f"Robustness ratios, {board.source}"
    return Figure(f"{_stem(board)}-forest", title, caption, tuple(drawings), ())


def _point(entry: BoardEntry, x: float, estimate: Estimate | None) -> Point | None:
    if estimate is None:
        return None
    label = f"{entry.label}: {value_text(estimate)} {interval_text(estimate)}"
    return Point(x, estimate.value, estimate.low, estimate.high, label)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Of values and of ends: as wide as if the errors of all sizes were one and the same."""
    n = len(estimates)
    value, low, high = (sum(getattr(e, end) for e in estimates) / n for end in ("value", "low", "high"))
    return Estimate(value, low, high, estimates[0].variance)


def _top(lines: Sequence[Curve]) -> float:
    highs = [point.high for line in lines for point in line.points if point] or [1.0]
    return _ceiling(min(max(*highs, 1.0), RR_MAX))


def _ceiling(value: float) -> float:
    """The next tick above."""
    ticks = nice_ticks(value)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else value
    return math.ceil(value / step - 1e-9) * step


def _words(quantity: str, domain: str, board: Board, series: dict[int, list[BoardEntry]]) -> str:
    number = (board.source, *board.targets).index(domain)
    parts = []
    for entries in series.values():
        values = [(entry.hidden, _PICK[quantity](entry, entry.card.rows[number])) for entry in entries]
        shown = ", ".join(f"{value.value:.3f} at h {h}" for h, value in values if value)
        parts.append(f"{entries[0].series_title}: {shown or 'nothing to show'}")
    return f"{quantity} on {domain}. {'; '.join(parts)}."


def _legend(series: dict[int, list[BoardEntry]]) -> tuple[tuple[int, str], ...]:
    """Titles of models, with the directories they come from where a model has several series."""
    models = [entries[0].series_title for entries in series.values()]
    legend = []
    for style, entries in series.items():
        origins = list(dict.fromkeys(entry.origin for entry in entries))
        named = ", ".join(origins[:MAX_ORIGINS]) + ", ..." * (len(origins) > MAX_ORIGINS)
        legend.append(
            (style, entries[0].series_title + (f" ({named})" if models.count(entries[0].series_title) > 1 else ""))
        )
    return tuple(legend)


def _stem(board: Board) -> str:
    safe = "".join(char if char.isalnum() or char in "-_" else "-" for char in board.source)
    return f"{safe}-{board.clips}"
