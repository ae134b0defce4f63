"""How good detections are against labelled masks: IoU, recall, false keeps, COCO AP, and the paper's own figure.

Everything is in whole frames: soft masks are pasted as the domains paste them (:mod:`diving48_domains.pasting`) and cut
at the mask threshold. "Kept" detections are those with the score threshold or more, as the tracks keep them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from diving48_domains.instances import Instance
from diving48_domains.pasting import paste
from tsgen.common.errors import DataError, UsageError

FOUND_IOU = 0.25
"""A diver counts as found from this mask IoU on: enough that the detection is that diver and no other thing."""

AP_IOUS = tuple(0.5 + 0.05 * step for step in range(10))
AP_RECALLS = np.linspace(0, 1, 101)
AP_MAX_DETECTIONS = 100
BEST_SHARE = 0.1


@dataclass(frozen=True)
class ScoreOptions:
    """``mask_threshold`` 0 <= t < 1: a pixel belongs to a detection when its soft mask exceeds t;
    ``score_threshold`` 0 <= s <= 1: a detection is kept when its score is at least s."""

    mask_threshold: float = 0.5
    score_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.mask_threshold < 1:
            raise UsageError(f"a mask threshold lies in 0 <= t < 1, got {self.mask_threshold}.")
        if not 0 <= self.score_threshold <= 1:
            raise UsageError(f"a score threshold lies in 0..1, got {self.score_threshold}.")


@dataclass(frozen=True)
class FrameScore:
    """One frame: mask IoU of each labelled diver with the kept detection matched to it (0: none), and false keeps."""

    diver_ious: tuple[float, ...]
    false_keeps: int

    @property
    def found(self) -> int:
        return sum(iou >= FOUND_IOU for iou in self.diver_ious)

    @property
    def badness(self) -> float:
        """For sorting the worst frames first: what is missing of each diver, plus every false keep."""
        return sum(1 - iou for iou in self.diver_ious) + self.false_keeps


@dataclass(frozen=True)
class SegmentationMetrics:
    """All shares 0 to 1; None where nothing was there to measure.

    ``matched_mask_iou``: mean over the divers found. ``diver_mask_iou``: mean over all labelled divers, one that was
    not found counts 0. ``frame_recall``: share of the frames with a diver in which at least one is found.
    ``diver_recall``: share of divers found. ``false_keeps_per_frame``: kept detections that are no diver.
    ``*_ap`` and ``*_ap50``: COCO average precision over IoU .50:.95 and at .50, all detections. ``best_tenth_box_iou``:
    the paper's "93 %": the mean of the best 10 % of all predictions' box IoU, each with the first labelled diver of its
    frame. It says little: it rises with every prediction that is added to the other 90 %.
    """

    frames: int
    frames_with_divers: int
    divers: int
    kept: int
    matched_mask_iou: float | None
    diver_mask_iou: float | None
    frame_recall: float | None
    diver_recall: float | None
    false_keeps_per_frame: float | None
    box_ap: float | None
    box_ap50: float | None
    mask_ap: float | None
    mask_ap50: float | None
    best_tenth_box_iou: float | None

    def to_json(self) -> dict[str, float | int | None]:
        return asdict(self)


def box_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of half-open boxes (N, 4) and (M, 4): float64 (N, M)."""
    first, second = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    size = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    inside = np.clip(size, 0, None).prod(axis=-1)
    areas = [(one[..., 2:] - one[..., :2]).prod(axis=-1) for one in (first, second)]
    return _ratio(inside, areas[0] + areas[1] - inside)


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of masks (N, H, W) and (M, H, W): float64 (N, M); 0 for two empty masks."""
    # float32 holds whole numbers of pixels exactly up to 2**24, more than a frame has.
    first = a.reshape(len(a), math.prod(a.shape[1:])).astype(np.float32)
    second = b.reshape(len(b), math.prod(b.shape[1:])).astype(np.float32)
    inside = (first @ second.T).astype(np.float64)
    union = first.sum(axis=1)[:, None].astype(np.float64) + second.sum(axis=1)[None, :] - inside
    return _ratio(inside, union)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def instance_pixels(instances: Sequence[Instance], height: int, width: int, threshold: float) -> NDArray[np.bool_]:
    """The pixels of each instance in its frame: bool (N, height, width), soft mask > threshold."""
    pixels = np.zeros((len(instances), height, width), dtype=bool)
    for row, one in zip(pixels, instances, strict=True):
        y0, y1, x0, x1, soft = paste(one, height, width)
        row[y0:y1, x0:x1] = soft > threshold * 255
    return pixels


def match(ious: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The one-to-one pairs (detection, diver) of a (N, M) table whose sum of IoU is greatest, each over 0."""
    rows, columns = linear_sum_assignment(ious, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if ious[row, column] > 0]


def score_frame(instances: Sequence[Instance], truth: NDArray[np.bool_], options: ScoreOptions) -> FrameScore:
    """One frame's detections against its labelled masks bool (D, H, W)."""
    kept = [one for one in instances if one.score >= options.score_threshold]
    pixels = instance_pixels(kept, truth.shape[1], truth.shape[2], options.mask_threshold)
    return _frame_score(mask_iou(pixels, truth))


