"""What one worker does for one clip, and how the clips' parts become the truth.

A part is three files, each renamed into place: the video, the exact instances, and last the joints, whose presence says
that the clip is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diving48_domains.annotations import VIDEO_FOLDER
from diving48_domains.instance_file import decode_clip, encode_clip, write_instances
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.labels import write_label
from diving48_domains.mini.clip import SOURCE_RUN, MiniClip, draw_clip, make_clip
from diving48_domains.mini.config import SPLITS, MiniConfig, clips_needed, stream
from diving48_domains.mini.joints_file import JointsHead, write_joints
from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path, sha256_file

VIDEO_CRF = 18
"""x264's quality of the videos: visually lossless, as camera files are."""
PARTS_FOLDER = ".parts"
LABELS_FOLDER = "labels"


@dataclass(frozen=True, slots=True)
class Task:
    """Clip ``index`` of ``split``, and how many of its frames are labelled for which part of the segmenter's data."""

    split: str
    index: int
    labelled_for: str = ""
    num_labelled: int = 0

    @property
    def stem(self) -> str:
        return f"{self.split}-{self.index:05d}"


def plan_tasks(config: MiniConfig) -> list[Task]:
    """All clips, in the order they are kept in; labelled frames spread over training clips.

    The clips labelled for validation are the last ones; where there are clips enough, no source video gives frames to
    both train and val.
    """
    for_train, for_val = _labelled_clips(config)
    labelled = for_train | for_val
    return [
        Task(split, index, *(labelled.get(index, ("", 0)) if split == "train" else ("", 0)))
        for split in SPLITS
        for index in range(config.count(split))
    ]


def _labelled_clips(config: MiniConfig) -> tuple[dict[int, tuple[str, int]], ...]:
    """Training clip -> (kind, number of labelled frames), for train and for val."""
    most = config.train - clips_needed(config.labels_train)
    # One frame a clip where a tenth of the clips suffices for that.
    val_clips = max(clips_needed(config.labels_val), min(config.labels_val, config.train // 10, most))
    rest = config.train - val_clips
    other_sources = rest // SOURCE_RUN * SOURCE_RUN
    if not config.labels_val or other_sources < clips_needed(config.labels_train):
        other_sources = rest
    return (
        _spread(config.labels_train, range(other_sources), "train"),
        _spread(config.labels_val, range(rest, config.train), "val"),
    )


def _spread(frames: int, clips: Sequence[int], kind: str) -> dict[int, tuple[str, int]]:
    """So many frames over these clips, evenly: clip index -> (kind, frames)."""
    places = np.arange(frames) * len(clips) // max(frames, 1)
    counts = np.bincount(places, minlength=len(clips))
    return {clip: (kind, int(count)) for clip, count in zip(clips, counts, strict=True) if count}


def is_done(parts: Path, task: Task) -> bool:
    return (parts / f"{task.stem}.npy").is_file()


def make_part(out: Path, config: MiniConfig, task: Task) -> None:
    """Render one clip and write its video, its labelled frames and its part of the truth under ``out``."""
    from diving48_domains.video import write_video

    clip = make_clip(config, task.split, task.index)
    parts = out / PARTS_FOLDER
    video = out / VIDEO_FOLDER / f"{clip.clip_id}.mp4"
    write_video(video, clip.frames, clip.fps, "h264", VIDEO_CRF)
    if task.num_labelled:
        _write_labelled(out / LABELS_FOLDER / task.labelled_for, video, clip, config, task)
    instances = exact_instances(clip, sha256_file(video))
    with atomic_path(parts / f"{task.stem}.instances") as partial:
        partial.write_bytes(encode_clip(instances))
    with atomic_path(parts / f"{task.stem}.npy") as partial, partial.open("wb") as handle:
        np.save(handle, np.concatenate([clip.joints_px, clip.joints_m], axis=-1).astype(np.float32), allow_pickle=False)


def exact_instances(clip: MiniClip, source_sha256: str = "") -> ClipInstances:
    """The divers of every frame of ``clip``, score 1, masks of the frame's own pixels; those hidden are left out."""
    num_frames, height, width = clip.frames.shape[:3]
    frames = (
        tuple(one for mask in clip.masks[:, frame] if (one := Instance.of_pixels(mask)) is not None)
        for frame in range(num_frames)
    )
    return ClipInstances(clip.clip_id, height, width, np.arange(num_frames), tuple(frames), source_sha256)


def _write_labelled(folder: Path, video: Path, clip: MiniClip, config: MiniConfig, task: Task) -> None:
    """Frames as the video shows them, as the published ones were taken from videos, with their colour masks."""
    from diving48_domains.video import read_frames

    all_seen = np.all(clip.masks.any(axis=(2, 3)), axis=0, keepdims=True)[0]
    candidates = np.flatnonzero(all_seen[: int(len(clip.frames) * config.labelled_share)])
    if len(candidates) < task.num_labelled:
        raise DataError(f"{clip.clip_id}: {len(candidates)} frames can be labelled, {task.num_labelled} are asked for.")
    random = stream(config, task.split, "frames", task.index)
    chosen = np.sort(random.permutation(candidates)[: task.num_labelled])
    for frame, picture in zip(chosen, read_frames(video, chosen).frames, strict=True):
        write_label(folder, f"{clip.clip_id}_{frame:06d}", picture, clip.masks[:, frame])


def write_truth(parts: Path, tasks: Sequence[Task], config: MiniConfig, path: Path) -> None:
    """All clips' exact instances in one instances file."""
    facts = {"segmenter": "ground truth", "frames": "all", "mini": config.to_json()}
    write_instances(path, (_read_instances(parts, task) for task in tasks), facts)


def _read_instances(parts: Path, task: Task) -> ClipInstances:
    path = parts / f"{task.stem}.instances"
    return decode_clip(path.read_bytes(), str(path))


def clip_rows(parts: Path, tasks: Sequence[Task], config: MiniConfig) -> Iterator[dict[str, Any]]:
    """What mini.json says of each clip."""
    for task in tasks:
        plan = draw_clip(config, task.split, task.index)
        num_divers, num_frames = _read_joints(parts, task).shape[:2]
        yield {
            "clip_id": plan.clip_id,
            "split": task.split,
            "index": task.index,
            "label": plan.label,
            "venue": plan.venue,
            "fps": plan.fps,
            "num_frames": num_frames,
            "num_divers": num_divers,
            "labelled_for": task.labelled_for,
        }


def write_clip_joints(parts: Path, tasks: Sequence[Task], rows: Sequence[dict[str, Any]], path: Path) -> None:
    """All clips' joints in one joints file."""
    heads = [JointsHead(row["clip_id"], row["num_divers"], row["num_frames"]) for row in rows]
    write_joints(path, heads, (_read_joints(parts, task) for task in tasks))


def _read_joints(parts: Path, task: Task) -> NDArray[np.float32]:
    path = parts / f"{task.stem}.npy"
    try:
        joints: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except ValueError as problem:
        raise DataError(f"{path} is damaged ({problem}); delete it and run the same command again.") from problem
    return joints
