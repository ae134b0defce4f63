"""One clip from its video and its instances to every domain: what a worker process of ``d48dom build`` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diving48_domains.build_options import FORMS, BuildOptions
from diving48_domains.domains import box_pixels, compose_frames
from diving48_domains.earlier import video_path
from diving48_domains.instance_file import InstanceFile
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.manifest import ClipRecord
from diving48_domains.sampling import indices_by_time, uniform_indices
from diving48_domains.storewriter import ClipSink, Place
from diving48_domains.tracking import track
from diving48_domains.tracks import DETECTED, EMPTY, INTERPOLATED, Tracks
from diving48_domains.video import Video, read_frames, write_video
from tsgen.common.errors import DataError
from tsgen.common.files import sha256_file

MANY_INTERPOLATED = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """One clip of the list. ``row``: its row in the stores; ``video``: where its file lies, or would; ``source``: how
    records name it; ``refused``: why it must not be used, empty where it may.
    """

    row: int
    clip_id: str
    label: int
    group: str
    video: Path
    source: str
    refused: str = ""

    def record(self, outcome: str, reason: str = "", **facts: Any) -> ClipRecord:
        return ClipRecord(self.clip_id, self.label, self.group, outcome, reason, source=self.source, **facts)

    def sha256(self) -> str:
        """Of the video. DataError where there is none, or none that may be used."""
        if self.refused:
            raise DataError(f"{self.clip_id}: {self.refused}.")
        if not self.video.is_file():
            raise DataError(f"{self.clip_id}: its video {self.source} is absent.")
        return sha256_file(self.video)


@dataclass(frozen=True, slots=True)
class Places:
    """Where versions go: rows of stores, or a folder for each domain. Exactly one is not None."""

    rows: Mapping[str, Place] | None
    folders: dict[str, Path] | None


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """A clip between decoding and composing, each decoded frame once.

    ``frames`` uint8 (T, H, W, 3); ``indices``: their numbers in the video; ``shown``, ``filled``: T tuples of divers;
    ``status``: T names of manifest.STATUS; ``fps``: of the video, scaled to these frames.
    """

    title: str
    frames: NDArray[np.uint8]
    indices: tuple[int, ...]
    shown: tuple[tuple[Instance, ...], ...]
    filled: tuple[tuple[Instance, ...], ...]
    status: tuple[str, ...]
    fps: float


def build_clip(job: Job, instances: InstanceFile, options: BuildOptions, places: Places) -> ClipRecord:
    """Decode, track, compose, resize, write. The record says what became of the clip.

    Raises DataError for a clip without usable video or instances, unless ``on_bad_clip`` is "drop"; OSError when the
    disk is full.
    """
    try:
        clip, video, sha256 = _read(job, instances, options)
        looked_at = _covered(clip, video.indices)
    except DataError as problem:
        if options.on_bad_clip == "error":
            raise
        return job.record("failed", str(problem))
    shown, filled = track(clip, options.shown), track(clip, options.filled)
    status = status_of(shown, filled)[looked_at]
    chosen = stored(video, options.num_frames, options.by)
    empty = (status != "detected") & (status != "interpolated")
    chosen, reason = _without_empty(chosen, empty, options)
    summary = _summary(status[chosen], shown, filled, options, looked_at)
    flags = _flags(status[chosen], summary, video, options)
    record = job.record(
        "dropped",
        reason,
        source_sha256=sha256,
        num_frames=video.num_frames,
        fps=round(video.fps, 6),
        summary=summary,
        flags=flags,
    )
    if reason:
        return record

    def composed(names: Sequence[str]) -> Iterator[dict[str, NDArray[np.uint8]]]:
        here = looked_at.tolist()
        divers = [[tracks.divers[place] for place in here] for tracks in (shown, filled)]
        return compose_frames(video.frames, divers[0], options.composition, names, divers[1])

    repeats = np.bincount(chosen, minlength=len(video.indices)).tolist()
    if places.rows is not None:
        outputs = write_rows(job.row, composed, repeats, options.size, places.rows)
    else:
        rate = options.fps or max(1.0, min(240.0, len(chosen) / video.num_frames * video.fps))
        outputs = _write_videos(job.clip_id, composed, repeats, options, places.folders or {}, rate)
    return replace(
        record,
        outcome="written",
        row=job.row,
        frame_indices=tuple(video.indices[chosen].tolist()),
        status=tuple(status[chosen].tolist()),
        outputs=outputs,
    )


def look_at(job: Job, instances: InstanceFile, options: BuildOptions, title: str) -> LookedAt:
    """The clip as :func:`build_clip` would compose it, for pictures. DataError where it would fail."""
    clip, video, _ = _read(job, instances, options)
    here = _covered(clip, video.indices)
    shown, filled = track(clip, options.shown), track(clip, options.filled)
    return LookedAt(
        title,
        video.frames,
        tuple(video.indices.tolist()),
        tuple(shown.divers[place] for place in here.tolist()),
        tuple(filled.divers[place] for place in here.tolist()),
        tuple(status_of(shown, filled)[here].tolist()),
        max(1.0, len(video.indices) / video.num_frames * video.fps),
    )


def _read(job: Job, instances: InstanceFile, options: BuildOptions) -> tuple[ClipInstances, Video, str]:
    """The clip's instances, its wanted frames and its file's sha256. DataError where they do not belong together."""
    if job.clip_id not in instances:
        raise DataError(f"{job.clip_id}: {instances.path.name} has no instances of it; run `d48dom segment` on it.")
    sha256 = job.sha256()
    clip = instances.read(job.clip_id)
    if clip.source_sha256 not in ("", sha256):
        raise DataError(f"{job.clip_id}: the instances were made from another video file than {job.source}.")
    video = read_frames(job.video, options.num_frames, by=options.by, on_damage=options.on_damage)
    if video.size != (clip.height, clip.width):
        raise DataError(
            f"{job.clip_id}: its video has {video.size[1]}x{video.size[0]} px, its instances lie in frames of "
            f"{clip.width}x{clip.height} px."
        )
    return clip, video, sha256


def _without_empty(
    chosen: NDArray[np.int64], empty: NDArray[np.bool_], options: BuildOptions
) -> tuple[NDArray[np.int64], str]:
    """The frames to store under the policy ``on_empty``, and why the clip is dropped, if it is."""
    if options.on_empty == "drop":
        kept = np.flatnonzero(~empty)
        if not kept.size:
            return chosen, "no frame has a diver"
        return kept[uniform_indices(len(kept), options.num_frames or len(kept))], ""
    if options.on_empty == "drop-clip" and empty[chosen].mean() > options.max_empty:
        return chosen, f"{int(empty[chosen].sum())} of {len(chosen)} frames have no diver"
    return chosen, ""


def _covered(clip: ClipInstances, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted frame stands among those that were looked at."""
    there = np.searchsorted(clip.frame_indices, wanted)
    lacking = np.ones(len(wanted), dtype=np.bool_)
    inside = there < len(clip.frame_indices)
    lacking[inside] = clip.frame_indices[there[inside]] != wanted[inside]
    if lacking.any():
        raise DataError(
            f"{clip.clip_id}: the instances cover {len(clip.frame_indices)} frames, but not {int(lacking.sum())} of "
            f"the {len(wanted)} wanted (the first is {int(wanted[lacking][0])}); segment the same frames, or all."
        )
    return there.astype(np.int64)


