"""Which frames of a clip are looked at: evenly spaced by index, as published, or by time (section 3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsgen.common.errors import UsageError

FRAMES_PER_CLIP = 32
"""What the paper feeds its models; a clip of one second at 25 frames/s has fewer, so some of its frames repeat."""


def uniform_indices(num_frames: int, count: int = FRAMES_PER_CLIP) -> NDArray[np.int64]:
    """int64 (count,): ``round(linspace(0, num_frames - 1, count))``, first and last frame included.

    Indices rise and repeat where ``num_frames < count``. Halves round to even, as NumPy rounds. Raises UsageError
    unless both numbers are positive.
    """
    if num_frames < 1 or count < 1:
        raise UsageError(f"{count} frames of {num_frames}: both numbers must be 1 or more.")
    return np.rint(np.linspace(0, num_frames - 1, count)).astype(np.int64)


def indices_by_time(pts_s: ArrayLike, count: int = FRAMES_PER_CLIP) -> NDArray[np.int64]:
    """int64 (count,): the frames nearest to ``count`` evenly spaced moments between the first and the last frame.

    ``pts_s`` float (N,): presentation times in seconds, not falling. For clips of variable frame rate, where equal
    steps of index are not equal steps of time. The earlier of two equally near frames is taken.
    Raises UsageError for an empty or falling ``pts_s`` and for ``count < 1``.
    """
    times = np.asarray(pts_s, dtype=np.float64)
    if times.ndim != 1 or not times.size or count < 1:
        raise UsageError(f"{count} frames at times of shape {times.shape}: give 1 or more frames of a list of times.")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise UsageError("frame times must be finite and must not fall.")
    moments = np.linspace(times[0], times[-1], count)
    after = np.searchsorted(times, moments, side="left").clip(0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(moments - times[before] <= times[after] - moments, before, after)
    # Frames that share one time stamp are one moment; the first of them stands for it.
    return np.searchsorted(times, times[nearest], side="left").astype(np.int64)
