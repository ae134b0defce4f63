"""The parts of pages that show entries: sortable tables and the record of one entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.report.boards import Board
from benchmark.report.entries import BoardEntry
from benchmark.report.markup import Markup, el, join
from benchmark.report.robustness import detectable_text
from benchmark.report.tables import NOT_VALID, asterisk_text, corrected_interval_text, corrected_text
from benchmark.report.texts import interval_text, points_interval_text, points_text, value_text
from benchmark.scoring import Row
from benchmark.statistics import Estimate
from benchmark.table import NO_TEXTURE, TEXTURE_WORDS, is_uneven

SHOWN_HASH = 12


@dataclass(frozen=True)
class Column:
    """``over``: the head above it, shared by neighbours; ``first``: order at the first click; ``kind``: of values."""

    name: str
    over: str = ""
    kind: str = "number"
    first: str = "descending"
    help: str | None = None


@dataclass(frozen=True)
class Cell:
    """What is shown, and what is sorted by: a number or a text; None stays last."""

    content: Markup
    key: float | str | None


def sortable(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Markup:
    """A table whose heads are buttons; the first cell of a row names it. It scrolls by itself when it is too wide."""
    heads = []
    for number, column in enumerate(columns):
        facts = {"data-column": number, "data-kind": column.kind, "data-first": column.first}
        button = el("button", column.name, type="button", title=column.help)
        heads.append(el("th", button, scope="col", aria_sort="none", class_=_class_of(column), **facts))
    lines = []
    for row in rows:
        cells = []
        for number, (column, cell) in enumerate(zip(columns, row, strict=True)):
            facts = {"data-v": None if cell.key is None else f"{cell.key}", "class": _class_of(column)}
            first = {"scope": "row"} if number == 0 else {}
            cells.append(el("th" if first else "td", cell.content, **first, **facts))
        lines.append(el("tr", *cells))
    table = el(
        "table",
        el("caption", el("span", caption)),
        el("thead", _heads_above(columns), el("tr", *heads)),
        el("tbody", *lines),
    )
    # The region can be reached and scrolled by keys.
    return el("div", table, class_="scroll", role="region", aria_label=caption, tabindex=0)


def estimate_cell(estimate: Estimate | None, mark: str = "") -> Cell:
    """Value, ``mark`` and interval, sorted by the value."""
    content = join(value_text(estimate), mark, el("small", interval_text(estimate)) if estimate else None)
    return Cell(content, None if estimate is None else estimate.value)


def points_cell(estimate: Estimate | None) -> Cell:
    """Of a difference of accuracies, with signs."""
    content = join(points_text(estimate), el("small", points_interval_text(estimate)) if estimate else None)
    return Cell(content, None if estimate is None else estimate.value)


def effective_columns(board: Board, target: str) -> list[Column]:
    """One column where the board has enough entries, else none."""
    return [Column("eff.", target, help="effective robustness")] if board.has_effective else []


def effective_cells(board: Board, entry: BoardEntry, target: str) -> list[Cell]:
    """Those of :func:`effective_columns`."""
    return [points_cell(board.effective_points(entry, target))] if board.has_effective else []


def footnotes(board: Board) -> Markup | None:
    """Below a table: what it could show at all."""
    text = detectable_text(board.detectable)
    return el("p", text, class_="note") if text else None


def entry_columns(board: Board) -> list[Column]:
    """Model, h where any model of the board has such a choice, parameters, seeds."""
    return [
        Column("model", kind="word", first="ascending"),
        *([Column("h", first="ascending", help="hidden units a layer")] if _has_sizes(board) else []),
        Column("parameters", first="ascending"),
        Column("seeds"),
    ]


def entry_cells(board: Board, entry: BoardEntry, href: str) -> list[Cell]:
    """Those of :func:`entry_columns`; flags stand with the name."""
    flag = None if entry.card.valid else el("span", "not valid", class_="flag", title=NOT_VALID)
    # The name stays in sight while the table scrolls, so the size stands with it.
    name = join(el("a", entry.model_title, href=href), el("small", entry.about), flag)
    parameters = None if entry.parameters is None else float(entry.parameters)
    size = Cell(join(str(entry.hidden) if entry.hidden else "-"), float(entry.hidden) if entry.hidden else None)
    seeds = len(entry.card.seeds)
    return [
        Cell(name, f"{entry.model_title} {entry.origin}"),
        *([size] if _has_sizes(board) else []),
        Cell(join("-" if entry.parameters is None else f"{entry.parameters:,}".replace(",", "\u202f")), parameters),
        Cell(join(str(seeds)), float(seeds)),
    ]


def _has_sizes(board: Board) -> bool:
    return any(entry.hidden for entry in board.entries)


def results_table(caption: str, board: Board) -> Markup:
    """All numbers of a board; the model's name leads to its record in the same page."""
    columns = [*entry_columns(board), Column("V", help="source validation accuracy")]
    for target in board.targets:
        columns += [
            Column("accuracy", target),
            Column("rr", target),
            Column("rr*", target, help="rr after subtracting chance"),
            *effective_columns(board, target),
        ]
    rows = []
    for entry in board.entries:
        cells = [*entry_cells(board, entry, f"#entry-{entry.name}"), estimate_cell(entry.source.accuracy)]
        for row in board.rows_of(entry)[1:]:
            cells += [estimate_cell(row.accuracy), *_ratio_cells(entry, row)]
            cells += effective_cells(board, entry, row.domain)
        rows.append(cells)
    return sortable(caption, columns, rows)


