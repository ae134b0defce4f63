"""The 3D CNN (section 3.1; supplement, Tables 8 and 9).

Blocks Conv3d -> ReLU -> MaxPool3d(2) -> BatchNorm3d, then one linear layer on the flattened last map. Computed in an
order that gives the same values and gradients in less time: pooling before ReLU (the maximum commutes with it) leaves
ReLU an eighth of the values, and convolution kernels of CPUs and GPUs prefer channels-last memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.pool import max_pool_2x2x2
from benchmark.models.specs import ClipShape, CNN3DSpec
from tsgen.common.errors import UsageError


class CNN3D(nn.Module):
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, num_classes).

    On Temporal Shape 28h + 2(27h^2 + h) + 6h + 5(128h) + 5 parameters. UsageError for clips that the pools leave
    nothing of.
    """

    def __init__(self, spec: CNN3DSpec, shape: ClipShape, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        inputs = (shape.channels, *spec.channels[:-1])
        self.convs = nn.ModuleList(
            nn.Conv3d(before, after, kernel, padding=kernel // 2)
            for before, after, kernel in zip(inputs, spec.channels, spec.kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(channels) for channels in spec.channels)
        size = [shape.frames, shape.height, shape.width]
        for pooled in spec.pooled:
            size = [(side + 2 * spec.pool_padding) // 2 for side in size] if pooled else size
        if 0 in size:
            least = 1
            for _ in range(sum(spec.pooled)):
                least = max(1, 2 * (least - spec.pool_padding))
            raise UsageError(
                f"the {sum(spec.pooled)} pools of this 3D CNN leave nothing of clips of {shape.frames} frames of "
                f"{shape.height}x{shape.width} px; give {least} frames or more, of sides of {least} px or more."
            )
        self.head = nn.Linear(spec.channels[-1] * size[0] * size[1] * size[2], num_classes)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, clips: Tensor) -> Tensor:
        # (B, C, T, H, W) in channels-last memory; a memory format could not be asked for under vmap.
        x = clips.permute(0, 1, 3, 4, 2).contiguous().permute(0, 4, 1, 2, 3)
        for conv, norm, pooled in zip(self.convs, self.norms, self.spec.pooled, strict=True):
            x = _convolve(conv, x)
            if pooled:
                x = max_pool_2x2x2(x, self.spec.pool_padding)
            x = norm(F.relu(x))
        logits: Tensor = self.head(x.flatten(1))
        return logits


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """oneDNN's gradients of bfloat16 weights are wrong, or write past their memory, where the kernel is larger than the
    map (torch 2.15 on a CPU with AVX512): there the rounded values are convolved in float32."""
    assert isinstance(conv, nn.Conv3d)
    small = min(x.shape[2:]) < conv.kernel_size[0]
    if not (small and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        y: Tensor = conv(x)
        return y
    with torch.autocast("cpu", enabled=False):
        weight = conv.weight.bfloat16().float()
        return F.conv3d(x.bfloat16().float(), weight, conv.bias, padding=conv.padding).bfloat16()
