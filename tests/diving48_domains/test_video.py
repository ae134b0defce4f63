"""Frames in and out of real files: exact, complete, in one pass, in flat memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diving48_domains import decoding
from diving48_domains import video as video_module
from diving48_domains.sampling import uniform_indices
from diving48_domains.video import count_frames, read_frames, write_video
from tsgen.common.errors import DataError, UsageError

av = pytest.importorskip("av")
SETTINGS = [(".mkv", "ffv1", None), (".avi", "ffv1", None), (".mp4", "h264", 20), (".mkv", "h264", 20)] + [
    (suffix, "mpeg4", 1_024_000) for suffix in (".mp4", ".mkv", ".avi")
]


def moving(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): coarse noise that slides, so that codecs predict and reorder frames."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    scene = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([scene[i % 40 : i % 40 + height, 2 * i % 40 : 2 * i % 40 + width] for i in range(count)])


def decode_naively(path: Path) -> np.ndarray:
    """The oracle: every frame converted, nothing clever."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: f"{setting[1]}{setting[0]}")
def written(request, tmp_path_factory):
    suffix, codec, quality = request.param
    path = tmp_path_factory.mktemp("video") / f"clip{suffix}"
    frames = moving(45)
    assert write_video(path, frames, 25, codec, quality) == 45
    return path, codec, frames


def test_wanted_frames_are_the_right_ones(written):
    path, _, _ = written
    every = decode_naively(path)
    found = read_frames(path)
    assert found.num_frames == len(every) == 45
    assert found.indices.tolist() == uniform_indices(45).tolist() and found.indices.dtype == np.int64
    assert np.array_equal(found.frames, every[found.indices])
    assert (found.outcome, found.message, found.size) == ("ok", "", (48, 64))
    assert found.fps == pytest.approx(25) and np.allclose(found.times_s, np.arange(45) / 25, atol=1e-3)
    assert np.array_equal(found.pts_s, found.times_s[found.indices])
    assert np.array_equal(read_frames(path, None).frames, every)
    some = read_frames(path, [40, 3, 3])
    assert some.indices.tolist() == [3, 40] and np.array_equal(some.frames, every[[3, 40]])
    assert count_frames(path) == 45 and read_frames(path, ()).frames.shape == (0, 48, 64, 3)


def test_one_decode_pass_is_enough(written, monkeypatch):
    passes = []
    real = video_module.decode_pass
    monkeypatch.setattr(video_module, "decode_pass", lambda *a, **k: passes.append(1) or real(*a, **k))
    for request in ({}, {"by": "time"}, {"wanted": None}):
        read_frames(written[0], **request)
    assert len(passes) == 3


def test_ffv1_is_exact_and_the_others_are_close(written):
    path, codec, frames = written
    error = np.abs(read_frames(path, None).frames.astype(int) - frames)
    assert error.max() == 0 if codec == "ffv1" else 0 < error.mean() < 12


@pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 1), (33, 17)])
def test_ffv1_keeps_every_colour_at_odd_sizes(tmp_path, height, width):
    frames = np.random.default_rng(1).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mkv", frames, 25)
    assert np.array_equal(read_frames(tmp_path / "a.mkv").frames, frames)


@pytest.mark.parametrize(("suffix", "codec", "quality"), SETTINGS)
def test_equal_frames_give_equal_bytes(tmp_path, suffix, codec, quality):
    # 110 frames of 320x240: with x264's macroblock tree, three writes gave three files.
    frames = moving(110, 240, 320) if codec == "h264" else moving(30)
    files = [tmp_path / f"{name}{suffix}" for name in "abc"]
    for path in files:
        write_video(path, iter(frames), 25, codec, quality)
    assert len({path.read_bytes() for path in files}) == 1
    assert sorted(tmp_path.iterdir()) == files


