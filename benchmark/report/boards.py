"""Tables of entries that may be compared: those that answered the same clips."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.config import TARGETS
from benchmark.experiments import DIVING48_EXPERIMENTS
from benchmark.models import FAMILIES
from benchmark.report.entries import BoardEntry
from benchmark.report.robustness import Detectable, detectable_of, effective_of
from benchmark.scoring import Row
from benchmark.statistics import EffectiveRobustness, Estimate
from benchmark.study_record import Study
from benchmark.submission.record import REQUIRED_TARGETS


@dataclass(frozen=True)
class Board:
    """Entries that answered the same clips, and only those: their numbers may be compared.

    ``targets``: those that every entry of the source answers; what an entry answers beyond them is in its record alone,
    so that no entry gets a board of its own by it. ``clips``: eight hex digits that stand for their content.
    """

    source: str
    targets: tuple[str, ...]
    clips: str
    entries: tuple[BoardEntry, ...]

    @property
    def digits(self) -> str:
        """Where the digits of the clips come from; empty where there are none."""
        return ", ".join(sorted({row.digits_source for row in self.rows_of(self.entries[0]) if row.digits_source}))

    @functools.cached_property
    def effective(self) -> dict[tuple[str, str], EffectiveRobustness]:
        """See :func:`benchmark.report.robustness.effective_of`."""
        return effective_of(self)

    @functools.cached_property
    def detectable(self) -> tuple[Detectable, ...]:
        """See :func:`benchmark.report.robustness.detectable_of`."""
        return detectable_of(self)

    @property
    def has_effective(self) -> bool:
        return any(each.points is not None for each in self.effective.values())

    def effective_points(self, entry: BoardEntry, target: str) -> Estimate | None:
        """Effective robustness as accuracy, or None where there is none."""
        found = self.effective.get((entry.name, target))
        return None if found is None else found.points

    def rows_of(self, entry: BoardEntry) -> tuple[Row, ...]:
        """Source and ``targets``, in their order: the first rows of every entry."""
        return entry.card.rows[: 1 + len(self.targets)]


def boards_of(entries: Sequence[BoardEntry]) -> list[Board]:
    """A board for each source domain and set of clips, the paper's sources first; entries by family and size.

    Clips are those of the source and its required targets; of all targets where it has none or some were left out.
    """
    alike: dict[tuple[tuple[str, str], ...], list[BoardEntry]] = {}
    for entry in entries:
        required = REQUIRED_TARGETS.get(entry.source.domain, ())
        is_whole = required and set(required) <= {row.domain for row in entry.targets}
        rows = entry.card.rows[: 1 + len(required)] if is_whole else entry.card.rows
        alike.setdefault(tuple((row.domain, row.content_hash) for row in rows), []).append(entry)
    boards = []
    for clips, group in alike.items():
        domains = [domain for domain, _ in clips]
        digest = hashlib.sha256("".join(content_hash for _, content_hash in clips).encode()).hexdigest()[:8]
        boards.append(Board(domains[0], tuple(domains[1:]), digest, tuple(sorted(group, key=_order))))
    known = list(TARGETS)
    return sorted(boards, key=lambda board: known.index(board.source) if board.source in known else len(known))


def _order(entry: BoardEntry) -> tuple[int, str, int, str]:
    families = list(FAMILIES)
    if entry.study is not None:  # the paper's families, each from a to h
        return len(families) + 1 + list(DIVING48_EXPERIMENTS["a"].contenders).index(entry.family), "", 0, entry.name
    place = families.index(entry.model) if entry.model in families else len(families)
    return place, entry.model, entry.hidden, entry.name


def studies_of(boards: Sequence[Board]) -> list[Study]:
    """The experiments that the entries belong to, by letter."""
    found = dict.fromkeys(entry.study for board in boards for entry in board.entries if entry.study is not None)
    return sorted(found, key=lambda study: (study.config.letter, study.name))
