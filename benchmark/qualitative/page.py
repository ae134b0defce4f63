"""``class-34.html``: the tables of one class, the clips to look at, and what the paper printed; and an index of all."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from benchmark.attributes import MATCHES, N_ATTRIBUTES
from benchmark.paper.reproduce import EXAMPLES, KNOWN
from benchmark.paper.tables import PaperTable, read_table
from benchmark.qualitative.answers import DOMAINS, Answered
from benchmark.qualitative.cells import (
    READ_SET,
    accuracy_cells,
    all_clips_cells,
    models_of,
    notes,
    read_accuracy,
    set_cells,
)
from benchmark.qualitative.tables import NEAR, RIGHT, WRONG, ClassTables
from benchmark.report.blocks import Cell, Column, sortable, table
from benchmark.report.markup import Markup, el, join
from benchmark.report.page import navigation, page
from diving48_domains.vocabulary import ATTRIBUTES, DIVE_CLASSES

INDEX_NAME = "index.html"
SIGNS = {RIGHT: "✓", NEAR: "○", WRONG: "✕"}


def page_name(label: int) -> str:
    return f"class-{label}.html"


def picture_name(label: int) -> str:
    return f"class-{label}.png"


def links_between(every: Sequence[ClassTables], place: int) -> list[tuple[str, str]]:
    """From one page to the index and to the classes beside it: (address, text)."""
    links = [(INDEX_NAME, "All classes")]
    for word, beside in (("Before", place - 1), ("Next", place + 1)):
        if 0 <= beside < len(every):
            label = every[beside].label
            links.append((page_name(label), f"{word}: class {label}"))
    return links


def class_page(
    tables: ClassTables,
    answered: Answered,
    png: bytes | None = None,
    names: Sequence[str] = (),
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of the page. ``png``: the picture of the clips; ``names``: of the drawn clips, where they are known."""
    n = len(tables.clip_ids)
    lead = join(
        el(
            "p",
            f"{n} of the {tables.clips_of_class} test clips of the class, drawn at random (seed {tables.seed}). "
            "They are an example: the same numbers over all clips of the class stand beside them.",
            class_="lead",
        ),
        *(el("p", text, class_="flag") for text in notes(tables)),
    )
    sections = [
        *([] if png is None else [_picture(tables, png, names)]),
        el("section", el("h2", "Accuracy"), _accuracies(tables), el("p", read_accuracy(tables), class_="note")),
        el("section", el("h2", "Misclassifications"), *_wrong(tables)),
        *_paper(tables),
        el("section", el("h2", "Answers clip by clip"), _answers(tables, names)),
        el("section", el("h2", "Classes named here"), _classes(tables)),
        el("section", el("h2", "Models"), el("ul", *(el("li", line) for line in models_of(answered)))),
    ]
    title = f"Class {tables.label}: {tables.name}"
    return page(title, lead, sections, navigation=navigation(links) if links else None, pictures=png is not None)


def index_page(every: Sequence[ClassTables], answered: Answered) -> str:
    """A line for each class: accuracy of each model on all of its clips, and the set count of the drawn ones."""
    attributes = every[0].dives is not None
    columns = [Column("class", first="ascending"), Column("name", kind="word", first="ascending"), Column("clips")]
    for model in answered.models:
        columns += [Column(domain, model.title, help=f"top-1 on {domain}, all clips") for domain in DOMAINS]
        if attributes:
            columns.append(Column("attr.", model.title, help="correct attributes of the drawn clips' wrong answers"))
    rows = []
    for tables in every:
        cells = [
            Cell(el("a", str(tables.label), href=page_name(tables.label)), float(tables.label)),
            Cell(join(tables.name), tables.name),
            Cell(join(str(tables.clips_of_class)), float(tables.clips_of_class)),
        ]
        for row in tables.rows:
            cells += [Cell(join(f"{one.value:.2f}"), one.value) for one in (row.all_clips[d].top1 for d in DOMAINS)]
            count = row.wrong.attributes
            if attributes:
                shown = "-" if count is None else f"{count.correct}/{count.total}"
                cells.append(Cell(join(shown), None if count is None else count.share))
        rows.append(cells)
    caption = (
        "Top-1 accuracy on all test clips of each class. attr.: attributes right among the set of misclassifications "
        f"on S1 and S2 of the drawn clips. Chance: {every[0].chance:.3f}. Heads sort."
    )
    lead = el("p", f"{len(every)} classes with test clips; clips drawn with seed {every[0].seed}.", class_="lead")
    models = el("section", el("h2", "Models"), el("ul", *(el("li", line) for line in models_of(answered))))
    return page("Every class", lead, [el("section", sortable(caption, columns, rows)), models])


