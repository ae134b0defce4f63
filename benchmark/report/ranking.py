"""Who is better than whom on one target of a board: ranks as intervals, and runs of entries that are not told apart.

Every two entries are compared on the clips they share (:mod:`benchmark.statistics.paired`), with Holm's correction for
the number of comparisons (:mod:`benchmark.statistics.ranking`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.report.boards import Board
from benchmark.statistics import pairwise_ratios, rank_intervals, surely_better
from benchmark.statistics.ranking import letters, tie_groups, tie_runs

MAX_GROUPED = 24
MAX_GROUPS = 8
"""Of so many entries and groups, letters that say exactly who is told apart from whom can be read."""


@dataclass(frozen=True)
class Rank:
    """``best`` to ``worst``: 1 + how many entries are surely better, n - how many are surely worse.

    ``ties``: letters; entries that share one are not told apart. ``exact``: and those that share none are.
    """

    best: int
    worst: int
    ties: tuple[str, ...]
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.best}" if self.best == self.worst else f"{self.best}–{self.worst}"

    @property
    def ties_text(self) -> str:
        """All letters of groups; of runs, which are neighbours, the first and the last say which."""
        if self.exact:
            return " ".join(self.ties)
        return self.ties[0] if len(self.ties) == 1 else f"{self.ties[0]}–{self.ties[-1]}"


def ranks_of(board: Board) -> dict[tuple[str, str], Rank]:
    """(name of the entry, target) -> rank, of the entries whose rr has a meaning."""
    entries = [entry for entry in board.entries if entry.card.valid]
    found: dict[tuple[str, str], Rank] = {}
    for number, target in enumerate(board.targets, start=1):
        ratios = [entry.card.rows[number].rr for entry in entries]
        ranked = [(entry, rr.value) for entry, rr in zip(entries, ratios, strict=True) if rr is not None]
        if not ranked:
            continue
        better = surely_better(pairwise_ratios([(entry.correct[0], entry.correct[number]) for entry, _ in ranked]))
        order = sorted(range(len(ranked)), key=lambda place: -ranked[place][1])
        groups, exact = _ties(better, order)
        shared = letters(groups, len(ranked))
        for (entry, _), interval, text in zip(ranked, rank_intervals(better), shared, strict=True):
            found[entry.name, target] = Rank(*interval, tuple(text.split()), exact)
    return found


def _ties(better: NDArray[np.bool_], order: list[int]) -> tuple[list[tuple[int, ...]], bool]:
    """Groups where they are few enough to read, else runs."""
    if len(order) <= MAX_GROUPED:
        groups = tie_groups(better, order)
        if len(groups) <= MAX_GROUPS:
            return groups, True
    return tie_runs(better, order), False
