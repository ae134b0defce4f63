"""Shards of builds and packs: joined they are the unsharded run to the byte, and nothing else is joined."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from d48_scenes import CLIPS, HEIGHT, WIDTH, instances_of, write_folder
from two_sources import HEIGHT as SMALL_HEIGHT
from two_sources import WIDTH as SMALL_WIDTH
from two_sources import write_csv, write_sources

from diving48_domains.annotations import open_folder
from diving48_domains.build import build
from diving48_domains.build_options import BuildOptions
from diving48_domains.clip_list import read_clip_list
from diving48_domains.domains import DomainOptions
from diving48_domains.framestore import open_part, open_store
from diving48_domains.instance_file import write_instances
from diving48_domains.merge import merge
from diving48_domains.merge_commands import merge as merge_command
from diving48_domains.pack import pack, pack_list
from diving48_domains.pack_options import PackOptions
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

SERIAL = EngineOptions("serial")
NATIVE = BuildOptions(size=None, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11), domains=("O", "T"))
VIDEOS = dataclasses.replace(NATIVE, form="ffv1")
PACK = PackOptions(size=(HEIGHT, WIDTH), val_share=0.4)
LISTED = PackOptions(size=(SMALL_HEIGHT, SMALL_WIDTH))
IDS = tuple(CLIPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


@pytest.fixture(scope="module")
def training(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("train") / "data"
    shutil.copytree(folder.root, root)
    (root / "Diving48_V2_test.json").rename(root / "Diving48_V2_train.json")
    return open_folder(root)


def built(folder, out, options=NATIVE, **more):
    return build(folder, "test", folder.root / "found.h5", out, options, engine=SERIAL, quiet=True, **more)


def in_shards(make, count):
    for index in reversed(range(count)):
        make(shard=Shard(index, count))


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("options", "count"), [(NATIVE, 2), (NATIVE, 5), (VIDEOS, 3)])
def test_a_merged_build_is_the_unsharded_one(folder, tmp_path, options, count):
    built(folder, tmp_path / "whole", options)
    in_shards(lambda shard: built(folder, tmp_path / "parts", options, shard=shard), count)
    (done,) = merge(tmp_path / "parts", remove=True, quiet=True)  # found one folder below
    assert (done.shards, done.clips, done.written) == (count, 5, 5)
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    assert built(folder, tmp_path / "parts", options).was_there, "the unsharded command takes it for its own"
    assert merge(tmp_path / "parts" / "test") == []
    again = built(folder, tmp_path / "parts", options, shard=Shard(count - 1, count))
    assert again.was_there and again.manifest_path.name == "manifest.jsonl", "an array that is submitted again"
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")


def test_a_merged_pack_is_the_unsharded_one(training, tmp_path):
    pack(training, tmp_path / "whole", PACK, engine=SERIAL, quiet=True)
    in_shards(lambda shard: pack(training, tmp_path / "parts", PACK, engine=SERIAL, shard=shard, quiet=True), 2)
    assert open_store(tmp_path / "parts" / "train.h5").ids == open_store(tmp_path / "whole" / "train.h5").ids
    assert [one.manifest.name for one in merge(tmp_path / "parts", remove=True, quiet=True)] == [
        "train.jsonl",
        "val.jsonl",
    ]
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    again = pack(training, tmp_path / "parts", PACK, engine=SERIAL, quiet=True)
    assert all(one.was_there for one in again)
    again = pack(training, tmp_path / "parts", PACK, engine=SERIAL, shard=Shard(1, 2), quiet=True)
    assert [(one.was_there, one.path.name, one.clips) for one in again] == [(True, "train.h5", 3), (True, "val.h5", 2)]


def test_clips_left_out_and_shards_of_nothing_else(folder, tmp_path):
    few = tmp_path / "few.h5"
    write_instances(few, [instances_of(one, False) for one in IDS[2:]], {})
    options = dataclasses.replace(NATIVE, on_bad_clip="drop")
    how = {"engine": SERIAL, "quiet": True}
    build(folder, "test", few, tmp_path / "whole", options, **how)
    in_shards(lambda shard: build(folder, "test", few, tmp_path / "parts", options, shard=shard, **how), 5)
    with pytest.raises(DataError, match="holds no clip"):
        open_part(tmp_path / "parts" / "test" / "T-00000-of-00005.h5")
    (done,) = merge(tmp_path / "parts" / "test", remove=True, quiet=True)
    assert (done.clips, done.written) == (5, 3)
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    rows = write_sources(root, [("train", "red", 2), ("val", "red", 1), ("red", "red", 1), ("blue", "blue", 1)])
    return root, rows


def listed(root, rows, out, **more):
    options = dataclasses.replace(LISTED, on_bad_clip="drop" if more.pop("drop", False) else "error")
    options = dataclasses.replace(options, num_frames=more.pop("num_frames", 32))
    clips = read_clip_list(write_csv(root / "clips.csv", rows))
    return pack_list(clips, out, options, engine=SERIAL, quiet=True, **more)


def test_a_merged_pack_of_a_manifest_knows_copies_in_other_shards(sources, tmp_path):
    root, rows = tmp_path, [dict(row) for row in sources[1]]
    for name in ("red", "blue"):
        shutil.copytree(sources[0] / name, root / name)
    first = next(row for row in rows if row["split"] == "train")
    last = [row for row in rows if row["split"] == "blue"][-1]
    shutil.copy(root / last["path"], root / first["path"])
    with pytest.raises(DataError, match="1 clips are also in a split that they must not be in"):
        listed(root, rows, tmp_path / "parts", shard=Shard(0, 3))
    listed(root, rows, tmp_path / "whole", drop=True)
    in_shards(lambda shard: listed(root, rows, tmp_path / "parts", drop=True, shard=shard), 3)
    done = merge(tmp_path / "parts", remove=True, quiet=True)
    assert [one.manifest.relative_to(tmp_path / "parts").as_posix() for one in done] == [
        "train.jsonl",
        "val.jsonl",
        "test/blue.jsonl",
        "test/red.jsonl",
    ]
    assert done[0].clips - done[0].written == 1
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")


def test_shards_of_a_pack_beside_other_divisions(sources, tmp_path):
    root, rows = sources
    listed(root, rows, tmp_path)
    assert all(one.was_there for one in listed(root, rows, tmp_path, shard=Shard(0, 2)))
    with pytest.raises(UsageError, match=r"holds train\.jsonl, of a run that was divided otherwise than shard 0/2"):
        listed(root, rows, tmp_path, shard=Shard(0, 2), num_frames=4)
    listed(root, rows, tmp_path, shard=Shard(0, 2), force=True)
    listed(root, rows, tmp_path, shard=Shard(1, 2))
    before = bytes_of(tmp_path)
    listed(root, rows, tmp_path, shard=Shard(0, 2), force=True)  # the sibling stays
    assert bytes_of(tmp_path) == before and not any("-of-" not in name for name in before)
    with pytest.raises(UsageError, match=r"blue-0000.-of-00002\.h5 is no split of this manifest"):
        listed(root, [row for row in rows if row["split"] != "blue"], tmp_path, shard=Shard(0, 2))
    listed(root, rows, tmp_path, force=True)
    assert not [name for name in bytes_of(tmp_path) if "-of-" in name]


def test_a_shard_without_clips_is_refused(training, folder, sources, tmp_path):
    with pytest.raises(UsageError, match=r"val has 2 clips; give i/n with n at most 2"):
        pack(training, tmp_path, PACK, engine=SERIAL, shard=Shard(0, 3), quiet=True)
    with pytest.raises(UsageError, match=r"--shard 5/6 leaves shards without a clip: test has 5 clips"):
        built(folder, tmp_path, shard=Shard(5, 6))
    with pytest.raises(UsageError, match=r"n at most 3"):
        listed(*sources, tmp_path, shard=Shard(0, 9))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def parts(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("parts")
    in_shards(lambda shard: built(folder, out, shard=shard), 2)
    in_shards(lambda shard: built(folder, out / "videos", VIDEOS, shard=shard), 2)
    return out


def rewrite(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def flip(path, place):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def flip_a_pixel(store):
    block = open_part(store).blocks[0]
    flip(store, block.offset + block.nbytes - 1)


DAMAGE = {
    "a manifest is missing": (
        lambda test: (test / "manifest-00001-of-00002.jsonl").unlink(),
        "of 2 shards 1 are missing, the first is 1",
    ),
    "a shard is unfinished": (
        lambda test: (test / "manifest-00001-of-00002.jsonl").rename(test / "manifest-00001-of-00002.journal"),
        "shard 1/2 is unfinished",
    ),
    "a store is gone": (lambda test: (test / "T-00001-of-00002.h5").unlink(), "T-00001-of-00002.h5 is gone"),
    "stores of two shards are swapped": (
        lambda test: shutil.copy(test / "T-00000-of-00002.h5", test / "T-00001-of-00002.h5"),
        "is not the store that manifest-00001-of-00002.jsonl tells of",
    ),
    "a frame is damaged": (
        lambda test: flip_a_pixel(test / "T-00001-of-00002.h5"),
        f"T-00001-of-00002.h5: the frames of {IDS[4]} are damaged",
    ),
    "another count": (
        lambda test: shutil.copy(test / "manifest-00001-of-00002.jsonl", test / "manifest-00001-of-00003.jsonl"),
        r"holds shards of manifest of \[2, 3\]",
    ),
    "a renamed shard": (
        lambda test: shutil.copy(test / "manifest-00000-of-00002.jsonl", test / "manifest-00001-of-00002.jsonl"),
        r"holds shard \[0, 2\], not 1/2",
    ),
    "edited parameters": (
        lambda test: rewrite(
            test / "manifest-00001-of-00002.jsonl", lambda lines: lines[0]["parameters"].update(limit=3)
        ),
        "its key is not that of its parameters",
    ),
    "a clip less": (
        lambda test: rewrite(test / "manifest-00001-of-00002.jsonl", lambda lines: lines.pop()),
        "manifest-00001-of-00002.jsonl is damaged: its clips do not give the content hash of O",
    ),
    "two clips less": (
        lambda test: rewrite(test / "manifest-00001-of-00002.jsonl", lambda lines: lines.__delitem__(slice(1, 3))),
        "some are not those that shard 0/2 of 3 clips has",
    ),
    "a clip twice": (
        lambda test: rewrite(test / "manifest-00001-of-00002.jsonl", lambda lines: lines[1].update(clip_id=IDS[0])),
        "1 clips are in two shards",
    ),
    "no outputs": (
        lambda test: rewrite(test / "manifest-00000-of-00002.jsonl", lambda lines: lines[0].update(outputs=["S1"])),
        "it was renamed or edited",
    ),
    "another kind": (
        lambda test: rewrite(test / "manifest-00000-of-00002.jsonl", lambda lines: lines[0].update(kind="diary")),
        "its kind is 'diary'",
    ),
    "a fingerprint is edited": (
        lambda test: rewrite(
            test / "manifest-00000-of-00002.jsonl", lambda lines: lines[1]["outputs"].update(T="0" * 32)
        ),
        "do not give the content hash of T",
    ),
    "no fingerprint": (
        lambda test: rewrite(test / "manifest-00000-of-00002.jsonl", lambda lines: lines[1].update(outputs={})),
        "its clips do not fit a store",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_does_not_belong_together_is_refused(parts, tmp_path, what):
    shutil.copytree(parts / "test", tmp_path / "test")
    damage, message = DAMAGE[what]
    damage(tmp_path / "test")
    before = bytes_of(tmp_path)
    with pytest.raises(DataError, match=message):
        merge(tmp_path, quiet=True)
    after = bytes_of(tmp_path)
    assert {name: after[name] for name in before} == before and "test/manifest.jsonl" not in after
    assert set(after) - set(before) <= {"test/manifest.journal", "test/O.h5.partial", "test/T.h5.partial"}
    assert (set(after) == set(before)) == (what != "a frame is damaged"), "all but frames is checked before a byte"


def test_shards_of_other_options_are_refused(folder, parts, tmp_path):
    built(folder, tmp_path, shard=Shard(0, 2))
    built(folder, tmp_path / "other", dataclasses.replace(NATIVE, on_empty="fill"), shard=Shard(1, 2))
    for path in (tmp_path / "other" / "test").iterdir():
        path.rename(tmp_path / "test" / path.name)
    with pytest.raises(DataError, match=r"is of another run than the first shard: they differ in options"):
        merge(tmp_path / "test", quiet=True)


def test_a_damaged_video_is_told(parts, tmp_path):
    shutil.copytree(parts / "videos" / "test", tmp_path / "test")
    video = tmp_path / "test" / "T" / f"{IDS[3]}.mkv"
    flip(video, 400)
    with pytest.raises(DataError, match=f"T/{IDS[3]}.mkv is gone or damaged"):
        merge(tmp_path, quiet=True)
    video.unlink()
    with pytest.raises(DataError, match="is gone or damaged"):
        merge(tmp_path, quiet=True)


def test_shards_are_kept_unless_they_are_to_be_removed(parts, tmp_path):
    shutil.copytree(parts / "test", tmp_path / "test")
    (tmp_path / "test" / "manifest-00001-of-00002.journal").touch()  # killed after the manifest was written
    run = CliRunner()
    told = run.invoke(merge_command, [str(tmp_path), "--json"], catch_exceptions=False).output
    assert json.loads(told)[0]["shards"] == 2
    assert open_store(tmp_path / "test" / "T.h5").ids == IDS, "readers see the whole alone"
    assert len(list((tmp_path / "test").glob("*.merged"))) == 6 and not list((tmp_path / "test").glob("*.journal"))
    assert "no shards left" in run.invoke(merge_command, [str(tmp_path), "--remove"], catch_exceptions=False).output
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["O.h5", "T.h5", "manifest.jsonl"]
    with pytest.raises(UsageError, match="is no folder"):
        merge(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no shards"):
        merge(tmp_path / "empty")


KILLED = """
import os, signal, sys
from pathlib import Path
import diving48_domains.merge as module
from diving48_domains import storewriter
storewriter.FLUSH_CLIPS = 1
name, times = sys.argv[2], int(sys.argv[3])
real, calls = getattr(module, name), []
def dying(*rest):
    if len(calls) == times:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(0)
    return real(*rest)
