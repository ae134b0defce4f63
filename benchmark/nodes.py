"""What the machines of a cluster must have in common with the one that gives a command, and what is asked of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from tsgen.common.engine import EngineOptions
from tsgen.common.errors import UsageError


def enter(folder: Path, needed: Iterable[Path] = ()) -> None:
    """Make ``folder`` the current one, as it is where the command was given: names in its options mean the same then.

    UsageError unless this machine sees it and every path of ``needed``.
    """
    if folder.is_dir():
        os.chdir(folder)
    for path in (folder, *needed):
        if not path.exists():
            raise UsageError(
                f"{path} is not there on {platform.node()}: the machines of a cluster work on common files. Begin in "
                "a folder that all of them see, and give --out and --data-dir (or RAC_DATA_DIR) in such."
            )


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