def test_explicit_quality_reaches_the_encoder(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    sizes = {}
    for codec, quality in (("h264", 10), ("h264", 40), ("mpeg4", 1_000_000), ("mpeg4", 100_000)):
        path = tmp_path / f"{codec}{quality}.mp4"
        write_video(path, frames, 5, codec, quality)
        sizes[codec, quality] = path.stat().st_size
    assert sizes["h264", 10] > 3 * sizes["h264", 40]
    assert sizes["mpeg4", 1_000_000] > 1.5 * sizes["mpeg4", 100_000]


def test_short_clips_give_each_frame_once(tmp_path):
    frames = moving(25)
    write_video(tmp_path / "a.mkv", frames, 25)
    found = read_frames(tmp_path / "a.mkv", 32)
    assert found.indices.tolist() == list(range(25))
    repeated = found.frames[np.searchsorted(found.indices, uniform_indices(25))]
    assert np.array_equal(repeated, frames[uniform_indices(25)])


def test_variable_rate_by_time_and_by_index(tmp_path):
    path = tmp_path / "vfr.mkv"
    frames, times_ms = moving(40), [*range(0, 400, 20), *range(1000, 3000, 100)]
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, at in zip(frames, times_ms, strict=True):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    by_time = read_frames(path, 9, by="time")
    assert np.allclose(by_time.times_s, np.array(times_ms) / 1000)
    gaps = [np.abs(by_time.times_s - at).min() for at in np.linspace(0, 2.9, 9)]
    assert np.allclose(np.abs(by_time.pts_s - np.linspace(0, 2.9, 9)), gaps)
    assert np.array_equal(by_time.frames, frames[by_time.indices])
    assert (by_time.indices >= 20).sum() > (read_frames(path, 9).indices >= 20).sum()
    assert by_time.fps == pytest.approx(39 / 2.9)


def test_a_wrong_guess_costs_a_second_pass_not_a_wrong_frame(tmp_path, monkeypatch):
    frames = moving(50)
    write_video(tmp_path / "a.mkv", frames, 25)
    # What an edit list or a header that lies would do: fewer packets are foreseen than frames decode.
    monkeypatch.setattr(decoding, "_packet_times", lambda *arguments: (np.arange(7) / 25, False))
    for wanted in (32, None):
        found = read_frames(tmp_path / "a.mkv", wanted)
        assert np.array_equal(found.frames, frames[found.indices]) and found.indices[-1] == 49


def test_memory_does_not_grow_with_length(tmp_path):
    code = """
import resource, sys
from diving48_domains.video import read_frames
assert read_frames(sys.argv[1]).frames.shape == (32, 240, 320, 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    scene = moving(40, 240, 320)
    for count in (60, 1200):
        path = tmp_path / f"{count}.mp4"
        write_video(path, itertools.islice(itertools.cycle(scene), count), 60, "mpeg4", 4_000_000)
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    # 1140 more frames are 130 MiB as yuv420p and 250 MiB as RGB.
    assert peaks[1] - peaks[0] < 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.mkv", 25, "h265"), "unknown codec 'h265'. Did you mean 'h264'"),
        (("a.mp4", 25, "ffv1"), "ffv1 goes into .mkv, .avi files"),
        (("a.mkv", 25, "ffv1", 3), "ffv1 is lossless; leave the quality out"),
        (("a.mp4", 25, "h264"), "explicit crf of 0 to 51, got None"),
        (("a.mp4", 25, "mpeg4", 7), "explicit bit_rate of 1000 to"),
        (("a.mkv", 0.5), "allowed are 1 to 1000"),
    ],
)
def test_wrong_requests_to_write_are_refused(tmp_path, arguments, message):
    name, *rest = arguments
    with pytest.raises(UsageError, match=message):
        write_video(tmp_path / name, moving(3), *rest)
    assert not list(tmp_path.iterdir())


def test_frames_that_cannot_be_written_leave_nothing_behind(tmp_path):
    with pytest.raises(UsageError, match="h264 needs even sizes, got 63x47"):
        write_video(tmp_path / "a.mp4", moving(3, 47, 63), 25, "h264", 20)
    with pytest.raises(DataError, match="no frames to write"):
        write_video(tmp_path / "a.mkv", [], 25)
    with pytest.raises(DataError, match=r"frame 1 is uint8 \(48, 62, 3\), the first is uint8 \(48, 64, 3\)"):
        write_video(tmp_path / "a.mkv", [moving(1)[0], moving(1, 48, 62)[0]], 25)
    with pytest.raises(DataError, match="frame 0 is float64"):
        write_video(tmp_path / "a.mkv", [moving(1)[0] / 255], 25)
    assert not list(tmp_path.iterdir())


def test_wrong_requests_to_read_are_refused(written):
    path = written[0]
    for request, message in (
        ({"wanted": 0}, "0 frames are wanted"),
        ({"wanted": [-1]}, "frames count from 0"),
        ({"by": "tiem"}, "Did you mean 'time'"),
        ({"on_damage": "ignore"}, "unknown on_damage"),
    ):
        with pytest.raises(UsageError, match=message):
            read_frames(path, **request)
    with pytest.raises(DataError, match="frame 45 is wanted, but 45 frames decode"):
        read_frames(path, [45])
