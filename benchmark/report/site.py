"""A leaderboard as static pages: index.html, one page and one JSON record an entry, tables for papers. No server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmark.report.blocks import (
    Cell,
    Column,
    effective_cells,
    effective_columns,
    entry_cells,
    entry_columns,
    estimate_cell,
    footnotes,
    record,
    sortable,
)
from benchmark.report.boards import Board, boards_of, studies_of
from benchmark.report.entries import BoardEntry, read_entries
from benchmark.report.figures import figures_of
from benchmark.report.markup import Markup, el, join
from benchmark.report.page import figure, how_to_read, navigation, page
from benchmark.report.ranking import Rank, ranks_of
from benchmark.report.single import lead_text, more_words
from benchmark.report.study import IDENTIFIER, TITLE, studies_section
from benchmark.report.study_text import studies_json
from benchmark.report.style import styles_of
from benchmark.report.tables import FORMATS, asterisk_text, heading, json_text
from benchmark.scoring import Row
from benchmark.submission.archive import ARCHIVE_ENDINGS
from benchmark.submission.truth import AnswerKeys
from tsgen.common.errors import UsageError
from tsgen.common.files import atomic_folder

MARKER = "leaderboard.json"
FORMAT = "rac-bench-leaderboard"
SCHEMA_VERSION = 1
RANKING = (
    "Rank is an interval: 1 + the number of entries that are surely better, to n - the number that are surely worse. "
    "Every two entries are compared on the clips they share, with Holm's correction: all rank intervals of a column "
    "hold together in 95 of 100 cases. Entries that share a letter are not told apart. A table holds only "
    "entries that were scored on the same clips. A model with a higher V can have a higher rr without being more "
    "robust: compare entries of like V, size or layers, and say which."
)


def read_directory(directory: Path, keys: AnswerKeys | None = None) -> list[BoardEntry]:
    """Those of every subdirectory and every archive, by name; hidden ones and other files are passed over.

    Errors as of :func:`read_entries`.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory; give one that holds a directory for each run or sweep.")
    paths = sorted(
        path
        for path in directory.iterdir()
        if not path.name.startswith(".") and (path.is_dir() or path.name.lower().endswith(ARCHIVE_ENDINGS))
    )
    if not paths:
        raise UsageError(
            f"{directory} holds no directory and no archive ({', '.join(ARCHIVE_ENDINGS)}); put each run, sweep or "
            "submission into one of its own."
        )
    return read_entries(paths, keys)


def build_site(entries: Sequence[BoardEntry], out: Path, *, title: str, force: bool, paper: bool = True) -> None:
    """Write the site to ``out``, whole or not at all; ``paper``: with the paper's rows.

    UsageError when ``out`` is taken (see :func:`check_site`).
    """
    check_site(out, force)
    boards = boards_of(entries)
    try:
        with atomic_folder(out) as partial:
            write_site(partial, boards, title, paper)
    except OSError as problem:
        raise UsageError(f"--out {out} cannot be written: {problem}.") from problem