setattr(module, name, dying)
module.merge(Path(sys.argv[1]), quiet=True)
"""


@pytest.mark.parametrize(("where", "times"), [("write_clip", 5), ("write_manifest", 0), ("_retire", 0)])
def test_a_killed_merge_goes_on(folder, parts, tmp_path, where, times):
    shutil.copytree(parts / "test", tmp_path / "test")
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), where, str(times)])
    assert run.returncode == -signal.SIGKILL
    merge(tmp_path, remove=True, quiet=True)
    built(folder, tmp_path / "whole")
    assert bytes_of(tmp_path / "test") == bytes_of(tmp_path / "whole" / "test")


def test_a_merge_that_was_killed_while_it_removed_goes_on(parts, tmp_path):
    shutil.copytree(parts / "test", tmp_path / "test")
    merge(tmp_path, quiet=True)
    kept = tmp_path / "test" / "T-00001-of-00002.h5.merged"
    kept.rename(kept.with_suffix(""))
    told = tmp_path / "test" / "manifest-00001-of-00002.jsonl.merged"
    told.rename(told.with_suffix(""))
    merge(tmp_path, remove=True, quiet=True)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["O.h5", "T.h5", "manifest.jsonl"]
    assert np.array_equal(open_store(tmp_path / "test" / "T.h5").ids, IDS)
