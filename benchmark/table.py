"""A scorecard as plain text, at most 100 columns wide."""

from __future__ import annotations

from benchmark.scoring import SOURCE_ROLE, Row, Scorecard
from benchmark.statistics import SEEDS_AND_CLIPS, Estimate

HEADER = ("domain", "role", "clips", "accuracy", "95% interval", "rr", "95% interval", "rr*")
FEW_SEEDS = 4
ALIGN = "<<>>>>>>"


def render(card: Scorecard) -> str:
    """The table with its title and footnotes; no trailing newline."""
    cells = [HEADER, *(_cells(row) for row in card.rows), ("chance", "", "", f"{card.chance:.3f}", "", "", "", "")]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = ["  ".join(f"{text:{a}{w}}" for text, a, w in zip(line, ALIGN, widths, strict=True)) for line in cells]
    rule = "-" * len(lines[0])
    seeds = f"{'seed' if len(card.seeds) == 1 else 'seeds'} {', '.join(map(str, card.seeds))}"
    body = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    return "\n".join(text.rstrip() for text in [f"{card.title}; {seeds}", "", *body, "", *_notes(card)])


def _cells(row: Row) -> tuple[str, ...]:
    accuracy = (f"{row.accuracy.value:.3f}", _interval(row.accuracy))
    start = (row.domain, row.role, str(row.n), *accuracy)
    if row.role == SOURCE_ROLE:
        return (*start, "", "", "")
    corrected = "-" if row.rr_chance_corrected is None else f"{row.rr_chance_corrected:.3f}"
    return (*start, "-" if row.rr is None else f"{row.rr.value:.3f}", _interval(row.rr), corrected)


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.low:.3f} .. {estimate.high:.3f}"


def _notes(card: Scorecard) -> list[str]:
    if len(card.seeds) == 1:
        variance = "Intervals carry the variance of the clips; one seed says nothing about that between trainings."
    else:
        variance = "Accuracy is the mean over the seeds, rr the ratio of means; intervals carry seeds and clips."
    if 1 < len(card.seeds) < FEW_SEEDS:
        variance += "\nSo few seeds hardly show how much they differ: take these intervals as 90% ones."
    notes = [
        "rr = accuracy / source validation accuracy (V) of the same checkpoint: the first epoch with the best V.",
        "rr* = the same after subtracting chance from both.",
        variance,
    ]
    if len(card.seeds) > 1 and any(row.accuracy.variance != SEEDS_AND_CLIPS for row in card.rows):
        notes.append("An accuracy of 0 or 1 has exact bounds from the clips alone.")
    if not card.valid:
        notes.append("WARNING: V is not above guessing by its interval; rr and rr* mean nothing here.")
    digits = sorted({(row.digits_source, row.digits_sha256) for row in card.rows if row.digits_source})
    for source, sha256 in digits:
        notes.append(f"Digits: {source} (SHA-256 {(sha256 or '')[:12]}...).")
    return notes