def check_site(out: Path, force: bool) -> None:
    """Only a leaderboard is ever replaced, and only with ``force``."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out {out} is not a directory; give another name.")
    if not out.resolve().parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.resolve().parent} does not exist; create it first.")
    if out.exists() and not force:
        raise UsageError(f"--out {out} exists; give another name or add --force to replace it.")
    if out.exists() and not _is_site(out) and any(out.iterdir()):
        raise UsageError(f"--out {out} holds no leaderboard ({MARKER}) and is not replaced; give another name.")


def write_site(folder: Path, boards: Sequence[Board], title: str, paper: bool) -> None:
    """All files of the site into an empty folder."""
    (folder / "entries").mkdir()
    (folder / "records").mkdir()
    ranks: dict[tuple[str, str], Rank] = {}
    for board in boards:
        ranks.update(ranks_of(board))
        for entry in board.entries:
            _write(folder / "entries" / f"{entry.name}.html", _entry_page(entry, board, ranks, title))
            _write_json(folder / "records" / f"{entry.name}.json", entry.to_json())
    _write(folder / "index.html", _index(boards, ranks, title, paper))
    for suffix, render in FORMATS.items():
        _write(folder / f"leaderboard.{suffix}", render(boards))
    _write_json(folder / MARKER, to_json(boards, ranks))


def to_json(boards: Sequence[Board], ranks: dict[tuple[str, str], Rank]) -> dict[str, object]:
    """The index as data: boards, their entries, ranks and where the records lie."""
    listed = []
    for board in boards:
        entries = []
        for entry in board.entries:
            places = {target: ranks.get((entry.name, target)) for target in board.targets}
            of_targets = {
                target: place and {"best": place.best, "worst": place.worst, "ties": list(place.ties)}
                for target, place in places.items()
            }
            facts = {"name": entry.name, "model": entry.model, "hidden": entry.hidden, "valid": entry.card.valid}
            points = {target: board.effective_points(entry, target) for target in board.targets}
            facts["effective_robustness"] = {target: each and each.to_json() for target, each in points.items()}
            entries.append({**facts, "ranks": of_targets, "record": f"records/{entry.name}.json"})
        detectable = [each.to_json() for each in board.detectable]
        hashes = {row.domain: row.content_hash for row in board.rows_of(board.entries[0])}
        facts = {"source": board.source, "targets": list(board.targets), "clips": hashes}
        listed.append({**facts, "minimum_detectable": detectable, "entries": entries})
    return {"format": FORMAT, "schema_version": SCHEMA_VERSION, "boards": listed, **studies_json(studies_of(boards))}


def _index(boards: Sequence[Board], ranks: dict[tuple[str, str], Rank], title: str, paper: bool) -> str:
    styles = styles_of([entry for board in boards for entry in board.entries])
    sections = []
    for number, board in enumerate(boards):
        figures = [figure(each) for each in figures_of(board, styles)]
        table = _ranking_table(board, ranks)
        head = el("h2", heading(board, boards))
        sections.append(el("section", head, table, footnotes(board), *figures, id=f"board-{number}"))
    links = [(f"#board-{number}", heading(board, boards)) for number, board in enumerate(boards)]
    studies = studies_section(boards, lambda entry: f"entries/{entry.name}.html")
    if studies:
        sections.append(studies)
        links.append((f"#{IDENTIFIER}", TITLE))
    if paper:
        from benchmark.report import reference

        sections.append(reference.reference_section())
        links.append((f"#{reference.IDENTIFIER}", "Reported in the paper"))
    links += [("#data", "Data"), ("#how-to-read", "How to read this")]
    files = [el("li", el("a", f"leaderboard.{suffix}", href=f"leaderboard.{suffix}")) for suffix in (*FORMATS, "json")]
    data = el("section", el("h2", "Data"), el("p", "The same numbers as files:"), el("ul", *files), id="data")
    lead = el("p", lead_text(boards), class_="lead")
    return page(
        title, lead, [*sections, data, how_to_read(join(RANKING), *more_words(boards))], navigation=navigation(links)
    )


def _ranking_table(board: Board, ranks: dict[tuple[str, str], Rank]) -> Markup:
    has_presets = any("preset" in entry.protocol for entry in board.entries)
    columns = [
        *entry_columns(board),
        *([Column("protocol", kind="word", first="ascending")] if has_presets else []),
        Column("V", help="source validation"),
    ]
    for target in board.targets:
        rank = Column("rank", target, first="ascending", help="rank interval; below it the ties")
        columns += [Column("rr", target), rank, *effective_columns(board, target)]
    columns.append(Column("record", kind="word", first="ascending"))
    rows = []
    for entry in _by_last_target(board):
        preset = str(entry.protocol.get("preset", "-"))
        cells = entry_cells(board, entry, f"entries/{entry.name}.html")
        cells += [Cell(join(preset), preset)] if has_presets else []
        cells.append(estimate_cell(entry.source.accuracy))
        for row in board.rows_of(entry)[1:]:
            cells += _target_cells(entry, row, ranks)
            cells += effective_cells(board, entry, row.domain)
        link = el("a", "JSON", href=f"records/{entry.name}.json", aria_label=f"record of {entry.label} as JSON")
        rows.append([*cells, Cell(link, entry.name)])
    caption = f"rr with 95% intervals, in the order of rr on {board.targets[-1]}, the last target. "
    return sortable(f"{caption}Heads sort.", columns, rows)


def _target_cells(entry: BoardEntry, row: Row, ranks: dict[tuple[str, str], Rank]) -> list[Cell]:
    place = ranks.get((entry.name, row.domain))
    if place is None:  # shown, but last in every order
        cell = estimate_cell(row.rr, asterisk_text(entry, row))
        return [Cell(el("span", cell.content, class_="soft"), None), Cell(join("-"), None)]
    # Sorted by the middle of the interval, better bounds first among equals.
    key = (place.best + place.worst) / 2 + place.best / 1e6
    return [estimate_cell(row.rr, asterisk_text(entry, row)), Cell(join(str(place), el("small", place.ties_text)), key)]


def _by_last_target(board: Board) -> list[BoardEntry]:
    def key(entry: BoardEntry) -> tuple[bool, float]:
        rr = board.rows_of(entry)[-1].rr if entry.card.valid else None
        return rr is None, -(rr.value if rr else 0.0)

    return sorted(board.entries, key=key)


def _entry_page(entry: BoardEntry, board: Board, ranks: dict[tuple[str, str], Rank], title: str) -> str:
    words = []
    for target in board.targets:
        place = ranks.get((entry.name, target))
        if place:
            ranked = sum((each.name, target) in ranks for each in board.entries)
            words.append(f"{target}: rank {place} of {ranked}, ties {place.ties_text}")
    lead = el("p", f"Trained on {board.source}. {'; '.join(words) or 'Not ranked'}.", class_="lead")
    links = [("../index.html", title), (f"../records/{entry.name}.json", "The record as JSON")]
    body = [el("section", record(entry)), how_to_read(join(RANKING))]
    return page(entry.label, lead, body, navigation=navigation(links))


def _is_site(folder: Path) -> bool:
    try:
        record_of = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record_of, dict) and record_of.get("format") == FORMAT


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    _write(path, json_text(value) + "\n")
