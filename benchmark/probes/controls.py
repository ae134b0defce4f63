"""Temporal controls: what each takes away from a clip, and whether a model's accuracy lived on that. No torch.

A control is a pure function of clips uint8 (N, T, H, W) and their ids int64 (N,) to clips of the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmark.statistics import Estimate
from tsgen.common.intervals import LEVEL

ClipArray = NDArray[np.uint8]
Ids = NDArray[np.int64]

SHUFFLE_STREAM = 0x5AFF1E  # separates these random numbers from any other use of a clip id
MARGIN = 0.05
"""A drop of accuracy that is smaller than this, by its whole interval, counts as none."""


def intact(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """The clips as they are."""
    return clips


def shuffled(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """The frames of each clip in an order drawn for its id: the same in every domain, run and NumPy version."""
    T = clips.shape[1]
    # NumPy keeps the raw words of a bit generator stable over versions, Generator.permuted it does not.
    words = [np.random.Philox(key=[SHUFFLE_STREAM, 0], counter=[0, 0, 0, each]).random_raw(T) for each in clip_id]
    order = np.argsort(np.array(words), axis=1, kind="stable")  # (N, T)
    return np.take_along_axis(clips, order[:, :, None, None], axis=1)


def backwards(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """The last frame first."""
    return np.ascontiguousarray(clips[:, ::-1])


def frozen_first(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Every frame is the first one."""
    return _held(clips[:, 0], clips.shape[1])


def frozen_middle(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Every frame is frame T // 2."""
    return _held(clips[:, clips.shape[1] // 2], clips.shape[1])


def frozen_last(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Every frame is the last one."""
    return _held(clips[:, -1], clips.shape[1])


def single_frame(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Frame T // 2 at its place; the others are black."""
    middle = clips.shape[1] // 2
    kept = np.zeros_like(clips)
    kept[:, middle] = clips[:, middle]
    return kept


def time_max(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Every frame is the maximum of each pixel over time: the whole path at once."""
    return _held(clips.max(axis=1), clips.shape[1])


def time_mean(clips: ClipArray, clip_id: Ids) -> ClipArray:
    """Every frame is the mean of each pixel over time, rounded to a grey level, halves upwards."""
    T = clips.shape[1]
    sums = clips.sum(axis=1, dtype=np.uint32)  # whole numbers: the same bits for every order of the frames
    return _held(((2 * sums + T) // (2 * T)).astype(np.uint8), T)


def _held(frames: ClipArray, T: int) -> ClipArray:
    """(N, H, W) to (N, T, H, W)."""
    return np.repeat(frames[:, None], T, axis=1)


@dataclass(frozen=True)
class Probe:
    """``keeps``: what of the clip is still there, for the table."""

    apply: Callable[[ClipArray, Ids], ClipArray]
    keeps: str


INTACT, SHUFFLED = "intact", "shuffled"
FROZEN = ("frozen-first", "frozen-middle", "frozen-last")

PROBES: dict[str, Probe] = {
    INTACT: Probe(intact, "everything"),
    SHUFFLED: Probe(shuffled, "every frame, but not their order"),
    "reversed": Probe(backwards, "every frame and who follows whom, but not the direction of time"),
    "frozen-first": Probe(frozen_first, "the first frame, held"),
    "frozen-middle": Probe(frozen_middle, "the middle frame, held"),
    "frozen-last": Probe(frozen_last, "the last frame, held"),
    "single-frame": Probe(single_frame, "the middle frame at its place, all others black"),
    "time-max": Probe(time_max, "every place at once: maximum over time, held"),
    "time-mean": Probe(time_mean, "every place at once: mean over time, held"),
}
"""A new one is one function and one row."""


def paired_drop(intact_correct: NDArray[np.bool_], correct: NDArray[np.bool_], level: float = LEVEL) -> Estimate:
    """Accuracy intact minus accuracy under a control, both bool (S, N), on the same clips and seeds.

    Seeds and clips are crossed as in :mod:`benchmark.statistics`, here for the differences -1, 0 or 1 of each pair. A
    pair more on either side (Agresti and Min) keeps the interval from vanishing where nothing differs.
    """
    differences = intact_correct.astype(np.float64) - correct
    S, N = differences.shape
    value = float(differences.mean())
    of_clip, of_seed = differences.mean(axis=0), differences.mean(axis=1)
    clips = (float(((of_clip - value) ** 2).sum()) + 1) / (max(N - 1, 1) * N)
    seeds = mixed = 0.0
    if S > 1:
        rest = differences - of_clip - of_seed[:, None] + value
        seeds = float(of_seed.var(ddof=1)) / S
        mixed = float((rest**2).sum()) / ((S - 1) * max(N - 1, 1)) / (S * N)
    variance = clips + max(seeds - mixed, 0.0)
    dof = variance**2 / (clips**2 / max(N - 1, 1) + (seeds**2 / (S - 1) if S > 1 else 0.0))
    half = float(special.stdtrit(dof, (1 + level) / 2)) * math.sqrt(variance)
    carries = "clips" if S == 1 else "seeds+clips"
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), carries)


def uses_order(drops: Mapping[str, Estimate], learned: bool) -> tuple[str, str]:
    """ "yes", "no" or "open", and why: from the intervals of the drops, by name of the control.

    Shuffling must cost accuracy, and so must holding any one frame: a model that reads one frame by its place in time
    loses from shuffling too, without using order. ``learned``: the intact accuracy is above guessing.
    """
    if not learned:
        return "open", "intact accuracy is not above guessing, so there is nothing to lose"
    for name in (SHUFFLED, *FROZEN):
        if drops[name].low > -MARGIN and drops[name].high < MARGIN:
            return "no", f"{name} clips cost less than {MARGIN} by the whole interval"
    unclear = [name for name in (SHUFFLED, *FROZEN) if drops[name].low <= 0]
    if unclear:
        return "open", f"it is not clear that {', '.join(unclear)} clips cost anything"
    return "yes", "shuffled clips cost accuracy, and so does every single frame held"
