"""What ``d48dom pack`` is asked for, and what it tells of each store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.build_options import check_sampling
from diving48_domains.sampling import FRAMES_PER_CLIP
from diving48_domains.validation import check_rule


@dataclass(frozen=True, slots=True)
class PackOptions:
    """``size``: (height, width) px; ``by``: frames evenly spaced by "index" or "time"; ``val_share``: of the training
    list, where there is no validation list; ``val_by``: one of validation.SPLIT_RULES; ``seed``: of that draw.
    """

    size: tuple[int, int] = (224, 224)
    num_frames: int = FRAMES_PER_CLIP
    by: str = "index"
    val_share: float = 0.1
    val_by: str = "random"
    seed: int = 42
    on_bad_clip: str = "error"

    def __post_init__(self) -> None:
        check_sampling(self.size, self.num_frames, self.by, self.on_bad_clip)
        check_rule(self.val_share, self.val_by, self.seed)


@dataclass(frozen=True, slots=True)
class Packed:
    """One store that was written, or was there. ``classes``: clips of each label, of those written; ``videos``: of each
    source video; ``absent``: names of classes without one, where a manifest tells the classes; ``of_train``: clips
    that are cut from videos that train has too, where a manifest tells the videos; None for train itself, and both for
    a shard.
    """

    path: Path
    clips: int
    failed: int
    short: int
    classes: dict[int, int]
    videos: dict[str, int]
    was_there: bool
    absent: tuple[str, ...] | None = None
    of_train: int | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must know of a store that is as it was asked for; a line each."""
        absent = f"no clip of {len(self.absent)} classes: {', '.join(self.absent)}" if self.absent else ""
        cut = f"{self.of_train} clips are cut from videos that train has too" if self.of_train else ""
        return tuple(line for line in (absent, cut) if line)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "clips": self.clips,
            "failed": self.failed,
            "short": self.short,
            "clips_of_class": {str(label): count for label, count in sorted(self.classes.items())},
            **({} if self.absent is None else {"classes_without_clips": list(self.absent)}),
            **({} if self.of_train is None else {"clips_cut_from_videos_of_train": self.of_train}),
        }
