"""Who is where in the frames of a clip: boxes, scores and box-local masks, the form every mask source is brought to.

Coordinates are pixels of the video's own frame, origin upper left; pixel (i, j) covers ``[j, j + 1) x [i, i + 1)``, and
a box ``(x0, y0, x1, y1)`` is half open, so the box of a mask ends one past its last pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsgen.common.errors import DataError


@dataclass(frozen=True, slots=True)
class Instance:
    """One detected (or labelled, or rendered) diver in one frame.

    ``box`` float32 (4,) px, half open, inside the frame; ``score`` 0 to 1, 1 for ground truth; ``mask`` uint8 (h, w),
    255 = certain: either a soft mask of any size that is stretched over the box (Mask R-CNN's is 28x28), or, when its
    size is that of a whole-pixel box, the exact pixels.
    """

    box: NDArray[np.float32]
    score: float
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        box = np.asarray(self.box, dtype=np.float32)
        if box.shape != (4,) or not np.isfinite(box).all() or not (box[0] < box[2] and box[1] < box[3]):
            raise DataError(f"a box is x0 < x1, y0 < y1 in pixels, got {box.tolist()}.")
        if not 0 <= self.score <= 1:
            raise DataError(f"a detection's score lies in 0..1, got {self.score}.")
        if self.mask.dtype != np.uint8 or self.mask.ndim != 2 or not self.mask.size:
            raise DataError(f"a mask is uint8 (h, w), got {self.mask.dtype} {self.mask.shape}.")
        object.__setattr__(self, "box", box)

    @classmethod
    def of_pixels(cls, pixels: NDArray[np.bool_], score: float = 1.0) -> Self | None:
        """The exact instance of a bool (H, W) mask; None where no pixel is set."""
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not rows.size:
            return None
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        box = np.array([x0, y0, x1, y1], dtype=np.float32)
        return cls(box, score, pixels[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255))

    @property
    def is_exact(self) -> bool:
        """Whether the mask holds the frame's own pixels (a whole-pixel box of the mask's size)."""
        x0, y0, x1, y1 = self.box.tolist()
        return (y1 - y0, x1 - x0) == self.mask.shape and all(value == int(value) for value in (x0, y0))


@dataclass(frozen=True, slots=True)
class ClipInstances:
    """All instances of a clip, before any choice among them.

    ``frame_indices`` int64 (T,): which frames of the decoded video were looked at, rising, each once; ``frames``: T
    tuples of instances, best score first. ``source_sha256`` is the video file's, empty where there never was one.
    """

    clip_id: str
    height: int
    width: int
    frame_indices: NDArray[np.int64]
    frames: tuple[tuple[Instance, ...], ...]
    source_sha256: str = ""

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.frame_indices):
            raise DataError(
                f"{self.clip_id}: {len(self.frames)} frames of instances for {len(self.frame_indices)} frame indices."
            )
        if len(self.frame_indices) > 1 and (np.diff(self.frame_indices) <= 0).any():
            raise DataError(f"{self.clip_id}: frame indices must rise, each once.")
        for instances in self.frames:
            for one in instances:
                x0, y0, x1, y1 = one.box.tolist()
                if x0 < 0 or y0 < 0 or x1 > self.width or y1 > self.height:
                    raise DataError(
                        f"{self.clip_id}: the box {one.box.tolist()} leaves the frame of {self.width}x{self.height}."
                    )