def stored(video: Video, num_frames: int | None, by: str) -> NDArray[np.int64]:
    """int64 (T,): which of the decoded frames are stored, rising; a clip with too few repeats some."""
    if num_frames is None:
        return np.arange(len(video.indices))
    wanted = (
        indices_by_time(video.times_s, num_frames) if by == "time" else uniform_indices(video.num_frames, num_frames)
    )
    return np.searchsorted(video.indices, wanted)


def status_of(shown: Tracks, filled: Tracks) -> NDArray[np.str_]:
    """The manifest's status of each looked-at frame."""
    names = np.full(len(shown.status), "detected", dtype="U12")
    names[shown.status == INTERPOLATED] = "interpolated"
    names[shown.status == EMPTY] = "empty"
    seen = np.flatnonzero(filled.status != EMPTY)
    if seen.size:
        between = np.zeros(len(names), dtype=np.bool_)
        between[seen[0] : seen[-1]] = True
        names[between & (filled.status == EMPTY) & (shown.status == EMPTY)] = "leaked"
    return names


def _summary(
    status: NDArray[np.str_], shown: Tracks, filled: Tracks, options: BuildOptions, places: NDArray[np.int64]
) -> dict[str, float]:
    """Numbers of one clip: stored frames by status, instances by what became of them, means over frames with divers."""
    summary: dict[str, float] = {
        f"frames_{name}": int((status == name).sum()) for name in ("detected", "interpolated", "empty", "leaked")
    }
    for name in ("instances", "kept", "low_score", "duplicate", "short", "spectator", "surplus"):
        summary[f"instances_{name}" if name != "instances" else name] = shown.counts[name]
    with_divers = [place for place in places.tolist() if shown.divers[place]]
    if with_divers:
        scores = [one.score for place in with_divers if shown.status[place] == DETECTED for one in shown.divers[place]]
        area = shown.height * shown.width
        boxes = [
            box_pixels(filled.divers[place], options.composition, shown.height, shown.width).sum() / area
            for place in with_divers
        ]
        summary["mean_score"] = round(float(np.mean(scores)), 4) if scores else 0.0
        summary["mean_box_share"] = round(float(np.mean(boxes)), 5)
        summary["mean_divers"] = round(float(np.mean([len(shown.divers[place]) for place in with_divers])), 3)
    return summary


