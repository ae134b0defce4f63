"""Model and clips to logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data import Clips

BATCH_SIZE = 64


def as_model_input(clips: Tensor) -> Tensor:
    """uint8 (B, T, H, W) to the models' float32 (B, T, 1, H, W) in [0, 1]."""
    return clips.unsqueeze(2).to(torch.float32).div_(255)


@torch.no_grad()
def logits_of(model: nn.Module, clips: Tensor) -> Tensor:
    """uint8 (N, T, H, W) to logits (N, C) on the same device. Leaves the model in evaluation mode."""
    model.eval()
    return torch.cat([model(as_model_input(batch)) for batch in torch.split(clips, BATCH_SIZE)])


def predict(model: nn.Module, clips: Clips, device: torch.device) -> NDArray[np.float32]:
    """Logits float32 (N, C)."""
    logits: NDArray[np.float32] = logits_of(model, torch.from_numpy(clips.clips).to(device)).cpu().numpy()
    return logits
