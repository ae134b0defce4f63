"""A mini data set on disk: its form, its truth, its labelled frames; interruption, other recipes, full disks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

from diving48_domains.annotations import open_folder, source_id
from diving48_domains.instance_file import InstanceFile
from diving48_domains.labels import read_labels
from diving48_domains.mini.clip import make_clip
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini.dataset import read_clip_rows, read_recipe, write_mini
from diving48_domains.mini.joints_file import read_joints
from diving48_domains.mini.parts import plan_tasks
from diving48_domains.video import read_frames
from tsgen.common.errors import DataError, UsageError

CONFIG = MiniConfig(train=5, val=1, test=3, shift=1, swap=1, width=64, height=48, labels_train=6, labels_val=3, seed=3)
OPTIONS = [
    "--train",
    5,
    "--val",
    1,
    "--test",
    3,
    "--shift",
    1,
    "--swap",
    1,
    "--size",
    "64x48",
    "--labels",
    "6+3",
    "--seed",
    3,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("mini") / "data"
    done = write_mini(out, CONFIG, workers=1, quiet=True)
    assert (done.made, done.found) == (11, 0)
    return out


def content(folder):
    """Relative path -> hash of every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folder_has_the_form_of_the_real_data_set(folder):
    rows = {row["clip_id"]: row for row in read_clip_rows(folder)}
    found = open_folder(folder)
    assert {split: len(found.entries(split)) for split in found.splits} == {
        "train": 5, "val": 1, "test": 3, "shift": 1, "swap": 1,
    }  # fmt: skip
    for split in found.splits:
        entries = found.entries(split)
        assert [one.label for one in entries] == sorted(one.label for one in entries)
        for one in entries:
            row = rows.pop(one.clip_id)
            assert (row["split"], row["label"]) == (split, one.label) and len(source_id(one.clip_id)) == 11
            video = read_frames(found.video(one.clip_id), 3)
            assert video.num_frames == row["num_frames"] == one.end_frame and video.size == (48, 64)
            assert video.fps == pytest.approx(row["fps"]) and 1.4 < row["num_frames"] / row["fps"] <= 4
    assert not rows
    assert sorted(path.name for path in folder.iterdir()) == [
        "Diving48_V2_test.json", "Diving48_V2_train.json", "Diving48_vocab.json", "joints.h5", "labels", "mini.json",
        "mini_shift.json", "mini_swap.json", "mini_val.json", "rgb", "truth.h5",
    ]  # fmt: skip
    assert read_recipe(folder) == (CONFIG, True)


def test_truth_and_joints_are_those_of_the_rendered_clips_and_the_video_shows_them(folder):
    rows = read_clip_rows(folder)
    with InstanceFile(folder / "truth.h5") as truth:
        assert list(truth.clip_ids) == [row["clip_id"] for row in rows]
        assert truth.facts["mini"] == CONFIG.to_json()
        for row in rows[::3]:
            clip = make_clip(CONFIG, row["split"], row["index"])
            known = truth.read(row["clip_id"])
            video = folder / "rgb" / f"{row['clip_id']}.mp4"
            assert known.source_sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
            masks = np.zeros_like(clip.masks.any(axis=0))
            for frame, instances in enumerate(known.frames):
                assert all(one.is_exact and one.score == 1 for one in instances)
                for one in instances:
                    x0, y0, x1, y1 = one.box.astype(int)
                    masks[frame, y0:y1, x0:x1] |= one.mask > 0
            assert (masks == clip.masks.any(axis=0)).all() and masks.any(axis=(1, 2)).mean() > 0.6
            px, metres = read_joints(folder / "joints.h5", row["clip_id"])
            assert (px == clip.joints_px).all() and (metres == clip.joints_m.astype(np.float32)).all()
            shown = read_frames(video, None).frames
            error = (shown.astype(float) - clip.frames) @ [0.299, 0.587, 0.114]
            assert 10 * np.log10(255**2 / (error**2).mean()) > 34  # dB of luma; colour is kept at half the resolution


def test_labelled_frames_are_of_training_clips_and_of_the_first_two_thirds(folder):
    rows = {row["clip_id"]: row for row in read_clip_rows(folder)}
    clips = {}
    with InstanceFile(folder / "truth.h5") as truth:
        for kind, count in (("train", 6), ("val", 3)):
            frames = read_labels(folder / "labels" / kind)
            assert len(frames) == count
            for one in frames:
                clip_id, _, number = one.stem.rpartition("_")
                row = rows[clip_id]
                assert row["split"] == "train" and row["labelled_for"] == kind
                assert int(number) < row["num_frames"] * 2 / 3
                assert one.group == source_id(clip_id)
                exact = sum(int((instance.mask > 0).sum()) for instance in truth.read(clip_id).frames[int(number)])
                assert one.masks.sum() == exact > 0 and len(one.masks) == row["num_divers"]
                assert one.read_image().shape == (48, 64, 3)
            clips[kind] = {one.stem.rpartition("_")[0] for one in frames}
    assert not clips["train"] & clips["val"]


