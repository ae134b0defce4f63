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
    """Data that are made on the spot, and what two CPU cores can do with them: so many epochs, without patience.

    ``recipe``: for a calibration, without rho; ``protocol``: fields of RunConfig; ``shrink`` and ``level``: of an
    experiment. ``contenders``: of a calibration, family title -> model; None: those of experiment a, shrunk.
    """

    recipe: str
    protocol: dict[str, Any]
    shrink: int = 16
    level: float = 0.5
    contenders: dict[str, Contender] | None = None

    def overrides(self, given: dict[str, Any]) -> dict[str, Any]:
        """Fields of RunConfig: the protocol with what was ``given`` in its place."""
        merged = {**self.protocol, **given}
        return {"patience": merged["max_epochs"], **merged}


BEDS: dict[str, Bed] = {
    MINI_PREFIX: Bed(
        f"{MINI_PREFIX}train=400,val=120,test=160,shift=0,swap=160,seed=1,masks=predicted",
        {"seeds": (1,), "max_epochs": 12, "batch_size": 8, "learning_rate": 0.01},
    ),
    SHAPES_PREFIX: Bed(
        f"{SHAPES_PREFIX}train=1500,val=300,test=300,swap=300",
        {"seeds": (1, 2), "max_epochs": 10, "batch_size": 16, "learning_rate": 0.003},
        contenders={
            "3D CNN": Contender("3dcnn", 8),
            "ConvLSTM": Contender("convlstm", 8),
            "TimeSformer": Contender("timesf-8", 8),
        },
    ),
}
"""Prefix of ``--data`` -> what is done with it where nothing else is said."""


def find_bed(data: str) -> Bed | None:
    """None for ``--data`` that is not made on the spot."""
    return next((bed for prefix, bed in BEDS.items() if data.startswith(prefix)), None)


def bed_of(recipe: str) -> Bed:
    """UsageError for a recipe of another kind."""
    bed = find_bed(recipe)
    if bed is None:
        raise UsageError(f"--data {recipe!r} has no bias that is known; give {' or '.join(BEDS)} with keys after it.")
    return bed


@dataclass(frozen=True)
class CalibrationConfig:
    """``recipe``: of ``--data``, without rho; ``shrink`` divides the hidden units of experiment a."""

    rhos: tuple[float, ...] = RHOS
    recipe: str = BEDS[MINI_PREFIX].recipe
    shrink: int = BEDS[MINI_PREFIX].shrink

    def __post_init__(self) -> None:
        if len(set(self.rhos)) < 2 or list(self.rhos) != sorted(set(self.rhos)):
            raise UsageError(f"rhos {self.rhos} are not possible; allowed: two or more, rising, like 0,0.5,1.")
        if not all(0 <= rho <= 1 for rho in self.rhos):  # also catches nan
            raise UsageError(f"rhos {self.rhos} are not possible; allowed: 0 to 1.")
        if len({f"{rho:g}" for rho in self.rhos}) < len(self.rhos):
            raise UsageError(f"rhos {self.rhos} are not told apart by six digits; give fewer.")
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
