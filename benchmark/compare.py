"""Two entries on the clips they share: differences of accuracy and ratios of rr, with all that may be said of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmark import statistics
from benchmark.report.entries import BoardEntry
from benchmark.scoring import Row
from benchmark.statistics import Comparison, Correct, Estimate
from benchmark.statistics.bootstrap import REPLICATES
from benchmark.statistics.power import POWER
from tsgen.common.errors import DataError
from tsgen.common.intervals import LEVEL

HASH_CHARS = 16


@dataclass(frozen=True)
class McNemar:
    """Of one seed each: clips on which only one model is right, and the exact two-sided p."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class OfDomain:
    """Accuracies of A and B on one domain. ``detectable``: the difference found with probability ``POWER``.

    ``mcnemar``: of one seed each. ``bootstrap``: only where it was asked for.
    """

    domain: str
    role: str
    n: int
    a: Estimate
    b: Estimate
    difference: Comparison
    mcnemar: McNemar | None
    detectable: float | None
    bootstrap: Estimate | None

    def to_json(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "role": self.role,
            "n": self.n,
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "difference": _of_comparison(self.difference),
            "mcnemar": self.mcnemar and asdict(self.mcnemar),
            "minimum_detectable_difference": self.detectable,
            "bootstrap": self.bootstrap and self.bootstrap.to_json(),
        }


@dataclass(frozen=True)
class OfRatio:
    """rr of A and B on one target. ``ratio``: rr A / rr B. ``difference``: of the points, None where one has no rr."""

    domain: str
    a: Estimate | None
    b: Estimate | None
    difference: float | None
    ratio: Comparison
    detectable: float | None
    bootstrap: Estimate | None

    def to_json(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "a": self.a and self.a.to_json(),
            "b": self.b and self.b.to_json(),
            "difference": self.difference,
            "ratio": _of_comparison(self.ratio),
            "minimum_detectable_ratio": self.detectable,
            "bootstrap": self.bootstrap and self.bootstrap.to_json(),
        }


@dataclass(frozen=True)
class Compared:
    """``left_out``: targets that only one of them answered."""

    a: BoardEntry
    b: BoardEntry
    domains: tuple[OfDomain, ...]
    ratios: tuple[OfRatio, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "a": _of_entry(self.a),
            "b": _of_entry(self.b),
            "interval_level": LEVEL,
            "power": POWER,
            "bootstrap_replicates": REPLICATES if any(each.bootstrap for each in self.domains) else None,
            "accuracies": [each.to_json() for each in self.domains],
            "ratios": [each.to_json() for each in self.ratios],
            "left_out": list(self.left_out),
        }


def compare(a: BoardEntry, b: BoardEntry, *, bootstrap: bool = False) -> Compared:
    """Of two entries trained on the same source. DataError, by name, for all domains on which they saw other clips."""
    if a.source.domain != b.source.domain:
        raise DataError(
            f"A was trained on {a.source.domain} and B on {b.source.domain}; rr of different sources do not compare."
        )
    rows_a, rows_b = ({row.domain: place for place, row in enumerate(e.card.rows)} for e in (a, b))
    shared = [domain for domain in rows_a if domain in rows_b]
    other = [
        f"{domain}: A {x.content_hash[:HASH_CHARS]}... ({x.n} clips), B {y.content_hash[:HASH_CHARS]}... ({y.n} clips)"
        for domain in shared
        if (x := a.card.rows[rows_a[domain]]).content_hash != (y := b.card.rows[rows_b[domain]]).content_hash
        or x.n != y.n
    ]
    if other:
        raise DataError(
            f"A and B answered other clips of {len(other)} of {len(shared)} domains: {'; '.join(other)}. Evaluate both "
            "on the same."
        )
    if len(shared) < 2:
        raise DataError(f"A and B share no target: A has {_targets(a)}, B has {_targets(b)}.")
    pairs = {domain: (a.correct[rows_a[domain]], b.correct[rows_b[domain]]) for domain in shared}
    source = pairs[a.source.domain]
    domains, ratios = [], []
    for domain in shared:
        row_a, row_b = a.card.rows[rows_a[domain]], b.card.rows[rows_b[domain]]
        domains.append(_of_domain(row_a, row_b, *pairs[domain], bootstrap))
        if domain != a.source.domain:
            ratios.append(_of_ratio(row_a, row_b, source, pairs[domain], bootstrap))
    left_out = [name for name in (*rows_a, *rows_b) if name not in shared]
    return Compared(a, b, tuple(domains), tuple(ratios), tuple(left_out))


def _of_domain(row_a: Row, row_b: Row, a: Correct, b: Correct, bootstrap: bool) -> OfDomain:
    of_two = None
    if len(a) == len(b) == 1:
        only_a, only_b = (int(np.count_nonzero(x[0] & ~y[0])) for x, y in ((a, b), (b, a)))
        of_two = McNemar(only_a, only_b, statistics.mcnemar(a[0], b[0]))
    return OfDomain(
        domain=row_a.domain,
        role=row_a.role,
        n=row_a.n,
        a=row_a.accuracy,
        b=row_b.accuracy,
        difference=statistics.compare_accuracies(a, b),
        mcnemar=of_two,
        detectable=statistics.detectable_difference(a, b),
        bootstrap=statistics.bootstrap_difference(a, b) if bootstrap else None,
    )


def _of_ratio(
    row_a: Row, row_b: Row, source: tuple[Correct, Correct], target: tuple[Correct, Correct], bootstrap: bool
) -> OfRatio:
    four = (source[0], target[0], source[1], target[1])
    return OfRatio(
        domain=row_a.domain,
        a=row_a.rr,
        b=row_b.rr,
        difference=None if row_a.rr is None or row_b.rr is None else row_a.rr.value - row_b.rr.value,
        ratio=statistics.compare_ratios(*four),
        detectable=statistics.detectable_ratio(*four),
        bootstrap=statistics.bootstrap_ratio_of_ratios(*four) if bootstrap else None,
    )


def _of_comparison(comparison: Comparison) -> dict[str, Any]:
    estimate = comparison.estimate
    return {"estimate": estimate and estimate.to_json(), "verdict": comparison.verdict, "p": comparison.p}


def _of_entry(entry: BoardEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "origin": entry.origin,
        "kind": entry.kind,
        "label": entry.label,
        "seeds": list(entry.card.seeds),
        "valid": entry.card.valid,
    }


def _targets(entry: BoardEntry) -> str:
    return ", ".join(row.domain for row in entry.targets)
