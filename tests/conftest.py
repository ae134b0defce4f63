"""Shared by all tests: the real MNIST test digits where this checkout has them beside it, and runs of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
MNIST_DIR = ROOT.parent / "shared" / "data" / "mnist"


@pytest.fixture
def mnist_dir() -> Path:
    if not (MNIST_DIR / "t10k-images-idx3-ubyte.gz").exists():
        pytest.skip(f"needs the real MNIST test digits in {MNIST_DIR}")
    return MNIST_DIR


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the project in an empty folder as a user would: ``run_cli("tsgen", "make", ...)``."""
    modules = {"tsgen": "tsgen.cli", "rac-bench": "benchmark.cli", "d48dom": "diving48_domains.cli"}

    def run(command: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.argv[0] = {command!r}; from {modules[command]} import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
