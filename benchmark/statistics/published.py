"""Intervals of numbers of which only the value and the sizes of the sets are known."""

from __future__ import annotations

import math

from benchmark.statistics.estimate import CLIPS, Estimate
from benchmark.statistics.moments import half_width
from tsgen.common.intervals import LEVEL, clopper_pearson


def published_accuracy(value: float, n: int, level: float = LEVEL) -> Estimate:
    """Clopper-Pearson for a printed accuracy over ``n`` clips."""
    return Estimate(value, *clopper_pearson(value * n, n, level), CLIPS)


def published_ratio(ratio: float, reference: float, n_reference: int, n: int, level: float = LEVEL) -> Estimate | None:
    """A ratio of two accuracies, from the ratio and the accuracy below the line: rr from V, or T / S1 from S1.

    log(ratio) has the variance (1 - p) / (p n) + (1 - reference) / (reference n_reference) with p = ratio * reference
    (delta method, clips alone, as if the clips differed). It holds neither the variance between trainings nor that V
    was the best of several epochs. Where both show the same clips (S1 and T) it is too wide, not too narrow, as long as
    a clip that is easy in one is easy in the other. None where p is not between 0 and 1.
    """
    p = ratio * reference
    if not (0 < reference <= 1 and 0 < p < 1):
        return None
    variance = (1 - p) / (p * n) + (1 - reference) / (reference * n_reference)
    factor = math.exp(float(half_width(variance, math.inf, level)))
    return Estimate(ratio, ratio / factor, ratio * factor, CLIPS)
