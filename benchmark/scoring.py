"""Predictions to the one record from which the table, ``result.json`` and ``report.md`` come. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark import statistics
from benchmark.config import RunConfig
from benchmark.models import model_title
from benchmark.predictions import Predictions
from benchmark.statistics import Estimate
from tsgen.common.errors import DataError
from tsgen.common.intervals import LEVEL

SOURCE_ROLE = "source validation"
TARGET_ROLE = "target"


@dataclass(frozen=True)
class Row:
    """A domain's numbers over all seeds. ``hits``: correct clips of each seed. rr fields are None for the source."""

    domain: str
    role: str
    n: int
    hits: tuple[int, ...]
    majority: float
    content_hash: str
    digits_source: str | None
    digits_sha256: str | None
    accuracy: Estimate
    rr: Estimate | None = None
    rr_chance_corrected: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "role": self.role,
            "n": self.n,
            "hits_per_seed": list(self.hits),
            "majority_baseline": self.majority,
            "content_hash": self.content_hash,
            "digits_source": self.digits_source,
            "digits_sha256": self.digits_sha256,
            "accuracy": _estimate_json(self.accuracy),
            "rr": _estimate_json(self.rr),
            "rr_chance_corrected": self.rr_chance_corrected,
        }


@dataclass(frozen=True)
class Scorecard:
    """The source's row first, then the targets in the order of the config.

    ``valid``: V is above chance and above the majority baseline, by its whole interval.
    """

    title: str
    seeds: tuple[int, ...]
    chance: float
    valid: bool
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "seeds": list(self.seeds),
            "chance": self.chance,
            "source_above_chance": self.valid,
            "interval_level": LEVEL,
            "rows": [row.to_json() for row in self.rows],
        }


def score(config: RunConfig, predictions: Mapping[tuple[int, str], Predictions]) -> Scorecard:
    """``predictions``: (seed, domain) -> predictions, for every seed and for the source and each target."""
    domains = (config.source, *config.targets)
    of = {domain: [predictions[seed, domain] for seed in config.seeds] for domain in domains}
    for domain, group in of.items():
        _check_group(domain, config, group)
    correct = {domain: np.stack([each.correct for each in group]) for domain, group in of.items()}
    V = statistics.accuracy(correct[config.source])
    first = of[config.source][0]
    chance = 1 / len(first.class_names)

    def row(domain: str) -> Row:
        one, is_source = of[domain][0], domain == config.source
        accuracy = statistics.accuracy(correct[domain])
        return Row(
            domain=domain,
            role=SOURCE_ROLE if is_source else TARGET_ROLE,
            n=len(one.label),
            hits=tuple(int(hits) for hits in correct[domain].sum(axis=1)),
            majority=statistics.majority_share(one.label),
            content_hash=one.content_hash,
            digits_source=one.digits_source,
            digits_sha256=one.digits_sha256,
            accuracy=accuracy,
            rr=None if is_source else statistics.robustness_ratio(correct[config.source], correct[domain]),
            rr_chance_corrected=None
            if is_source
            else statistics.chance_corrected_ratio(V.value, accuracy.value, chance),
        )

    return Scorecard(
        title=f"{model_title(config.model, config.hidden)}, trained on {config.source}",
        seeds=config.seeds,
        chance=chance,
        valid=V.low > max(chance, statistics.majority_share(first.label)),
        rows=tuple(row(domain) for domain in domains),
    )


def _check_group(domain: str, config: RunConfig, group: Sequence[Predictions]) -> None:
    """All seeds must have answered the same questions."""
    expected_split = "val" if domain == config.source else "test"
    first = group[0]
    for seed, each in zip(config.seeds, group, strict=True):
        if (each.seed, each.domain, each.split) != (seed, domain, expected_split):
            raise DataError(
                f"the predictions of seed {seed} on {domain} say they are of seed {each.seed} on {each.domain}, "
                f"split {each.split}; expected split {expected_split}."
            )
        if each.content_hash != first.content_hash or each.class_names != first.class_names:
            raise DataError(f"seeds {first.seed} and {seed} were evaluated on different {domain} clips.")
        if not (np.array_equal(each.clip_id, first.clip_id) and np.array_equal(each.label, first.label)):
            raise DataError(f"seeds {first.seed} and {seed} have other clips or labels for {domain}.")


def _estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high if np.isfinite(estimate.high) else None,
        "variance": estimate.variance,
    }
