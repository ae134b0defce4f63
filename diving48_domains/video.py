"""Video in and out: the wanted frames of a clip in one decode pass, and files whose bytes repeat (section 3.3).

Every clip is decoded whole, since header counts cannot be trusted and seeking to 32 frames of a few hundred is slower
than decoding them all. Only the wanted frames are converted to RGB. Which those are depends on the number of frames,
known at the end alone: the count of packets is taken as a guess, the pass converts by that guess, and only when
decoding gives another count (a damaged file, an odd edit list) a second pass follows. So memory holds the wanted frames
and a few of the decoder's own, however long the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diving48_domains.decoding import (
    DamagedVideo,
    Limits,
    Plan,
    decode_pass,
    open_source,
    repair_times,
    require_av,
)
from diving48_domains.sampling import indices_by_time, uniform_indices
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import atomic_path

__all__ = ["CODECS", "DamagedVideo", "Limits", "Video", "count_frames", "read_frames", "write_video"]

ON_DAMAGE: dict[str, str] = {
    "error": "raise DamagedVideo",
    "keep": "keep the frames before the first damage",
    "conceal": "go on as FFmpeg does by default, which paints over what is lost",
}


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Frames of a clip and what decoding found.

    ``frames`` uint8 (T, H, W, 3) RGB; ``indices`` int64 (T,): their numbers among the decoded frames, rising, each
    once; ``num_frames``: all that decoded; ``times_s`` float64 (num_frames,): when each is shown, from the time stamps,
    or by the header's rate where those are absent or fall; ``fps``: mean rate by those times; ``outcome``: "ok",
    "partial" (frames before the damage) or "concealed"; ``message``: what was wrong, else empty.
    """

    frames: NDArray[np.uint8]
    indices: NDArray[np.int64]
    num_frames: int
    times_s: NDArray[np.float64]
    fps: float
    outcome: str = "ok"
    message: str = ""

    @property
    def pts_s(self) -> NDArray[np.float64]:
        """float64 (T,): when the frames handed back are shown, in seconds."""
        return self.times_s[self.indices]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.frames.shape[1], self.frames.shape[2]


def read_frames(
    path: Path | str,
    wanted: int | Sequence[int] | NDArray[np.int64] | None = 32,
    *,
    by: str = "index",
    on_damage: str = "error",
    limits: Limits | None = None,
) -> Video:
    """Decode a video file once and return the wanted frames.

    ``wanted``: a number (so many, evenly spaced; fewer where the clip has fewer), frame numbers, or None for all.
    ``by``: evenly spaced by "index" (as published) or by "time" (for variable frame rates). A clip of n < 32 frames
    gives n frames, each once: ``np.searchsorted(video.indices, uniform_indices(n))`` repeats them. ``on_damage``: a key
    of ON_DAMAGE. Rotation tags and pixel aspect ratios are not applied. Raises DamagedVideo (a DataError); with "keep"
    or "conceal" only where not one frame can be had or a limit is passed. UsageError for a wrong request.
    """
    path, limits = Path(path), limits or Limits()
    if on_damage not in ON_DAMAGE:
        raise unknown_name("on_damage", on_damage, ON_DAMAGE)
    choose = _chooser(wanted, by)
    source = open_source(path, limits)
    plan: Plan = choose
    if wanted is None:
        plan = range(limits.max_frames)
    elif not isinstance(wanted, int):
        plan = set(choose(_NO_TIMES).tolist())  # numbers that were given need no guess
    found = decode_pass(source, plan, explode=True)
    if source.missing_bytes and not found.problem:
        found.problem = f"the file ends {source.missing_bytes} bytes before the end it claims"
        found.reason = "cut"
    problem, outcome = found.problem, "ok"
    if problem:
        if on_damage == "error":
            raise DamagedVideo(path, found.reason, f"{problem}, after {len(found.times)} frames", len(found.times))
        outcome = "partial"
        if on_damage == "conceal":
            outcome = "concealed"
            found = decode_pass(source, plan, explode=False)
    if not found.times:
        raise DamagedVideo(path, "no frames", problem or "its video stream decodes to nothing")
    times = repair_times(found.times, found.rate)
    indices = choose(times)
    if len(indices) and indices[-1] >= len(times):
        raise DataError(f"{path}: frame {indices[-1]} is wanted, but {len(times)} frames decode.")
    if not set(indices.tolist()) <= found.frames.keys():
        found.frames.clear()
        found = decode_pass(source, set(indices.tolist()), explode=outcome != "concealed")
    frames = np.empty((len(indices), *found.size, 3), np.uint8)
    for slot, index in enumerate(indices.tolist()):
        frames[slot] = found.frames.pop(index)
    span = float(times[-1] - times[0])
    fps = (len(times) - 1) / span if span > 0 else found.rate
    return Video(frames, indices, len(times), times, fps, outcome, problem)


def count_frames(path: Path | str) -> int:
    """The number of frames by decoding. Raises DamagedVideo as :func:`read_frames` does."""
    return read_frames(path, ()).num_frames


Chooser = Callable[[NDArray[np.float64]], NDArray[np.int64]]
"""From the times of all frames to the numbers of the wanted ones."""


