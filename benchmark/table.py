"""A scorecard as plain text, at most 110 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from benchmark.predictions import TOP
from benchmark.scoring import SELECTION, SOURCE_ROLE, Row, Scorecard
from benchmark.statistics import SEEDS_AND_CLIPS, Estimate
from benchmark.statistics.rules import DROPPED, NOT_DROPPED, OPEN

FEW_SEEDS = 4
UNEVEN = 1.5
"""Balanced accuracy is shown where the most frequent class has so many times its even share of the clips."""
MAJORITY_GAP = 0.02
"""The share of the most frequent class is shown where it differs from chance by more."""


def render(card: Scorecard) -> str:
    """The table with its title and footnotes; no trailing newline."""
    columns = [column for column in COLUMNS if column.shown(card)]
    cells = [
        tuple(column.title for column in columns),
        *(tuple(column.text(row) for column in columns) for row in card.rows),
        *(tuple(line.get(column.title, "") for column in columns) for line in _yardsticks(card)),
    ]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    aligned = [(column.align, width) for column, width in zip(columns, widths, strict=True)]
    lines = ["  ".join(f"{text:{a}{w}}" for text, (a, w) in zip(line, aligned, strict=True)) for line in cells]
    rule = "-" * len(lines[0])
    seeds = f"{'seed' if len(card.seeds) == 1 else 'seeds'} {', '.join(map(str, card.seeds))}"
    end = 1 + len(card.rows)
    body = [lines[0], rule, *lines[1:end], rule, *lines[end:]]
    return "\n".join(text.rstrip() for text in [f"{card.title}; {seeds}", "", *body, "", *_notes(card)])


def _yardsticks(card: Scorecard) -> list[dict[str, str]]:
    """Below the rule: what guessing gets, title of a column -> text."""
    lines = [{"domain": "chance", "accuracy": f"{card.chance:.3f}", "top-5": f"{min(TOP * card.chance, 1.0):.3f}"}]
    if is_uneven(card):
        lines.append({"domain": "majority", "accuracy": f"{max(row.majority for row in card.rows):.3f}"})
        prior, top5 = ([getattr(row, name) for row in card.rows] for name in ("prior", "prior_top5"))
        if None not in prior:
            shown = {"top-5": f"{max(top5):.3f}"} if None not in top5 else {}
            lines.append({"domain": "prior", "accuracy": f"{max(prior):.3f}"} | shown)
    return lines


def is_uneven(card: Scorecard) -> bool:
    """Whether knowing how frequent classes are is better than guessing."""
    return any(abs(row.majority - card.chance) > MAJORITY_GAP for row in card.rows)


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    align: str = ">"
    shown: Callable[[Scorecard], bool] = lambda card: True


TEXTURE_WORDS = {
    DROPPED: "less on texture alone than on shape; a low T/V speaks for little texture bias.",
    NOT_DROPPED: "more on texture alone than on shape; a low T/V deserves the paper's asterisk.",
    OPEN: "open; a low T/V deserves the paper's asterisk, with a question mark.",
}

NO_TEXTURE = "T/S1 does not exist, because S1 has no hit"


def _of_target(row: Row, text: str) -> str:
    return "" if row.role == SOURCE_ROLE else text


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.low:.3f} .. {estimate.high:.3f}"


def _corrected_interval(row: Row) -> str:
    """Shorter than the others, so that the table of ten columns stays within 110."""
    ends = row.rr_chance_corrected_interval
    return "-" if ends is None else f"{ends[0]:.2f}..{ends[1]:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _value(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def _is_uneven(row: Row) -> bool:
    return row.populated_classes is not None and row.majority * row.populated_classes > UNEVEN


COLUMNS = (
    _Column("domain", lambda row: row.domain, "<"),
    _Column("role", lambda row: "source" if row.role == SOURCE_ROLE else row.role, "<"),
    _Column("clips", lambda row: str(row.n)),
    _Column("accuracy", lambda row: f"{row.accuracy.value:.3f}"),
    _Column("95% interval", lambda row: _interval(row.accuracy)),
    _Column("top-5", lambda row: _value(row.top5), shown=lambda card: any(row.top5 is not None for row in card.rows)),
    _Column("balanced", lambda row: _number(row.balanced_accuracy), shown=lambda card: any(map(_is_uneven, card.rows))),
    _Column("rr", lambda row: _of_target(row, _value(row.rr))),
    _Column("95% interval", lambda row: _of_target(row, _interval(row.rr))),
    _Column("rr*", lambda row: _of_target(row, _number(row.rr_chance_corrected))),
    _Column("its 95%", lambda row: _of_target(row, _corrected_interval(row))),
)


def _notes(card: Scorecard) -> list[str]:
    if len(card.seeds) == 1:
        variance = "Intervals carry the variance of the clips; one seed says nothing about that between trainings."
    else:
        variance = "Accuracy is the mean over the seeds, rr the ratio of means; intervals carry seeds and clips."
    if 1 < len(card.seeds) < FEW_SEEDS:
        variance += "\nSo few seeds hardly show how much they differ: take these intervals as 90% ones."
    chosen = f"of the same checkpoint: {SELECTION}." if card.selection == SELECTION else "of the same checkpoint."
    notes = [
        f"rr = accuracy / source validation accuracy (V) {chosen}",
        "rr* = the same after subtracting chance from both.",
        variance,
    ]
    if card.selection != SELECTION:
        notes.append(textwrap.fill(f"Checkpoint, as the submission says: {card.selection}", 100))
    if is_uneven(card):
        shares = ", ".join(f"{row.domain} {row.majority:.3f}" for row in card.rows)
        notes.append(textwrap.fill(f"majority: the share of the most frequent class, the largest of {shares}.", 100))
        notes.append(
            "prior: answers drawn with the class frequencies of the source validation clips; in top-5 always their\n"
            "five most frequent classes. Both on the domain where that is best."
        )
    if any(map(_is_uneven, card.rows)):
        notes.append("balanced: the mean of the accuracies on each class that has clips.")
    if len(card.seeds) > 1 and any(row.accuracy.variance != SEEDS_AND_CLIPS for row in card.rows):
        notes.append("An accuracy of 0 or 1 has exact bounds from the clips alone.")
    if card.texture_verdict is not None:
        shown = NO_TEXTURE if card.texture is None else f"T/S1 = {_value(card.texture)} ({_interval(card.texture)})"
        notes.append(f"{shown}: {TEXTURE_WORDS[card.texture_verdict]}")
    if not card.valid:
        notes.append("WARNING: V is not above guessing by its interval; rr and rr* mean nothing here.")
    digits = sorted({(row.digits_source, row.digits_sha256) for row in card.rows if row.digits_source})
    for source, sha256 in digits:
        notes.append(f"Digits: {source} (SHA-256 {(sha256 or '')[:12]}...).")
    return notes
