"""Small clips in colour, three classes told by the brightness of their upper half, and a config that trains on them."""

from __future__ import annotations

import numpy as np

from benchmark.config import RunConfig
from benchmark.data import Clips, DataFacts, SourceData

CONFIG = RunConfig(
    model="3dcnn",
    hidden=4,
    source="V",
    seeds=(3,),
    n_train=24,
    n_val=11,
    max_epochs=2,
    batch_size=8,
    learning_rate=1e-2,
)


def colour_clips(split: str, n: int, frames: int = 8, side: int = 16) -> Clips:
    rng = np.random.default_rng(len(split))
    facts = DataFacts("V", split, "", 0, n, "", split, "", None, None)
    clips = rng.integers(0, 256, (n, frames, side, side, 3), dtype=np.uint8)
    labels = np.arange(n) % 3
    clips[labels == 1, :, : side // 2] //= 4
    return Clips(clips, labels, np.arange(n), ("a", "b", "c"), facts)


def source(frames: int = 8, side: int = 16) -> SourceData:
    return SourceData(colour_clips("train", 24, frames, side), colour_clips("val", 11, frames, side))
