"""Damaged and hostile files: each ends in a DamagedVideo that says why, or in the frames before the damage."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diving48_domains.containers import sniff
from diving48_domains.video import DamagedVideo, Limits, read_frames, write_video
from tsgen.common.errors import DataError

from .test_video import moving

av = pytest.importorskip("av")
KINDS = {"h264.mp4": ("h264", 20), "ffv1.mkv": ("ffv1", None), "mpeg4.avi": ("mpeg4", 1_024_000)}


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / request.param
    write_video(path, moving(50), 25, *KINDS[request.param])
    return path


def reason_of(path, **request) -> str:
    with pytest.raises(DamagedVideo) as caught:
        read_frames(path, **request)
    assert str(caught.value).startswith(f"{path}: {caught.value.reason}: {caught.value.detail}")
    return caught.value.reason


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_cut_file_is_noticed_and_its_whole_frames_kept(whole, tmp_path, share):
    every = read_frames(whole, None).frames
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    # An mp4 cut inside its frame data does not tell what would have come behind.
    assert 0 < sniff(path).missing_bytes <= whole.stat().st_size - path.stat().st_size
    assert reason_of(path) in ("cut", "damaged")
    if whole.suffix == ".mp4":
        # Where each frame lies is told at the file's end, so nothing can be had.
        assert reason_of(path, on_damage="keep") == "cut"
        return
    kept = read_frames(path, None, on_damage="keep")
    assert kept.outcome == "partial" and kept.message
    assert abs(kept.num_frames - 50 * share) < 12 and np.array_equal(kept.frames, every[: kept.num_frames])
    assert read_frames(path, 8, on_damage="keep").indices[-1] == kept.num_frames - 1


def test_an_mp4_with_its_tables_in_front_keeps_what_came(tmp_path):
    path = tmp_path / "streamed.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in moving(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    every, data = read_frames(path, None).frames, path.read_bytes()
    path.write_bytes(data[: -len(data) // 4])
    assert reason_of(path) in ("cut", "damaged")
    kept = read_frames(path, None, on_damage="keep")
    assert 5 < kept.num_frames < 50 and np.array_equal(kept.frames, every[: kept.num_frames])


def test_flipped_bits_in_ffv1_never_pass_unnoticed(tmp_path):
    """Its checksums find all of them; FFmpeg only logs a mismatch and repeats the last frame."""
    path = tmp_path / "a.mkv"
    frames = moving(30)
    write_video(path, frames, 25)
    data, rng, found = path.read_bytes(), np.random.default_rng(0), []
    for position in rng.integers(len(data) // 10, len(data) * 9 // 10, 25).tolist():
        path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        try:
            found.append(read_frames(path, None).frames)
        except DamagedVideo:
            kept = read_frames(path, None, on_damage="keep") if position > len(data) // 4 else None
            assert kept is None or np.array_equal(kept.frames, frames[: kept.num_frames])
    assert len(found) < 3 and all(np.array_equal(one, frames) for one in found)


def test_most_flipped_bits_in_h264_are_noticed_and_can_be_concealed(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, moving(50), 25, "h264", 20)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    start = data.find(b"mdat") + 1000  # past the encoder's own note
    noticed = 0
    for position in rng.integers(start, len(data) - 3000, 20).tolist():
        path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        try:
            read_frames(path)
        except DamagedVideo:
            noticed += 1
            concealed = read_frames(path, on_damage="conceal")
            assert concealed.outcome == "concealed" and concealed.num_frames >= 45
    assert noticed >= 6


def test_random_bytes_after_any_header_raise_only_our_error(whole, tmp_path):
    rng, data = np.random.default_rng(3), whole.read_bytes()
    path = tmp_path / whole.name
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), rng.integers(1, 200)).tolist():
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        for on_damage in ("error", "keep", "conceal"):
            try:
                read_frames(path, 8, on_damage=on_damage)
            except DataError:
                continue


def test_what_is_no_video_is_refused(tmp_path, whole):
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "head.mkv").write_bytes(b"\x1a\x45\xdf\xa3")
    (tmp_path / "box.mp4").write_bytes(struct.pack(">I4sI", 12, b"ftyp", 0))
    reasons = {path.name: reason_of(path) for path in sorted(tmp_path.iterdir())}
    assert reasons == {
        "box.mp4": "unreadable",
        "empty.mp4": "empty",
        "folder.mp4": "missing",
        "head.mkv": "unreadable",
        "pipe.mp4": "missing",
        "text.mp4": "not a video",
    }
    assert reason_of(tmp_path / "gone.mp4") == "missing"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>',
    ],
    ids=["hls", "concat", "sdp", "dash"],
)
def test_lists_that_name_other_files_are_refused(tmp_path, whole, text):
    for suffix in (".mp4", ".mkv", ".avi"):
        path = tmp_path / f"list{suffix}"
        path.write_text(text.format(whole))
        assert reason_of(path) == "not a video"


def test_a_name_that_looks_like_a_protocol_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = moving(3)
    write_video("plain.mkv", frames, 25)
    Path("plain.mkv").rename("concat:a|b.mkv")
    assert np.array_equal(read_frames("concat:a|b.mkv").frames, frames)


def test_frame_data_in_another_file_is_not_read(tmp_path):
    """A QuickTime data reference ("alis") may name any file of the machine; ours must be its own."""
    path = tmp_path / "a.mp4"
    write_video(path, moving(20), 25, "mpeg4", 500_000)
    data = bytearray(path.read_bytes())
    at = data.find(b"url ", data.find(b"dref"))
    data[at : at + 8] = b"alis" + bytes(4)  # no longer "in this file"
    path.write_bytes(data)
    try:
        assert read_frames(path).num_frames <= 20
    except DamagedVideo as problem:
        assert problem.reason in ("no frames", "damaged", "unreadable")


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert reason_of(path) == "no frames"


def test_a_table_that_claims_billions_of_frames_is_refused(tmp_path):
    """FFmpeg would allocate 24 bytes for each: 4 GiB for 60 million, from a file of a few kilobytes."""
    path = tmp_path / "a.mp4"
    write_video(path, moving(20), 25, "mpeg4", 500_000)
    data = bytearray(path.read_bytes())
    for name, offset, values in (
        (b"stsz", 8, (1, 60_000_000)),
        (b"stts", 12, (60_000_000,)),
        (b"stsc", 16, (60_000_000,)),
    ):
        at = data.find(name) + offset
        data[at : at + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    path.write_bytes(data)
    assert reason_of(path) == "too large"


def test_limits_hold_before_frames_are_made(whole):
    assert reason_of(whole, limits=Limits(max_pixels=48 * 64 - 1)) == "too large"
    for on_damage in ("error", "keep", "conceal"):
        limits = Limits(max_frames=49)
        assert reason_of(whole, limits=limits, on_damage=on_damage) == "too large"
    assert reason_of(whole, limits=Limits(max_bytes=31 * 48 * 64 * 3)) == "too large"
    exactly = Limits(max_pixels=48 * 64, max_frames=50, max_bytes=32 * 48 * 64 * 3)
    assert read_frames(whole, limits=exactly).outcome == "ok"


def test_frames_that_change_size_are_damage(tmp_path):
    parts = []
    for height in (48, 80):
        path = tmp_path / f"{height}.avi"
        with av.open(str(path), "w", format="avi") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, 64, "yuvj420p"
            packets = [stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")) for one in moving(4, height)]
            parts += [bytes(packet) for group in packets for packet in group]
            container.mux([packet for group in packets for packet in group])
    path = tmp_path / "both.avi"
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for index, data in enumerate(parts):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, index, index, True
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    with pytest.raises(DamagedVideo, match="frames change from 64x48 to 64x80 px"):
        read_frames(path)
    assert read_frames(path, on_damage="keep").num_frames == 4
