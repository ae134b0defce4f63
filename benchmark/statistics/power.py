"""How small a difference between two models a benchmark of a given size can show, by normal theory.

Two models, each trained with S seeds, answer the same N clips. An outcome has the variance p (1 - p). Its correlation
with that of another seed of the same model on the same clip is ``agreement``, with that of the other model ``shared``
(0: the models' clips differ). ``seed_sd`` is the standard deviation between trainings beyond what the clips explain.

    Var(A - B) = clips + 2 seed_sd^2 / S,   clips = 2 p (1 - p) / N * ((1 - agreement) / S + agreement - shared)

One seed: the detectable difference is (z + z') sqrt(Var), with the normal quantiles of (1 + level) / 2 and ``power``.
Several seeds: the intervals of ``paired`` do not know seed_sd and are wider for it, each time by another amount. With
m = p (1 - p) (1 - agreement) / (S N), b = seed_sd^2 / S + m and X a chi squared of k = S - 1 divided by k, the seeds of
a model add max(b X - m, 0) to the variance of the interval and (b X)^2 / k to what its degrees of freedom come from.
The detectable difference is the one at which P(A - B > half width), over both models' X, is ``power``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from benchmark.statistics.moments import degrees_of_freedom, half_width
from tsgen.common.intervals import LEVEL

POWER = 0.8
NODES = 48  # quantiles that stand for the distribution of X
MOST_CLIPS = 10**12  # as good as infinitely many


def minimum_detectable_difference(
    n: int,
    accuracy: float = 0.5,
    seeds: int = 1,
    seed_sd: float = 0.0,
    agreement: float = 0.0,
    shared: float = 0.0,
    level: float = LEVEL,
    power: float = POWER,
) -> float:
    """The difference of two accuracies near ``accuracy``. ``n``: clips; the other arguments are those of the module."""
    sets = [(accuracy * (1 - accuracy), n)]
    return _detectable(sets, seeds, seed_sd, agreement, shared, level, power)


def minimum_detectable_ratio(
    n_val: int,
    n_target: int,
    V: float,
    T: float,
    seeds: int = 1,
    seed_sd: float = 0.0,
    agreement: float = 0.0,
    shared: float = 0.0,
    level: float = LEVEL,
    power: float = POWER,
) -> float:
    """The factor > 1 between the rr of two models whose accuracies are near ``V`` and ``T``, by the delta method.

    ``seed_sd`` is that of log rr here; ``agreement`` and ``shared`` hold for both sets.
    """
    sets = [((1 - V) / V, n_val), ((1 - T) / T, n_target)]
    return math.exp(_detectable(sets, seeds, seed_sd, agreement, shared, level, power))


def clips_needed(
    difference: float,
    accuracy: float = 0.5,
    seeds: int = 1,
    seed_sd: float = 0.0,
    agreement: float = 0.0,
    shared: float = 0.0,
    level: float = LEVEL,
    power: float = POWER,
) -> int | None:
    """The least number of clips at which ``difference`` > 0 is detectable; None where only more seeds can help."""

    def enough(n: int) -> bool:
        return minimum_detectable_difference(n, accuracy, seeds, seed_sd, agreement, shared, level, power) <= difference

    if not enough(MOST_CLIPS):
        return None
    too_few, some = 1, MOST_CLIPS  # one clip has no variance to estimate
    while some - too_few > 1:
        middle = (too_few + some) // 2
        too_few, some = (too_few, middle) if enough(middle) else (middle, some)
    return some


def _detectable(
    sets: Sequence[tuple[float, int]],
    seeds: int,
    seed_sd: float,
    agreement: float,
    shared: float,
    level: float,
    power: float,
) -> float:
    """Of sets given as (variance of an outcome, clips); log rr has two."""
    from scipy import optimize  # costs a third of a second

    own = (1 - agreement) / seeds + agreement
    if shared > own:
        raise ValueError(f"two models cannot share more ({shared}) than the seeds of one agree ({own:.3f})")
    clips = [2 * unit / n * (own - shared) for unit, n in sets]
    true = sum(clips) + 2 * seed_sd**2 / seeds
    if seeds == 1:
        return float(special.ndtri((1 + level) / 2) + special.ndtri(power)) * math.sqrt(true)
    k = seeds - 1
    mixed = sum(unit * (1 - agreement) / (seeds * n) for unit, n in sets)
    between = (seed_sd**2 / seeds + mixed) * special.chdtri(k, (np.arange(NODES) + 0.5) / NODES) / k
    beyond = np.maximum(between - mixed, 0.0)
    of_clips = sum(part**2 / max(n - 1, 1) for part, (_, n) in zip(clips, sets, strict=True))
    variance = sum(clips) + beyond[:, None] + beyond
    dof = degrees_of_freedom(variance, of_clips + (between**2 + between[:, None] ** 2) / k, k)
    half = half_width(variance, dof, level)
    error = math.sqrt(true)
    if error == 0:
        return float(half.max())

    def short(difference: float) -> float:
        return float(special.ndtr((difference - half) / error).mean()) - power

    return float(optimize.brentq(short, 0.0, float(half.max()) + 10 * error))
