"""A Hub on loopback, a client that knows no other, and a small release to publish."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CARD = """---
license: cc-by-4.0
pretty_name: Loopback shapes
language: [en]
size_categories: [n<1K]
tags: [video]
configs:
- config_name: a
  default: true
  data_files:
  - {split: train, path: data/a/train.h5}
  - {split: test, path: data/a/test.h5}
---
# Loopback shapes
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hub_faults() -> ModuleType:
    return sys.modules.get("hub_faults") or _load("hub_faults")


@pytest.fixture(scope="session")
def hub_server(hub_faults: ModuleType) -> ModuleType:
    return sys.modules.get("hub_server") or _load("hub_server")


@pytest.fixture
def hub(hub_server: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running server; the client has no token of its own and no Xet."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
    with hub_server.running() as server:
        yield server


@pytest.fixture
def make_release() -> Callable[..., Path]:
    """``make_release(folder, version="1.0.0", **{name: bytes})``: a finished folder; None removes a file."""
    from tsgen.common.sums import write_sums

    def make(
        folder: Path, version: str = "1.0.0", card: str = CARD, files: dict[str, bytes | None] | None = None
    ) -> Path:
        contents: dict[str, bytes | None] = {
            "README.md": card.encode(),
            "LICENSE": b"free\n",
            "release.json": b'{"version": "%s"}\n' % version.encode(),
            "data/a/train.h5": bytes(range(256)) * 1200,
            "data/a/test.h5": bytes(reversed(range(256))) * 400,
            "index/a/train.parquet": b"PAR1" * 100,
            "empty.txt": b"",
            **(files or {}),
        }
        for name, content in contents.items():
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        write_sums(folder)
        return folder

    return make
