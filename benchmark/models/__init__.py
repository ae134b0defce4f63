"""The model families. A new one is one module and one row of ``MODELS``.

Importing this module imports no torch; :func:`build_model` does.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsgen.common.errors import UsageError, unknown_name
from tsgen.vocabulary import CLASS_NAMES

if TYPE_CHECKING:
    from torch import nn

MAX_HIDDEN = 4096


@dataclass(frozen=True)
class ModelFamily:
    """``where`` is ``module:class``; the class takes (hidden, num_classes) and maps (B, T, C, H, W) to (B, classes)."""

    title: str
    where: str
    paper_hidden: tuple[int, ...]


MODELS: dict[str, ModelFamily] = {
    "3dcnn": ModelFamily("3D CNN", "benchmark.models.cnn3d:CNN3D", (2, 4, 6, 8, 10, 12, 16, 24, 32, 48)),
}


def get_model_family(name: str) -> ModelFamily:
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name]


def check_hidden(hidden: int) -> None:
    if not 1 <= hidden <= MAX_HIDDEN:
        raise UsageError(f"hidden {hidden} is not possible; allowed: 1..{MAX_HIDDEN} hidden units a layer.")


def require_torch() -> None:
    try:
        importlib.import_module("torch")
        importlib.import_module("safetensors")
    except ImportError as problem:
        raise UsageError(
            f"this command needs PyTorch ({problem}); install it with: pip install 'recur-attend-convolve[train]'."
        ) from problem


def build_model(name: str, hidden: int, num_classes: int = len(CLASS_NAMES)) -> nn.Module:
    """A freshly initialised model; the weights follow torch's global random state."""
    family = get_model_family(name)
    check_hidden(hidden)
    module, _, attribute = family.where.partition(":")
    model: nn.Module = getattr(importlib.import_module(module), attribute)(hidden, num_classes)
    return model


def count_parameters(name: str, hidden: int) -> int:
    """Trainable parameters, counted on torch's meta device: no memory is allocated."""
    require_torch()
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in build_model(name, hidden).parameters() if p.requires_grad)
