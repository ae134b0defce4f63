"""Predictions to the one record from which the table, ``result.json`` and ``report.md`` come. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import statistics
from benchmark.predictions import TOP, Predictions
from benchmark.statistics import Estimate
from tsgen.common.errors import DataError
from tsgen.common.intervals import LEVEL

if TYPE_CHECKING:
    from benchmark.config import RunConfig

SOURCE_ROLE = "source validation"
TARGET_ROLE = "target"
SPLIT_OF_ROLE = {SOURCE_ROLE: "val", TARGET_ROLE: "test"}
SELECTION = "the first epoch with the best V"


@dataclass(frozen=True)
class Entry:
    """What is scored: ``source`` names the domain whose validation split gives V. ``selection``: of the checkpoint."""

    title: str
    source: str
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    selection: str = SELECTION

    @classmethod
    def of_run(cls, config: RunConfig) -> Entry:
        from benchmark.models import model_title

        title = f"{model_title(config.model, config.hidden)}, trained on {config.source}"
        return cls(title, config.source, config.targets, config.seeds)

    @property
    def domains(self) -> tuple[str, ...]:
        return (self.source, *self.targets)

    def role(self, domain: str) -> str:
        return SOURCE_ROLE if domain == self.source else TARGET_ROLE


@dataclass(frozen=True)
class Row:
    """A domain's numbers over all seeds. ``hits``: correct clips of each seed. rr fields are None for the source.

    ``rr_chance_corrected_interval`` is None where V is not surely above chance: no interval of the ratio exists.

    ``top5`` is None with five classes or fewer. ``balanced_accuracy``: mean over the ``populated_classes``, those that
    have clips, of the accuracy on their clips. Yardsticks: ``majority``, always answering the domain's most frequent
    class; ``prior``, answers drawn with the class frequencies of the source validation clips; ``prior_top5``, always
    their five most frequent classes.
    """

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
    rr_chance_corrected_interval: tuple[float, float] | None = None
    top5: Estimate | None = None
    balanced_accuracy: float | None = None
    populated_classes: int | None = None
    prior: float | None = None
    prior_top5: float | None = None

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
            "accuracy": self.accuracy.to_json(),
            "rr": self.rr and self.rr.to_json(),
            "rr_chance_corrected": self.rr_chance_corrected,
            "rr_chance_corrected_interval": self.rr_chance_corrected_interval,
            "top5_accuracy": self.top5 and self.top5.to_json(),
            "balanced_accuracy": self.balanced_accuracy,
            "populated_classes": self.populated_classes,
            "prior_baseline": self.prior,
            "prior_top5_baseline": self.prior_top5,
        }


TEXTURE = ("T", "S1")
"""The targets of Diving48 whose ratio tells a drop of texture from a drop everywhere (section 4.2)."""


@dataclass(frozen=True)
class Scorecard:
    """The source's row first, then the targets in the order of the entry.

    ``valid``: V is above chance and above the majority baseline, by its whole interval. ``texture``: T / S1 where the
    targets have both, and ``texture_verdict`` on it (:func:`benchmark.statistics.asterisk`), else None.
    """

    title: str
    seeds: tuple[int, ...]
    chance: float
    valid: bool
    rows: tuple[Row, ...]
    selection: str = SELECTION
    texture: Estimate | None = None
    texture_verdict: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "seeds": list(self.seeds),
            "chance": self.chance,
            "source_above_chance": self.valid,
            "interval_level": LEVEL,
            "T/S1": self.texture and self.texture.to_json(),
            "texture_verdict": self.texture_verdict,
            "rows": [row.to_json() for row in self.rows],
        }


def score(entry: Entry, predictions: Mapping[tuple[int, str], Predictions]) -> Scorecard:
    """``predictions``: (seed, domain) -> predictions, for every seed and for the source and each target.

    DataError when seeds saw different clips, or domains have other classes.
    """
    of = {domain: [predictions[seed, domain] for seed in entry.seeds] for domain in entry.domains}
    for domain, group in of.items():
        _check_group(domain, entry, group)
    first = of[entry.source][0]
    for domain in entry.targets:
        if of[domain][0].class_names != first.class_names:
            raise DataError(f"{domain} has other classes than {entry.source}; rr compares accuracies on the same ones.")
    correct = {domain: np.stack([each.correct for each in group]) for domain, group in of.items()}
    V = statistics.accuracy(correct[entry.source])
    chance = 1 / len(first.class_names)

    def row(domain: str) -> Row:
        one, is_source = of[domain][0], domain == entry.source
        accuracy = V if is_source else statistics.accuracy(correct[domain])
        in_top5 = [each.correct_in_top5 for each in of[domain]]
        corrected = None if is_source else statistics.chance_corrected(correct[entry.source], correct[domain], chance)
        balanced, populated = _balanced_accuracy(correct[domain], one.label)
        return Row(
            domain=domain,
            role=entry.role(domain),
            n=len(one.label),
            hits=tuple(int(hits) for hits in correct[domain].sum(axis=1)),
            majority=statistics.majority_share(one.label),
            content_hash=one.content_hash,
            digits_source=one.digits_source,
            digits_sha256=one.digits_sha256,
            accuracy=accuracy,
            rr=None if is_source else statistics.robustness_ratio(correct[entry.source], correct[domain]),
            rr_chance_corrected=None
            if is_source
            else statistics.chance_corrected_ratio(V.value, accuracy.value, chance),
            rr_chance_corrected_interval=None if corrected is None else (float(corrected.low), float(corrected.high)),
            top5=None
            if in_top5[0] is None
            else statistics.accuracy(np.stack([hit for hit in in_top5 if hit is not None])),
            balanced_accuracy=balanced,
            populated_classes=populated,
            prior=statistics.prior_share(one.label, first.label),
            prior_top5=None if in_top5[0] is None else statistics.prior_top_share(one.label, first.label, TOP),
        )

    texture = texture_verdict = None
    if set(TEXTURE) <= set(entry.targets):
        target, reference = TEXTURE
        ids = (of[target][0].clip_id, of[reference][0].clip_id)  # of the same test videos
        texture = statistics.target_ratio(correct[target], correct[reference], *ids)
        texture_verdict = statistics.asterisk(texture)
    return Scorecard(
        title=entry.title,
        seeds=entry.seeds,
        chance=chance,
        valid=statistics.above_guessing(V, chance, statistics.majority_share(first.label)),
        rows=tuple(row(domain) for domain in entry.domains),
        selection=entry.selection,
        texture=texture,
        texture_verdict=texture_verdict,
    )


def _balanced_accuracy(correct: NDArray[np.bool_], label: NDArray[np.int64]) -> tuple[float, int]:
    """Of ``correct`` (S, N) and ``label`` (N,): the mean over populated classes, and how many there are."""
    clips = np.bincount(label)
    hits = np.bincount(label, weights=correct.mean(axis=0))
    populated = clips > 0
    return float((hits[populated] / clips[populated]).mean()), int(populated.sum())


def _check_group(domain: str, entry: Entry, group: Sequence[Predictions]) -> None:
    """All seeds must have answered the same questions."""
    expected_split = SPLIT_OF_ROLE[entry.role(domain)]
    first = group[0]
    for seed, each in zip(entry.seeds, group, strict=True):
        if (each.seed, each.domain, each.split) != (seed, domain, expected_split):
            raise DataError(
                f"the predictions of seed {seed} on {domain} say they are of seed {each.seed} on {each.domain}, "
                f"split {each.split}; expected split {expected_split}."
            )
        if each.content_hash != first.content_hash or each.class_names != first.class_names:
            raise DataError(f"seeds {first.seed} and {seed} were evaluated on different {domain} clips.")
        if not (np.array_equal(each.clip_id, first.clip_id) and np.array_equal(each.label, first.label)):
            raise DataError(f"seeds {first.seed} and {seed} have other clips or labels for {domain}.")
