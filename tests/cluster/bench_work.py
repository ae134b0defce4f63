"""Work functions of test_ray_bench.py, which workers import from here."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_S = 60.0


def meet(folder: Path, expected: int, number: int) -> int:
    """Be there, and wait until ``expected`` units are; how many were seen together."""
    (folder / str(number)).touch()
    until = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < expected and time.monotonic() < until:
        time.sleep(0.05)
    return len(list(folder.iterdir()))
