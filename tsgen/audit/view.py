"""What the audit looks at: one pass over a clip file, from which everything else is computed without touching it again.

Memory: about 200 bytes a frame for every clip, and 4 kB for each of the clips that are chosen for the classifiers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.clipfile import ContentHash
from tsgen.clipset import ClipSet
from tsgen.common.errors import DataError

GRID = 16  # cells across a pooled projection
BRIGHT = 140  # grey level above which a pixel is the entity, where a file does not say where the entity is
LOOK_COLUMNS = ("sigma", "digit_index", "digit_label")

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A clip file as the audit sees it. N clips of T frames; the projections are of the M clips ``chosen``."""

    labels: NDArray[np.int64]  # (N,)
    corner: NDArray[np.int64]  # (N, T, 2) drawn upper left corner (x, y), px; -1 where no entity was found
    corner_source: str  # "boxes": the stored ones; "pixels": the file stores none, found as the bright pixels
    frame_digest: NDArray[np.void]  # (N,) of all pixels
    path_digest: NDArray[np.void]  # (N,) of the boxes in order
    ink: FloatArray  # (N, T) mean grey level, 0..255
    blank: NDArray[np.bool_]  # (N, T) frames in which the entity cannot be seen
    look: NDArray[np.int64]  # (N, 3) the columns sigma, digit_index, digit_label
    chosen: NDArray[np.int64]  # (M,) rows given to the classifiers
    brightest: FloatArray  # (M, F) maximum over time, pooled: as it lies, then moved to the frame's middle
    mean: FloatArray  # (M, F) mean over time, likewise

    def __len__(self) -> int:
        return len(self.labels)


def read_view(clip_set: ClipSet, max_clips: int) -> View:
    """Look at every clip of the file; ``max_clips``, drawn without replacement, are kept for the classifiers."""
    n = len(clip_set)
    boxes, stored = _boxes(clip_set)
    order = np.random.default_rng(0).permutation(n)
    chosen = np.sort(order[:max_clips])
    digests: list[bytes] = []
    parts: dict[str, list[NDArray[Any]]] = {"ink": [], "blank": [], "boxes": [], "brightest": [], "mean": []}
    for start, clips in clip_set.blocks():
        stop = start + len(clips)
        digests.extend(ContentHash.leaf(clip) for clip in clips)
        parts["ink"].append(_mean_grey(clips))
        block_boxes = boxes[start:stop] if stored else bright_boxes(clips)
        parts["boxes"].append(block_boxes)
        parts["blank"].append(unseen(clips, block_boxes) if stored else block_boxes[..., 0] < 0)
        kept = clips[chosen[(chosen >= start) & (chosen < stop)] - start]
        parts["brightest"].append(pooled_projection(kept.max(axis=1).astype(np.float32)))
        parts["mean"].append(pooled_projection(kept.sum(axis=1, dtype=np.uint32).astype(np.float32) / kept.shape[1]))
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    drawn = whole.pop("boxes")
    return View(
        labels=clip_set.labels,
        corner=drawn[..., :2],
        corner_source="boxes" if stored else "pixels",
        frame_digest=np.frombuffer(b"".join(digests), dtype="V16"),
        path_digest=row_digests(drawn),
        look=np.stack([clip_set.column(name).astype(np.int64) for name in LOOK_COLUMNS], axis=-1),
        chosen=chosen,
        **whole,
    )


def _mean_grey(clips: NDArray[np.uint8]) -> FloatArray:
    # Whole numbers until the last step: a rounding error would depend on where the light is.
    sums = clips.reshape(*clips.shape[:2], -1).sum(axis=2, dtype=np.uint32)  # (N, T, H, W) -> (N, T, H*W)
    return np.asarray(sums / (clips.shape[2] * clips.shape[3]), dtype=np.float32)


def row_digests(rows: NDArray[np.int64]) -> NDArray[np.void]:
    """A digest of each row of int64 (N, ...), as 16-byte values (N,)."""
    small = np.ascontiguousarray(rows, dtype=np.int16).reshape(len(rows), -1)
    return np.frombuffer(b"".join(ContentHash.leaf(row.view(np.uint8)) for row in small), dtype="V16")


