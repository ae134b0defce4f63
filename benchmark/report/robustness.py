"""What a whole board says beyond its entries: effective robustness, and which differences it could show at all."""

from __future__ import annotations

import itertools
import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.statistics import (
    EffectiveRobustness,
    detectable_difference,
    detectable_ratio,
    effective_robustness_of_all,
    logit_pair,
)
from benchmark.statistics.power import POWER

if TYPE_CHECKING:
    from benchmark.report.boards import Board
    from benchmark.report.entries import BoardEntry

EFFECTIVE_WORDS = (
    "Effective robustness (eff.): accuracy on the target minus what the line through the other entries of the table "
    "expects at this V, on the logit scale (Taori et al. 2020). Above 0: more robust than V alone explains. It needs "
    "three other entries that differ in V."
)


@dataclass(frozen=True)
class Detectable:
    """Of neighbours in the order of rr on ``domain`` (of V, for the source): medians over ``pairs`` pairs.

    ``difference`` of accuracies and ``ratio`` of two rr that are found with probability ``POWER``; None where unknown.
    """

    domain: str
    difference: float | None
    ratio: float | None
    pairs: int

    def to_json(self) -> dict[str, Any]:
        return {"domain": self.domain, "difference": self.difference, "ratio": self.ratio, "pairs": self.pairs}


def effective_of(board: Board) -> dict[tuple[str, str], EffectiveRobustness]:
    """(name of the entry, target) -> effective robustness, among the entries whose rr has a meaning."""
    entries = [entry for entry in board.entries if entry.card.valid]
    found: dict[tuple[str, str], EffectiveRobustness] = {}
    for number, target in enumerate(board.targets, start=1):
        pairs = [logit_pair(entry.correct[0], entry.correct[number]) for entry in entries]
        for entry, effective in zip(entries, effective_robustness_of_all(pairs), strict=True):
            found[entry.name, target] = effective
    return found


def detectable_of(board: Board) -> tuple[Detectable, ...]:
    """For the source and each target of a board with two valid entries or more; else empty."""
    entries = [entry for entry in board.entries if entry.card.valid]
    if len(entries) < 2:
        return ()
    found = []
    for number, domain in enumerate((board.source, *board.targets)):
        row = sorted(entries, key=lambda entry: _value(entry, number))
        neighbours = list(itertools.pairwise(row))
        differences = [detectable_difference(a.correct[number], b.correct[number]) for a, b in neighbours]
        ratios: list[float | None] = []
        if number:
            ratios = [
                detectable_ratio(a.correct[0], a.correct[number], b.correct[0], b.correct[number])
                for a, b in neighbours
            ]
        found.append(Detectable(domain, _median(differences), _median(ratios), len(neighbours)))
    return tuple(found)


def detectable_text(detectable: Sequence[Detectable]) -> str:
    """A footnote; empty where nothing is known."""
    differences = [f"{each.difference:.3f} on {each.domain}" for each in detectable if each.difference is not None]
    ratios = [f"{each.ratio:.2f} on {each.domain}" for each in detectable if each.ratio is not None]
    if not differences:
        return ""
    text = f"Detectable: of two neighbours in this table differences of accuracy of {', '.join(differences)}"
    if ratios:
        text += f", and rr that differ by a factor of {', '.join(ratios)},"
    return f"{text} are found in {POWER:.0%} of cases (median over all neighbours), smaller ones less often."


def _value(entry: BoardEntry, number: int) -> float:
    row = entry.card.rows[number]
    return row.accuracy.value if row.rr is None else row.rr.value


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return plain.median(known) if known else None
