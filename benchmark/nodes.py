"""What a unit asks of the machines of a cluster: their devices."""

from __future__ import annotations

from tsgen.common.engine import EngineOptions
from tsgen.common.errors import UsageError


def check_device(engine: EngineOptions, device: str) -> None:
    """UsageError for "auto" on a cluster: nobody knows which of its machines a unit will meet."""
    if engine.name == "ray" and device == "auto":
        raise UsageError(
            "--engine ray: say --device cpu or cuda; what this machine has says nothing about the cluster."
        )


def gpus_of(device: str, gpus: float | None = None) -> float:
    """GPUs that a unit takes: ``gpus`` of them or one on cuda, none on a CPU."""
    if device != "cuda":
        return 0.0
    return 1.0 if gpus is None else gpus
