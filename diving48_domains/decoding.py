"""One pass over a video file: packets in, times and wanted RGB frames out, every kind of damage named.

Written for files of unknown origin: the container is checked before FFmpeg sees it, nothing but the file itself is
read, sizes are checked before frames are allocated, and whatever FFmpeg raises becomes a DamagedVideo.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diving48_domains.containers import FORMATS, sniff
from tsgen.common.errors import DataError, UsageError

REASONS = ("missing", "empty", "not a video", "no frames", "too large", "unreadable", "cut", "damaged")
"""Why a file was refused; the last two have frames that can be kept."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may make us allocate: pixels a frame, frames a clip, bytes of all frames handed back."""

    max_pixels: int = 4096 * 2304
    max_frames: int = 36_000  # ten minutes at 60 frames/s; clips last 1 to 17 s
    max_bytes: int = 8 << 30


class DamagedVideo(DataError):  # noqa: N818 - a finding about a file, which audits collect
    """A file that is no whole video. ``reason``: of REASONS; ``detail``: what was seen; ``num_frames``: decoded."""

    def __init__(self, path: Path, reason: str, detail: str, num_frames: int = 0) -> None:
        super().__init__(f"{path}: {reason}: {detail}")
        self.path, self.reason, self.detail, self.num_frames = path, reason, detail, num_frames

    def __reduce__(self) -> tuple[type[DamagedVideo], tuple[Path, str, str, int]]:
        # Made again from its own arguments, not from the message: so it can come from a worker process.
        return DamagedVideo, (self.path, self.reason, self.detail, self.num_frames)


def require_av() -> Any:
    """PyAV, or the error that says how to get it."""
    try:
        import av
    except ImportError as problem:
        raise UsageError(
            f"video files need PyAV ({problem}); install it with: pip install 'recur-attend-convolve[diving48]'."
        ) from problem
    return av


