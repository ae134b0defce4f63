"""The smallest differences that two given models could show: ``power`` with its assumptions measured on their answers.

Between trainings: the variance of the seeds' accuracies beyond what the clips explain, the mean of the two models'.
``agreement`` and ``shared``: mean correlation of the outcomes of two seeds of a model, and of one seed of each, over
the clips. Two models that answer (nearly) alike share no more than leaves the variance of two clips, as in ``moments``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmark.statistics.estimate import Correct
from benchmark.statistics.moments import moments
from benchmark.statistics.power import POWER, minimum_detectable_difference, minimum_detectable_ratio
from tsgen.common.intervals import LEVEL

GUARD_CLIPS = 2


@dataclass(frozen=True)
class Assumptions:
    """Of two models on the same clips; the names are those of ``power``. ``seeds``: the fewer of the two."""

    n: int
    accuracy: float
    seeds: int
    seed_sd: float
    agreement: float
    shared: float


def measure(a: Correct, b: Correct) -> Assumptions | None:
    """Of bool (S_a, N) and (S_b, N), column i the same clip. None where an accuracy is 0 or 1: nothing varies."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the models have other clips: {a.shape[1]} and {b.shape[1]}")
    of = [moments([each]) for each in (a, b)]
    means = [float(each.mean[0]) for each in of]
    units = [mean * (1 - mean) for mean in means]
    n, seeds = a.shape[1], min(len(a), len(b))
    if min(units) == 0 or n < 2:
        return None
    beyond = [max(each.S * float(each.seeds[0, 0] - each.mixed[0, 0]), 0.0) for each in of]
    agreements = [_agreement(each) for each in (a, b) if len(each) > 1]
    agreement = min(max(float(np.mean(agreements)), 0.0), 1.0) if agreements and seeds > 1 else 0.0
    of_clip = [each.mean(axis=0) for each in (a, b)]
    shared = float(np.cov(*of_clip)[0, 1]) / math.sqrt(units[0] * units[1])
    own = (1 - agreement) / seeds + agreement
    accuracy = sum(means) / 2
    least = GUARD_CLIPS / (2 * n * accuracy * (1 - accuracy))
    seed_sd = math.sqrt(sum(beyond) / 2) if seeds > 1 else 0.0
    return Assumptions(n, accuracy, seeds, seed_sd, agreement, min(shared, own - least))


def detectable_difference(a: Correct, b: Correct, level: float = LEVEL, power: float = POWER) -> float | None:
    """Of their accuracies, found with probability ``power``; None where an accuracy is 0 or 1."""
    of = measure(a, b)
    if of is None:
        return None
    return minimum_detectable_difference(of.n, of.accuracy, of.seeds, of.seed_sd, of.agreement, of.shared, level, power)


def detectable_ratio(
    val_a: Correct, target_a: Correct, val_b: Correct, target_b: Correct, level: float = LEVEL, power: float = POWER
) -> float | None:
    """The factor > 1 between their rr; None where an accuracy is 0 or 1. Correlations are the means of both sets.

    V and T of a model are of the same trainings: what these share (one with a high V has a high T) cancels in rr.
    """
    V, T = measure(val_a, val_b), measure(target_a, target_b)
    if V is None or T is None:
        return None
    beyond = [_beyond_of_log_rr(val, target) for val, target in ((val_a, target_a), (val_b, target_b))]
    seed_sd = math.sqrt(sum(beyond) / 2) if V.seeds > 1 else 0.0
    agreement, shared = (V.agreement + T.agreement) / 2, (V.shared + T.shared) / 2
    return minimum_detectable_ratio(V.n, T.n, V.accuracy, T.accuracy, V.seeds, seed_sd, agreement, shared, level, power)


def _beyond_of_log_rr(val: Correct, target: Correct) -> float:
    """Variance of log rr between trainings beyond what the clips explain, by the delta method."""
    of = moments([val, target])
    weights = np.array([-1.0, 1.0]) / of.mean
    return max(of.S * float(weights @ (of.seeds - of.mixed) @ weights), 0.0)


def _agreement(correct: Correct) -> float:
    """Mean correlation of two seeds' outcomes over the clips, of bool (S, N) with S > 1."""
    S = len(correct)
    covariance = np.cov(correct.astype(np.float64))
    unit = float(correct.mean()) * (1 - float(correct.mean()))
    return float(covariance.sum() - np.trace(covariance)) / (S * (S - 1)) / unit
