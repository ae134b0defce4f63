"""Effective robustness (Taori et al. 2020): how far a model lies above what its V lets one expect of its T.

Over many models logit T follows logit V closely, and a model that is only better has a higher rr without being more
robust. Expected is the line logit T = a + b logit V through the *other* models, and the effective robustness is
logit T - (a + b logit V). Weights of the fit: 1 / (var_T + b^2 var_V - 2 b cov + tau^2), where var and cov are those of
the logits by the delta method and tau is the spread of the models about the line beyond that (method of moments, never
negative). Variance of the residual: that of the line at the model's V plus the model's own var_T + b^2 var_V - 2 b cov;
t quantile with Satterthwaite's degrees of freedom, of which the line has the number of the other models - 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from benchmark.statistics.estimate import CLIPS, SEEDS_AND_CLIPS, Correct, Estimate, Floats
from benchmark.statistics.moments import degrees_of_freedom, half_width, moments
from tsgen.common.intervals import LEVEL

FEWEST_OTHERS = 3
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class LogitPair:
    """A model on the logit scale: (logit V, logit T), float64 (2,), and their covariance (2, 2)."""

    value: Floats
    covariance: Floats
    variance: str


@dataclass(frozen=True)
class EffectiveRobustness:
    """``logit``: the residual; ``points``: the same as accuracy, T - expected T. None with a ``reason``.

    ``expected``: accuracy on the target by the line ``intercept`` + ``slope`` logit V; ``tau``: see the module.
    """

    logit: Estimate | None
    points: Estimate | None
    expected: float | None
    intercept: float | None
    slope: float | None
    tau: float | None
    others: int
    reason: str | None


def logit_pair(val: Correct, target: Correct) -> LogitPair:
    """Of bool (S, N_val) and (S, N_target) of the same seeds.

    Half a clip right and half a clip wrong are added to each, so that accuracies of 0 and 1 have a logit.
    """
    of = moments([val, target])
    return _logits(of.mean, of.covariance, np.array(of.N), CLIPS if of.S == 1 else SEEDS_AND_CLIPS)


def published_logit_pair(V: float, T: float, n_val: int, n_target: int) -> LogitPair:
    """From accuracies and the sizes of the sets alone."""
    mean, n = np.array([V, T]), np.array([n_val, n_target])
    return _logits(mean, np.diag(mean * (1 - mean) / n), n, CLIPS)


def effective_robustness(entry: LogitPair, others: Sequence[LogitPair], level: float = LEVEL) -> EffectiveRobustness:
    """Of a model against the line through ``others``, which must not hold the model itself."""
    if len(others) < FEWEST_OTHERS:
        return _none(len(others), f"needs {FEWEST_OTHERS} other models, there are {len(others)}")
    x, y = np.stack([other.value for other in others]).T
    covariance = np.stack([other.covariance for other in others])
    noise = math.sqrt(float(covariance[:, 0, 0].mean()))
    if float(x.std(ddof=1)) <= noise:
        return _none(len(others), "the other models hardly differ in V, so they show no line")
    a, b, tau2, of_line = _fit(x, y, covariance)
    at = np.array([1.0, entry.value[0]])
    line = float(at @ of_line @ at)
    own = float(_about_line(entry.covariance[None], b)[0])
    variance = line + own
    dof = degrees_of_freedom(variance, line**2 / (len(others) - 2))  # those of the model itself are many
    half = float(half_width(variance, dof, level))
    expected_logit = a + b * float(entry.value[0])
    residual = float(entry.value[1]) - expected_logit
    T, expected = (float(special.expit(value)) for value in (entry.value[1], expected_logit))
    low, high = (T - float(special.expit(entry.value[1] - bound)) for bound in (residual - half, residual + half))
    return EffectiveRobustness(
        logit=Estimate(residual, residual - half, residual + half, entry.variance),
        points=Estimate(T - expected, low, high, entry.variance),
        expected=expected,
        intercept=a,
        slope=b,
        tau=math.sqrt(tau2),
        others=len(others),
        reason=None,
    )


def effective_robustness_of_all(models: Sequence[LogitPair], level: float = LEVEL) -> list[EffectiveRobustness]:
    """Each against all others."""
    return [effective_robustness(each, [*models[:i], *models[i + 1 :]], level) for i, each in enumerate(models)]


def _logits(mean: Floats, covariance: Floats, n: Floats, variance: str) -> LogitPair:
    p = (mean * n + 0.5) / (n + 1)
    least = np.where((mean == 0) | (mean == 1), p * (1 - p) / n, 0.0)
    slope = 1 / (p * (1 - p))
    return LogitPair(special.logit(p), (covariance + np.diag(least)) * np.outer(slope, slope), variance)


def _about_line(covariance: Floats, b: float) -> Floats:
    """Variance of logit T - b logit V, of (J, 2, 2)."""
    return np.asarray(covariance[:, 1, 1] + b**2 * covariance[:, 0, 0] - 2 * b * covariance[:, 0, 1])


def _fit(x: Floats, y: Floats, covariance: Floats) -> tuple[float, float, float, Floats]:
    """Intercept, slope, tau^2 and the covariance (2, 2) of the first two. Their weights hold the slope: by rounds."""
    design = np.stack([np.ones_like(x), x], axis=1)
    line = np.linalg.lstsq(design, y)[0]
    tau2, of_line = 0.0, np.eye(2)
    for _ in range(ROUNDS):
        of_model = _about_line(covariance, float(line[1]))
        tau2 = _beyond_noise(design, y, 1 / of_model)
        line, of_line = _weighted(design, y, 1 / (of_model + tau2))
    return float(line[0]), float(line[1]), tau2, of_line


def _beyond_noise(design: Floats, y: Floats, weights: Floats) -> float:
    """DerSimonian and Laird's tau^2 of a regression: what the squared residuals have too much."""
    line, of_line = _weighted(design, y, weights)
    excess = float(weights @ (y - design @ line) ** 2) - (len(y) - 2)
    lost = float(np.trace(of_line @ (design.T @ (weights[:, None] ** 2 * design))))
    return max(excess / (float(weights.sum()) - lost), 0.0)


def _weighted(design: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    of_line = np.linalg.inv(design.T @ (weights[:, None] * design))
    return np.asarray(of_line @ (design.T @ (weights * y))), np.asarray(of_line)


def _none(others: int, reason: str) -> EffectiveRobustness:
    return EffectiveRobustness(None, None, None, None, None, None, others, reason)