Plan = Callable[[NDArray[np.float64]], NDArray[np.int64]] | Container[int]
"""Numbers of the frames to convert, or a rule that makes them from the times of all frames."""

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Decoder options: stop at damage instead of painting over it."""


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    demuxer: str
    missing_bytes: int
    limits: Limits


@dataclass(slots=True)
class Pass:
    """What one decode pass found; ``frames``: frame number -> uint8 (H, W, 3)."""

    times: list[float] = field(default_factory=list)
    frames: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    rate: float = 0.0
    problem: str = ""
    reason: str = "damaged"


def open_source(path: Path, limits: Limits) -> Source:
    if not path.is_file():
        raise DamagedVideo(path, "missing", "no such file" if not path.exists() else "it is no regular file")
    if not path.stat().st_size:
        raise DamagedVideo(path, "empty", "it has no bytes")
    container = sniff(path)
    if container is None:
        raise DamagedVideo(path, "not a video", f"allowed are the containers {', '.join(FORMATS)}")
    if container.claimed_samples > path.stat().st_size:
        detail = f"its tables claim {container.claimed_samples} samples, more than the file has bytes"
        raise DamagedVideo(path, "too large", detail)
    return Source(path, FORMATS[container.kind], container.missing_bytes, limits)


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream. What FFmpeg stumbles over while opening becomes a DamagedVideo."""
    av = require_av()
    options = {
        "protocol_whitelist": "file",
        "enable_drefs": "0",  # a QuickTime file may name other files to read frames from
        "use_absolute_path": "0",
        "max_streams": "16",
        "max_pixels": _coded_pixels(source.limits),
    }
    name = f"file:{source.path.absolute()}"  # a name such as "concat:..." stays a name
    try:
        container = av.open(name, format=source.demuxer, options=options, metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError, MemoryError) as problem:
        reason = "cut" if source.missing_bytes else "unreadable"
        raise DamagedVideo(source.path, reason, f"FFmpeg cannot open it ({_words(problem)})") from problem
    with container:
        if not container.streams.video:
            raise DamagedVideo(source.path, "no frames", "it has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise DamagedVideo(source.path, "unreadable", "FFmpeg has no decoder for its frames")
        _check_size(source, stream.codec_context.height, stream.codec_context.width)
        yield container, stream


def decode_pass(source: Source, plan: Plan, *, explode: bool) -> Pass:
    """Decode all frames, convert those of ``plan``. With ``explode`` the pass ends at the first sign of damage.

    A plan that depends on the frames' times is made from the packets' times, a guess that the caller checks. Raises
    DamagedVideo when a limit is passed or nothing can be opened; other damage is in the result.
    """
    av = require_av()
    found = Pass()
    with contextlib.ExitStack() as stack:
        container, stream = stack.enter_context(_opened(source))
        if callable(plan):
            times, is_rewound = _packet_times(container, stream, source.limits)
            wanted: Container[int] = set(plan(times).tolist())
            if not is_rewound:
                container, stream = stack.enter_context(_opened(source))
        else:
            wanted = plan
        stream.thread_type = "NONE"  # frame threads hide where damage lies; workers are processes
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": _coded_pixels(source.limits)} | (STRICT if explode else {})
        found.rate = float(stream.average_rate or stream.guessed_rate or 0)
        convert = _converter(av)
        packets = container.demux(stream)
        complaints = stack.enter_context(_complaints(av))
        while not found.problem:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.is_corrupt and explode:
                    raise ValueError("a packet of frame data is incomplete")
                frames = packet.decode()
                if complaints and explode:
                    raise ValueError(complaints[0][2].strip())
                for frame in frames:
                    _take(source, found, frame, wanted, convert, explode)
            except (av.FFmpegError, ValueError, OverflowError, MemoryError) as problem:
                if explode:
                    found.problem = _words(problem)
    return found


def _packet_times(container: Any, stream: Any, limits: Limits) -> tuple[NDArray[np.float64], bool]:
    """float64 (P,): the times of the packets that should give frames, sorted; and whether the container is back at its
    first packet. Reads the file without decoding, a hundredth of the time of a pass."""
    av = require_av()
    times: list[float] = []
    first = None
    with contextlib.suppress(av.FFmpegError, ValueError):
        for packet in container.demux(stream):
            first = first or _identity(packet)
            if packet.size and not packet.is_discard:
                times.append(float(packet.pts * packet.time_base) if packet.pts is not None else math.nan)
            if len(times) >= limits.max_frames:
                break
    is_rewound = False
    with contextlib.suppress(av.FFmpegError, ValueError):
        # Odd time stamps can lead a seek elsewhere, so it counts only where the first packet comes again.
        container.seek(0)
        again = next(container.demux(stream), None)
        is_rewound = again is not None and _identity(again) == first
        container.seek(0)
    return repair_times(sorted(times), 1.0), is_rewound


def _identity(packet: Any) -> tuple[Any, ...]:
    return packet.pos, packet.pts, packet.dts, packet.size


@contextlib.contextmanager
def _complaints(av: Any) -> Iterator[list[tuple[int, str, str]]]:
    """The errors FFmpeg logs in this thread while the block runs.

    Some decoders only log damage and go on: FFV1 says "slice CRC mismatch" and repeats the former frame's pixels, even
    when asked to explode.
    """
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else a second pass over the same damage would hear nothing
    try:
        with av.logging.Capture(local=True) as lines:
            yield lines
    finally:
        av.logging.set_skip_repeated(skip)
        av.logging.set_level(level)


def _take(
    source: Source,
    found: Pass,
    frame: Any,
    wanted: Container[int],
    convert: Callable[[Any], NDArray[np.uint8]],
    strict: bool,
) -> None:
    index, limits = len(found.times), source.limits
    if strict and frame.is_corrupt:
        raise ValueError("a frame decodes with errors")
    if not index:
        found.size = (frame.height, frame.width)
        _check_size(source, *found.size)
    if (frame.height, frame.width) != found.size:
        raise ValueError(f"frames change from {_by(found.size)} to {_by((frame.height, frame.width))} px")
    if index >= limits.max_frames:
        raise DamagedVideo(source.path, "too large", f"it has more than {limits.max_frames} frames", index)
    if index in wanted:
        if (len(found.frames) + 1) * found.size[0] * found.size[1] * 3 > limits.max_bytes:
            raise DamagedVideo(source.path, "too large", f"the wanted frames pass {limits.max_bytes} bytes", index)
        found.frames[index] = convert(frame)
    found.times.append(math.nan if frame.time is None else frame.time)


def _converter(av: Any) -> Callable[[Any], NDArray[np.uint8]]:
    """Frame -> uint8 (H, W, 3). One scaling context for the whole clip: making one anew costs more than its use."""
    reformatter = av.video.reformatter.VideoReformatter()

    def convert(frame: Any) -> NDArray[np.uint8]:
        plane = reformatter.reformat(frame, format="rgb24").planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)

    return convert


def repair_times(times: Sequence[float], rate: float) -> NDArray[np.float64]:
    """The times as they are; where one is absent or they fall, by the header's rate (1 frame/s if it has none)."""
    array = np.array(times, dtype=np.float64)
    if np.isfinite(array).all() and (np.diff(array) >= 0).all():
        return array
    return np.arange(len(array), dtype=np.float64) / (rate or 1.0)


def _coded_pixels(limits: Limits) -> str:
    """FFmpeg's own limit. It counts the margins that decoders add to a frame, so ours is the exact one."""
    return str(2 * limits.max_pixels + (1 << 16))


def _check_size(source: Source, height: int, width: int) -> None:
    if height * width > source.limits.max_pixels:
        size, most = _by((height, width)), source.limits.max_pixels
        raise DamagedVideo(source.path, "too large", f"frames of {size} px; allowed are {most} pixels")


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _words(problem: Exception) -> str:
    """FFmpeg's reason without its call and its repetition of the file's name."""
    return str(getattr(problem, "strerror", None) or problem).strip() or type(problem).__name__
