"""How much of the diver leaks into T and is missing from S1, pixel by pixel against ground truth, for every t at once.

Only where the truth is known (Mini-Diving48, labelled clips). The paper judges its masks by box IoU on 13 frames
(section 3.3); what decides whether T is free of shape, and S1 of texture, is counted here instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diving48_domains.build_options import BuildOptions
from diving48_domains.domains import box_pixels, check_threshold, union_bounds
from diving48_domains.instance_file import InstanceFile
from diving48_domains.instances import ClipInstances
from diving48_domains.pasting import paste_union
from diving48_domains.tracking import track
from diving48_domains.tracks import EMPTY, STATUS
from tsgen.common.errors import DataError, UsageError

THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RESAMPLES, LEVEL = 2000, 0.95
LEVELS = 256

MEASURES = {
    "S1 missing": "diver pixels that S1 does not show, of all diver pixels",
    "S1 background": "background pixels among all that S1 shows",
    "S1 background shown": "background pixels that S1 shows, of all background pixels",
    "S2 missing": "diver pixels outside the boxes that S2 shows, of all diver pixels",
    "S2 background": "background pixels among all that S2 shows",
    "T leak": "diver pixels that T does not fill, of all diver pixels",
    "T background lost": "background pixels that T fills, of all background pixels",
    "T_union leak": "diver pixels outside the one box of the clip, of all diver pixels",
}
"""Each is a share from 0 to 1, pooled over the pixels of all clips."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipCount:
    """Pixels of one clip, over the frames that truth and prediction both cover.

    ``diver``, ``background`` int64 (256,): of the diver's and the background's pixels, how many have each value of the
    predicted mask; ``in_boxes``, ``in_fill``, ``in_union`` int64 (2,): diver's and background's pixels inside what S2
    shows, T fills, T_union fills; ``status`` int64 (3, 2): by status of the frame, diver pixels and those T leaks.
    """

    clip_id: str
    num_frames: int
    diver: NDArray[np.int64]
    background: NDArray[np.int64]
    in_boxes: NDArray[np.int64]
    in_fill: NDArray[np.int64]
    in_union: NDArray[np.int64]
    status: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Share:
    """A pooled share and its percentile interval from resampling clips (other clips would give another number)."""

    value: float
    low: float
    high: float

    def to_json(self) -> list[float]:
        return [self.value, self.low, self.high]


@dataclass(frozen=True, slots=True)
class TruthReport:
    """``by_threshold``: t -> measure -> share, for the measures of S1; ``fixed``: the measures t has no part in;
    ``by_status``: status -> (share of all diver pixels in such frames, share of them that T leaks)."""

    num_clips: int
    num_frames: int
    by_threshold: dict[float, dict[str, Share]]
    fixed: dict[str, Share]
    by_status: dict[str, tuple[float, float]]
    worst: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "clips": self.num_clips,
            "frames": self.num_frames,
            "interval": f"percentile bootstrap over clips, {RESAMPLES} resamples, {LEVEL:.0%}",
            "by_threshold": [
                {"t": t, **{name: share.to_json() for name, share in row.items()}}
                for t, row in self.by_threshold.items()
            ],
            "fixed": {name: share.to_json() for name, share in self.fixed.items()},
            "by_status": {name: {"diver_share": a, "leak": b} for name, (a, b) in self.by_status.items()},
            "worst_clips": [{"clip_id": clip_id, "T leak": leak} for clip_id, leak in self.worst],
        }


def count_clip(truth: ClipInstances, predicted: ClipInstances, options: BuildOptions) -> ClipCount:
    """The pixels of one clip. DataError when the two are not of the same frames."""
    height, width = truth.height, truth.width
    if (predicted.height, predicted.width) != (height, width):
        raise DataError(
            f"{truth.clip_id}: the truth has frames of {width}x{height} px, the instances of "
            f"{predicted.width}x{predicted.height}."
        )
    common, here, there = np.intersect1d(truth.frame_indices, predicted.frame_indices, return_indices=True)
    if not common.size:
        raise DataError(f"{truth.clip_id}: truth and instances have no frame in common.")
    shown, filled = track(predicted, options.shown), track(predicted, options.filled)
    composition = options.composition
    union = union_bounds([filled.divers[place] for place in there.tolist()], composition, height, width)
    histograms = np.zeros((2, LEVELS), dtype=np.int64)
    boxes, fill, whole = (np.zeros(2, dtype=np.int64) for _ in range(3))
    status = np.zeros((len(STATUS), 2), dtype=np.int64)
    for of_truth, of_clip in zip(here.tolist(), there.tolist(), strict=True):
        diver = paste_union(truth.frames[of_truth], height, width) > LEVELS // 2 - 1
        soft = paste_union(shown.divers[of_clip], height, width)
        histograms[0] += np.bincount(soft[diver], minlength=LEVELS)
        histograms[1] += np.bincount(soft[~diver], minlength=LEVELS)
        boxed = box_pixels(shown.divers[of_clip], composition, height, width)
        hidden = box_pixels(filled.divers[of_clip], composition, height, width)
        if composition.fill_empty and filled.status[of_clip] == EMPTY:
            hidden[:] = True
        in_union = np.zeros_like(diver)
        if union is not None:
            in_union[union[0] : union[1], union[2] : union[3]] = True
        for total, pixels in ((boxes, boxed), (fill, hidden), (whole, in_union)):
            total[:] += (int((pixels & diver).sum()), int((pixels & ~diver).sum()))
        status[shown.status[of_clip]] += (int(diver.sum()), int((diver & ~hidden).sum()))
    return ClipCount(truth.clip_id, len(common), histograms[0], histograms[1], boxes, fill, whole, status)