def _chooser(wanted: int | Sequence[int] | NDArray[np.int64] | None, by: str) -> Chooser:
    if by not in ("index", "time"):
        raise unknown_name("by", by, ("index", "time"))
    if wanted is None:
        return lambda times: np.arange(len(times), dtype=np.int64)
    if isinstance(wanted, int):
        if wanted < 1:
            raise UsageError(f"{wanted} frames are wanted; give 1 or more.")
        if by == "time":
            return lambda times: np.unique(indices_by_time(times, wanted)) if len(times) else _NO_INDICES
        return lambda times: np.unique(uniform_indices(len(times), wanted)) if len(times) else _NO_INDICES
    numbers = np.unique(np.asarray(wanted, dtype=np.int64))
    if len(numbers) and numbers[0] < 0:
        raise UsageError(f"frame number {numbers[0]} is wanted; frames count from 0.")
    return lambda times: numbers


_NO_INDICES = np.empty(0, np.int64)
_NO_TIMES = np.empty(0, np.float64)


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoder: its FFmpeg name, pixel format, what ``quality`` means to it ("": nothing), containers."""

    encoder: str
    pixel_format: str
    quality: str
    containers: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)


CODECS: dict[str, Codec] = {
    # bgr0: FFV1 codes RGB itself, so the round trip is exact; slices carry checksums, so damage is noticed.
    "ffv1": Codec("ffv1", "bgr0", "", {".mkv": "matroska", ".avi": "avi"}, {"level": "3", "slicecrc": "1", "g": "1"}),
    # x264's macroblock tree rounds by what lies in memory; without it the same frames give the same bytes.
    "h264": Codec(
        "libx264",
        "yuv420p",
        "crf",
        {".mp4": "mp4", ".mkv": "matroska"},
        {"preset": "medium", "x264-params": "mbtree=0"},
    ),
    "mpeg4": Codec("mpeg4", "yuv420p", "bit_rate", {".mp4": "mp4", ".mkv": "matroska", ".avi": "avi"}),
}
PUBLISHED_BIT_RATE = 1_024_000  # bits/s of the authors' S1, S2 and T, at 5 frames/s
PUBLISHED_FPS = 5
QUALITY_RANGE = {"crf": (0, 51), "bit_rate": (1_000, 1_000_000_000)}


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    fps: float | Fraction,
    codec: str = "ffv1",
    quality: int | None = None,
) -> int:
    """Write uint8 (H, W, 3) RGB frames as they come, atomically; returns their number.

    ``codec``: a key of CODECS; "ffv1" is lossless. ``quality``: none for ffv1, the crf of h264, the bits/s of mpeg4;
    always explicit, since defaults change between versions. One thread, no date, no version: equal frames give equal
    bytes under the same FFmpeg. Raises UsageError for what a codec cannot hold, DataError for no frames or frames that
    differ in size.
    """
    path = Path(path)
    kind = _check_codec(path, codec, quality)
    rate = Fraction(fps).limit_denominator(1001)
    if not 1 <= rate <= 1000:
        raise UsageError(f"{fps} frames/s; allowed are 1 to 1000.")
    require_av()
    with atomic_path(path) as partial:
        return _encode(partial, path, iter(frames), rate, kind, quality)


def _check_codec(path: Path, codec: str, quality: int | None) -> Codec:
    if codec not in CODECS:
        raise unknown_name("codec", codec, CODECS)
    kind = CODECS[codec]
    if path.suffix not in kind.containers:
        raise UsageError(f"{path}: {codec} goes into {', '.join(kind.containers)} files; give such a name.")
    if not kind.quality and quality is not None:
        raise UsageError(f"{codec} is lossless; leave the quality out (got {quality}).")
    if kind.quality:
        low, high = QUALITY_RANGE[kind.quality]
        if quality is None or not low <= quality <= high:
            raise UsageError(f"{codec} needs an explicit {kind.quality} of {low} to {high}, got {quality}.")
    return kind


def _encode(
    partial: Path, path: Path, frames: Iterator[NDArray[np.uint8]], rate: Fraction, kind: Codec, quality: int | None
) -> int:
    av = require_av()
    first = next(frames, None)
    if first is None:
        raise DataError(f"{path}: no frames to write.")
    size = first.shape[:2]
    if kind.encoder == "libx264" and (size[0] % 2 or size[1] % 2):
        raise UsageError(f"{path}: h264 needs even sizes, got {size[1]}x{size[0]}; use ffv1 or mpeg4, or crop.")
    options = kind.options | ({"crf": str(quality)} if kind.quality == "crf" else {})
    with av.open(str(partial), "w", format=kind.containers[path.suffix], options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(kind.encoder, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, kind.pixel_format
        stream.options = options
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact.value
        if kind.quality == "bit_rate":
            stream.bit_rate = quality
        reformatter = av.video.reformatter.VideoReformatter()
        count = 0
        for frame in _with_first(first, frames):
            if frame.dtype != np.uint8 or frame.shape != (*size, 3):
                raise DataError(
                    f"{path}: frame {count} is {frame.dtype} {frame.shape}, the first is uint8 {(*size, 3)}; "
                    "all frames of a video are uint8 (H, W, 3) of one size."
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = reformatter.reformat(picture, format=kind.pixel_format)
            picture.pts, picture.time_base = count, 1 / rate
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode(None))
    return count


def _with_first(first: NDArray[np.uint8], rest: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    yield from rest
