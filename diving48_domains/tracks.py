"""Which instances are the divers, frame by frame: what tracking makes and the domains are composed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from diving48_domains.instances import Instance
from tsgen.common.errors import DataError

# What a frame holds: divers as found; divers of which at least one was interpolated; no diver.
STATUS = ("detected", "interpolated", "empty")
DETECTED, INTERPOLATED, EMPTY = range(len(STATUS))

# What is counted on the way, in instances unless the name says frames. Nothing leaves a clip uncounted:
# instances read = kept + low_score + duplicate + short + spectator + surplus.
COUNTS = {
    "instances": "read from the mask source",
    "kept": "kept as divers",
    "low_score": "dropped: score below the threshold",
    "duplicate": "dropped: overlap a better instance of their frame too much",
    "short": "dropped: their track has too few detections, or too few for its length",
    "spectator": "dropped: their track stands still, keeps its shape while the diver tumbles, or moves with others",
    "surplus": "dropped: more divers than allowed",
    "interpolated": "added: box interpolated over a short gap, mask of the nearest detection",
    "interpolated_frames": "frames with at least one interpolated diver",
    "empty_frames": "frames without any diver",
    "gap_frames": "frames between a diver's first and last detection that lack it (the gap is too long)",
}


@dataclass(frozen=True, slots=True)
class Tracks:
    """The divers of a clip.

    ``frame_indices`` int64 (T,): as in :class:`~diving48_domains.instances.ClipInstances`; ``divers``: T tuples of
    instances (boxes in px of the video's frame); ``status`` uint8 (T,): index into :data:`STATUS`; ``counts``: numbers
    by the names of :data:`COUNTS`, 0 where nothing is named; ``track_ids``: T tuples parallel to ``divers``, the
    number of the track (0, 1, ...: the best first) each instance belongs to, -1 without tracking.
    """

    clip_id: str
    height: int
    width: int
    frame_indices: NDArray[np.int64]
    divers: tuple[tuple[Instance, ...], ...]
    status: NDArray[np.uint8]
    counts: Mapping[str, int] = field(default_factory=dict)
    track_ids: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        num_frames = len(self.frame_indices)
        if len(self.divers) != num_frames or self.status.shape != (num_frames,):
            raise DataError(
                f"{self.clip_id}: {len(self.divers)} frames of divers and {self.status.shape[0]} statuses for "
                f"{num_frames} frame indices."
            )
        if self.status.dtype != np.uint8 or (self.status >= len(STATUS)).any():
            raise DataError(f"{self.clip_id}: a status is uint8, one of 0..{len(STATUS) - 1} ({', '.join(STATUS)}).")
        if any((not divers) != (status == EMPTY) for divers, status in zip(self.divers, self.status, strict=True)):
            raise DataError(f"{self.clip_id}: exactly the frames without a diver have the status 'empty'.")
        unknown = sorted(set(self.counts) - set(COUNTS))
        if unknown:
            raise DataError(f"{self.clip_id}: counts {unknown} are unknown; allowed: {', '.join(COUNTS)}.")
        object.__setattr__(self, "counts", {name: int(self.counts.get(name, 0)) for name in COUNTS})
        if not self.track_ids:
            object.__setattr__(self, "track_ids", tuple((-1,) * len(divers) for divers in self.divers))
        if [len(ids) for ids in self.track_ids] != [len(divers) for divers in self.divers]:
            raise DataError(f"{self.clip_id}: a track number for each diver of each frame.")

    def status_names(self) -> list[str]:
        """The status of each frame by name."""
        return [STATUS[status] for status in self.status]
