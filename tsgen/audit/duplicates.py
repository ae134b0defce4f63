"""Clips that occur twice: the same frames or the same path, within a file and across files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.audit.view import View
from tsgen.clipfile import ContentHash
from tsgen.clipset import ClipSet


def count_repeated_clips(clip_set: ClipSet) -> int:
    """Clips whose frames equal those of an earlier clip of the file. The paper samples with replacement: they occur."""
    seen: set[bytes] = set()
    for _, block in clip_set.blocks():
        seen.update(ContentHash.leaf(clip) for clip in block)
    return len(clip_set) - len(seen)


@dataclass(frozen=True)
class Overlap:
    """How many clips of the file ``of`` occur in the file ``within``, by class name of the former.

    ``same_frames``: all pixels equal. ``same_path``: the drawn boxes equal, frame by frame (the digit or the noise may
    differ).
    """

    of: str
    within: str
    clips: dict[str, int]
    same_frames: dict[str, int]
    same_path: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def repeats(digests: NDArray[np.void], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Clips a class that equal an earlier clip of the file, int64 (C,). ``digests`` 16-byte values (N,)."""
    _, first = np.unique(digests, return_index=True)
    repeated = np.ones(len(digests), dtype=bool)
    repeated[first] = False
    return np.bincount(labels[repeated], minlength=num_classes)


def conflicting(digests: NDArray[np.void], labels: NDArray[np.int64]) -> int:
    """Clips that occur in the file under another label too: no classifier can be right about all of them."""
    _, which = np.unique(digests, return_inverse=True)
    pairs = np.unique(np.stack([which, labels], axis=-1), axis=0)
    labels_of = np.bincount(pairs[:, 0])
    return int((labels_of[which] > 1).sum())


def overlap(of: View, within: View, names: tuple[str, str], class_names: tuple[str, ...]) -> Overlap:
    """Which clips of ``of`` occur in ``within``. ``names`` of the two files; ``class_names`` those of ``of``."""

    def per_class(chosen: NDArray[np.bool_]) -> dict[str, int]:
        counts = np.bincount(of.labels[chosen], minlength=len(class_names))
        return dict(zip(class_names, counts.tolist(), strict=True))

    return Overlap(
        *names,
        clips=per_class(np.ones(len(of), dtype=bool)),
        same_frames=per_class(np.isin(of.frame_digest, within.frame_digest)),
        same_path=per_class(np.isin(of.path_digest, within.path_digest)),
    )
