"""``report.html``: every entry of some directories in one page."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.report.blocks import footnotes, record, results_table
from benchmark.report.boards import Board
from benchmark.report.figures import figures_of
from benchmark.report.markup import Markup, el, join
from benchmark.report.page import embedded_json, figure, how_to_read, navigation, page
from benchmark.report.robustness import EFFECTIVE_WORDS
from benchmark.report.study import IDENTIFIER, TITLE, studies_section
from benchmark.report.style import styles_of
from benchmark.report.tables import heading, records_of


def report_page(title: str, boards: Sequence[Board]) -> str:
    """Tables and figures of each board, the records, and the JSON they come from."""
    entries = [entry for board in boards for entry in board.entries]
    styles = styles_of(entries)
    sections = [_board_section(number, board, boards, styles) for number, board in enumerate(boards)]
    links = [(f"#board-{number}", heading(board, boards)) for number, board in enumerate(boards)]
    studies = studies_section(boards, lambda entry: f"#entry-{entry.name}")
    if studies:
        sections.insert(0, studies)
        links.insert(0, (f"#{IDENTIFIER}", TITLE))
    links += [("#records-of-all", "Records"), ("#how-to-read", "How to read this")]
    lead = el("p", lead_text(boards), class_="lead")
    return page(
        title, lead, [*sections, _records(boards), how_to_read(*more_words(boards))], navigation=navigation(links)
    )


def more_words(boards: Sequence[Board]) -> list[Markup]:
    """What is to be said of columns that not every board has."""
    return [join(EFFECTIVE_WORDS)] if any(board.has_effective for board in boards) else []


def lead_text(boards: Sequence[Board]) -> str:
    entries = [entry for board in boards for entry in board.entries]
    seeds = sum(len(entry.card.seeds) for entry in entries)
    sources = ", ".join(dict.fromkeys(board.source for board in boards))
    models = len({entry.model for entry in entries})
    return (
        f"{_count(models, 'model')}, {_count(len(entries), 'entry', 'entries')}, {_count(seeds, 'training')}; "
        f"trained on {sources}. How much accuracy remains on clips that look different but move alike."
    )


def _board_section(number: int, board: Board, boards: Sequence[Board], styles: dict[str, int]) -> Markup:
    caption = "Accuracy and robustness ratio with 95% intervals. Heads sort."
    figures = [figure(each) for each in figures_of(board, styles)]
    head = el("h2", heading(board, boards))
    return el("section", head, results_table(caption, board), footnotes(board), *figures, id=f"board-{number}")


def _records(boards: Sequence[Board]) -> Markup:
    items = []
    for entry in (entry for board in boards for entry in board.entries):
        flag = None if entry.card.valid else el("span", " not valid", class_="flag")
        about = el("span", f" trained on {entry.source.domain} · {entry.origin}", class_="soft")
        summary = el("summary", el("b", entry.label), about, flag)
        items.append(el("details", summary, record(entry), id=f"entry-{entry.name}"))
    # Hidden where no script runs, because it needs one.
    facts = {"type": "button", "id": "download", "data-name": "records.json", "class": "action", "hidden": True}
    button = el("button", "Download as JSON", **facts)
    data = embedded_json(records_of(boards))
    purpose = "Seeds, protocol, clips and environment of each entry: what is needed to compute it again."
    return el("section", el("h2", "Records"), el("p", purpose), el("p", button), *items, data, id="records-of-all")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
