"""Ranks with intervals, and groups of entries that the data do not tell apart. From the p values of all pairs.

With M entries there are M (M - 1) / 2 comparisons, of which 5 % would be wrong by chance. Holm's correction holds the
probability of even one wrong "better" at 1 - level, and so all rank intervals hold together with that level. Without it
("none") each comparison stands for itself, as in ``paired``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.estimate import Floats
from benchmark.statistics.paired import Pairwise
from tsgen.common.intervals import LEVEL

CORRECTIONS = ("holm", "none")


def surely_better(pairs: Pairwise, correction: str = "holm", level: float = LEVEL) -> NDArray[np.bool_]:
    """bool (M, M): the row's entry is better than the column's."""
    if correction not in CORRECTIONS:
        raise ValueError(f"correction {correction!r}; known: {', '.join(CORRECTIONS)}")
    adjusted = holm(pairs.p) if correction == "holm" else pairs.p
    return np.asarray((adjusted < 1 - level) & (pairs.difference > 0))


def holm(p: Floats) -> Floats:
    """Adjusted p values of a symmetric (M, M): sorted, times the comparisons left, never smaller than one before."""
    upper = np.triu_indices(len(p), 1)
    order = np.argsort(p[upper], kind="stable")
    count = len(order)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[upper][order] * (count - np.arange(count))), 1.0)
    result = np.ones_like(p)
    result[upper] = adjusted
    return np.minimum(result, result.T)


def rank_intervals(better: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(best, worst) rank of each: 1 + the number surely better, M - the number surely worse."""
    best, worst = 1 + better.sum(axis=0), len(better) - better.sum(axis=1)
    return [(int(low), int(high)) for low, high in zip(best, worst, strict=True)]


def tie_groups(better: NDArray[np.bool_], order: list[int]) -> list[tuple[int, ...]]:
    """The largest groups in which no entry is surely better than another; the compact letter display's columns.

    Two entries share a group exactly if neither is surely better (insert and absorb, Piepho 2004). ``order``: the
    entries, best first; groups come in that order. Group 0 is letter a.
    """
    place = {entry: position for position, entry in enumerate(order)}
    groups = {(1 << len(order)) - 1}  # sets of places, as bits
    apart = [sorted((place[i], place[j])) for i, j in np.argwhere(better).tolist()]
    for first, second in sorted(apart, key=lambda pair: pair[0] - pair[1]):
        both = 1 << first | 1 << second
        split = [group for group in groups if group & both == both]
        groups.difference_update(split)
        for half in [group & ~(1 << member) for group in split for member in (first, second)]:
            if not any(half & other == half for other in groups):
                groups = {other for other in groups if other & half != other} | {half}
    members = [tuple(p for p in range(len(order)) if group >> p & 1) for group in groups]
    return [tuple(order[p] for p in group) for group in sorted(members)]


def tie_runs(better: NDArray[np.bool_], order: list[int]) -> list[tuple[int, ...]]:
    """The longest runs of neighbours in ``order`` in which no entry is surely better than another; at most M.

    For long lists, where ``tie_groups`` has more groups than anyone reads (200 noisy entries had 425). Entries that
    share a run are not told apart; of two that share none this says nothing, their rank intervals do.
    """
    runs: list[tuple[int, ...]] = []
    start = end = 0
    for position, entry in enumerate(order):
        first = start
        while any(better[other, entry] or better[entry, other] for other in order[first:position]):
            first += 1
        if first > start:
            runs.append(tuple(order[start:end]))
            start = first
        end = position + 1
    return [*runs, tuple(order[start:end])] if order else []


def letters(groups: list[tuple[int, ...]], entries: int) -> list[str]:
    """Of each entry its letters: entries that share one are not told apart. After z follow aa, ab, ..."""
    return [
        " ".join(_letter(index) for index, group in enumerate(groups) if entry in group) for entry in range(entries)
    ]


def _letter(index: int) -> str:
    text = ""
    while index >= 0:
        index, rest = divmod(index, 26)
        text = chr(ord("a") + rest) + text
        index -= 1
    return text
