"""The tables of experiments on Diving48 as Markdown, LaTeX, CSV and JSON: Tables 1-5 and supplement Tables 1-4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.paper.tables import read_table
from benchmark.report.escaping import md_line, md_number, tex_text
from benchmark.report.texts import interval_text, value_text
from benchmark.statistics import Estimate
from benchmark.study_record import FACTORS, PRINTED, SHOWN, Pair, Study, name_of
from benchmark.study_table import (
    AVERAGE_WORDS,
    BEST_WORDS,
    FACTOR_WORDS,
    LOWER_IS_BETTER,
    MARK_WORDS,
    PAIRED_WORDS,
    Average,
    averages_of,
    best_of,
    comparable,
    mark_of,
    paper_mark,
    paper_words,
    printed_text,
)

if TYPE_CHECKING:
    from benchmark.report.entries import BoardEntry

NOTES = (BEST_WORDS, MARK_WORDS, PAIRED_WORDS)


@dataclass(frozen=True)
class _Text:
    """A cell. ``value`` is what may be in bold."""

    value: str
    rest: str = ""
    bold: bool = False


@dataclass(frozen=True)
class _Grid:
    caption: str
    heads: tuple[str, ...]
    lines: tuple[tuple[_Text, ...], ...]
    note: str


def column_of(pair: Pair) -> str:
    """Its name with the paper's arrow: whether high or low values are good."""
    return f"{name_of(pair)} {'↓' if pair in LOWER_IS_BETTER else '↑'}"


def groups_of(studies: Sequence[Study]) -> list[tuple[list[Study], list[Average]]]:
    """Experiments that may stand in one Table 1, and that table."""
    return [(group, averages_of(group)) for group in comparable(studies)]


def experiments_text(average: Average) -> str:
    return ", ".join(average.experiments)


def studies_markdown(studies: Sequence[Study]) -> list[str]:
    """Blocks to stand one below the other; empty without studies."""
    blocks = []
    for grid in _grids(studies):
        rule = ["---", *["---:"] * (len(grid.heads) - 1)]
        lines = [md_line([_md_cell(cell) for cell in line]) for line in grid.lines]
        table = [md_line([md_number(head) for head in grid.heads]), md_line(rule), *lines]
        blocks += [f"### {md_number(grid.caption)}\n\n" + "\n".join(table), md_number(grid.note)]
    return [*blocks, md_number(" ".join(NOTES))] if blocks else []


