"""What can be measured on clips from their pixels alone: one number a clip, and whether two sets share its law.

The place of the entity in a frame is the box of its bright pixels, as in the audit of files without stored boxes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgen.audit.view import bright_boxes
from tsgen.clipfile import ContentHash

MARGIN_PX = 8  # around the entity, left out of the background: a JPEG block, as far as its ringing reaches
BLOCK_CLIPS = 128
FEW_CLIPS = 10
FEW_FOR_LIMIT = 30  # below, the limit law of the distance is too bold

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Sight:
    """N clips as the measures see them. ``boxes`` int64 (N, T, 4) px, -1 in frames without a bright pixel; ``digest``
    (N,) of all pixels; ``light`` float64 (N, 5): mean level, change from frame to frame and slope from pixel to pixel
    away from the entity; brightest level and number of different levels of the whole clip."""

    labels: NDArray[np.int64]
    boxes: NDArray[np.int64]
    digest: NDArray[np.void]
    light: FloatArray

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.asarray(self.boxes[..., 0] >= 0)

    @property
    def centre(self) -> FloatArray:
        """(N, T, 2) px, NaN where nothing is seen."""
        middle = (self.boxes[..., :2] + self.boxes[..., 2:]) / 2
        return np.where(self.seen[..., None], middle, np.nan)


def look_at(clips: NDArray[np.uint8], labels: NDArray[np.int64]) -> Sight:
    """``clips`` uint8 (N, T, H, W), ``labels`` int64 (N,)."""
    boxes, light = [], []
    for start in range(0, len(clips), BLOCK_CLIPS):
        block = clips[start : start + BLOCK_CLIPS]
        boxes.append(bright_boxes(block))
        light.append(_light(block, boxes[-1]))
    digests = b"".join(ContentHash.leaf(clip) for clip in clips)
    return Sight(labels, np.concatenate(boxes), np.frombuffer(digests, dtype="V16"), np.concatenate(light))


def _light(clips: NDArray[np.uint8], boxes: NDArray[np.int64]) -> FloatArray:
    n, _, height, width = clips.shape
    x0, y0, x1, y1 = (boxes[..., side, None] for side in range(4))  # (N, T, 1)
    row, column = np.arange(height), np.arange(width)
    near_y = (row >= y0 - MARGIN_PX) & (row < y1 + MARGIN_PX)  # (N, T, H)
    near_x = (column >= x0 - MARGIN_PX) & (column < x1 + MARGIN_PX)
    away = ~(near_y[..., :, None] & near_x[..., None, :])  # (N, T, H, W)
    level = clips.astype(np.int16)
    both = away[:, 1:] & away[:, :-1]
    beside = away[..., 1:] & away[..., :-1]
    return np.stack(
        [
            _mean(level, away),
            _mean(abs(np.diff(level, axis=1)), both),
            _mean(abs(np.diff(level, axis=3)), beside),
            clips.reshape(n, -1).max(axis=1).astype(np.float64),
            np.array([np.count_nonzero(np.bincount(clip.ravel(), minlength=256)) for clip in clips], dtype=np.float64),
        ],
        axis=1,
    )


def _mean(values: NDArray[np.int16], where: NDArray[np.bool_]) -> FloatArray:
    axes = (1, 2, 3)
    return np.asarray((values * where).sum(axis=axes, dtype=np.int64) / np.maximum(where.sum(axis=axes), 1))


@dataclass(frozen=True)
class Measure:
    """``of`` gives one number a clip, NaN where it has none. ``share``: the number is 0 or 1, told in per cent.
    ``by_class``: told for every class as well as for all."""

    of: Callable[[Sight], FloatArray]
    unit: str = "px"
    share: bool = False
    by_class: bool = True


def _start(axis: int) -> Callable[[Sight], FloatArray]:
    return lambda sight: sight.centre[:, 0, axis]


def _net(axis: int) -> Callable[[Sight], FloatArray]:
    return lambda sight: sight.centre[:, -1, axis] - sight.centre[:, 0, axis]


def _side(axis: int) -> Callable[[Sight], FloatArray]:
    def side(sight: Sight) -> FloatArray:
        sides = (sight.boxes[..., axis + 2] - sight.boxes[..., axis]).astype(np.float64)
        return _nan_median(np.where(sight.seen, sides, np.nan))

    return side


def _speed(sight: Sight) -> FloatArray:
    steps = np.linalg.norm(np.diff(sight.centre, axis=1), axis=-1)
    counted = np.isfinite(steps).sum(axis=1)
    speed: FloatArray = np.where(counted > 0, np.nansum(steps, axis=1) / np.maximum(counted, 1), np.nan)
    return speed


def _extent(sight: Sight) -> FloatArray:
    """The longer side of the box around all visited places."""
    place = sight.centre
    low = np.where(sight.seen[..., None], place, np.inf).min(axis=1)
    high = np.where(sight.seen[..., None], place, -np.inf).max(axis=1)
    extent = (high - low).max(axis=1)
    return np.where(np.isfinite(extent), extent, np.nan)


def _places(sight: Sight) -> FloatArray:
    return np.array([len(np.unique(clip[clip[:, 0] >= 0], axis=0)) for clip in sight.boxes], dtype=np.float64)


def _still(order: int) -> Callable[[Sight], FloatArray]:
    """Frames at one end of the clip, after the first there, in which the entity has not moved."""

    def still(sight: Sight) -> FloatArray:
        place = sight.boxes[:, ::order]
        moved = (place[:, 1:] != place[:, :1]).any(axis=-1)
        frames: FloatArray = np.where(moved.any(axis=1), moved.argmax(axis=1), moved.shape[1]).astype(np.float64)
        return frames

    return still


def _blank(sight: Sight) -> FloatArray:
    return np.asarray((~sight.seen).any(axis=1), dtype=np.float64)


def _repeated(sight: Sight) -> FloatArray:
    _, first = np.unique(sight.digest, return_index=True)
    repeated = np.ones(len(sight.digest))
    repeated[first] = 0.0
    return repeated


def _light_part(part: int) -> Callable[[Sight], FloatArray]:
    return lambda sight: sight.light[:, part]


def _nan_median(values: FloatArray) -> FloatArray:
    some = np.isfinite(values).any(axis=1)
    out = np.full(len(values), np.nan)
    out[some] = np.nanmedian(values[some], axis=1)
    return out


MEASURES: dict[str, Measure] = {
    "clips with a blank frame": Measure(_blank, share=True),
    "clips equal to an earlier one": Measure(_repeated, share=True),
    "start, x": Measure(_start(0)),
    "start, y": Measure(_start(1)),
    "way from start to end, x": Measure(_net(0)),
    "way from start to end, y": Measure(_net(1)),
    "mean speed": Measure(_speed, "px/frame"),
    "extent of the path": Measure(_extent),
    "different places": Measure(_places, ""),
    "still frames after the first": Measure(_still(1), ""),
    "still frames before the last": Measure(_still(-1), ""),
    "entity width": Measure(_side(0), by_class=False),
    "entity height": Measure(_side(1), by_class=False),
    "different grey levels": Measure(_light_part(4), "", by_class=False),
    "brightest level": Measure(_light_part(3), "", by_class=False),
    "background level": Measure(_light_part(0), "", by_class=False),
    "background change a frame": Measure(_light_part(1), "", by_class=False),
    "background slope a pixel": Measure(_light_part(2), "", by_class=False),
}
"""A new measure is one row. The way from start to end shows a transposition: spirals run to one side."""

PATH_MEASURES = ("mean speed", "extent of the path", "different places")


def difference(measure: Measure, a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """How far two samples are apart, 0..1, and the probability of that if both had one law.

    Shares: their difference, Fisher's exact test. Else: Kolmogorov and Smirnov's largest distance between the two
    distribution functions, exact for few clips, too careful for whole numbers. NaN are left out; nothing to
    compare: (0, 1).
    """
    from scipy import stats

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        return (0.0, 1.0) if len(a) == len(b) else (1.0, 0.0)
    if measure.share:
        table = [[int(values.sum()), int(len(values) - values.sum())] for values in (a, b)]
        return abs(float(a.mean() - b.mean())), float(stats.fisher_exact(table).pvalue)
    few = min(len(a), len(b)) < FEW_FOR_LIMIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an exact value that overflows falls back to the limit law
        result = stats.ks_2samp(np.round(a, 6), np.round(b, 6), method="exact" if few else "asymp")
    return float(result.statistic), float(result.pvalue)


def nearest_classes(of: Sight, to: Sight, num_classes: int) -> list[int]:
    """For every class of ``of`` the class of ``to`` whose paths are most alike (speed, extent, places, straightness);
    -1 where fewer than ``FEW_CLIPS`` of a class are there to judge from."""
    features = [_path_features(sight) for sight in (of, to)]
    scale = np.nanstd(features[1], axis=0) + 1e-9
    out = []
    for class_id in range(num_classes):
        mine = features[0][of.labels == class_id]
        if len(mine) < FEW_CLIPS:
            out.append(-1)
            continue
        apart = [
            _apart(mine / scale, features[1][to.labels == other] / scale)
            if (to.labels == other).sum() >= FEW_CLIPS
            else np.inf
            for other in range(num_classes)
        ]
        out.append(int(np.argmin(apart)) if np.isfinite(apart).any() else -1)
    return out


def _path_features(sight: Sight) -> FloatArray:
    values = [MEASURES[name].of(sight) for name in PATH_MEASURES]
    straight = np.hypot(MEASURES["way from start to end, x"].of(sight), MEASURES["way from start to end, y"].of(sight))
    return np.stack([*values, straight], axis=1)


def _apart(a: FloatArray, b: FloatArray) -> float:
    """Mean distance of the quartiles and ends of every feature."""
    at = [5, 25, 50, 75, 95]
    return float(np.abs(np.nanpercentile(a, at, axis=0) - np.nanpercentile(b, at, axis=0)).mean())