def record(entry: BoardEntry) -> Markup:
    """Everything known about an entry: numbers by domain, seeds, protocol, clips, where it was computed."""
    heads = ["domain", "role", "clips", "accuracy", "interval", "rr", "interval", "rr*", "interval"]
    heads += ["majority", *(("prior", "prior, top 5") if is_uneven(entry.card) else ()), "right, by seed"]
    lines = []
    for row in entry.card.rows:
        texts = [row.domain, row.role, row.n, value_text(row.accuracy), interval_text(row.accuracy)]
        texts += [value_text(row.rr) + asterisk_text(entry, row), interval_text(row.rr)]
        texts += [corrected_text(row), corrected_interval_text(row), f"{row.majority:.3f}"]
        if is_uneven(entry.card):
            texts += ["-" if share is None else f"{share:.3f}" for share in (row.prior, row.prior_top5)]
        texts.append(", ".join(map(str, row.hits)))
        lines.append(texts)
    parts = [
        el("p", entry.card.title),
        None if entry.card.valid else el("p", f"Not valid: {NOT_VALID}.", class_="flag"),
        table("Numbers by domain", heads, lines, words=2),
        _texture_words(entry),
        el("p", f"Chance: {entry.card.chance:.3f}. {_variance_words(entry)}{_prior_words(entry)}", class_="soft"),
    ]
    if entry.trainings:
        names = ("seed", "epochs", "best_epoch", "stopped")
        lines = [[training.get(name, "-") for name in names] for training in entry.trainings]
        parts.append(table("Training, by seed", ("seed", "epochs", "best epoch", "stopped by"), lines, words=0))
    parts += [facts("Protocol", entry.protocol), *_clips(entry)]
    parts += [facts("Environment", each) for each in entry.environments]
    return el("div", *parts, class_="record")


def table(caption: str, heads: Sequence[str], lines: Sequence[Sequence[object]], *, words: int) -> Markup:
    """A plain table; its first ``words`` columns are texts."""
    classes = ["word" if number < words else None for number in range(len(heads))]
    head = el("tr", *(el("th", text, scope="col", class_=c) for text, c in zip(heads, classes, strict=True)))
    body = [el("tr", *(el("td", text, class_=c) for text, c in zip(line, classes, strict=True))) for line in lines]
    whole = el("table", el("caption", el("span", caption)), el("thead", head), el("tbody", *body))
    return el("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)


def facts(title: str, values: dict[str, Any]) -> Markup:
    """Names and values, one a line."""
    lines = [join(el("dt", name.replace("_", " ")), el("dd", str(value))) for name, value in values.items()]
    return join(el("h3", title), el("dl", *lines))


def _clips(entry: BoardEntry) -> list[Markup]:
    heads: tuple[str, ...] = ("domain", "split", "clips", "profile", "digits", "content hash")
    lines = []
    for each in entry.data:
        digest = str(each.get("content_hash", "-"))
        shown = el("span", digest, class_="hash")
        names = ("domain", "split", "n", "profile", "digits_source")
        lines.append([*("-" if each.get(name) is None else each[name] for name in names), shown])
    if not lines:
        heads = ("domain", "content hash")
        lines = [[row.domain, el("span", row.content_hash, class_="hash")] for row in entry.card.rows]
    return [table("Clips", heads, lines, words=2)]


def _ratio_cells(entry: BoardEntry, row: Row) -> list[Cell]:
    """Shown, but last in every order, where V is not above guessing."""
    cells = [estimate_cell(row.rr, asterisk_text(entry, row)), Cell(join(corrected_text(row)), row.rr_chance_corrected)]
    if entry.card.valid:
        return cells
    return [Cell(el("span", cell.content, class_="soft"), None) for cell in cells]


def _texture_words(entry: BoardEntry) -> Markup | None:
    """T / S1 of Diving48 and what it says of T/V."""
    texture, verdict = entry.card.texture, entry.card.texture_verdict
    if verdict is None:
        return None
    shown = NO_TEXTURE if texture is None else f"T/S1 = {value_text(texture)} {interval_text(texture)}"
    return el("p", f"{shown}: {TEXTURE_WORDS[verdict]}", class_="soft")


def _class_of(column: Column) -> str | None:
    return "word" if column.kind == "word" else None


def _variance_words(entry: BoardEntry) -> str:
    if len(entry.card.seeds) == 1:
        return "One seed: intervals carry the variance of the clips alone."
    return f"{len(entry.card.seeds)} seeds: intervals carry the variance of seeds and clips."


def _prior_words(entry: BoardEntry) -> str:
    if not is_uneven(entry.card):
        return ""
    return (
        " Majority: always the most frequent class. Prior: answers drawn with the class frequencies of the source "
        "validation clips; top 5: always their five most frequent classes."
    )


def _heads_above(columns: Sequence[Column]) -> Markup | None:
    if not any(column.over for column in columns):
        return None
    cells, start = [], 0
    while start < len(columns):
        end = start + 1
        while columns[start].over and end < len(columns) and columns[end].over == columns[start].over:
            end += 1
        over = columns[start].over
        cells.append(el("th", el("span", over), colspan=end - start, scope="colgroup") if over else el("td"))
        start = end
    return el("tr", *cells, class_="over")
