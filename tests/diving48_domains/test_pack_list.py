"""Packing a manifest of two sources: one store a split, nothing leaked, nothing left out unseen, no trace of a kill."""

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
from two_sources import CLASSES, HEIGHT, WIDTH, motion, write_csv, write_sources

from benchmark.video_data import open_folder
from diving48_domains.clip_list import read_clip_list
from diving48_domains.framestore import open_store
from diving48_domains.manifest import read_manifest
from diving48_domains.pack import pack_list
from diving48_domains.pack_options import PackOptions
from diving48_domains.sampling import uniform_indices
from diving48_domains.video import write_video
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError

SERIAL = EngineOptions("serial")
NATIVE = PackOptions(size=(HEIGHT, WIDTH))
DROP = dataclasses.replace(NATIVE, on_bad_clip="drop")
STORES = ("train", "val", "test/red", "test/blue")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    return root, write_sources(root, [("train", "red", 2), ("val", "red", 1), ("red", "red", 1), ("blue", "blue", 1)])


def packed(rows, root, out, options=NATIVE, *, classes=None, **how):
    return pack_list(read_clip_list(write_csv(root / "clips.csv", rows), classes), out, options, quiet=True,
                     **{"engine": SERIAL, **how})  # fmt: skip


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def copied(sources, tmp_path):
    root, rows = sources
    for name in ("red", "blue"):
        shutil.copytree(root / name, tmp_path / name)
    return tmp_path, [dict(row) for row in rows]


def test_a_store_for_each_split(sources, tmp_path):
    root, rows = sources
    assert [(one.path, one.clips) for one in packed(rows, root, tmp_path)] == [
        (tmp_path / f"{name}.h5", 6 if name == "train" else 3) for name in STORES
    ]
    for name in STORES:
        store = open_store(tmp_path / f"{name}.h5")
        listed = [row for row in rows if row["split"] == name.removeprefix("test/")]
        assert store.settings["domain"] == name.removeprefix("test/")
        assert store.settings["class_names"] == list(CLASSES)
        assert store.ids == tuple(row["id"] for row in listed)
        assert store.groups == tuple(row["source"] for row in listed)
        assert [CLASSES[label] for label in store.labels] == [row["label"] for row in listed]
        store.verify()
    first = open_store(tmp_path / "train.h5").clip(0)
    np.testing.assert_array_equal(first, motion("fall", "red", 2000)[uniform_indices(36)])
    assert set(open_folder(tmp_path)) == {"train", "val", "red", "blue"}  # rac-bench takes it


def test_where_videos_lie_is_not_told(sources, tmp_path):
    root, rows = sources
    packed([{**row, "path": str(root / row["path"])} for row in rows], root, tmp_path)
    assert all(str(root).encode() not in content for content in bytes_of(tmp_path).values())
    with pytest.raises(UsageError, match="made from other data"):
        packed(rows, root, tmp_path)


def test_both_directions_are_tested_on_the_same_stores(sources, tmp_path):
    root, rows = sources
    swap = {"train": "blue", "blue": "train"}
    back = [{**row, "split": swap.get(row["split"], row["split"])} for row in rows]
    for way, listed in (("there", rows), ("back", back)):
        packed(listed, root, tmp_path / way)
    hashes = {way: {name: store.content_hash for name, store in open_folder(tmp_path / way).items()} for way in
              ("there", "back")}  # fmt: skip
    assert hashes["there"]["red"] == hashes["back"]["red"] and hashes["there"]["train"] != hashes["back"]["train"]


def test_a_kill_changes_no_byte(sources, tmp_path):
    root, rows = sources
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    packed(rows, root, whole)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "import diving48_domains.pack as pack\n"
        "from diving48_domains.clip_list import read_clip_list\n"
        "read = pack.read_frames\n"
        "def slowly(path, *a, **k):\n"
        "    time.sleep(0.5 if path.parent.name == 'blue' else 0)\n"
        "    return read(path, *a, **k)\n"
        "pack.read_frames = slowly\n"
        f"options = pack.PackOptions(size=({HEIGHT}, {WIDTH}))\n"
        "engine = pack.EngineOptions('serial')\n"
        "pack.pack_list(read_clip_list(Path(sys.argv[1])), Path(sys.argv[2]), options, engine=engine, quiet=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(root / "clips.csv"), str(killed)])
    deadline = time.monotonic() + 60
    while not (killed / "test" / "blue.h5.partial").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.7)  # in the middle of a clip
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (killed / "test" / "red.h5").exists() and not (killed / "test" / "blue.h5").exists()
    assert [one.was_there for one in packed(rows, root, killed)] == [True, True, True, False]
    assert bytes_of(killed) == bytes_of(whole)
    assert all(one.was_there for one in packed(rows, root, whole))
    with pytest.raises(UsageError, match="made from other data or with other options"):
        packed(rows, root, whole, classes=CLASSES[::-1])
    with pytest.raises(UsageError, match="made from other data or with other options"):
        packed(rows[1:], root, whole)


