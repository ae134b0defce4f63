"""Which settings (model, h) of the families are comparable, and by what rule: layers, parameters or accuracy.

A setting of the reference family is matched with one of every other family; the rule is part of the result.
Counting parameters needs torch, on its meta device; reading accuracies does not.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from benchmark.config import RunConfig
from benchmark.models import MAX_HIDDEN, MODELS, check_model, count_parameters
from benchmark.statistics import CLIPS, SEEDS_AND_CLIPS, Estimate, above_guessing
from tsgen.common.errors import DataError, UsageError
from tsgen.common.intervals import LEVEL, clopper_pearson
from tsgen.vocabulary import CLASS_NAMES

TOLERANCES = {"params": 1.1, "val-accuracy": 0.05}
"""Where a match counts as one: parameters within this factor, V within this distance."""

MAX_RECORDS_BYTES = 256 << 20


@dataclass(frozen=True)
class Setting:
    """A family at one size. ``V`` and ``seeds`` where it was read from runs; ``parameters`` trainable ones."""

    model: str
    hidden: int
    parameters: int
    V: Estimate | None = None
    seeds: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"model": self.model, "hidden": self.hidden, "parameters": self.parameters}
        if self.V is not None:
            found |= {"V": self.V.to_json(), "seeds": list(self.seeds)}
        return found


@dataclass(frozen=True)
class Match:
    """``measure``: parameters over those of the reference, or V minus that of the reference. ``within`` the tolerance.

    ``overlap``: whether the intervals of V do; None where there are none.
    """

    setting: Setting
    measure: float
    within: bool
    overlap: bool | None = None

    def to_json(self) -> dict[str, Any]:
        found = {**self.setting.to_json(), "measure": self.measure, "within_tolerance": self.within}
        return found if self.overlap is None else {**found, "intervals_overlap": self.overlap}


@dataclass(frozen=True)
class Group:
    """A setting of the reference family with its match in each other family."""

    reference: Setting
    matches: tuple[Match, ...]

    def to_json(self) -> dict[str, Any]:
        return {"reference": self.reference.to_json(), "matches": [match.to_json() for match in self.matches]}


@dataclass(frozen=True)
class Matching:
    """``rule`` in words, with its tolerance; ``left_out``: settings that take no part, and why."""

    by: str
    rule: str
    tolerance: float | None
    source: str | None
    groups: tuple[Group, ...]
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "rule": self.rule,
            "tolerance": self.tolerance,
            "source": self.source,
            "groups": [group.to_json() for group in self.groups],
            "left_out": list(self.left_out),
        }


def match_layers(reference: str, models: Sequence[str], hidden: Sequence[int]) -> Matching:
    """The same h everywhere: all families have three layers on Temporal Shape."""
    groups, left_out = [], []
    for h in hidden:
        at = _setting(reference, h)
        matches = []
        for model in models:
            if not is_possible(model, h):
                left_out.append(f"{model} h={h}: not possible")
                continue
            one = _setting(model, h)
            matches.append(Match(one, one.parameters / at.parameters, True))
        groups.append(Group(at, tuple(matches)))
    return Matching("layers", "three layers of the same h", None, None, tuple(groups), tuple(left_out))


def match_parameters(
    reference: str,
    models: Sequence[str],
    hidden: Sequence[int],
    candidates: Sequence[int] | None = None,
    tolerance: float = TOLERANCES["params"],
) -> Matching:
    """For each h of the reference the h of every other family whose trainable parameters are nearest by their ratio.

    ``candidates``: the h that may be chosen; None: any.
    """
    if not tolerance >= 1:
        raise UsageError(
            f"tolerance {tolerance:g} is not possible by params; allowed: a factor of 1 or more, like 1.1."
        )
    groups = []
    for h in hidden:
        at = _setting(reference, h)
        matches = []
        for model in models:
            one = _nearest_by_parameters(model, at.parameters, candidates)
            ratio = one.parameters / at.parameters
            matches.append(Match(one, ratio, max(ratio, 1 / ratio) <= tolerance))
        groups.append(Group(at, tuple(matches)))
    among = "any h" if candidates is None else f"h of {', '.join(map(str, candidates))}"
    rule = f"the nearest number of trainable parameters by its ratio, {among}; matched within a factor of {tolerance:g}"
    return Matching("params", rule, tolerance, None, tuple(groups))


def match_accuracy(
    settings: Sequence[Setting],
    reference: str,
    source: str,
    tolerance: float = TOLERANCES["val-accuracy"],
    left_out: Sequence[str] = (),
) -> Matching:
    """For each setting of the reference that was run the setting of every other family with the nearest V.

    ``settings``: those trained on ``source``, see :func:`read_settings`. Overlapping intervals alone make no match: of
    wide ones everything overlaps.
    """
    if not 0 <= tolerance <= 1:
        raise UsageError(f"tolerance {tolerance:g} is not possible by val-accuracy; allowed: 0..1, like 0.05.")
    groups = []
    for at in settings:
        if at.model != reference:
            continue
        matches = []
        for model in dict.fromkeys(each.model for each in settings if each.model != reference):
            V, one = _V(at), min((each for each in settings if each.model == model), key=lambda each: _gap(each, at))
            difference = _V(one).value - V.value
            overlap = _V(one).low <= V.high and V.low <= _V(one).high
            matches.append(Match(one, difference, abs(difference) <= tolerance, overlap))
        groups.append(Group(at, tuple(matches)))
    rule = f"the nearest source validation accuracy V (mean over seeds); matched within {tolerance:g}"
    return Matching("val-accuracy", rule, tolerance, source, tuple(groups), tuple(left_out))


def read_settings(directory: Path) -> dict[str, tuple[list[Setting], list[str]]]:
    """Source domain -> the settings of a sweep with their V, and those whose V is not above guessing, in words.

    Read from ``records.jsonl`` alone. UsageError when there is none, DataError when it is damaged, or when runs of one
    source saw other clips.
    """
    path = directory / "records.jsonl"
    if not path.is_file():
        raise UsageError(
            f"{path} does not exist; rac-bench sweep --out {directory} --summary makes it of finished jobs."
        )
    if path.stat().st_size > MAX_RECORDS_BYTES:
        raise DataError(f"{path} is larger than {MAX_RECORDS_BYTES} bytes; refused.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is damaged: byte {problem.start} is not UTF-8.") from None
    grouped: dict[tuple[str, str, int], list[_Record]] = {}
    for number, line in enumerate(lines, 1):
        one = _record(line, f"{path}, line {number}")
        grouped.setdefault((one.config.source, one.config.model, one.config.hidden), []).append(one)
    found: dict[str, tuple[list[Setting], list[str]]] = {}
    for (source, model, hidden), records in sorted(grouped.items(), key=lambda item: _order(item[0])):
        _check_alike(path, source, [record for key, group in grouped.items() if key[0] == source for record in group])
        V = mean_accuracy([record.hits for record in records], records[0].n)
        settings, left_out = found.setdefault(source, ([], []))
        if above_guessing(V, 1 / len(CLASS_NAMES), 0.0):
            seeds = tuple(sorted(record.config.seeds[0] for record in records))
            settings.append(Setting(model, hidden, records[0].parameters, V, seeds))
        else:
            left_out.append(f"{model} h={hidden}: V = {V.value:.3f} is not above guessing by its interval")
    return found


def mean_accuracy(hits: Sequence[int], n: int, level: float = LEVEL) -> Estimate:
    """Mean accuracy over seeds that answered the same ``n`` clips, when only their numbers of hits are known.

    One seed: exact. Several: which clips they have in common is not known, so the variance of the clips is taken as if
    all agreed on every clip, the most it can be; the interval is that of ``rac-bench sweep --summary`` or wider.
    """
    S, value = len(hits), float(np.mean(hits)) / n
    if S == 1 or value in (0.0, 1.0):
        return Estimate(value, *clopper_pearson(value * n, n, level), CLIPS)
    clips = value * (1 - value) / max(n - 1, 1)
    seeds = float(np.var(np.asarray(hits) / n, ddof=1)) / S
    variance = clips + seeds
    dof = variance**2 / (clips**2 / max(n - 1, 1) + seeds**2 / (S - 1))
    half = float(special.stdtrit(dof, (1 + level) / 2)) * math.sqrt(variance)
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), SEEDS_AND_CLIPS)


def is_possible(model: str, hidden: int) -> bool:
    try:
        check_model(model, hidden)
    except UsageError:
        return False
    return True


@functools.cache
def parameters(model: str, hidden: int) -> int:
    return count_parameters(MODELS[model].spec_of(hidden))


def _setting(model: str, hidden: int) -> Setting:
    return Setting(model, hidden, parameters(model, hidden))


def _nearest_by_parameters(model: str, wanted: int, candidates: Sequence[int] | None) -> Setting:
    """Parameters grow with h, so the nearest is one of the two between which ``wanted`` lies."""
    possible = [h for h in (candidates or range(1, MAX_HIDDEN + 1)) if is_possible(model, h)]
    if not possible:
        raise UsageError(f"none of the candidates is possible for {model}; TimeSformers take an even h.")
    possible.sort()
    low, high = 0, len(possible) - 1
    while low < high:
        middle = (low + high) // 2
        if parameters(model, possible[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return min(
        (_setting(model, h) for h in possible[max(low - 1, 0) : low + 1]),
        key=lambda one: abs(math.log(one.parameters / wanted)),
    )


@dataclass(frozen=True)
class _Record:
    config: RunConfig
    parameters: int
    hits: int
    n: int
    content_hash: str


def _record(line: str, where: str) -> _Record:
    try:
        value = json.loads(line)
        config = RunConfig.from_json(value["config"], where)
        of = value["domains"][config.source]
        hits, n, count = of["hits"], of["n"], value["parameters"]
        content_hash = value["content_hashes"][f"{config.source}/val"]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise DataError(f"{where} is damaged: {problem!r}") from problem
    numbers = all(type(number) is int for number in (hits, n, count))
    if not numbers or not 0 <= hits <= n or n < 1 or count < 1 or len(config.seeds) != 1:
        raise DataError(f"{where} is damaged: {hits!r} hits of {n!r}, {count!r} parameters, seeds {config.seeds}.")
    return _Record(config, count, hits, n, str(content_hash))


def _check_alike(path: Path, source: str, records: Sequence[_Record]) -> None:
    if len({(record.content_hash, record.n) for record in records}) > 1:
        raise DataError(f"{path}: the runs on {source} have other validation clips; accuracies do not compare.")


def _order(key: tuple[str, str, int]) -> tuple[str, int, str, int]:
    source, model, hidden = key
    families = list(MODELS)
    return source, families.index(model) if model in families else len(families), model, hidden


def _V(setting: Setting) -> Estimate:  # noqa: N802 - the symbol of the paper
    assert setting.V is not None  # of settings that were read from runs
    return setting.V


def _gap(one: Setting, other: Setting) -> tuple[float, int]:
    return abs(_V(one).value - _V(other).value), one.hidden