def _flags(status: NDArray[np.str_], summary: dict[str, float], video: Video, options: BuildOptions) -> tuple[str, ...]:
    empty = (summary["frames_empty"] + summary["frames_leaked"]) / len(status)
    found = {
        "no_diver": empty == 1,
        "mostly_empty": empty > options.max_empty,
        "leaked": summary["frames_leaked"] > 0,
        "interpolated": summary["frames_interpolated"] / len(status) > MANY_INTERPOLATED,
        "short": options.num_frames is not None and video.num_frames < options.num_frames,
        "partial": video.outcome != "ok",
        "crowded": summary["instances_surplus"] > 0,
    }
    return tuple(name for name, holds in found.items() if holds)


Composer = Callable[[Sequence[str]], Iterator[dict[str, NDArray[np.uint8]]]]
"""From names of domains to the versions of each decoded frame."""


def write_rows(
    row: int, composed: Composer, repeats: list[int], size: tuple[int, int] | None, places: Mapping[str, Place]
) -> dict[str, str]:
    """Into the stores, frame by frame, each as often as ``repeats`` says. Domain -> fingerprint."""
    resize = _resizer(size)
    with contextlib.ExitStack() as stack:
        sinks = {name: ClipSink(place, row) for name, place in places.items()}
        for sink in sinks.values():
            stack.callback(sink.abandon)
        for versions, times in zip(composed(tuple(sinks)), repeats, strict=True):
            for name, frame in versions.items() if times else ():
                small = resize(frame)
                for _ in range(times):
                    sinks[name].add(small)
        return {name: sink.close() for name, sink in sinks.items()}


def _write_videos(
    clip_id: str, composed: Composer, repeats: list[int], options: BuildOptions, folders: dict[str, Path], rate: float
) -> dict[str, str]:
    """Domain by domain, each frame encoded as it is composed: memory holds the decoded frames. Domain -> sha256."""
    resize = _resizer(options.size)
    codec, _, quality = FORMS[options.form]
    outputs = {}
    for name, folder in folders.items():
        path = video_path(folder, clip_id, name, options)
        frames = (
            frame
            for versions, times in zip(composed((name,)), repeats, strict=True)
            for frame in [resize(versions[name])] * times
        )
        asked = options.quality if options.quality is not None else quality
        write_video(path, frames, rate, *(("ffv1", None) if name == "O" else (codec, asked)))
        outputs[name] = sha256_file(path)
    return outputs


def _resizer(size: tuple[int, int] | None) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """uint8 (H, W, 3) -> uint8 (*size, 3) by RESIZE_RULE; the frame itself where ``size`` is None or its own."""
    from PIL import Image

    def resize(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if size is None or frame.shape[:2] == size:
            return frame
        image: Any = Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(image)

    return resize
