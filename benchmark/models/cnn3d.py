"""The 3D CNN of the Temporal Shape experiments (section 3.1, supplement Table 8).

Three blocks Conv3d(3x3x3, padding 1) -> ReLU -> MaxPool3d(2) -> BatchNorm3d with ``hidden`` channels, then one linear
layer on the flattened 2x8x8 map. Computed in an order that gives the same values and gradients in less time: pooling
before ReLU (the maximum commutes with it) leaves ReLU an eighth of the values, and convolution kernels of CPUs and
GPUs prefer channels-last memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_BLOCKS = 3
FLAT_POSITIONS = 2 * 8 * 8  # 20x64x64 halved three times, rounded down


class CNN3D(nn.Module):
    """Clips (B, 20, 1, 64, 64) in [0, 1] to logits (B, num_classes).

    28h + 2(27h^2 + h) + 6h + 5(128h) + 5 parameters with five classes.
    """

    def __init__(self, hidden: int, num_classes: int) -> None:
        super().__init__()
        inputs = (1, *[hidden] * (NUM_BLOCKS - 1))
        self.convs = nn.ModuleList(nn.Conv3d(channels, hidden, 3, padding=1) for channels in inputs)
        self.norms = nn.ModuleList(nn.BatchNorm3d(hidden) for _ in inputs)
        self.head = nn.Linear(hidden * FLAT_POSITIONS, num_classes)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)  # (B, 1, T, H, W)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(F.relu(F.max_pool3d(conv(x), 2)))
        logits: Tensor = self.head(x.flatten(1))
        return logits
