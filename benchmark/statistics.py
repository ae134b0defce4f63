"""Accuracies and robustness ratios with intervals. Pure: arrays in, numbers out.

``correct`` is bool (S, N): seeds by clips; the clips are the same for all seeds. An accuracy is the mean over both, and
the robustness ratio of a group of seeds is the ratio of the mean accuracies, rr = T / V.

Variance. Seeds and clips are two crossed random factors. With c_i the mean of clip i over the seeds, t_s the accuracy
of seed s, and e the interaction left over (two-way analysis of variance),

    clips = var(c_i) / N,   seeds = var(t_s) / S,   mixed = var(e) / (S N),   Var(mean) = clips + max(seeds - mixed, 0),

where ``mixed`` is contained in both terms and must count once. For log rr by the delta method: clips and mixed are
those of T over T^2 plus those of V over V^2, and seeds is var(t_s / T - v_s / V) / S, which to first order is
var(log rr_s) / S and exists when a seed has no hit. One seed: clips alone (for rr Katz's formula), and the number
says so. An interval is mean -+ t * sqrt(Var), Satterthwaite's degrees of freedom. Where an accuracy is 0 or 1 that
variance is no estimate, and exact (Clopper-Pearson) bounds take its place.

Coverage of nominal 95 % in the simulations of tests/benchmark/test_statistics.py: 94 to 98.4 % with one or five seeds.
The same simulation with two or three seeds that differ much gave 89 to 95 %: so few cannot tell how much they differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tsgen.common.intervals import LEVEL, clopper_pearson

CLIPS = "clips"
SEEDS_AND_CLIPS = "seeds+clips"

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval [low, high]; ``high`` may be infinite. ``variance``: "clips" or "seeds+clips"."""

    value: float
    low: float
    high: float
    variance: str


def accuracy(correct: Correct, level: float = LEVEL) -> Estimate:
    """Mean accuracy; exact (Clopper-Pearson) for one seed."""
    S, N = correct.shape
    value = float(correct.mean())
    if S == 1 or value in (0.0, 1.0):
        return Estimate(value, *clopper_pearson(value * N, N, level), CLIPS)
    parts = _variance_parts(correct)
    half = _half_width([parts.clips], [N - 1], parts.seeds, parts.mixed, S, level)
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), SEEDS_AND_CLIPS)


def robustness_ratio(val: Correct, target: Correct, level: float = LEVEL) -> Estimate | None:
    """rr = T / V of ``target`` (S, N_target) and ``val`` (S, N_val), the same seeds. None where V = 0."""
    if val.ndim != 2 or target.ndim != 2 or len(val) != len(target):
        raise ValueError(f"expected (S, N) of the same S, got {val.shape} and {target.shape}")
    V, T = float(val.mean()), float(target.mean())
    if V == 0.0:
        return None
    if T in (0.0, 1.0) or V == 1.0:
        return Estimate(T / V, *_ratio_of_exact_bounds(V, val.shape[1], T, target.shape[1], level), CLIPS)
    S = len(val)
    of_val, of_target = _variance_parts(val), _variance_parts(target)
    clips = [of_val.clips / V**2, of_target.clips / T**2]
    mixed = of_val.mixed / V**2 + of_target.mixed / T**2
    between = 0.0 if S == 1 else float(np.var(target.mean(axis=1) / T - val.mean(axis=1) / V, ddof=1)) / S
    half = _half_width(clips, [val.shape[1] - 1, target.shape[1] - 1], between, mixed, S, level)
    spread = math.exp(half)
    return Estimate(T / V, T / V / spread, T / V * spread, CLIPS if S == 1 else SEEDS_AND_CLIPS)


def chance_corrected_ratio(V: float, T: float, chance: float) -> float | None:
    """(T - chance) / (V - chance): 1 is fully robust, 0 no better than guessing. None where V is not above chance."""
    return (T - chance) / (V - chance) if chance < V else None


def majority_share(labels: NDArray[np.int64]) -> float:
    """Accuracy of always answering the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


@dataclass(frozen=True)
class _Parts:
    clips: float
    seeds: float
    mixed: float


def _variance_parts(correct: Correct) -> _Parts:
    S, N = correct.shape
    values = correct.astype(np.float64)
    of_clip, of_seed = values.mean(axis=0), values.mean(axis=1)
    clips = float(of_clip.var(ddof=1)) / N if N > 1 else 0.25
    if S == 1:
        return _Parts(clips, 0.0, 0.0)
    rest = values - of_clip - of_seed[:, None] + values.mean()
    mixed = float((rest**2).sum()) / ((S - 1) * max(N - 1, 1)) / (S * N)
    return _Parts(clips, float(of_seed.var(ddof=1)) / S, mixed)


def _half_width(clips: list[float], clip_dofs: list[int], seeds: float, mixed: float, S: int, level: float) -> float:
    variance = sum(clips) + max(seeds - mixed, 0.0)
    if variance == 0.0:
        return 0.0
    # Satterthwaite: `mixed` has many degrees of freedom, so all the uncertainty of the difference is that of `seeds`.
    squares = sum(part**2 / max(dof, 1) for part, dof in zip(clips, clip_dofs, strict=True))
    if S > 1:
        squares += seeds**2 / (S - 1)
    dof = variance**2 / squares
    return float(special.stdtrit(dof, (1 + level) / 2)) * math.sqrt(variance)


def _ratio_of_exact_bounds(V: float, n_val: int, T: float, n_target: int, level: float) -> tuple[float, float]:
    # Both bounds hold together with at least `level` when each of the two intervals misses half as often (Bonferroni).
    joint = 1 - (1 - level) / 2
    v_low, v_high = clopper_pearson(V * n_val, n_val, joint)
    t_low, t_high = clopper_pearson(T * n_target, n_target, joint)
    return t_low / v_high, t_high / v_low
