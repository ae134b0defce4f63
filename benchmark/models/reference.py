"""The 3D CNN and the ConvLSTM as section 3.1 describes them, with torch's own layers, in the order of the paper.

Slow and obvious: what the fast modules are tested against and timed against. Names and shapes of the parameters are
theirs, so weights go across with ``load_state_dict``; nothing else in the package uses these modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.models.convlstm import head_inputs
from benchmark.models.specs import ClipShape, CNN3DSpec, ConvLSTMSpec


class PlainCNN3D(nn.Module):
    """Conv3d -> ReLU -> MaxPool3d -> BatchNorm3d; clips (B, T, C, H, W) to logits (B, num_classes)."""

    def __init__(self, spec: CNN3DSpec, shape: ClipShape, num_classes: int) -> None:
        super().__init__()
        inputs = (shape.channels, *spec.channels[:-1])
        self.convs = nn.ModuleList(
            nn.Conv3d(before, after, kernel, stride=1, padding=kernel // 2)
            for before, after, kernel in zip(inputs, spec.channels, spec.kernels, strict=True)
        )
        self.pools = nn.ModuleList(
            nn.MaxPool3d(2, stride=2, padding=spec.pool_padding) if pooled else nn.Identity() for pooled in spec.pooled
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(channels) for channels in spec.channels)
        size = [shape.frames, shape.height, shape.width]
        for pooled in spec.pooled:
            size = [(side + 2 * spec.pool_padding - 2) // 2 + 1 for side in size] if pooled else size
        self.head = nn.Linear(spec.channels[-1] * size[0] * size[1] * size[2], num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.transpose(1, 2)  # (B, C, T, H, W)
        for conv, pool, norm in zip(self.convs, self.pools, self.norms, strict=True):
            x = norm(pool(torch.relu(conv(x))))
        logits: Tensor = self.head(x.flatten(1))
        return logits


class PlainConvLSTM(nn.Module):
    """ConvLSTM cell frame by frame -> MaxPool2d -> BatchNorm3d; clips (B, T, C, H, W) to logits (B, num_classes)."""

    def __init__(self, spec: ConvLSTMSpec, shape: ClipShape, num_classes: int) -> None:
        super().__init__()
        self.readout = spec.readout
        inputs = (shape.channels, *spec.channels[:-1])
        layers = list(zip(inputs, spec.channels, spec.kernels, strict=True))
        self.inputs = nn.ModuleList(
            nn.Conv2d(before, 4 * h, kernel, stride=spec.stride, padding=kernel // 2) for before, h, kernel in layers
        )
        self.recurrents = nn.ModuleList(
            nn.Conv2d(h, 4 * h, kernel, stride=1, padding=kernel // 2) for _, h, kernel in layers
        )
        self.pool = nn.MaxPool2d(2)
        self.norms = nn.ModuleList(nn.BatchNorm3d(h) for h in spec.channels)
        self.head = nn.Linear(head_inputs(spec, shape), num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.transpose(1, 2)  # (B, C, T, H, W)
        for input_conv, recurrent_conv, norm in zip(self.inputs, self.recurrents, self.norms, strict=True):
            x = norm(torch.stack(self._frames(x, input_conv, recurrent_conv), dim=2))
        features = x[:, :, -1] if self.readout == "last" else x.transpose(1, 2)  # (B, h, H, W) or (B, T, h, H, W)
        logits: Tensor = self.head(features.flatten(1))
        return logits

    def _frames(self, x: Tensor, input_conv: nn.Module, recurrent_conv: nn.Module) -> list[Tensor]:
        """Pooled hidden states (B, h, H, W), one a frame."""
        pooled = []
        hidden = cell = None
        for frame in x.unbind(2):
            from_input = input_conv(frame)
            if hidden is None or cell is None:
                batch, channels, *size = from_input.shape
                hidden = cell = from_input.new_zeros(batch, channels // 4, *size)
            i, f, o, g = (from_input + recurrent_conv(hidden)).chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            pooled.append(self.pool(hidden))
        return pooled
