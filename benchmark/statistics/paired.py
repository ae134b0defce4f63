"""Two models, or every two of many, on the same clips: difference of accuracies and ratio of robustness ratios.

The clips are shared, the trainings are not: the seeds of each model are its own and crossed with the clips. The
variance of the difference is then, with the parts of ``moments`` for each model,

    Var(A) + Var(B) - 2 cov_i(a_i, b_i) / N,    a_i, b_i: accuracy of clip i over the seeds of A and of B,

so clips that are hard for both models cost nothing. For rr the same on the log scale, outcomes divided by T and -V. The
part of the clips is ``guarded``: two models that answer alike do not get an interval of width 0. In an rr of 0, half a
clip counts as right.

One product of matrices gives the covariances of all pairs, so ``pairwise_*`` of M models takes hardly more than M times
one, and the comparison of two is that of M = 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmark.statistics.estimate import CLIPS, SEEDS_AND_CLIPS, Correct, Estimate, Floats
from benchmark.statistics.moments import Moments, degrees_of_freedom, guarded, half_width, moments
from tsgen.common.intervals import LEVEL

A_BETTER = "A better"
B_BETTER = "B better"
OPEN = "open"


@dataclass(frozen=True)
class Comparison:
    """``estimate``: accuracy A - accuracy B, or rr A / rr B; None where an rr is undefined.

    ``verdict`` is by its interval. ``p`` of the two-sided test; of two accuracies of one seed each it is McNemar's.
    """

    estimate: Estimate | None
    verdict: str
    p: float


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Accuracies or log rr of M models, row minus column: (M, M), with standard error and degrees of freedom.

    NaN where undefined. ``of_seeds`` bool (M,): the model has several seeds.
    """

    difference: Floats
    error: Floats
    dof: Floats
    of_seeds: NDArray[np.bool_]

    @property
    def p(self) -> Floats:
        """Two-sided, 1 where undefined or on the diagonal."""
        scale = np.where(self.error > 0, self.error, 1.0)
        p = 2 * special.stdtr(self.dof, -np.abs(self.difference) / scale)
        return np.where(np.isnan(p) | np.eye(len(p), dtype=bool), 1.0, p)


def compare_accuracies(a: Correct, b: Correct, level: float = LEVEL) -> Comparison:
    """Of bool (S_a, N) and (S_b, N): column i is the same clip."""
    pair = pairwise_accuracies([a, b])
    half = float(half_width(pair.error[0, 1] ** 2, pair.dof[0, 1], level))
    value = float(pair.difference[0, 1])
    estimate = Estimate(value, max(value - half, -1.0), min(value + half, 1.0), _variance(pair))
    p = mcnemar(a[0], b[0]) if len(a) == len(b) == 1 else float(pair.p[0, 1])
    return Comparison(estimate, _verdict(estimate, 0.0), p)


def compare_ratios(
    val_a: Correct, target_a: Correct, val_b: Correct, target_b: Correct, level: float = LEVEL
) -> Comparison:
    """rr A / rr B: val (S, N_val) and target (S, N_target) of each model, its own seeds; the models share the clips."""
    pair = pairwise_ratios([(val_a, target_a), (val_b, target_b)])
    if np.isnan(pair.difference[0, 1]):
        return Comparison(None, OPEN, 1.0)
    value = float(np.exp(pair.difference[0, 1]))
    with np.errstate(over="ignore"):
        factor = float(np.exp(half_width(pair.error[0, 1] ** 2, pair.dof[0, 1], level)))
    estimate = Estimate(value, value / factor, value * factor, _variance(pair))
    return Comparison(estimate, _verdict(estimate, 1.0), float(pair.p[0, 1]))


def mcnemar(a: Correct, b: Correct) -> float:
    """Exact two-sided p that two models are equally often right, of bool (N,).

    A binomial test of the clips on which exactly one of them is; it never rejects more often than its level says.
    """
    only_a, only_b = int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a))
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def pairwise_accuracies(models: Sequence[Correct]) -> Pairwise:
    """Of M models (S_m, N), column i the same clip in all; the numbers of seeds may differ."""
    of = [moments([model]) for model in models]
    return _pairwise(of, [[model] for model in models], np.ones((len(of), 1)))


def pairwise_ratios(models: Sequence[tuple[Correct, Correct]]) -> Pairwise:
    """log rr of M models given as (val (S_m, N_val), target (S_m, N_target)); the clips are the same for all."""
    of = [moments(model) for model in models]
    means = np.stack([each.mean for each in of])
    half_a_clip = 0.5 / np.array(of[0].N)
    weights = np.array([-1.0, 1.0]) / np.maximum(means, half_a_clip)
    pair = _pairwise(of, models, weights)
    log_rr = -np.log(np.abs(weights[:, 1])) + np.log(np.abs(weights[:, 0]))
    log_rr[means[:, 0] == 0] = np.nan
    return Pairwise(log_rr[:, None] - log_rr, pair.error, pair.dof, pair.of_seeds)


def _pairwise(of: Sequence[Moments], models: Sequence[Sequence[Correct]], weights: Floats) -> Pairwise:
    """Of the weighted means (M, K) of K blocks with different clips."""
    if any(each.N != of[0].N for each in of):
        raise ValueError(f"the models have other clips: {sorted({each.N for each in of})}")
    M, N, S = len(of), of[0].N, np.array([each.S for each in of])
    variance, squares = np.zeros((M, M)), np.zeros((M, M))
    for k, n in enumerate(N):
        w = weights[:, k]
        of_clip = np.stack([model[k].mean(axis=0) for model in models])  # (M, n)
        centred = of_clip - of_clip.mean(axis=1, keepdims=True)
        covariance = centred @ centred.T / (max(n - 1, 1) * n)
        own = np.array([each.clips[k, k] for each in of])
        np.fill_diagonal(covariance, own)
        unit = np.outer(w, w)
        part = own * w**2
        clips = np.maximum(part[:, None] + part - 2 * covariance * unit, 0.0)
        clips = guarded(clips, n, n**2 * np.outer(S, S), unit)
        variance += clips
        squares += clips**2 / max(n - 1, 1)
    between = np.array([w @ each.seeds @ w for each, w in zip(of, weights, strict=True)])
    mixed = np.array([w @ each.mixed @ w for each, w in zip(of, weights, strict=True)])
    beyond, of_between = np.maximum(between - mixed, 0.0), between**2 / np.maximum(S - 1, 1)
    variance += beyond[:, None] + beyond
    squares += of_between[:, None] + of_between
    np.fill_diagonal(variance, 0.0)
    value = (np.stack([each.mean for each in of]) * weights).sum(axis=1)
    worst = np.minimum(np.where(S > 1, S - 1, np.inf), max(min(N) - 1, 1))
    dof = degrees_of_freedom(variance, squares, np.minimum(worst[:, None], worst))
    return Pairwise(value[:, None] - value, np.sqrt(variance), dof, S > 1)


def _variance(pair: Pairwise) -> str:
    return SEEDS_AND_CLIPS if pair.of_seeds.all() else CLIPS


def _verdict(estimate: Estimate, equal: float) -> str:
    if estimate.low > equal:
        return A_BETTER
    return B_BETTER if estimate.high < equal else OPEN
