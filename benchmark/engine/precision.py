"""In which arithmetic a training computes. Weights, statistics and the update are float32 in all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from tsgen.common.errors import RacError, UsageError

SELF_TEST_TOLERANCE = 0.1


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """bf16: convolutions and products in bfloat16. fp32 and tf32: nothing is cast."""
    # Without the cache of cast weights: a CUDA graph would go on using those of the step it was captured in.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def prepare_precision(precision: str, device: torch.device) -> None:
    """By default cuDNN rounds the inputs of float32 convolutions to TF32; ``fp32`` means float32.

    UsageError for tf32 elsewhere than on CUDA.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(f"precision tf32 is a mode of NVIDIA GPUs; on {device.type} use fp32 or bf16.")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def self_test(model: nn.Module, clips: Tensor, precision: str) -> None:
    """RacError when ``precision`` gives other answers than float32: there were such libraries (PyTorch #163539).

    ``clips`` (B, T, C, H, W), a few; ``model`` is left in evaluation mode.
    """
    model.eval()
    with torch.no_grad():
        prepare_precision("fp32", clips.device)
        exact = model(clips)
        prepare_precision(precision, clips.device)
        with autocast(precision, clips.device):
            found = model(clips).float()
    error = float((found - exact).abs().max() / exact.abs().max().clamp_min(1e-6))
    if not error <= SELF_TEST_TOLERANCE:
        raise RacError(
            f"precision {precision} is off by {error:.1%} on {clips.device.type} with torch {torch.__version__}: "
            "a defect of the library or device; use --precision fp32."
        )