def test_with_clips_enough_no_source_video_gives_frames_to_both_parts():
    tasks = plan_tasks(MiniConfig(train=400))
    labelled = {kind: [task for task in tasks if task.labelled_for == kind] for kind in ("train", "val")}
    assert {kind: sum(task.num_labelled for task in some) for kind, some in labelled.items()} == {
        "train": 290,
        "val": 13,
    }
    runs = {kind: {task.index // 64 for task in some} for kind, some in labelled.items()}
    assert not runs["train"] & runs["val"] and {task.split for some in labelled.values() for task in some} == {"train"}
    for train, labels in ((2, (10, 10)), (31, (290, 13)), (40, (0, 13)), (40, (40, 0))):
        tasks = plan_tasks(MiniConfig(train=train, labels_train=labels[0], labels_val=labels[1]))
        some = [task for task in tasks if task.labelled_for]
        assert all(task.num_labelled <= 10 for task in some)
        assert [sum(t.num_labelled for t in some if t.labelled_for == kind) for kind in ("train", "val")] == list(
            labels
        )


def test_killed_by_force_the_next_run_ends_with_the_same_bytes(folder, tmp_path):
    out = tmp_path / "data"
    code = "import sys; from diving48_domains.cli import main; main()"
    command = [sys.executable, "-c", code, "mini", "--out", out, *OPTIONS, "--workers", 2, "--quiet"]
    run = subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE)
    parts = out / ".parts"
    while run.poll() is None and len(list(parts.glob("*.npy"))) < 3:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stderr.close()
    finished = len(list(parts.glob("[!.]*.npy")))
    assert 3 <= finished < 11 and read_recipe(out) == (CONFIG, False)
    with pytest.raises(DataError, match="not complete"):
        read_clip_rows(out)
    time.sleep(1)  # workers whose parent is gone end by themselves; a clip begun may have been finished meanwhile
    done = write_mini(out, CONFIG, workers=1, quiet=True)
    assert done.found >= finished and done.made + done.found == 11
    assert content(out) == content(folder)


def test_clips_do_not_depend_on_how_many_there_are(folder, tmp_path):
    more = dataclasses.replace(CONFIG, train=0, val=0, test=4, shift=0, swap=0, labels_train=0, labels_val=0)
    write_mini(tmp_path / "more", more, workers=1, quiet=True)
    former, now = content(folder), content(tmp_path / "more")
    videos = [name for name in now if name.startswith("rgb/")]
    assert len(videos) == 4 and sum(former.get(name) == now[name] for name in videos) == 3


def test_a_complete_folder_is_left_alone_and_another_recipe_is_refused(folder, run_cli):
    before = content(folder)
    again = run_cli("d48dom", "mini", "--out", folder, *OPTIONS, "--json")
    assert again.returncode == 0, again.stderr
    assert {key: json.loads(again.stdout)[key] for key in ("made", "found")} == {"made": 0, "found": 11}
    other = run_cli("d48dom", "mini", "--out", folder, *OPTIONS, "--rho", 0.5)
    assert other.returncode == 2 and "rho 0.8 there, 0.5 here" in other.stderr
    assert content(folder) == before


def test_foreign_folders_and_small_disks_are_refused(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        write_mini(tmp_path, CONFIG)
    with pytest.raises(UsageError, match="not a directory"):
        write_mini(tmp_path / "notes.txt", CONFIG)
    with pytest.raises(UsageError, match="create it first"):
        write_mini(tmp_path / "a" / "b", CONFIG)
    with pytest.raises(UsageError, match="allowed: 0 or more"):
        write_mini(tmp_path / "new", CONFIG, workers=-1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100_000))
    with pytest.raises(UsageError, match="GB free"):
        write_mini(tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()
    (tmp_path / "mini.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        write_mini(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--size", "160"], "give two numbers, as in 160x120"),
        (["--labels", "290"], "as in 290+13"),
        (["--classes", "mini10"], "Did you mean 'mini12'"),
        (["--rho", "2"], "allowed: 0"),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(run_cli, tmp_path, options, told):
    run = run_cli("d48dom", "mini", "--out", "new", *options)
    assert run.returncode == 2 and told in run.stderr and not (tmp_path / "new").exists()
