"""What a model is made of, as frozen records without torch: shapes of clips and layers of the three families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClipShape:
    """What one clip looks like to a model: (frames, channels, height, width)."""

    frames: int = 20
    channels: int = 1
    height: int = 64
    width: int = 64

    @classmethod
    def of(cls, shape: Sequence[int]) -> ClipShape:
        """That of clips (N, T, H, W), or (N, T, H, W, C) in colour."""
        _, frames, height, width, *channels = shape
        return cls(frames, channels[0] if channels else 1, height, width)

    @property
    def values(self) -> int:
        return self.frames * self.channels * self.height * self.width


TEMPORAL_SHAPE = ClipShape()
DIVING48 = ClipShape(32, 3, 224, 224)


@dataclass(frozen=True)
class CNN3DSpec:
    """Blocks Conv3d(stride 1, padding k // 2) -> ReLU -> MaxPool3d(2) where ``pooled`` -> BatchNorm3d."""

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    pooled: tuple[bool, ...]
    pool_padding: int = 0

    def __post_init__(self) -> None:
        _same_length(self.channels, self.kernels, self.pooled)


@dataclass(frozen=True)
class ConvLSTMSpec:
    """Blocks ConvLSTM cell -> MaxPool2d(2) per frame -> BatchNorm3d; ``stride`` of the input convolutions.

    ``readout``: the linear head sees the "last" frame of the last block, or "all" of its frames.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    stride: int = 1
    readout: Literal["last", "all"] = "last"

    def __post_init__(self) -> None:
        _same_length(self.channels, self.kernels)


@dataclass(frozen=True)
class TimeSformerSpec:
    """Divided space-time attention on ``patch_px`` squares; the width of the tokens is heads * head_dim.

    Of the variants of the supplement's Table 10: ``attention_dropout`` of what each attention puts out and
    ``feed_forward_dropout`` of the hidden layer, probabilities in [0, 1); ``extra_linear``: a linear layer on top of
    the predictions, classes to classes.
    """

    head_dim: int
    heads: int
    depth: int
    patch_px: int = 16
    attention_dropout: float = 0.0
    feed_forward_dropout: float = 0.0
    extra_linear: bool = False

    def __post_init__(self) -> None:
        for name in ("attention_dropout", "feed_forward_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not possible; allowed: 0 or more, less than 1")

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def drops(self) -> bool:
        """Whether training draws random numbers."""
        return self.attention_dropout > 0 or self.feed_forward_dropout > 0


Spec = CNN3DSpec | ConvLSTMSpec | TimeSformerSpec


def _same_length(*lists: tuple[object, ...]) -> None:
    if len({len(each) for each in lists}) != 1 or not lists[0]:
        raise ValueError(f"layers are given by lists of one length, not of {[len(each) for each in lists]}")
