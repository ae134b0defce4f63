"""What ``rac-bench calibrate`` asks for. Light: its help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.data_folder import MINI_PREFIX, SHAPES_PREFIX
from benchmark.experiments import Contender
from tsgen.common.errors import UsageError

FOUND = "result.json"
EXPERIMENT = "d48-a"
RHOS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Bed:
    """What a calibration runs on. ``recipe``: of the data, without rho; ``protocol``: fields of RunConfig, what two CPU
    cores can do. ``contenders``: family title -> model; None: those of experiment a.
    """

    recipe: str
    protocol: dict[str, Any]
    contenders: dict[str, Contender] | None = None


BEDS: dict[str, Bed] = {
    MINI_PREFIX: Bed(
        f"{MINI_PREFIX}train=400,val=120,test=160,shift=0,swap=160,seed=1,size=48x48,frames=16,masks=predicted",
        {"seeds": (1,), "max_epochs": 12, "patience": 12, "batch_size": 8, "learning_rate": 0.01},
    ),
    SHAPES_PREFIX: Bed(
        f"{SHAPES_PREFIX}train=1500,val=300,test=300,swap=300",
        {"seeds": (1, 2), "max_epochs": 12, "patience": 12, "batch_size": 16, "learning_rate": 0.003},
        {
            "3D CNN": Contender("3dcnn", 8),
            "ConvLSTM": Contender("convlstm", 8),
            "TimeSformer": Contender("timesf-8", 8),
        },
    ),
}
"""Prefix of a recipe -> what it is calibrated with where nothing else is said."""


def bed_of(recipe: str) -> Bed:
    """UsageError for a recipe of another kind."""
    for prefix, bed in BEDS.items():
        if recipe.startswith(prefix):
            return bed
    raise UsageError(f"--data {recipe!r} has no bias that is known; give {' or '.join(BEDS)} with keys after it.")


@dataclass(frozen=True)
class CalibrationConfig:
    """``recipe``: of ``--data``, without rho; ``shrink`` divides the hidden units of experiment a."""

    rhos: tuple[float, ...] = RHOS
    recipe: str = BEDS[MINI_PREFIX].recipe
    shrink: int = 16

    def __post_init__(self) -> None:
        if len(set(self.rhos)) < 2 or list(self.rhos) != sorted(set(self.rhos)):
            raise UsageError(f"rhos {self.rhos} are not possible; allowed: two or more, rising, like 0,0.5,1.")
        bed_of(self.recipe)
        if "rho=" in self.recipe:
            raise UsageError(f"the recipe {self.recipe!r} is not possible; leave rho out: it is what is varied.")
        if self.shrink < 1:
            raise UsageError(f"shrink {self.shrink} is not possible; allowed: 1 or more.")

    @property
    def bed(self) -> Bed:
        return bed_of(self.recipe)

    def data(self, rho: float) -> str:
        """For ``--data``."""
        return f"{self.recipe}{'' if self.recipe in BEDS else ','}rho={rho:g}"
