"""Detections of one clip linked over time into tracks: Hungarian assignment to where constant velocity leads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diving48_domains.instances import Instance

NEVER = 1e6  # the price of a link that is not allowed
IOU_SHARE, SIZE_SHARE = 0.5, 0.25  # of overlap and size in the price of a link, beside the distance
VELOCITY_MEMORY = 0.5  # of the former velocity in the new one
EDGE = 0.02  # of the frame's sides: a box that ends nearer to the frame's edge is taken to be cut by it
MIN_WHOLE_BOXES = 3
LONGEST_FORECAST = 3  # looked-at frames; further on, velocity says nothing


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One body over time. ``positions`` int64 (N,): rising positions among the looked-at frames; ``instances``: N."""

    positions: NDArray[np.int64]
    instances: tuple[Instance, ...]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """float64 (N, 2): x, y in px."""
        return np.asarray((self.boxes[:, :2] + self.boxes[:, 2:]) / 2)

    @property
    def diagonals(self) -> NDArray[np.float64]:
        """float64 (N,) px."""
        return np.asarray(np.hypot(*(self.boxes[:, 2:] - self.boxes[:, :2]).T))

    @property
    def density(self) -> float:
        """The share of the frames between its first and its last in which it was seen."""
        return len(self.positions) / int(self.positions[-1] - self.positions[0] + 1)

    def shape_change(self, height: int, width: int, rows: NDArray[np.int64] | None = None) -> float:
        """Standard deviation of log(width / height): neither panning nor zooming changes it, tumbling does.

        Boxes cut by the frame of ``height`` x ``width`` px tell nothing; 0 where hardly any other is left. ``rows``:
        only these of the N detections.
        """
        boxes = self.boxes if rows is None else self.boxes[rows]
        sides = np.array([width, height])
        inner = (boxes[:, :2] > EDGE * sides).all(axis=1) & (boxes[:, 2:] < (1 - EDGE) * sides).all(axis=1)
        if inner.sum() < MIN_WHOLE_BOXES:
            return 0.0
        whole = boxes[inner, 2:] - boxes[inner, :2]
        return float(np.std(np.log(whole[:, 0] / whole[:, 1])))


class _Open:
    """A track that may still grow."""

    def __init__(self, position: int, index: int, instance: Instance) -> None:
        self.positions, self.instances = [position], [instance]
        self.index = index
        self.box = instance.box.astype(np.float64)
        self.velocity = np.zeros(2)  # px per frame of the video

    def forecast(self, index: int, step: float) -> NDArray[np.float64]:
        """The last box moved on to frame ``index`` of the video, over at most a few ``step`` frames."""
        shift = self.velocity * min(index - self.index, LONGEST_FORECAST * step)
        return np.asarray(self.box + np.tile(shift, 2))

    def add(self, position: int, index: int, instance: Instance) -> None:
        box = instance.box.astype(np.float64)
        velocity = ((box - self.box)[:2] + (box - self.box)[2:]) / 2 / (index - self.index)
        memory = VELOCITY_MEMORY if len(self.positions) > 1 else 0.0
        self.velocity = memory * self.velocity + (1 - memory) * velocity
        self.box, self.index = box, index
        self.positions.append(position)
        self.instances.append(instance)

    def close(self) -> Track:
        boxes = np.array([one.box for one in self.instances], dtype=np.float64)
        scores = np.array([one.score for one in self.instances], dtype=np.float64)
        return Track(np.array(self.positions, dtype=np.int64), tuple(self.instances), boxes, scores)


def link(
    frames: tuple[tuple[Instance, ...], ...], frame_indices: NDArray[np.int64], max_jump: float, max_lost: int
) -> list[Track]:
    """Every instance in exactly one track, in the order of their first frames.

    ``frame_indices`` int64 (T,) are the frames' places in the video, so that velocities survive uneven sampling. A
    track unseen in more than ``max_lost`` looked-at frames is over; ``max_jump``: the farthest link from the forecast
    in box diagonals.
    """
    step = float(np.median(np.diff(frame_indices))) if len(frames) > 1 else 1.0
    tracks: list[_Open] = []
    for position, (found, index) in enumerate(zip(frames, frame_indices.tolist(), strict=True)):
        live = [one for one in tracks if position - one.positions[-1] - 1 <= max_lost]
        taken: set[int] = set()
        if live and found:
            forecasts = np.array([one.forecast(index, step) for one in live])
            price = prices(forecasts, np.array([one.box for one in found], dtype=np.float64), max_jump)
            for row, column in zip(*linear_sum_assignment(price), strict=True):
                if price[row, column] < NEVER:
                    live[row].add(position, index, found[column])
                    taken.add(int(column))
        tracks += [_Open(position, index, one) for number, one in enumerate(found) if number not in taken]
    return [one.close() for one in tracks]


def prices(tracks: NDArray[np.float64], found: NDArray[np.float64], max_jump: float) -> NDArray[np.float64]:
    """float64 (N, M): what it costs to link boxes ``tracks`` (N, 4) px to boxes ``found`` (M, 4) px."""
    one, other = tracks[:, None], found[None]
    overlap = np.clip(np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]), 0, None)
    sizes_one, sizes_other = one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2]
    areas_one, areas_other = sizes_one.prod(axis=-1), sizes_other.prod(axis=-1)
    common = overlap.prod(axis=-1)
    iou = common / (areas_one + areas_other - common)
    shift = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2
    diagonal = (np.hypot(*np.moveaxis(sizes_one, -1, 0)) + np.hypot(*np.moveaxis(sizes_other, -1, 0))) / 2
    jump = np.hypot(*np.moveaxis(shift, -1, 0)) / diagonal
    price = jump + IOU_SHARE * (1 - iou) + SIZE_SHARE * np.abs(np.log(areas_one / areas_other))
    return np.where(jump <= max_jump, price, NEVER)
