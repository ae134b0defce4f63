"""Packing: the sampled frames of every clip, a validation split by clip or by video, kills that change nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from d48_scenes import CLIPS, HEIGHT, WIDTH, frames_of, write_folder

from diving48_domains.annotations import open_folder, write_list
from diving48_domains.decoding import DamagedVideo
from diving48_domains.framestore import open_store
from diving48_domains.manifest import read_manifest
from diving48_domains.pack import pack
from diving48_domains.pack_options import PackOptions
from diving48_domains.sampling import uniform_indices
from diving48_domains.validation import held_out
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import locked

SERIAL = EngineOptions("serial")
NATIVE = PackOptions(size=(HEIGHT, WIDTH), val_share=0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("d48") / "data").root
    (root / "Diving48_V2_test.json").rename(root / "Diving48_V2_train.json")
    return open_folder(root)


def test_the_sampled_frames_of_every_clip(folder, tmp_path):
    packed = pack(folder, tmp_path, NATIVE, engine=SERIAL, quiet=True)
    assert [(one.path.name, one.clips) for one in packed] == [("train.h5", 3), ("val.h5", 2)]
    stores = [open_store(one.path) for one in packed]
    assert sorted(clip for store in stores for clip in store.ids) == sorted(CLIPS)
    for store in stores:
        store.verify()
        for number, clip_id in enumerate(store.ids):
            frames = frames_of(clip_id)
            np.testing.assert_array_equal(store.clip(number), frames[uniform_indices(len(frames))])
            assert store.labels[number] == CLIPS[clip_id][0]
    assert sum(one.short for one in packed) == 1
    flags = {
        one.clip_id: one.flags for name in ("train", "val") for one in read_manifest(tmp_path / f"{name}.jsonl").clips
    }
    assert flags["videoAAAAAA_00002"] == ("short",)


def test_two_processes_and_a_second_call(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    pack(folder, one, NATIVE, engine=SERIAL, quiet=True)
    pack(folder, two, NATIVE, engine=EngineOptions(workers=2), quiet=True)
    names = ("train.h5", "val.h5", "train.jsonl", "val.jsonl")
    assert sorted(path.name for path in two.iterdir()) == sorted(names)
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    again = pack(folder, one, NATIVE, engine=SERIAL, quiet=True)
    assert all(each.was_there for each in again) and [each.clips for each in again] == [3, 2]
    with pytest.raises(UsageError, match="made from other data or with other options"):
        pack(folder, one, dataclasses.replace(NATIVE, num_frames=8), engine=SERIAL, quiet=True)
    forced = pack(folder, one, dataclasses.replace(NATIVE, num_frames=8), engine=SERIAL, quiet=True, force=True)
    assert open_store(forced[0].path).clip_shape == (8, HEIGHT, WIDTH, 3)


def test_killed_and_run_again(folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    pack(folder, whole, NATIVE, engine=SERIAL, quiet=True)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "import diving48_domains.pack as pack\n"
        "from diving48_domains.annotations import open_folder\n"
        "read = pack.read_frames\n"
        "def slowly(*a, **k):\n"
        "    time.sleep(0.5)\n"
        "    return read(*a, **k)\n"
        "pack.read_frames = slowly\n"
        f"options = pack.PackOptions(size=({HEIGHT}, {WIDTH}), val_share=0.4)\n"
        "engine = pack.EngineOptions('serial')\n"
        "pack.pack(open_folder(Path(sys.argv[1])), Path(sys.argv[2]), options, engine=engine, quiet=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder.root), str(killed)])
    deadline = time.monotonic() + 60
    while not (killed / "train.h5.partial").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.7)  # in the middle of a clip
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "train.h5").exists()
    pack(folder, killed, NATIVE, engine=SERIAL, quiet=True)
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_a_tenth_of_the_published_list_is_1502_clips():
    groups = [f"video{n // 9:06d}" for n in range(15027)]
    is_val = held_out(groups, 0.1, "random", 42)
    assert (len(is_val), sum(is_val)) == (15027, 1502)
    assert held_out(groups, 0.1, "random", 43) != is_val

    def sides(is_val):
        return [{group for group, held in zip(groups, is_val, strict=True) if held == side} for side in (False, True)]

    train, val = sides(is_val)
    assert train & val, "clips of one video on both sides is what the other rule is for"
    by_video = held_out(groups, 0.1, "source", 42)
    train, val = sides(by_video)
    assert not train & val and 1502 <= sum(by_video) < 1502 + 9


@pytest.mark.parametrize(("share", "n"), [(0.29, 100), (0.57, 100), (0.07, 300), (0.1, 30)])
def test_a_share_that_is_a_whole_number_of_clips_is_that_number(share, n):
    """In floating point 0.29 * 100 is 28.999999999999996."""
    assert sum(held_out([str(row) for row in range(n)], share, "random", 42)) == round(share * n)


def test_a_validation_list_of_its_own_is_taken(folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder.root, root)
    entries = folder.entries("train")
    write_list(root / "Diving48_V2_train.json", entries[:4])
    write_list(root / "mini_val.json", entries[4:])
    packed = pack(open_folder(root), tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)
    assert [one.clips for one in packed] == [4, 1]
    assert read_manifest(tmp_path / "out" / "val.jsonl").header["parameters"]["validation"] == "a list of its own"


def test_videos_that_cannot_be_used_are_listed_or_stop_it(folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder.root, root)
    (root / "rgb" / "videoAAAAAA_00001.mkv").unlink()
    broken = root / "rgb" / "videoBBBBBB_00003.mkv"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(DataError, match="1 of 3 clips of the list have no video"):
        pack(open_folder(root), tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)
    dropping = dataclasses.replace(NATIVE, on_bad_clip="drop")
    with pytest.raises(DamagedVideo, match=r"videoBBBBBB_00003\.mkv: "):  # it comes through the pool as it is
        (root / "rgb" / "videoAAAAAA_00001.mkv").write_bytes((root / "rgb" / "videoBBBBBB_00004.mkv").read_bytes())
        pack(open_folder(root), tmp_path / "damaged", NATIVE, engine=EngineOptions(workers=2), quiet=True)
    (root / "rgb" / "videoAAAAAA_00001.mkv").unlink()
    packed = pack(open_folder(root), tmp_path / "out", dropping, engine=SERIAL, quiet=True)
    with pytest.raises(UsageError, match="was packed without"):
        pack(open_folder(root), tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)
    assert (sum(one.clips for one in packed), sum(one.failed for one in packed)) == (3, 2)
    reasons = [
        one.reason for name in ("train", "val") for one in read_manifest(tmp_path / "out" / f"{name}.jsonl").clips
    ]
    assert sum(bool(reason) for reason in reasons) == 2


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"size": (0, 5)}, "1 to 8192 px"),
        ({"num_frames": 0}, "1 to 4096 frames"),
        ({"by": "colour"}, "unknown by 'colour'"),
        ({"val_by": "luck"}, "unknown rule of the validation split 'luck'"),
        ({"val_share": 1.0}, "between 0 and 1, got 1.0"),
        ({"on_bad_clip": "pray"}, "unknown policy for bad clips 'pray'"),
        ({"seed": -1}, "seed -1 is not possible"),
    ],
)
def test_options_that_cannot_be(changes, words):
    with pytest.raises(UsageError, match=words):
        PackOptions(**changes)


@pytest.mark.parametrize("by", ["random", "source"])
def test_a_share_that_leaves_one_side_empty(by):
    with pytest.raises(UsageError, match="leaves 5 to train on and 0 to validate with"):
        held_out(list("abcde"), 0.1, by, 42)
    with pytest.raises(UsageError, match="leaves 0 to train on and 5 to validate with"):
        held_out(["one video"] * 5, 0.5, "source", 42)


def test_the_command(folder, tmp_path, run_cli):
    done = run_cli(
        "d48dom",
        "pack",
        "--data",
        folder.root,
        "--size",
        "32x24",
        "--val-share",
        "0.4",
        "--json",
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 0, done.stderr
    assert [one["clips"] for one in json.loads(done.stdout)] == [3, 2]
    assert open_store(tmp_path / "o" / "train.h5").clip_shape == (32, 24, 32, 3)
    assert run_cli("d48dom", "pack", "--data", folder.root, "--size", "32").returncode == 2


def test_one_process_at_a_time(folder, tmp_path):
    (tmp_path / "train.journal").touch()
    with locked(tmp_path / "train.journal"), pytest.raises(UsageError, match="another process works on"):
        pack(folder, tmp_path, NATIVE, engine=SERIAL, quiet=True)
    with locked(tmp_path), pytest.raises(UsageError, match="another process works on"), locked(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; give another --out"):
        pack(folder, tmp_path / "file", NATIVE, engine=SERIAL, quiet=True)