def measure(
    truth: InstanceFile,
    predicted: InstanceFile,
    clip_ids: Sequence[str],
    options: BuildOptions | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    quiet: bool = True,
) -> TruthReport:
    """Count all clips and report. DataError for a clip that one of the files lacks."""
    for t in thresholds:
        check_threshold(t)
    if not clip_ids:
        raise UsageError("no clip is given to measure.")
    options = options or BuildOptions()
    counts = [
        count_clip(truth.read(clip_id), predicted.read(clip_id), options)
        for clip_id in tqdm(clip_ids, unit="clip", desc="truth", disable=True if quiet else None)
    ]
    return summarize(counts, thresholds)


def summarize(counts: Sequence[ClipCount], thresholds: Sequence[float] = THRESHOLDS) -> TruthReport:
    """Pool the pixels of all clips, with intervals over clips. DataError where the truth shows no diver at all."""
    diver = np.stack([one.diver for one in counts]).astype(np.float64)
    background = np.stack([one.background for one in counts]).astype(np.float64)
    boxes, fill, union = (
        np.stack([getattr(one, name) for one in counts]).astype(np.float64)
        for name in ("in_boxes", "in_fill", "in_union")
    )
    num_diver, num_background = diver.sum(axis=1), background.sum(axis=1)
    if not num_diver.sum():
        raise DataError("the truth shows no diver in any of these frames.")
    weights = _resamples(len(counts))

    def share(part: NDArray[np.float64], of: NDArray[np.float64]) -> Share:
        with np.errstate(invalid="ignore"):
            drawn = (weights @ part) / (weights @ of)
        low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) if np.isfinite(drawn).any() else (0, 0)
        total = of.sum()
        return Share(float(part.sum() / total) if total else 0.0, float(low), float(high))

    by_threshold = {}
    for t in sorted(set(thresholds)):
        level = math.floor(t * (LEVELS - 1)) + 1
        kept, wrong = (boxes[:, 0], boxes[:, 1]) if t == 0 else (
            diver[:, level:].sum(axis=1), background[:, level:].sum(axis=1)
        )  # fmt: skip
        by_threshold[t] = {
            "S1 missing": share(num_diver - kept, num_diver),
            "S1 background": share(wrong, wrong + kept),
            "S1 background shown": share(wrong, num_background),
        }
    fixed = {
        "S2 missing": share(num_diver - boxes[:, 0], num_diver),
        "S2 background": share(boxes[:, 1], boxes.sum(axis=1)),
        "T leak": share(num_diver - fill[:, 0], num_diver),
        "T background lost": share(fill[:, 1], num_background),
        "T_union leak": share(num_diver - union[:, 0], num_diver),
    }
    status = np.sum([one.status for one in counts], axis=0)
    by_status = {
        name: (float(pixels / num_diver.sum()), float(leaked / pixels) if pixels else 0.0)
        for name, (pixels, leaked) in zip(STATUS, status.tolist(), strict=True)
    }
    leaks = 1 - fill[:, 0] / np.maximum(num_diver, 1)
    leaks[num_diver == 0] = 0
    worst = tuple((counts[place].clip_id, float(leaks[place])) for place in np.argsort(-leaks, kind="stable")[:5])
    return TruthReport(len(counts), sum(one.num_frames for one in counts), by_threshold, fixed, by_status, worst)


def _resamples(num_clips: int) -> NDArray[np.float64]:
    """float64 (RESAMPLES, num_clips): how often each clip is drawn; always the same draws."""
    rng = np.random.Generator(np.random.Philox(key=num_clips))
    return rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), RESAMPLES).astype(np.float64)
