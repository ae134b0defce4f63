"""The ConvLSTM (section 3.1; supplement, Tables 8 and 9).

Blocks ConvLSTM cell -> MaxPool2d(2) per frame -> BatchNorm3d, the whole sequence going from block to block, then one
linear layer on the last frame or on all frames. Same values and gradients as the frame-by-frame module, in less time:
a block convolves its input frames at once, with the sum of the two redundant biases of a gate, and only the recurrence
walks through the frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.pool import max_pool_2x2
from benchmark.models.recurrence import RECURRENCES
from benchmark.models.specs import ClipShape, ConvLSTMSpec
from tsgen.common.errors import UsageError

CPU_GATES = 1 << 18
"""Gates of one frame, over the clips that a CPU computes at once: 1 MB in float32, about one core's cache. Measured at
h = 8 and 64 clips: twice as many take 1.4 times as long, all at once 1.7 times, much of it for fresh memory."""


def head_inputs(spec: ConvLSTMSpec, shape: ClipShape) -> int:
    """Features that the linear head sees; input convolutions and pools both shrink the frame."""
    height, width = shape.height, shape.width
    for kernel in spec.kernels:
        height, width = (((side + 2 * (kernel // 2) - kernel) // spec.stride + 1) // 2 for side in (height, width))
    frames = shape.frames if spec.readout == "all" else 1
    return frames * spec.channels[-1] * height * width


def least_side_px(spec: ConvLSTMSpec) -> int:
    """The shortest side of a frame that :func:`head_inputs` leaves something of."""
    side = 1
    for kernel in reversed(spec.kernels):
        side = (2 * side - 1) * spec.stride + kernel - 2 * (kernel // 2)
    return side


class ConvLSTM(nn.Module):
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, num_classes).

    On Temporal Shape [36h(1 + h) + 8h] + 2[72h^2 + 8h] + 6h + 5(64h) + 5 parameters. ``recurrence`` names the
    implementation in ``RECURRENCES`` and may be changed at any time: it holds no parameters. UsageError for frames that
    strides and pools leave nothing of.
    """

    def __init__(self, spec: ConvLSTMSpec, shape: ClipShape, num_classes: int) -> None:
        super().__init__()
        if not head_inputs(spec, shape):
            raise UsageError(
                f"the strides and pools of this ConvLSTM leave nothing of frames of {shape.height}x{shape.width} px; "
                f"give sides of {least_side_px(spec)} px or more."
            )
        self.spec = spec
        self.recurrence = "eager"
        inputs = (shape.channels, *spec.channels[:-1])
        layers = list(zip(inputs, spec.channels, spec.kernels, strict=True))
        self.inputs = nn.ModuleList(
            nn.Conv2d(before, 4 * h, kernel, stride=spec.stride, padding=kernel // 2) for before, h, kernel in layers
        )
        self.recurrents = nn.ModuleList(nn.Conv2d(h, 4 * h, kernel, padding=kernel // 2) for _, h, kernel in layers)
        self.norms = nn.ModuleList(nn.BatchNorm2d(h) for h in spec.channels)  # frames lie in the batch here
        self.head = nn.Linear(head_inputs(spec, shape), num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.transpose(0, 1)  # (T, B, C, H, W)
        blocks = zip(self.inputs, self.recurrents, self.norms, strict=True)
        for input_conv, recurrent_conv, norm in cast(Iterable[tuple[nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]], blocks):
            at_once = self._clips_at_once(x, input_conv)
            parts = [x[:, first : first + at_once] for first in range(0, x.shape[1], at_once)]
            x = _join([self._block(part, input_conv, recurrent_conv) for part in parts])
            x = torch.unflatten(norm(_images(x)), 0, x.shape[:2])
        x = x.transpose(0, 1)  # (B, T, h, H, W)
        logits: Tensor = self.head((x[:, -1] if self.spec.readout == "last" else x).flatten(1))
        return logits

    def _block(self, x: Tensor, input_conv: nn.Conv2d, recurrent_conv: nn.Conv2d) -> Tensor:
        """(T, B, C, H, W) to pooled hidden states (T, B, h, H', W')."""
        bias = cast(Tensor, input_conv.bias) + cast(Tensor, recurrent_conv.bias)
        padding = input_conv.kernel_size[0] // 2
        gates = F.conv2d(_images(x), input_conv.weight, bias, self.spec.stride, padding)
        hidden = RECURRENCES[self.recurrence](torch.unflatten(gates, 0, x.shape[:2]), recurrent_conv.weight)
        return torch.unflatten(max_pool_2x2(hidden.flatten(0, 1)), 0, x.shape[:2])

    @staticmethod
    def _clips_at_once(x: Tensor, input_conv: nn.Conv2d) -> int:
        """Clips are independent up to BatchNorm; on a CPU, few at a time keep a frame's gates in the cache."""
        if x.is_cuda:
            return x.shape[1]
        gates = input_conv.out_channels * x.shape[-2] * x.shape[-1] // input_conv.stride[0] ** 2
        return max(1, CPU_GATES // max(1, gates))


def _images(x: Tensor) -> Tensor:
    """(T, B, C, H, W) to (T * B, C, H, W): channels-last on CPUs, as it is on CUDA, where Triton wants NCHW."""
    return x.flatten(0, 1) if x.is_cuda else x.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)


def _join(parts: list[Tensor]) -> Tensor:
    """Parts (T, B', C, H, W) of a batch, kept channels-last, which ``torch.cat`` of five axes would not."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.permute(0, 1, 3, 4, 2) for part in parts], dim=1).permute(0, 1, 4, 2, 3)
