"""From detections to divers: linking over time, choosing at most two tracks, closing short gaps.

The paper takes the best-scoring detections of each frame by itself (Appendix A.3; preset ``faithful``). Here detections
are linked over time first, because a frame without its diver leaks it into T, and a spectator is no diver. The camera
follows the diver, so positions in the picture say little; what is used is how boxes move relative to one another, and
that a tumbling body's box changes its shape while a sitting one's does not. Every rule is an option, and whatever it
drops or adds is counted (:data:`diving48_domains.tracks.COUNTS`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.linking import Track, link
from diving48_domains.tracks import DETECTED, EMPTY, INTERPOLATED, Tracks
from tsgen.common.errors import UsageError

MIN_COMMON_FRAMES = 3  # two tracks seen together less often are not compared by motion
STILL_FRAMES = 8  # shorter tracks may stand still by chance
STILL_SPREAD = 0.25  # of the box's diagonal: a centre that moves less, over the whole track, stands still
RIGID_SHARE = 0.5  # of the diver's change of shape; who changes less is no tumbling body
RIGID_DRIFT = 0.4  # as spectator_drift, for a track that keeps its shape
TUMBLING = 0.2  # change of the diver's shape above which a rigid body beside it stands out
STILL_SHAPE = 0.08  # standard deviation of log(width / height) below which a box keeps its shape


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """How divers are chosen among the instances of a clip.

    ``score_threshold`` 0..1: instances below are dropped. ``max_divers``: at most so many in a frame, None for all.
    ``linked``: False takes each frame by itself, best scores first, and none of the rules below.
    ``trust_labels``: a clip all of whose instances have score 1 and exact masks is ground truth and passes unchanged.
    ``duplicate_overlap``: an instance is dropped when a better one's box covers more than this share of the smaller
    box (two exact masks never are duplicates). ``max_jump``: a detection continues a track when its centre lies
    within so many box diagonals of where constant velocity leads. ``max_lost_frames``: a track that was not seen in
    so many looked-at frames is over. ``max_gap_frames``: gaps of at most so many looked-at frames are interpolated.
    ``min_track_frames``: tracks with fewer detections are dropped. ``min_track_density``: so are those, but for the
    best, seen in a smaller share of the frames from their first to their last. ``drop_spectators``: tracks that stand
    still while another does not, that keep their shape while the best track tumbles, or that move otherwise than the
    best track and together with others, are dropped; ``spectator_drift``: what counts as moving otherwise, in
    diagonals of the best track's box.
    """

    score_threshold: float = 0.5
    max_divers: int | None = 2
    linked: bool = True
    trust_labels: bool = True
    duplicate_overlap: float = 0.9
    max_jump: float = 0.7
    max_lost_frames: int = 10
    max_gap_frames: int = 5
    min_track_frames: int = 3
    min_track_density: float = 0.35
    drop_spectators: bool = True
    spectator_drift: float = 1.0

    def __post_init__(self) -> None:
        for name in ("score_threshold", "duplicate_overlap", "min_track_density"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} lies in 0..1, got {getattr(self, name)}.")
        for name in ("max_jump", "spectator_drift"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} is a positive number of box diagonals, got {getattr(self, name)}.")
        for name in ("max_lost_frames", "max_gap_frames"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is 0 or more looked-at frames, got {getattr(self, name)}.")
        if self.min_track_frames < 1:
            raise UsageError(f"min_track_frames is 1 or more, got {self.min_track_frames}.")
        if self.max_divers is not None and self.max_divers < 1:
            raise UsageError(f"max_divers is 1 or more, or None for all, got {self.max_divers}.")

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UsageError(f"tracking options {unknown} are unknown; allowed: {', '.join(cls().to_json())}.")
        return cls(**values)


_EVERY_FRAME_BY_ITSELF = TrackOptions(score_threshold=0.05, linked=False, trust_labels=False)
# preset -> the choice for S1 and S2, and for T. The published T masks every detection, its S1 and S2 show two.
TRACK_PRESETS = {
    "default": (TrackOptions(), TrackOptions()),
    "faithful": (_EVERY_FRAME_BY_ITSELF, replace(_EVERY_FRAME_BY_ITSELF, max_divers=None)),
}


def track(clip: ClipInstances, options: TrackOptions | None = None) -> Tracks:
    """The divers of ``clip``, every frame accounted for. A clip without any detection gives frames that are empty."""
    options = options or TrackOptions()
    counts: Counter[str] = Counter(instances=sum(map(len, clip.frames)))
    if options.trust_labels and is_ground_truth(clip):
        return _finish(clip, clip.frames, None, np.zeros(len(clip.frames), dtype=bool), counts)
    frames = _above(clip.frames, options.score_threshold, counts)
    if not options.linked:
        chosen = tuple(frame[: options.max_divers] for frame in frames)
        counts["surplus"] = sum(map(len, frames)) - sum(map(len, chosen))
        return _finish(clip, chosen, None, np.zeros(len(frames), dtype=bool), counts)
    frames = _without_duplicates(frames, options.duplicate_overlap, counts)
    tracks = link(frames, clip.frame_indices, options.max_jump, options.max_lost_frames)
    tracks.sort(key=lambda one: (-_weight(one, clip), int(one.positions[0])))
    tracks = _without_short(tracks, min(options.min_track_frames, len(frames)), options.min_track_density, counts)
    if options.drop_spectators:
        tracks = _without_spectators(tracks, clip, options.spectator_drift, counts)
    return _compose(clip, tracks, options, counts)


def is_ground_truth(clip: ClipInstances) -> bool:
    """Whether all instances are labels: score 1 and exact masks. A clip without instances is not."""
    found = [one for frame in clip.frames for one in frame]
    return bool(found) and all(one.score == 1 and one.is_exact for one in found)


def _above(
    frames: tuple[tuple[Instance, ...], ...], threshold: float, counts: Counter[str]
) -> tuple[tuple[Instance, ...], ...]:
    kept = tuple(
        tuple(sorted((one for one in frame if one.score >= threshold), key=lambda one: -one.score)) for frame in frames
    )
    counts["low_score"] = sum(map(len, frames)) - sum(map(len, kept))
    return kept


def _without_duplicates(
    frames: tuple[tuple[Instance, ...], ...], most: float, counts: Counter[str]
) -> tuple[tuple[Instance, ...], ...]:
    result = []
    for frame in frames:
        kept: list[Instance] = []
        for one in frame:
            if not any(_covered(one, other) > most for other in kept if not (one.is_exact and other.is_exact)):
                kept.append(one)
        counts["duplicate"] += len(frame) - len(kept)
        result.append(tuple(kept))
    return tuple(result)


def _covered(one: Instance, other: Instance) -> float:
    """The share of the smaller box that the larger covers."""
    sides = np.minimum(one.box[2:], other.box[2:]) - np.maximum(one.box[:2], other.box[:2])
    if (sides <= 0).any():
        return 0.0
    areas = [float(np.prod(box[2:] - box[:2], dtype=np.float64)) for box in (one.box, other.box)]
    return float(np.prod(sides, dtype=np.float64)) / min(areas)


def _without_short(tracks: list[Track], fewest: int, density: float, counts: Counter[str]) -> list[Track]:
    kept = [one for one in tracks if len(one.positions) >= fewest]
    kept = [one for number, one in enumerate(kept) if number == 0 or one.density >= density]
    counts["short"] = sum(len(one.positions) for one in tracks) - sum(len(one.positions) for one in kept)
    return kept


def _weight(one: Track, clip: ClipInstances) -> float:
    """How much a track looks like the diver: long, sure, large, changing its shape."""
    presence = len(one.positions) / len(clip.frames)
    tumbling = 0.1 + min(one.shape_change(clip.height, clip.width), 0.5)
    return presence * float(one.scores.mean()) * float(np.median(one.diagonals)) * tumbling


def _without_spectators(tracks: list[Track], clip: ClipInstances, drift: float, counts: Counter[str]) -> list[Track]:
    """``tracks`` best first. The best that does not stand still is the diver; never is every track dropped."""
    if len(tracks) < 2:
        return tracks
    moving = [one for one in tracks if not _stands_still(one, clip)] or tracks[:1]
    diver = moving[0]
    unlike = [one for one in moving if one is not diver and relative_drift(diver, one) > drift]
    kept = [
        one
        for one in moving
        if one is diver or not (_is_rigid(one, diver, clip) or (one in unlike and _is_background(one, unlike)))
    ]
    counts["spectator"] = sum(len(one.positions) for one in tracks) - sum(len(one.positions) for one in kept)
    return kept


def _is_rigid(one: Track, diver: Track, clip: ClipInstances) -> bool:
    """Whether a track keeps its shape while the diver tumbles, or keeps it and is carried past the diver."""
    size = clip.height, clip.width
    _, here, there = np.intersect1d(diver.positions, one.positions, return_indices=True)
    tumbling = diver.shape_change(*size, here)
    if len(here) >= MIN_COMMON_FRAMES and tumbling > TUMBLING:
        return one.shape_change(*size, there) < RIGID_SHARE * tumbling
    if one.shape_change(*size) >= RIGID_SHARE * diver.shape_change(*size):
        return False
    drift = relative_drift(diver, one)
    return drift > RIGID_DRIFT or bool(np.isnan(drift))


def _is_background(one: Track, unlike: list[Track]) -> bool:
    """Of a track that moves otherwise than the diver: whether it stands still or moves as another of these does."""
    still = spread(one.centres) < STILL_SPREAD * float(np.median(one.diagonals))
    return still or any(relative_drift(one, other) < STILL_SPREAD for other in unlike if other is not one)


def _stands_still(one: Track, clip: ClipInstances) -> bool:
    return (
        len(one.positions) >= STILL_FRAMES
        and spread(one.centres) < STILL_SPREAD * float(np.median(one.diagonals))
        and one.shape_change(clip.height, clip.width) < STILL_SHAPE
    )


def relative_drift(one: Track, other: Track) -> float:
    """How far ``other`` moves as seen from ``one``, in median box diagonals of ``one``; NaN when hardly seen together.

    Panning cancels out: a synchronized second diver hardly drifts, a spectator drifts by the height of the dive.
    """
    common, here, there = np.intersect1d(one.positions, other.positions, return_indices=True)
    if len(common) < MIN_COMMON_FRAMES:
        return float("nan")
    return spread(other.centres[there] - one.centres[here]) / float(np.median(one.diagonals))


def spread(points: NDArray[np.float64]) -> float:
    """The extent of ``points`` (N, 2) px between the 10th and the 90th percentile of each axis, as a distance."""
    low, high = np.percentile(points, (10, 90), axis=0)
    return float(np.hypot(*(high - low)))


def _compose(clip: ClipInstances, tracks: list[Track], options: TrackOptions, counts: Counter[str]) -> Tracks:
    """Tracks best first into frames: first everything detected, then the gaps, each only while there is room."""
    num_frames = len(clip.frames)
    room = np.full(num_frames, np.iinfo(np.int64).max if options.max_divers is None else options.max_divers)
    frames: list[dict[int, Instance]] = [{} for _ in range(num_frames)]
    for number, one in enumerate(tracks):
        for position, instance in zip(one.positions.tolist(), one.instances, strict=True):
            if room[position] > 0:
                frames[position][number] = instance
                room[position] -= 1
            else:
                counts["surplus"] += 1
    interpolated = np.zeros(num_frames, dtype=bool)
    for number in range(len(tracks)):
        seen = [position for position in range(num_frames) if number in frames[position]]
        for start, stop in pairwise(seen):
            for position in range(start + 1, stop):
                if stop - start - 1 > options.max_gap_frames or room[position] <= 0:
                    counts["gap_frames"] += 1
                    continue
                ends = frames[start][number], frames[stop][number]
                frames[position][number] = _between(*ends, clip.frame_indices[[start, position, stop]])
                room[position] -= 1
                counts["interpolated"] += 1
                interpolated[position] = True
    divers = tuple(tuple(frame[number] for number in sorted(frame)) for frame in frames)
    return _finish(clip, divers, tuple(tuple(sorted(frame)) for frame in frames), interpolated, counts)


def _between(first: Instance, last: Instance, indices: NDArray[np.int64]) -> Instance:
    """The instance at the middle of three frame indices: box and score linear in between, the nearer mask."""
    start, here, stop = indices.tolist()
    share = (here - start) / (stop - start)
    box = (1 - share) * first.box.astype(np.float64) + share * last.box.astype(np.float64)
    score = (1 - share) * first.score + share * last.score
    return Instance(box.astype(np.float32), min(max(score, 0.0), 1.0), (first if share <= 0.5 else last).mask)


def _finish(
    clip: ClipInstances,
    divers: tuple[tuple[Instance, ...], ...],
    track_ids: tuple[tuple[int, ...], ...] | None,
    interpolated: NDArray[np.bool_],
    counts: Counter[str],
) -> Tracks:
    is_empty = np.array([not frame for frame in divers], dtype=bool)
    status = np.where(is_empty, EMPTY, np.where(interpolated, INTERPOLATED, DETECTED)).astype(np.uint8)
    counts["kept"] = sum(map(len, divers)) - counts["interpolated"]
    counts["interpolated_frames"] = int((status == INTERPOLATED).sum())
    counts["empty_frames"] = int(is_empty.sum())
    return Tracks(clip.clip_id, clip.height, clip.width, clip.frame_indices, divers, status, counts, track_ids or ())