def unseen(clips: NDArray[np.uint8], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Frames in which the entity cannot be seen: its box is black, or something outside it is brighter. bool (N, T).

    ``clips`` uint8 (N, T, H, W); ``boxes`` int64 (N, T, 4), inside the frame, or -1: no entity, nothing to be seen.
    """
    n, num_frames, height, width = clips.shape
    flat = clips.reshape(n * num_frames, height, width).copy()  # (N, T, H, W) -> (N*T, H, W)
    x0, y0, x1, y1 = boxes.reshape(n * num_frames, 4).T
    side_x, side_y = int((x1 - x0).max(initial=1)), int((y1 - y0).max(initial=1))
    column = np.minimum(x0[:, None] + np.arange(side_x), x1[:, None] - 1)  # (N*T, side_x)
    row = np.minimum(y0[:, None] + np.arange(side_y), y1[:, None] - 1)
    place = (np.arange(len(flat))[:, None, None], row[:, :, None], column[:, None, :])
    inside = flat[place].max(axis=(1, 2))
    flat[place] = 0
    outside = flat.max(axis=(1, 2))
    return np.asarray(((x0 < 0) | (inside == 0) | (inside < outside)).reshape(n, num_frames))


def bright_boxes(clips: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The box of the pixels brighter than ``BRIGHT`` in every frame, int64 (N, T, 4); all -1 where there are none."""
    bright = np.asarray(clips > BRIGHT)
    sides = []
    for across in (np.asarray(bright.any(axis=2)), np.asarray(bright.any(axis=3))):  # columns (N, T, W), rows (N, T, H)
        length = across.shape[-1]
        sides.append((across.argmax(axis=-1), length - across[..., ::-1].argmax(axis=-1)))
    (x0, x1), (y0, y1) = sides
    boxes = np.stack([x0, y0, x1, y1], axis=-1).astype(np.int64)
    boxes[~np.asarray(bright.any(axis=(2, 3)))] = -1
    return boxes


def pooled_projection(projection: FloatArray) -> FloatArray:
    """A projection over time float32 (M, H, W) -> float32 (M, F): pooled as it lies, then around its centroid."""
    return np.concatenate([_pool(projection), _pool(_centred(projection))], axis=1)


def _pool(images: FloatArray) -> FloatArray:
    """Means over a grid of at most 16x16 cells, float32 (M, cells)."""
    m, height, width = images.shape
    edges_y, edges_x = (np.linspace(0, side, min(GRID, side) + 1).astype(int) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(images, edges_y[:-1], axis=1), edges_x[:-1], axis=2)
    return np.asarray(sums / np.outer(np.diff(edges_y), np.diff(edges_x)), dtype=np.float32).reshape(m, -1)


def _centred(images: FloatArray) -> FloatArray:
    """Each image moved so that the centroid of its light lies in the middle; what leaves the frame is lost."""
    m, height, width = images.shape
    light = np.clip(images - images.mean(axis=(1, 2), keepdims=True), 0, None) ** 2
    total = light.sum(axis=(1, 2)) + 1e-6
    centre_y = np.rint(light.sum(axis=2) @ np.arange(height) / total).astype(int)
    centre_x = np.rint(light.sum(axis=1) @ np.arange(width) / total).astype(int)
    wide = np.pad(images, ((0, 0), (height // 2, height // 2), (width // 2, width // 2)))
    rows, columns = centre_y[:, None] + np.arange(height), centre_x[:, None] + np.arange(width)
    return np.asarray(wide[np.arange(m)[:, None, None], rows[:, :, None], columns[:, None, :]])


def _boxes(clip_set: ClipSet) -> tuple[NDArray[np.int64], bool]:
    """The drawn boxes int64 (N, T, 4), -1 in frames for which the file has none (NaN: the entity vanished), and whether
    it has any (clips that were imported have none)."""
    _, height, width = clip_set.clip_shape
    boxes = clip_set.column("boxes")
    known = np.isfinite(boxes).all(axis=-1)
    if not known.any():
        return np.empty((0, 0, 4), dtype=np.int64), False
    x0, y0, x1, y1 = boxes[known].T
    if not ((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)).all():
        raise DataError(f"{clip_set.path}: boxes are empty or leave the frame of {width}x{height} px; make it again.")
    return np.where(known[..., None], boxes, -1).astype(np.int64), True
