"""Model and clips to logits."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data import Clips
from benchmark.models.specs import TEMPORAL_SHAPE

BATCH_VALUES = 64 * TEMPORAL_SHAPE.values
"""Input values of a batch in evaluation: 64 clips of Temporal Shape, one of Diving48."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1]: what the paper normalises Diving48 with, and torchvision's models expect."""


def as_model_input(clips: Tensor) -> Tensor:
    """uint8 clips to the models' float32 (B, T, C, H, W).

    One channel, (B, T, H, W): to [0, 1]. Colour, (B, T, H, W, 3): normalised with ImageNet's mean and deviation.
    """
    if clips.ndim == 4:
        return clips.unsqueeze(2).to(torch.float32).div_(255)
    mean, deviation = (torch.tensor(each, device=clips.device) for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    scaled = clips.to(torch.float32).sub_(255 * mean).div_(255 * deviation)
    return scaled.permute(0, 1, 4, 2, 3).contiguous()


def as_tensor(clips: NDArray[np.uint8]) -> Tensor:
    """The array's memory as a tensor; torch warns that it could not protect a read-only file from being written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(clips)


def evaluation_batch(clips: Tensor) -> int:
    """How many of ``clips`` (N, ...) go through a model at once."""
    return max(1, BATCH_VALUES // max(1, clips[0].numel()))


@torch.no_grad()
def logits_of(model: nn.Module, clips: Tensor) -> Tensor:
    """uint8 (N, T, H, W[, 3]) to logits (N, C) on the same device. Leaves the model in evaluation mode."""
    model.eval()
    return torch.cat([model(as_model_input(batch)) for batch in torch.split(clips, evaluation_batch(clips))])


def predict(model: nn.Module, clips: Clips, device: torch.device) -> NDArray[np.float32]:
    """Logits float32 (N, C). Batches travel to the device one at a time."""
    model.eval()
    everything = as_tensor(clips.clips)
    batches = torch.split(everything, evaluation_batch(everything))
    parts = [logits_of(model, batch.to(device)).cpu() for batch in batches]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits
