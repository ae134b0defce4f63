"""`d48dom audit`: one folder with one of everything that can be wrong, found by name."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from diving48_domains.annotations import ClipEntry, open_folder, write_list, write_vocab
from diving48_domains.audit import PROBLEMS, audit_folder, examine
from diving48_domains.video import write_video

from .test_video import moving

av = pytest.importorskip("av")

FRAMES = {  # clip -> frames, frames/s, width
    "aaaaaaaaaaa_00001": (40, 25, 64),
    "aaaaaaaaaaa_00002": (33, 30, 64),
    "bbbbbbbbbbb_00001": (25, 25, 64),  # short
    "bbbbbbbbbbb_00002": (36, 24, 64),  # odd rate
    "ccccccccccc_00001": (36, 60, 72),  # other size
    "ccccccccccc_00002": (37, 25, 64),  # damaged below
    "ddddddddddd_00001": (38, 25, 64),  # unreadable below
    "aaaaaaaaaaa_00003": (34, 25, 64),  # source video also in train; the list gives another count
}
MISSING, COPY = "eeeeeeeeeee_00001", "ddddddddddd_00002"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("diving48")
    (root / "rgb").mkdir()
    for seed, (clip, (count, fps, width)) in enumerate(FRAMES.items()):
        write_video(root / "rgb" / f"{clip}.mkv", moving(count, 48, width, seed), fps)
    damaged = root / "rgb" / "ccccccccccc_00002.mkv"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 8
    damaged.write_bytes(data)
    cut = root / "rgb" / "ddddddddddd_00001.mkv"
    cut.write_bytes(cut.read_bytes()[:400])
    for copy in (COPY, "not_in_a_list"):
        shutil.copy(root / "rgb" / "aaaaaaaaaaa_00001.mkv", root / "rgb" / f"{copy}.mkv")
    entries = [ClipEntry(clip, index, 0, count) for index, (clip, (count, _, _)) in enumerate(FRAMES.items())]
    train = [*entries[:7], ClipEntry(MISSING, 0, 0, 9), ClipEntry(COPY, 0)]
    write_list(root / "Diving48_V2_train.json", train)
    write_list(root / "Diving48_V2_test.json", [ClipEntry("aaaaaaaaaaa_00003", 7, 0, 35), entries[1]])
    write_vocab(root / "Diving48_vocab.json")
    return root


EXPECTED = {
    "missing": (MISSING,),
    "unreadable": ("ddddddddddd_00001",),
    "partial": ("ccccccccccc_00002",),
    "short": ("bbbbbbbbbbb_00001", "ccccccccccc_00002"),
    "odd rate": ("bbbbbbbbbbb_00002",),
    "other size": ("ccccccccccc_00001",),
    "other count": ("aaaaaaaaaaa_00003",),
    "duplicate": ("aaaaaaaaaaa_00001", COPY),
    "in several lists": ("aaaaaaaaaaa_00002",),
    "spanning group": ("aaaaaaaaaaa_00002", "aaaaaaaaaaa_00003"),
}


def test_every_problem_is_found_and_none_invented(folder):
    result = audit_folder(open_folder(folder))
    assert result.problems == EXPECTED
    assert result.unlisted == 1
    assert result.class_counts("train")[:9] == [3, 1, 1, 1, 1, 1, 1, 0, 0]
    facts = result.videos["aaaaaaaaaaa_00002"]
    data = (folder / "rgb" / "aaaaaaaaaaa_00002.mkv").read_bytes()
    assert (facts.sha256, facts.num_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (facts.num_frames, facts.height, facts.width, facts.outcome) == (33, 48, 64, "ok")
    assert facts.fps == pytest.approx(30, rel=2e-3)


def test_workers_find_the_same(folder):
    opened = open_folder(folder)
    assert audit_folder(opened, workers=2).to_json() == audit_folder(opened).to_json()


def test_uneven_steps_of_time_are_told(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for at, pixels in zip([*range(20), *range(30, 50)], moving(40), strict=True):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            picture.pts = at
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert examine(path).jitter == pytest.approx(10, abs=0.1)


def test_the_command_tells_and_fails_only_when_asked(folder, run_cli):
    done = run_cli("d48dom", "audit", folder, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "train  9 clips, 5 source videos, 7 classes of 1 to 3 clips" in done.stdout
    for kind, clips in EXPECTED.items():
        assert f"{kind} ({len(clips)}): {PROBLEMS[kind]}: {', '.join(clips)}" in done.stdout
    assert "variable rate" not in done.stdout
    told = run_cli("d48dom", "audit", folder, "--json", "--workers", 1, "--fail-on", "damage")
    assert told.returncode == 3
    assert "missing 1, unreadable 1, partial 1 (--fail-on damage)" in told.stderr
    value = json.loads(told.stdout)
    assert {kind: tuple(clips) for kind, clips in value["problems"].items() if clips} == EXPECTED
    assert value["videos"][MISSING] is None and value["videos"]["bbbbbbbbbbb_00001"]["num_frames"] == 25
    assert np.sum(value["lists"]["train"]["class_counts"]) == 9


def test_a_sound_folder_passes(tmp_path, run_cli):
    (tmp_path / "rgb").mkdir()
    write_video(tmp_path / "rgb" / "aaaaaaaaaaa_00001.mkv", moving(32), 25)
    write_list(tmp_path / "Diving48_V2_test.json", [ClipEntry("aaaaaaaaaaa_00001", 3, 0, 32)])
    done = run_cli("d48dom", "audit", tmp_path, "--fail-on", "any")
    assert done.returncode == 0 and "no problems" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--fail-on", "damaged"], 2, "Did you mean 'damage'"),
        (["--workers", "0"], 2, "--workers 0: give 1 or more"),
    ],
)
def test_wrong_requests(folder, run_cli, arguments, code, message):
    done = run_cli("d48dom", "audit", folder, *arguments)
    assert done.returncode == code and message in done.stderr


def test_a_damaged_list_is_named(folder, tmp_path, run_cli):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "Diving48_V2_test.json").write_text('[{"vid_name": "a_1", "label": 99}]')
    done = run_cli("d48dom", "audit", tmp_path / "copy")
    assert done.returncode == 3 and "label 99 is outside 0..47" in done.stderr
    assert run_cli("d48dom", "audit", tmp_path).returncode == 2
