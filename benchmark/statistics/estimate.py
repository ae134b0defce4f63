"""A number with its interval, alone and in columns."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLIPS = "clips"
SEEDS_AND_CLIPS = "seeds+clips"

Correct = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval [low, high]; ``high`` may be infinite. ``variance``: "clips" or "seeds+clips"."""

    value: float
    low: float
    high: float
    variance: str

    def to_json(self) -> dict[str, Any]:
        """``high`` is null where it is infinite: JSON has no infinity."""
        return {**asdict(self), "high": self.high if math.isfinite(self.high) else None}


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimates as columns float64 (...), NaN where there is none. ``of_seeds`` bool (...): "seeds+clips"."""

    value: Floats
    low: Floats
    high: Floats
    of_seeds: NDArray[np.bool_]

    def at(self, *index: int) -> Estimate | None:
        """One of them; None where the columns hold NaN."""
        value = float(self.value[index])
        if math.isnan(value):
            return None
        variance = SEEDS_AND_CLIPS if self.of_seeds[index] else CLIPS
        return Estimate(value, float(self.low[index]), float(self.high[index]), variance)