def _picture(tables: ClassTables, png: bytes, names: Sequence[str]) -> Markup:
    alt = (
        f"Frames of {len(tables.clip_ids)} clips of class {tables.label} in each domain, with the answers of each model"
    )
    if names:
        alt += f": {', '.join(names)}"
    data = base64.b64encode(png).decode()
    # Written by hand: it has no end tag, and its address is longer than anything else in the page.
    image = Markup(
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" '
        'style="display:block;width:100%;min-width:64rem;height:auto"/>'
    )
    region = el("div", image, class_="scroll", role="region", aria_label="The clips", tabindex=0)
    caption = (
        "Evenly spaced frames of each clip in each domain, below them what each model answered: the class, and how "
        "many attributes it shares with the right one."
    )
    return el("section", el("h2", "The clips"), el("figure", region, el("figcaption", caption)))


def _accuracies(tables: ClassTables) -> Markup:
    heads, lines = accuracy_cells(tables)
    rows = []
    for model, which, pairs in lines:
        values = [join(value, el("small", interval) if interval else None) for value, interval in pairs]
        rows.append([model, which, *values])
    return table("Top-1 and top-5 accuracy on S1, S2 and T", ["model", "clips", *heads], rows, words=2)


def _wrong(tables: ClassTables) -> list[Markup]:
    drawn, every = set_cells(tables), all_clips_cells(tables)
    parts = [
        table(f"Top-1 answers to the {len(tables.clip_ids)} drawn clips", drawn[0], drawn[1:], words=4),
        table(f"Over all {tables.clips_of_class} clips of the class, S1 and S2 together", every[0], every[1:], words=1),
    ]
    return [*parts, el("p", READ_SET, class_="note")] if tables.dives is not None else parts


def _answers(tables: ClassTables, names: Sequence[str]) -> Markup:
    known = list(names) or [f"id {each}" for each in tables.clip_ids]
    heads = ["model", "domain", *(join(str(place), el("small", name)) for place, name in enumerate(known, start=1))]
    lines = []
    for row in tables.rows:
        for domain, best in row.top.items():
            lines.append([row.title, domain, *(_sign(tables, each) for each in best)])
    signs = "; ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items() if verdict in tables.verdicts)
    return table(f"First answers. {signs}", heads, lines, words=2)


def _sign(tables: ClassTables, best: Sequence[int]) -> Markup:
    verdict = tables.verdict(best)
    text = f"{best[0]} {SIGNS[verdict]}"
    return el("b", text) if verdict == RIGHT else join(text)


def _classes(tables: ClassTables) -> Markup:
    named = {answer for row in tables.rows for of in row.top.values() for answer in (best[0] for best in of)}
    order = [tables.label, *sorted(named - {tables.label})]
    if tables.dives is None:
        return table("Their names", ["class", "name"], [[each, tables.class_names[each]] for each in order], words=2)
    mine = tables.dives[tables.label]
    lines: list[list[object]] = []
    for each in order:
        dive = tables.dives[each]
        shared = MATCHES[mine, dive]
        values = [el("b", v) if same else join(v) for v, same in zip(DIVE_CLASSES[dive], shared, strict=True)]
        lines.append([each, *values, f"{int(shared.sum())}/{N_ATTRIBUTES}"])
    heads = ["class", *ATTRIBUTES, "shared"]
    return table(f"Their attributes; bold: those of class {tables.label}", heads, lines, words=len(heads))


def _paper(tables: ClassTables) -> list[Markup]:
    label = tables.paper_class
    if label is None:
        return []
    accuracies, answers = read_table(EXAMPLES[label]), read_table("main7")
    lines = [line for line in answers.rows if line[0] == label]
    known = {line[1]: KNOWN.get((answers.name, f"class {label}, {line[1]}", "Correct attr.")) for line in lines}
    remarks = [
        el("p", f"{model}: {fact[0]} by the attributes of its classes. {fact[1]}", class_="note")
        for model, fact in known.items()
        if fact is not None
    ]
    words = (
        f"As printed: the paper's own models of experiment c (38.3 % validation accuracy), on five other clips of "
        f"class {label}. Not to be compared clip by clip with the tables above."
    )
    return [
        el(
            "section",
            el("h2", "What the paper printed"),
            el("p", words),
            _printed(accuracies, list(accuracies.rows), accuracies.columns, words=1),
            _printed(answers, [line[1:] for line in lines], answers.columns[1:], words=4),
            *remarks,
            id="paper",
        )
    ]


def _printed(of: PaperTable, lines: Sequence[Sequence[str]], columns: Sequence[str], *, words: int) -> Markup:
    return table(f"{of.source[0].upper()}{of.source[1:]}", columns, lines, words=words)