def test_stores_of_another_manifest_do_not_stay_targets(sources, tmp_path):
    root, rows = sources
    packed(rows, root, tmp_path)
    fewer = [row for row in rows if row["split"] != "blue"]
    with pytest.raises(UsageError, match=r"blue\.h5 is no split of this manifest.*--force"):
        packed(fewer, root, tmp_path)
    before = bytes_of(tmp_path)
    lost = [{**row, "path": "lost.mkv"} if row is fewer[0] else row for row in fewer]
    with pytest.raises(DataError, match="have no video"):
        packed(lost, root, tmp_path, force=True)
    assert bytes_of(tmp_path) == before  # checked first, removed then
    packed(fewer, root, tmp_path, force=True)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["red.h5", "red.jsonl"]
    shutil.copy(tmp_path / "test" / "red.h5", tmp_path / "test" / "T.h5")  # as `d48dom build` leaves it
    with pytest.raises(UsageError, match=r"T\.h5 is no split of this manifest.*; give another --out"):
        packed(fewer, root, tmp_path, force=True)
    assert (tmp_path / "test" / "T.h5").exists()


def test_a_split_can_be_added(sources, tmp_path):
    root, rows = sources
    fewer = [row for row in rows if row["split"] != "blue"]
    packed(fewer, root, tmp_path / "grown")
    assert [one.was_there for one in packed(rows, root, tmp_path / "grown")] == [True, True, True, False]
    packed(rows, root, tmp_path / "whole")
    assert bytes_of(tmp_path / "grown") == bytes_of(tmp_path / "whole")
    packed(rows[::-1], root, tmp_path / "back")
    assert open_store(tmp_path / "back" / "train.h5").ids == open_store(tmp_path / "whole" / "train.h5").ids[::-1]


def test_a_split_that_is_added_brings_no_leak(copied, tmp_path):
    root, rows = copied
    tested, trained = (next(row for row in rows if row["split"] == name) for name in ("blue", "train"))
    packed([row for row in rows if row["split"] != "blue"], root, tmp_path / "out")
    shutil.copy(root / trained["path"], root / tested["path"])
    with pytest.raises(DataError, match="1 clips are also in a split"):
        packed(rows, root, tmp_path / "out")
    with pytest.raises(UsageError, match=rf"train\.h5 holds {trained['id']}: .* byte for byte"):
        packed(rows, root, tmp_path / "out", DROP)
    assert not (tmp_path / "out" / "test" / "blue.h5").exists()
    assert packed(rows, root, tmp_path / "out", DROP, force=True)[0].failed == 1


def test_nor_does_a_split_that_is_added_to_an_unfinished_pack(copied, tmp_path):
    root, rows = copied
    tested = next(row for row in rows if row["split"] == "blue")
    first, *_, last = (row for row in rows if row["split"] == "train")
    whole = (root / last["path"]).read_bytes()
    (root / last["path"]).write_bytes(whole[:700])
    with pytest.raises(DataError, match=last["id"]):
        packed([row for row in rows if row["split"] != "blue"], root, tmp_path / "out")
    (root / last["path"]).write_bytes(whole)
    shutil.copy(root / first["path"], root / tested["path"])
    with pytest.raises(UsageError, match=rf"train\.h5 holds {first['id']}: .* byte for byte"):
        packed(rows, root, tmp_path / "out", DROP)
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_validation_clips_are_held_out(sources, tmp_path):
    root, rows = sources
    without = [row for row in rows if row["split"] != "val"]
    options = dataclasses.replace(NATIVE, val_share=0.3, val_by="source")
    done = packed(without, root, tmp_path, options)
    assert [one.path.stem for one in done] == ["train", "val", "red", "blue"]
    train, val = (open_store(one.path) for one in done[:2])
    assert (len(train), len(val)) == (4, 2) and not set(train.groups) & set(val.groups)
    assert done[1].absent == tuple(name for name in CLASSES if not any(name in clip for clip in val.ids))
    assert len(done[1].absent) == 2 and done[2].absent == ()
    no_source = [{name: value for name, value in row.items() if name != "source"} for row in without]
    with pytest.raises(UsageError, match="--val-by source needs a field 'source'"):
        packed(no_source, root, tmp_path / "other", options)
    packed(no_source, root, tmp_path / "random", dataclasses.replace(NATIVE, val_share=0.3))
    store = open_store(tmp_path / "random" / "train.h5")
    assert store.groups == store.ids


def test_clips_cut_from_one_video_are_told(sources, tmp_path):
    root, rows = sources
    done = packed(rows, root, tmp_path)
    assert [one.of_train for one in done] == [None, 0, 0, 0] and not any(one.warnings for one in done)
    assert "clips_cut_from_videos_of_train" not in done[0].to_json()
    video = rows[0]["source"]
    cut = [{**row, "source": video} if row["split"] in ("val", "blue") else row for row in rows]
    for _ in ("written", "there already"):
        done = packed(cut, root, tmp_path / "cut")
        assert [one.to_json().get("clips_cut_from_videos_of_train") for one in done] == [None, 3, 0, 3]
    assert [one.warnings for one in done] == [
        (), ("3 clips are cut from videos that train has too",), (), ("3 clips are cut from videos that train has too",)
    ]  # fmt: skip
    no_source = [{name: value for name, value in row.items() if name != "source"} for row in cut]
    assert [one.of_train for one in packed(no_source, root, tmp_path / "unknown")] == [None] * 4


