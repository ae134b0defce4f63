"""Accuracies and ratios of accuracies with intervals: one by one, and many submissions at once by the same code.

Delta method: log(T / V) has the variance of t / T - v / V, where t and v vary with seeds and clips as in ``moments``;
that exists when a seed has no hit. An interval is mean -+ t * sqrt(Var), for a ratio on the log scale, with
Satterthwaite's degrees of freedom. One seed: clips alone (for rr Katz's formula), and the number says so. Where an
accuracy is 0 or 1 that variance is no estimate, and exact (Clopper-Pearson) bounds take its place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.estimate import CLIPS, SEEDS_AND_CLIPS, Correct, Estimate, Estimates, Floats
from benchmark.statistics.moments import Moments, SharedClips, half_width, moments, shared_clips, spread
from tsgen.common.intervals import LEVEL, clopper_pearson


def accuracy(correct: Correct, level: float = LEVEL) -> Estimate:
    """Mean accuracy of bool (S, N), the same clips for all seeds; exact (Clopper-Pearson) for one seed."""
    _check_group(correct)
    estimate = accuracies(correct[None], level).at(0)
    assert estimate is not None  # a mean always exists
    return estimate


def robustness_ratio(val: Correct, target: Correct, level: float = LEVEL) -> Estimate | None:
    """rr = T / V of ``target`` (S, N_target) and ``val`` (S, N_val), the same seeds. None where V = 0."""
    _check_group(val, target)
    return robustness_ratios(val[None], target[None], level).at(0)


def target_ratio(
    target: Correct,
    reference: Correct,
    target_clips: NDArray[np.int64] | None = None,
    reference_clips: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Estimate | None:
    """T / S1 of ``target`` (S, N) and ``reference`` (S, N'), the same seeds. None where the reference has no hit.

    With the clip ids of both (int64) the clips that occur in both are taken as pairs: a clip that is easy in one is
    easy in the other, and the interval is narrower for it. Without ids the clips are taken as different ones.
    """
    _check_group(target, reference)
    shared = None
    if target_clips is not None and reference_clips is not None:
        shared = shared_clips(reference_clips, target_clips)
    return target_ratios(target[None], reference[None], shared, level).at(0)


def accuracies(correct: Correct, level: float = LEVEL) -> Estimates:
    """Of bool (M, S, N), M submissions with the same S and N. Equal to ``accuracy`` of each."""
    of = moments([correct])
    value = of.mean[..., 0]
    variance, dof = spread(of, np.ones_like(of.mean))
    half = half_width(variance, dof, level)
    low, high = np.maximum(value - half, 0.0), np.minimum(value + half, 1.0)
    exact = (value == 0.0) | (value == 1.0) | (of.S == 1)
    low[exact], high[exact] = exact_bounds(value[exact], of.N[0], level)
    return Estimates(value, low, high, ~exact)


def robustness_ratios(val: Correct, target: Correct, level: float = LEVEL) -> Estimates:
    """rr of bool (M, S, N_val) and (M, S, N_target). Equal to ``robustness_ratio`` of each; NaN where V = 0."""
    return _ratios(moments([val, target]), level)


def target_ratios(
    target: Correct, reference: Correct, shared: SharedClips | None = None, level: float = LEVEL
) -> Estimates:
    """T / S1 of (M, S, N) and (M, S, N'). ``shared``: the rows of the reference and of the target with equal clips."""
    return _ratios(moments([reference, target], shared), level)


def exact_bounds(value: Floats, n: int, level: float) -> tuple[Floats, Floats]:
    """Clopper-Pearson bounds of accuracies float64 (...) over ``n`` clips."""
    hits, where = np.unique(value * n, return_inverse=True)
    bounds = np.array([clopper_pearson(each, n, level) for each in hits.tolist()]).reshape(-1, 2)[where.ravel()]
    return bounds[:, 0].reshape(value.shape), bounds[:, 1].reshape(value.shape)


def chance_corrected_ratio(V: float, T: float, chance: float) -> float | None:
    """(T - chance) / (V - chance): 1 is fully robust, 0 no better than guessing. None where V is not above chance."""
    return (T - chance) / (V - chance) if chance < V else None


def chance_corrected(val: Correct, target: Correct, chance: float, level: float = LEVEL) -> Estimate | None:
    """rr* with Fieller's interval: all r that a test of (T - chance) - r (V - chance) = 0 does not reject.

    T may be at or below chance, where a log does not exist. None where V's interval reaches chance: the set of such r
    is then not an interval. ``val`` (S, N_val) and ``target`` (S, N_target) of the same seeds.
    """
    _check_group(val, target)
    of = moments([val, target])
    V, T = (float(mean) for mean in of.mean)
    point = chance_corrected_ratio(V, T, chance)
    if point is None or accuracy(val, level).low <= chance:
        return None
    if T in (0.0, 1.0) or V == 1.0:
        joint = 1 - (1 - level) / 2
        v_low, v_high = clopper_pearson(V * of.N[0], of.N[0], joint)
        t_low, t_high = clopper_pearson(T * of.N[1], of.N[1], joint)
        if v_low <= chance:
            return None
        corners = [(t - chance) / (v - chance) for t in (t_low, t_high) for v in (v_low, v_high)]
        return Estimate(point, min(corners), max(corners), CLIPS)
    _, dof = spread(of, np.array([-point, 1.0]))
    t_squared = float(half_width(1.0, dof, level)) ** 2
    (var_v, cov), (_, var_t) = of.covariance
    v, t = V - chance, T - chance
    a, b, c = v**2 - t_squared * var_v, v * t - t_squared * cov, t**2 - t_squared * var_t
    if a <= 0:
        return None
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return Estimate(point, (b - root) / a, (b + root) / a, CLIPS if of.S == 1 else SEEDS_AND_CLIPS)


def majority_share(labels: NDArray[np.int64]) -> float:
    """Accuracy of always answering the most frequent class."""
    return float(np.bincount(labels).max() / len(labels))


def prior_share(labels: NDArray[np.int64], prior: NDArray[np.int64]) -> float:
    """Expected accuracy on ``labels`` int64 (N,) of answers drawn with the class frequencies of ``prior`` (N',)."""
    classes = int(max(labels.max(), prior.max())) + 1
    shares = [np.bincount(each, minlength=classes) / len(each) for each in (labels, prior)]
    return float(shares[0] @ shares[1])


def prior_top_share(labels: NDArray[np.int64], prior: NDArray[np.int64], top: int) -> float:
    """Share of ``labels`` among the ``top`` classes most frequent in ``prior``; of equal ones the smaller ids."""
    frequent = np.argsort(-np.bincount(prior), kind="stable")[:top]
    return float(np.isin(labels, frequent).mean())


def _check_group(*blocks: Correct) -> None:
    if any(block.ndim != 2 or len(block) != len(blocks[0]) for block in blocks):
        raise ValueError(f"expected (S, N) of the same S, got {' and '.join(str(block.shape) for block in blocks)}")


def _ratios(of: Moments, level: float) -> Estimates:
    """Of the second block over the first."""
    V, T = of.mean[..., 0], of.mean[..., 1]
    shape = V.shape
    value, low, high = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    np.divide(T, V, out=value, where=V > 0)
    smooth = (T > 0) & (T < 1) & (V > 0) & (V < 1)
    weights = np.stack([-1 / np.where(smooth, V, 1.0), 1 / np.where(smooth, T, 1.0)], axis=-1)
    variance, dof = spread(of, weights)
    with np.errstate(over="ignore"):  # two seeds can be so far apart that the bound is infinite
        factor = np.exp(half_width(variance, dof, level)[smooth])
    low[smooth], high[smooth] = value[smooth] / factor, value[smooth] * factor
    exact = (V > 0) & ~smooth
    # Both bounds hold together with at least `level` when each of the two intervals misses half as often (Bonferroni).
    joint = 1 - (1 - level) / 2
    v_low, v_high = exact_bounds(V[exact], of.N[0], joint)
    t_low, t_high = exact_bounds(T[exact], of.N[1], joint)
    low[exact], high[exact] = t_low / v_high, t_high / v_low
    return Estimates(value, low, high, smooth & (of.S > 1))