def _frame_score(ious: NDArray[np.float64]) -> FrameScore:
    best = [0.0] * ious.shape[1]
    true_keeps = 0
    for row, column in match(ious):
        best[column] = float(ious[row, column])
        true_keeps += best[column] >= FOUND_IOU
    return FrameScore(tuple(best), ious.shape[0] - true_keeps)


@dataclass(frozen=True)
class _Tables:
    """A frame's detections, best first, and their IoU with each labelled diver."""

    scores: NDArray[np.float64]  # (N,)
    boxes: NDArray[np.float64]  # (N, D)
    masks: NDArray[np.float64]  # (N, D)


def score_frames(
    detections: Sequence[Sequence[Instance]],
    truths: Sequence[NDArray[np.bool_]],
    options: ScoreOptions | None = None,
) -> tuple[SegmentationMetrics, tuple[FrameScore, ...]]:
    """Metrics over frames, and the score of each frame in order.

    ``truths``: labelled masks bool (D, H, W) of each frame, D may be 0; masks without a pixel are no divers.
    """
    if len(detections) != len(truths) or not truths:
        raise DataError(f"detections of {len(detections)} frames for {len(truths)} labelled ones; at least 1 of each.")
    chosen = options or ScoreOptions()
    tables, frames = [], []
    for instances, masks in zip(detections, truths, strict=True):
        table = _tables(instances, masks[masks.any(axis=(1, 2))], chosen)
        tables.append(table)
        frames.append(_frame_score(table.masks[table.scores >= chosen.score_threshold]))
    with_divers = [frame for frame in frames if frame.diver_ious]
    ious = np.array([iou for frame in frames for iou in frame.diver_ious])
    false_keeps = sum(frame.false_keeps for frame in frames)
    box_aps = [average_precision([(one.scores, one.boxes) for one in tables], iou) for iou in AP_IOUS]
    mask_aps = [average_precision([(one.scores, one.masks) for one in tables], iou) for iou in AP_IOUS]
    metrics = SegmentationMetrics(
        frames=len(frames),
        frames_with_divers=len(with_divers),
        divers=len(ious),
        kept=false_keeps + sum(frame.found for frame in frames),
        matched_mask_iou=_mean(ious[ious >= FOUND_IOU]),
        diver_mask_iou=_mean(ious),
        frame_recall=_mean(np.array([frame.found > 0 for frame in with_divers])),
        diver_recall=_mean(ious >= FOUND_IOU),
        false_keeps_per_frame=false_keeps / len(frames),
        box_ap=None if box_aps[0] is None else float(np.mean(box_aps)),  # type: ignore[arg-type]
        box_ap50=box_aps[0],
        mask_ap=None if mask_aps[0] is None else float(np.mean(mask_aps)),  # type: ignore[arg-type]
        mask_ap50=mask_aps[0],
        best_tenth_box_iou=_best_tenth([one.boxes[:, 0] for one in tables if one.boxes.shape[1]]),
    )
    return metrics, tuple(frames)


def _tables(instances: Sequence[Instance], masks: NDArray[np.bool_], options: ScoreOptions) -> _Tables:
    height, width = masks.shape[1:]
    ordered = sorted(instances, key=lambda one: -one.score)[:AP_MAX_DETECTIONS]
    truths = [Instance.of_pixels(mask) for mask in masks]
    found, labelled = ([one.box for one in group if one is not None] for group in (ordered, truths))
    pixels = instance_pixels(ordered, height, width, options.mask_threshold)
    return _Tables(
        np.array([one.score for one in ordered]),
        box_iou(np.array(found).reshape(-1, 4), np.array(labelled).reshape(-1, 4)),
        mask_iou(pixels, masks),
    )


def average_precision(
    frames: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], iou_threshold: float
) -> float | None:
    """COCO's average precision at one IoU, one class, all sizes; None without a labelled diver.

    ``frames``: of each frame the scores (N,), falling, and the IoU (N, D) with each labelled diver. Each detection, the
    best first, takes the free diver with the greatest IoU of at least the threshold; precision is made non-rising in
    recall and read at the 101 recalls 0, 0.01, ..., 1.
    """
    divers = sum(ious.shape[1] for _, ious in frames)
    if not divers:
        return None
    scores = np.concatenate([frame_scores for frame_scores, _ in frames])
    hits = np.concatenate([_greedy_hits(ious, min(iou_threshold, 1 - 1e-10)) for _, ious in frames])
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order])
    precision = true / np.arange(1, len(true) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / divers, AP_RECALLS, side="left")
    return float(np.append(precision, 0.0)[at].mean())


def _greedy_hits(ious: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    free = ious.copy()
    hits = np.zeros(len(ious), dtype=bool)
    for row in range(len(ious)):
        if not free.shape[1]:
            break
        # The last of equals, as in pycocotools.
        column = free.shape[1] - 1 - int(np.argmax(free[row, ::-1]))
        if free[row, column] >= threshold:
            hits[row] = True
            free[:, column] = -1
    return hits


def _best_tenth(ious: Sequence[NDArray[np.float64]]) -> float | None:
    ordered = np.sort(np.concatenate([*ious, np.zeros(0)]))[::-1]
    return _mean(ordered[: math.ceil(BEST_SHARE * len(ordered))])


def _mean(values: NDArray[np.floating] | NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None
