"""Weights on disk: safetensors with one JSON text as metadata. No pickle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path

METADATA_KEY = "rac-bench"  # a single key: with several, the order of bytes would vary


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write atomically; equal tensors and facts give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as partial:
        try:
            save_file(on_cpu, partial, metadata={METADATA_KEY: json.dumps(facts, sort_keys=True)})
        except SafetensorError as problem:  # how it reports a full disk, with the number in its text
            number = re.search(r"os error (\d+)", str(problem))
            known = [int(number[1])] if number else []
            raise OSError(*known, f"writing {path} failed: {problem}") from problem


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts; DataError when the file is damaged or not one of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[METADATA_KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError, OSError) as problem:
        raise DataError(f"{path} is damaged or no state of rac-bench: {problem}") from problem


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def copy_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.clone(tensor.detach()) for name, tensor in tensors.items()}