def studies_latex(studies: Sequence[Study]) -> list[str]:
    """A booktabs table for each; empty without studies."""
    blocks = []
    for grid in _grids(studies):
        lines = [" & ".join(_tex_cell(cell) for cell in line) + r" \\" for line in grid.lines]
        caption = tex_text(f"{grid.caption}. {grid.note} {' '.join(NOTES)}")
        parts = [r"\begin{table}", r"\centering\scriptsize", rf"\caption{{{caption}}}"]
        parts += [rf"\begin{{tabular}}{{@{{}}l{'r' * (len(grid.heads) - 1)}@{{}}}}", r"\toprule"]
        parts += [" & ".join(tex_text(head) for head in grid.heads) + r" \\", r"\midrule", *lines]
        blocks.append("\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return blocks


def ratio_lines(entry: BoardEntry) -> list[dict[str, Any]]:
    """Column of the CSV file -> cell, a line for each ratio of an experiment's entry; empty for other entries."""
    if entry.study is None:
        return []
    (row,) = [row for row in entry.study.reached if row.title == entry.family]
    facts: dict[str, Any] = {
        "entry": entry.name,
        "kind": entry.kind,
        "origin": entry.origin,
        "model": entry.model,
        "hidden": entry.hidden,
        "parameters": entry.parameters,
        "preset": entry.protocol.get("preset", ""),
        "seeds": " ".join(map(str, entry.card.seeds)),
        "source": entry.source.domain,
        "valid": entry.card.valid,
        "experiment": entry.study.config.experiment,
        "level": entry.study.config.at,
        "role": "ratio",
    }
    lines = []
    for pair in SHOWN:
        own, paper = row.ratios[pair], row.paper.ratios.get(name_of(pair))
        line = facts | {"domain": name_of(pair)}
        if own:
            line |= {"rr": own.value, "rr_low": own.low, "rr_high": own.high, "rr_variance": own.variance}
        if paper:
            line |= {"paper": paper.value, "paper_low": paper.low, "paper_high": paper.high}
        lines.append(line)
    return lines


def studies_json(studies: Sequence[Study]) -> dict[str, Any]:
    """Empty without studies."""
    if not studies:
        return {}
    tables = [
        {"studies": [study.name for study in group], "families": [each.to_json() for each in averages]}
        for group, averages in groups_of(studies)
        if averages
    ]
    return {"studies": [{"name": study.name, **study.to_json()} for study in studies], "averages": tables}


def _grids(studies: Sequence[Study]) -> list[_Grid]:
    grids = []
    for group, averages in groups_of(studies):
        if averages:
            grids.append(_average_grid(averages))
        for study in group:
            grids += [_ratio_grid(study), *([_factor_grid(study)] if study.reached else [])]
    return grids


def _average_grid(averages: Sequence[Average]) -> _Grid:
    source = read_table("main1").source
    lines = []
    for one in averages:
        own = [_Text(one.text(pair)) for pair in PRINTED]
        lines.append((_Text(one.title), _Text(experiments_text(one)), *own))
        lines.append((_Text("paper"), _Text(""), *(_Text(one.paper[name_of(pair)]) for pair in PRINTED)))
    heads = ("model", "experiments", *map(column_of, PRINTED))
    note = f"{AVERAGE_WORDS} Paper: {source}, on Diving48."
    return _Grid("Average of the experiments", heads, tuple(lines), note)


def _ratio_grid(study: Study) -> _Grid:
    best, lines = {pair: best_of(study.rows, pair) for pair in PRINTED}, []
    for row in study.rows:
        flag = "" if row.card is None or row.card.valid else " !"
        start = (_Text(row.title + flag), _Text(str(row.hidden)), _Text(str(row.parameters)))
        if row.card is None:
            cells = [_Text("-", f"(best {row.best:.3f})"), *[_Text("-")] * len(PRINTED)]
        else:
            cells = [_estimate(row.card.rows[0].accuracy)]
            cells += [_estimate(row.ratios[pair], mark_of(row, pair), bold=row.title in best[pair]) for pair in PRINTED]
        lines.append((*start, *cells))
        printed = [
            _estimate(row.paper.ratios[name_of(pair)], paper_mark(row, pair), show=printed_text) for pair in PRINTED
        ]
        lines.append((_Text("paper"), _Text(""), _Text(""), _estimate(row.paper.accuracy), *printed))
    heads = ("model", "h", "parameters", "V", *map(column_of, PRINTED))
    note = paper_words(study.rows)
    if any(row.card is None for row in study.rows):
        note += " - beside V: no seed reached the level."
    return _Grid(caption_of(study), heads, tuple(lines), note)


def caption_of(study: Study) -> str:
    text = study.config.description
    return text[:1].upper() + text[1:]


def _factor_grid(study: Study) -> _Grid:
    pairs = (*FACTORS, ("T", "V"))
    lines = [(_Text(row.title), *(_estimate(row.ratios[pair]) for pair in pairs)) for row in study.reached]
    caption = f"Experiment {study.config.letter}: T/V as a product"
    return _Grid(caption, ("model", *map(name_of, pairs)), tuple(lines), f"{FACTOR_WORDS}.")


def _estimate(
    estimate: Estimate | None, mark: str = "", *, bold: bool = False, show: Callable[[float], str] | None = None
) -> _Text:
    if estimate is None:
        return _Text("-")
    value = show(estimate.value) if show else value_text(estimate)
    return _Text(value + mark, interval_text(estimate), bold)


def _md_cell(cell: _Text) -> str:
    value = md_number(cell.value)
    return f"{f'**{value}**' if cell.bold else value} {md_number(cell.rest)}".strip()


def _tex_cell(cell: _Text) -> str:
    value = tex_text(cell.value)
    shown = rf"\textbf{{{value}}}" if cell.bold else value
    return f"{shown} {tex_text(cell.rest)}".strip()
