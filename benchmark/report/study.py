"""The experiments on Diving48 in a page: the ratios of each beside the paper's, T/V as a product, and Table 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark.report.blocks import Cell, Column, estimate_cell, sortable, table
from benchmark.report.boards import Board, studies_of
from benchmark.report.entries import BoardEntry
from benchmark.report.markup import Markup, el, join
from benchmark.report.study_text import NOTES, caption_of, column_of, experiments_text, groups_of
from benchmark.report.tables import NOT_VALID
from benchmark.report.texts import interval_text, value_text
from benchmark.statistics import Estimate
from benchmark.study_record import FACTORS, PRINTED, Pair, Study, StudyRow, name_of
from benchmark.study_table import (
    AVERAGE_WORDS,
    FACTOR_WORDS,
    TEXTURE_PAIR,
    Average,
    best_of,
    mark_of,
    paper_mark,
    paper_words,
    printed_text,
)

IDENTIFIER, TITLE = "experiments", "Experiments on videos"
LEAD = (
    "Families matched as in section 4.2 of the paper, each evaluated at the first checkpoint that reached the level of "
    "V. Beside each number stands the paper's, as printed."
)
Href = Callable[[BoardEntry], str]
"""Where the record of an entry lies."""


def studies_section(boards: Sequence[Board], href: Href) -> Markup | None:
    """Every experiment that the entries belong to; None where there are none."""
    studies = studies_of(boards)
    if not studies:
        return None
    links = {(id(entry.study), entry.family): href(entry) for board in boards for entry in board.entries if entry.study}
    parts: list[Markup] = []
    for group, averages in groups_of(studies):
        if averages:
            parts.append(_averages(averages))
        for study in group:
            parts += _one(study, {row.title: links.get((id(study), row.title)) for row in study.rows})
    notes = el("ul", *(el("li", note) for note in NOTES), class_="note")
    return el("section", el("h2", TITLE), el("p", LEAD), *parts, notes, id=IDENTIFIER)


def _one(study: Study, links: dict[str, str | None]) -> list[Markup]:
    pairs = (*FACTORS, TEXTURE_PAIR)
    lines = [[row.title, *(estimate_cell(row.ratios[pair]).content for pair in pairs)] for row in study.reached]
    factors = table(f"{FACTOR_WORDS}.", ("model", *map(name_of, pairs)), lines, words=1)
    about = "" if study.name == study.config.experiment else f" ({study.name})"
    return [
        el("h3", f"{caption_of(study)}{about}"),
        _ratios(study, links),
        el("p", paper_words(study.rows), class_="note"),
        *([factors] if lines else []),
    ]


def _ratios(study: Study, links: dict[str, str | None]) -> Markup:
    columns = [
        Column("model", kind="word", first="ascending"),
        Column("here", "V", help="source validation accuracy of the checkpoints at the level"),
        Column("paper", "V", help="the level, with the exact interval of its set"),
    ]
    for pair in PRINTED:
        columns += [
            Column("here", column_of(pair)),
            Column("paper", column_of(pair), help=f"{name_of(pair)} as printed"),
        ]
    best = {pair: best_of(study.rows, pair) for pair in PRINTED}
    lines = []
    for row in study.rows:
        cells = [_name(row, links[row.title]), _reached(row), estimate_cell(row.paper.accuracy)]
        for pair in PRINTED:
            own, paper = row.ratios.get(pair), row.paper.ratios[name_of(pair)]
            cells.append(_ratio(own, value_text(own), mark_of(row, pair), bold=row.title in best[pair]))
            cells.append(_ratio(paper, printed_text(paper.value), paper_mark(row, pair)))
        lines.append(cells)
    return sortable(
        "Ratios with 95% intervals; the paper's follow from the sizes of its sets. Heads sort.", columns, lines
    )


def _name(row: StudyRow, link: str | None) -> Cell:
    flag = None if row.card is None or row.card.valid else el("span", "not valid", class_="flag", title=NOT_VALID)
    title = el("a", row.title, href=link) if link else row.title
    parameters = f"{row.parameters:,} parameters".replace(",", "\u202f")
    size = f"h = {row.hidden}" + (f", {len(row.seeds)} seed{'s' * (len(row.seeds) > 1)}" if row.seeds else "")
    return Cell(join(title, el("small", size), el("small", parameters), flag), row.title)


def _reached(row: StudyRow) -> Cell:
    if row.card is None:
        return Cell(join("-", el("small", f"not reached, best {row.best:.3f}")), None)
    return estimate_cell(row.card.rows[0].accuracy)


def _ratio(estimate: Estimate | None, text: str, mark: str, *, bold: bool = False) -> Cell:
    if estimate is None:
        return Cell(join("-"), None)
    value = join(text, mark)
    return Cell(join(el("b", value) if bold else value, el("small", interval_text(estimate))), estimate.value)


def _averages(averages: Sequence[Average]) -> Markup:
    columns = [Column("model", kind="word", first="ascending"), Column("experiments", kind="word", first="ascending")]
    for pair in PRINTED:
        columns += [Column("here", column_of(pair)), Column("paper", column_of(pair))]
    lines = []
    for one in averages:
        cells = [Cell(join(text), text) for text in (one.title, experiments_text(one))]
        for pair in PRINTED:
            cells.append(_mean(one, pair))
            printed = one.paper[name_of(pair)]
            cells.append(Cell(join(printed), float(printed.split()[0])))
        lines.append(cells)
    caption = "Mean ± standard deviation over experiments. Paper: Table 1, on Diving48. Heads sort."
    return join(
        el("h3", "Average of the experiments"), sortable(caption, columns, lines), el("p", AVERAGE_WORDS, class_="note")
    )


def _mean(one: Average, pair: Pair) -> Cell:
    return Cell(join(one.text(pair)), one.mean.get(pair))
