"""What a classifier is given: numbers from the path of the entity, as pure functions of arrays.

``corner`` is int64 (N, T, 2), the drawn upper left corner (x, y) in px: what a viewer of the frames can know. The exact
positions in the file would give away more (they are whole numbers in the first frame only).

Order-free features are computed after the frames of each clip were sorted by place, so they are the same bits for every
order of the frames; a test permutes frames and compares.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.int64]
Features = NDArray[np.float32]
LAG = 4  # frames over which a heading is measured: one frame of whole pixels is too coarse
DISTANCES = 40  # of the sorted pairwise ones that are kept, evenly spaced


def set_features(corner: Corners) -> Features:
    """Of the unordered set of places: where it lies, its extent, its shape. float32 (N, F)."""
    corner = without_order(corner)
    n, num_frames, _ = corner.shape
    middle = corner.mean(axis=1, keepdims=True)
    from_middle = corner - middle
    first, second = np.triu_indices(num_frames, 1)
    apart = np.sort(np.hypot(*np.moveaxis(corner[:, first] - corner[:, second], -1, 0)), axis=1)  # (N, T(T-1)/2)
    kept = np.linspace(0, apart.shape[1] - 1, min(DISTANCES, apart.shape[1])).astype(int)
    gaps = np.hypot(*np.moveaxis(corner[:, :, None] - corner[:, None], -1, 0))  # (N, T, T)
    nearest = np.sort(gaps, axis=2)[:, :, 1:3]  # of each place, to its two nearest others
    parts = [
        middle,
        corner.min(axis=1),
        corner.max(axis=1),
        np.ptp(corner, axis=1),
        (gaps == 0).sum(axis=(1, 2)),
        np.sort(from_middle, axis=1),
        np.sort(np.hypot(from_middle[..., 0], from_middle[..., 1]), axis=1),
        apart[:, kept],
        np.sort(nearest, axis=1),
    ]
    return np.concatenate([np.asarray(part, dtype=np.float32).reshape(n, -1) for part in parts], axis=1)


def sequence_features(corner: Corners) -> Features:
    """Of the path in its order: places around their mean, velocities, speeds, turning. float32 (N, F)."""
    n, num_frames, _ = corner.shape
    lag = min(LAG, max(1, (num_frames - 1) // 2))
    steps, strides = np.diff(corner, axis=1), corner[:, lag:] - corner[:, :-lag]
    before, after = strides[:, :-lag], strides[:, lag:]
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    parts = [
        corner - corner.mean(axis=1, keepdims=True),
        steps,
        strides,
        np.hypot(steps[..., 0], steps[..., 1]),
        np.hypot(strides[..., 0], strides[..., 1]),
        np.arctan2(cross, (before * after).sum(axis=-1)),
    ]
    return np.concatenate([np.asarray(part, dtype=np.float32).reshape(n, -1) for part in parts], axis=1)


def without_order(corner: Corners) -> Corners:
    """The frames of each clip sorted by x, then y: one form for all orders of the same places."""
    order = np.lexsort((corner[..., 1], corner[..., 0]), axis=1)
    return np.take_along_axis(corner, order[..., None], axis=1)


def intact(corner: Corners) -> Corners:
    return corner


def shuffled(corner: Corners) -> Corners:
    """The frames of each clip in an order drawn for it."""
    n, num_frames, _ = corner.shape
    order = np.random.default_rng(1).permuted(np.tile(np.arange(num_frames), (n, 1)), axis=1)
    return np.take_along_axis(corner, order[..., None], axis=1)


def time_reversed(corner: Corners) -> Corners:
    return corner[:, ::-1]


def frozen(corner: Corners) -> Corners:
    """The middle frame, held."""
    return np.repeat(corner[:, corner.shape[1] // 2][:, None], corner.shape[1], axis=1)


EDITS: dict[str, Callable[[Corners], Corners]] = {
    "intact": intact,
    "shuffled": shuffled,
    "reversed": time_reversed,
    "frozen": frozen,
}
"""Changes to the order of frames: int64 (N, T, 2) -> the same shape."""


def random_place(corner: Corners) -> Corners:
    """The place in one frame drawn for each clip, int64 (N, 2)."""
    frame = np.random.default_rng(2).integers(corner.shape[1], size=len(corner))
    return corner[np.arange(len(corner)), frame]
