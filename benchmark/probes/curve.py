"""The dose at which half of the robustness is left, read off a curve of rr with its intervals. Pure, no torch.

The curve may rise and fall: a model trained on dots of 2 px does worse on dots of 1 px and on dots of 8 px. So the
values are fitted by the nearest curve (least squares) that rises up to some dose and falls from there on, with linear
pieces between the doses; a monotone curve is the case whose mode is at an end. It can pass 1/2 twice: on the way down
("falling") and on the way up ("rising").

The interval holds the doses whose rr is compatible with 1/2: the lower bounds of rr give one end, the upper bounds the
other, each fitted like the values. It inherits from the intervals of rr what they carry (clips, or seeds and clips).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from benchmark.statistics import CLIPS, SEEDS_AND_CLIPS, Estimate

HALF = 0.5
RISING, FALLING = "rising", "falling"
ROUNDING = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HalfDose:
    """Where a fitted curve passes 1/2 on one side of its mode.

    ``value`` None: it does not within the doses, and ``not_reached`` says on which side of 1/2 it stays. ``low`` and
    ``high`` None: the interval is open to that side, beyond the doses. ``variance`` as that of the intervals of rr.
    """

    side: str
    value: float | None
    low: float | None
    high: float | None
    not_reached: str | None
    variance: str

    def to_json(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "not_reached": self.not_reached,
            "variance": self.variance,
        }

    def describe(self, dial: str) -> str:
        low = "below" if self.low is None else f"{self.low:.3g}"
        high = "beyond" if self.high is None else f"{self.high:.3g}"
        if self.value is None:
            bounds = "" if self.low is None and self.high is None else f"; its interval is {low} .. {high}"
            return f"{self.side}: not reached, {self.not_reached}{bounds}"
        return f"{self.side} through 1/2 at {dial} {self.value:.3g} [{low} .. {high}]"


def mode(values: Floats) -> int:
    """How many of ``values`` (K,) belong to the rising part of the nearest curve that rises, then falls: 0..K."""
    misfits = [float(((unimodal(values, rising) - values) ** 2).sum()) for rising in range(len(values) + 1)]
    # Of equally good ones the first: a constant curve counts as falling.
    return next(rising for rising, misfit in enumerate(misfits) if misfit <= min(misfits) + ROUNDING)


def unimodal(values: Floats, rising: int) -> Floats:
    """The nearest (least squares) sequence whose first ``rising`` values do not fall and whose others do not rise."""
    return np.concatenate([_isotonic(values[:rising]), _isotonic(values[rising:][::-1])[::-1]])


def half_doses(doses: Sequence[float], ratios: Sequence[Estimate]) -> tuple[HalfDose, HalfDose]:
    """The rising and the falling passage. ``doses`` rise; ``ratios``: rr or rr* at each, with intervals.

    ValueError for fewer than two doses, doses that do not rise, or an infinite bound.
    """
    x = np.asarray(doses, dtype=np.float64)
    if len(x) < 2 or len(x) != len(ratios) or (np.diff(x) <= 0).any():
        raise ValueError(f"expected two or more rising doses and a ratio for each, got {list(doses)}")
    columns = [np.array([getattr(ratio, bound) for ratio in ratios]) for bound in ("value", "low", "high")]
    if not np.isfinite(columns).all():
        raise ValueError(f"a ratio or its interval is not finite: {list(ratios)}")
    # One mode for all three: the fits of the bounds then lie on either side of that of the values.
    values, lows, highs = (unimodal(column, mode(columns[0])) for column in columns)
    variance = SEEDS_AND_CLIPS if any(ratio.variance == SEEDS_AND_CLIPS for ratio in ratios) else CLIPS
    falling = _half_dose(FALLING, x, values, lows, highs, variance)
    # Mirrored, the rising side is a falling one.
    mirrored = _half_dose(RISING, -x[::-1], values[::-1], lows[::-1], highs[::-1], variance)
    rising = HalfDose(
        side=RISING,
        value=_negative(mirrored.value),
        low=_negative(mirrored.high),
        high=_negative(mirrored.low),
        not_reached=mirrored.not_reached,
        variance=variance,
    )
    return rising, falling


def _half_dose(side: str, x: Floats, values: Floats, lows: Floats, highs: Floats, variance: str) -> HalfDose:
    at, low, high = _passage(x, values), _passage(x, lows), _passage(x, highs)
    above, end = values[-1] >= HALF, _number(abs(float(x[-1])))
    not_reached = None
    if not math.isfinite(at):
        not_reached = f"rr is still {values[-1]:.2f} at {end}" if above else f"rr is at most {values.max():.2f}"
    return HalfDose(
        side=side,
        value=_finite(at),
        low=_finite(low),
        high=_finite(high),
        not_reached=not_reached,
        variance=variance,
    )


def _passage(x: Floats, fit: Floats) -> float:
    """The dose at which a unimodal ``fit`` falls through 1/2: inf if it stays above, -inf if it is never above."""
    above = np.flatnonzero(fit >= HALF)
    if len(above) == 0:
        return -math.inf
    last = int(above[-1])
    if last == len(x) - 1:
        return math.inf
    share = (fit[last] - HALF) / (fit[last] - fit[last + 1])
    return float(x[last] + share * (x[last + 1] - x[last]))


def _isotonic(values: Floats) -> Floats:
    return np.asarray(optimize.isotonic_regression(values).x) if len(values) else values


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _number(value: float) -> str:
    return f"{value:g}"
