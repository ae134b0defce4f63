"""On what the segmenter of ``d48dom segment`` runs: one kind of device a file, whatever the engine."""

from __future__ import annotations

from typing import Any

from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.errors import UsageError


def choose_device(device: str, engine: EngineOptions, gpus: float | None) -> tuple[str, float]:
    """The device of all workers, and the GPUs that each takes."""
    from diving48_domains.segmenter.predict import select_device

    if engine.name != "ray":
        if gpus is not None:
            raise UsageError(f"--gpus {gpus:g} goes with --engine ray; elsewhere --device says what is used.")
        return str(select_device(device)), 0.0
    if gpus is not None and not 0 <= gpus <= 1:
        raise UsageError(f"--gpus {gpus:g} is not possible; a worker takes 0 to 1 of a GPU.")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: Ray itself says which GPU; allowed with --engine ray: auto, cpu, cuda.")
    if device == "auto":
        device = "cuda" if (has_gpus(engine) if gpus is None else gpus > 0) else "cpu"
    if gpus is None:
        gpus = float(device == "cuda")
    if (device == "cuda") != (gpus > 0):
        raise UsageError(f"--device {device} with --gpus {gpus:g}: cuda needs more than 0 of a GPU, cpu takes none.")
    return device, gpus


def has_gpus(engine: EngineOptions) -> bool:
    """Has the Ray cluster any? Asked of the cluster, since the machine that asks may have none itself."""
    if engine.address is None:
        import torch

        return torch.cuda.is_available()
    ((_, there),) = results(run_units(Work(_sees_gpus), [0], engine))
    return there


def _sees_gpus(_: int) -> bool:
    import ray

    cluster: Any = ray
    return bool(cluster.cluster_resources().get("GPU", 0.0))
