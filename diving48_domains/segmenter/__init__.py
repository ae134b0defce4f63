"""Mask R-CNN for divers: networks, labelled frames, training, checkpoints and detection (Section 4.2 of the paper).

Needs PyTorch and torchvision; every command calls :func:`require_torchvision` before it imports a module from here.
"""

from __future__ import annotations

import importlib

from tsgen.common.errors import UsageError

ARCHITECTURES = ("resnet50", "tiny")


def require_torchvision() -> None:
    """UsageError naming the extra when PyTorch, torchvision or safetensors is not installed."""
    try:
        for name in ("torch", "torchvision", "safetensors"):
            importlib.import_module(name)
    except ImportError as problem:
        raise UsageError(
            f"this command needs PyTorch and torchvision ({problem}); install them with: "
            "pip install 'recur-attend-convolve[diving48]'."
        ) from None
