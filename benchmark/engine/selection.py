"""Which epoch is kept and when training ends: both read off the history, so that nothing else has to be remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch, the first of which is 1. ``val_*`` are of the source's validation split."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def best_epoch(history: Sequence[Epoch]) -> int:
    """The first epoch of the highest validation accuracy; 0 when there is none."""
    return max(history, key=lambda epoch: (epoch.val_accuracy, -epoch.epoch)).epoch if history else 0


def stop_reason(history: Sequence[Epoch], max_epochs: int, patience: int) -> str | None:
    """Why training is over, or None: ``patience`` epochs in a row did not beat the best one, or no epoch is left."""
    if history and len(history) - best_epoch(history) >= patience:
        return "patience"
    return "max_epochs" if len(history) >= max_epochs else None