@pytest.mark.parametrize("place", ["train.jsonl", "test/blue.jsonl", "test/old.jsonl"])
def test_the_manifest_itself_is_kept(sources, tmp_path, place):
    """Beside each store pack writes a .jsonl of its name; --force removes those of stores that are no split."""
    root, rows = sources
    if place == "test/old.jsonl":
        packed([{**row, "split": "old" if row["split"] == "red" else row["split"]} for row in rows], root, tmp_path)
    manifest = tmp_path / place
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text("".join(json.dumps({**row, "path": str(root / row["path"])}) + "\n" for row in rows))
    (tmp_path / "link.jsonl").symlink_to(manifest)
    before = bytes_of(tmp_path)
    for given in (manifest, tmp_path / "link.jsonl"):
        with pytest.raises(UsageError, match="which pack writes itself; move the manifest, or give another --out"):
            pack_list(read_clip_list(given), tmp_path, NATIVE, engine=SERIAL, quiet=True, force=True)
    assert bytes_of(tmp_path) == before


def test_one_file_under_two_names_is_a_leak(copied, tmp_path):
    root, rows = copied
    tested = next(row for row in rows if row["split"] == "blue")
    trained = next(row for row in rows if row["split"] == "train")
    validated = next(row for row in rows if row["split"] == "val")
    for row in (trained, validated):
        shutil.copy(root / tested["path"], root / row["path"])
    with pytest.raises(DataError, match=r"^2 clips are also in a split") as caught:
        packed(rows, root, tmp_path / "out")
    assert (
        f"{trained['id']} in train: its video {trained['path']} is, byte for byte, that of {tested['id']} in blue"
        in (str(caught.value))
    )
    assert not list((tmp_path / "out").glob("**/*.h5*"))
    done = packed(rows, root, tmp_path / "out", DROP)
    assert [(one.clips, one.failed) for one in done] == [(5, 1), (2, 1), (3, 0), (3, 0)]
    assert done[1].absent == (validated["label"],)
    failed = [one for one in read_manifest(tmp_path / "out" / "train.jsonl").clips if one.outcome == "failed"]
    assert [one.clip_id for one in failed] == [trained["id"]] and "byte for byte" in failed[0].reason
    shutil.copy(root / next(row for row in rows if row["split"] == "red")["path"], root / tested["path"])
    kept = [row for row in rows if row not in (trained, validated)]
    assert [one.failed for one in packed(kept, root, tmp_path / "targets")] == [0, 0, 0, 0]  # between targets: no leak


def test_videos_that_cannot_be_used_are_listed_or_stop_it(copied, tmp_path):
    root, rows = copied
    absent, broken, short = (next(row for row in rows if row["split"] == name) for name in ("train", "red", "blue"))
    (root / absent["path"]).unlink()
    (root / broken["path"]).write_bytes((root / broken["path"]).read_bytes()[:700])
    write_video(root / short["path"], motion("fall", "blue", 5, 12), 25)
    with pytest.raises(
        DataError, match=rf"^1 clips of .*clips.csv have no video.*\n  {absent['id']}: {absent['path']}$"
    ):
        packed(rows, root, tmp_path / "out")
    done = packed(rows, root, tmp_path / "out", DROP)
    assert [(one.clips, one.failed, one.short) for one in done] == [(5, 1, 0), (3, 0, 0), (2, 1, 0), (3, 0, 1)]
    with pytest.raises(UsageError, match="was packed without 1 bad clips"):
        packed(rows, root, tmp_path / "out")


def test_the_command(sources, tmp_path, run_cli):
    root, rows = sources
    fewer = [row for row in rows if (row["split"], row["label"]) != ("blue", "rise")]
    given = ["d48dom", "pack", "--manifest", write_csv(root / "clips.csv", fewer), "--size", "24x16", "--workers", "0"]
    done = run_cli(*given, "--out", tmp_path / "o", "--classes", "slide, rise, fall")
    assert done.returncode == 0, done.stderr
    assert "blue.h5: written, 2 clips of 2 classes" in done.stdout
    assert "warning: no clip of 1 classes: rise" in done.stdout
    told = json.loads(run_cli(*given, "--out", tmp_path / "o", "--classes", "slide,rise,fall", "--json").stdout)
    assert [one["classes_without_clips"] for one in told] == [[], [], [], ["rise"]]
    assert told[3]["clips_of_class"] == {"0": 1, "2": 1}
    assert open_store(tmp_path / "o" / "train.h5").clip_shape == (32, 16, 24, 3)
    for more in (["--data", root], []):
        wrong = run_cli("d48dom", "pack", "--out", tmp_path / "n", *(given[2:4] if more else []), *more)
        assert wrong.returncode == 2 and "one of the two" in wrong.stderr
    assert "--classes goes with --manifest" in run_cli("d48dom", "pack", "--data", root, "--classes", "a,b").stderr
    assert run_cli(*given, "--out", root / "clips.csv").returncode == 2
