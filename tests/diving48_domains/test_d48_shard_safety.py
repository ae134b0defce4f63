"""What may go wrong between machines: nothing is removed that is the last copy, or that another shard has just made."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from d48_scenes import CLIPS, HEIGHT, WIDTH, write_folder

from diving48_domains import build as build_module
from diving48_domains.annotations import open_folder
from diving48_domains.build import build
from diving48_domains.build_options import BuildOptions
from diving48_domains.domains import DomainOptions
from diving48_domains.earlier import remove_earlier
from diving48_domains.framestore import open_part, open_store
from diving48_domains.instance_file import InstanceFile, write_instances
from diving48_domains.merge import merge
from diving48_domains.pack import pack
from diving48_domains.pack_options import PackOptions
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

SERIAL = EngineOptions("serial")
NATIVE = BuildOptions(size=None, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11), domains=("O", "T"))
VIDEOS = dataclasses.replace(NATIVE, form="ffv1", num_frames=4)
PACK = PackOptions(size=(HEIGHT, WIDTH), val_share=0.4)
IDS = tuple(CLIPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


@pytest.fixture(scope="module")
def whole_videos(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("videos")
    built(folder, out, VIDEOS)
    return out


@pytest.fixture(scope="module")
def two_shards(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    for index in range(2):
        built(folder, out, shard=Shard(index, 2))
    return out


def built(folder, out, options=NATIVE, **more):
    instances = more.pop("instances", folder.root / "found.h5")
    return build(folder, "test", instances, out, options, engine=SERIAL, quiet=True, **more)


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_pixel(store):
    block, raw = open_part(store).blocks[0], bytearray(store.read_bytes())
    raw[block.offset + block.nbytes - 1] ^= 1
    store.write_bytes(raw)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda test: (test / "T.h5").unlink(), r"T\.h5 is gone, which manifest\.jsonl tells of"),
        (lambda test: cut_in_half(test / "T.h5"), r"T\.h5 cannot be used"),
        (lambda test: flip_a_pixel(test / "T.h5"), rf"1 of 5 clips are damaged, the first is {IDS[4]}"),
        (lambda test: (test / "manifest.jsonl").unlink(), r"manifest\.jsonl is gone"),
    ],
    ids=["a store is gone", "it is cut", "a pixel is damaged", "the manifest is gone"],
)
def test_shards_that_are_the_last_copy_are_not_removed(two_shards, tmp_path, harm, message):
    shutil.copytree(two_shards / "test", tmp_path / "test")
    merge(tmp_path, quiet=True)
    good = bytes_of(tmp_path)
    harm(tmp_path / "test")
    kept = {name for name in good if name.endswith(".merged")}
    with pytest.raises(DataError, match=rf"{message}.* merged as NAME\.merged: take \.merged off .* and merge again"):
        merge(tmp_path, remove=True, quiet=True)
    assert kept <= set(bytes_of(tmp_path))
    for name in kept:  # as it was told
        (tmp_path / name).rename((tmp_path / name).with_suffix(""))
    for name in set(good) - kept:
        (tmp_path / name).unlink(missing_ok=True)
    merge(tmp_path, quiet=True)
    assert bytes_of(tmp_path) == good
    merge(tmp_path, remove=True, quiet=True)
    assert set(bytes_of(tmp_path)) == set(good) - kept


def test_a_damaged_whole_keeps_shards_that_were_not_renamed_yet(two_shards, tmp_path):
    shutil.copytree(two_shards / "test", tmp_path / "test")
    parts = bytes_of(tmp_path)
    merge(tmp_path, quiet=True)
    for name in parts:  # killed before the first was renamed
        (tmp_path / f"{name}.merged").rename(tmp_path / name)
    flip_a_pixel(tmp_path / "test" / "O.h5")
    with pytest.raises(
        DataError, match=r"O\.h5 cannot be used: 1 of 5 .* remove what is there of manifest\.jsonl, O\.h5, T"
    ):
        merge(tmp_path, remove=True, quiet=True)
    assert parts.items() <= bytes_of(tmp_path).items()


def test_kept_shards_of_another_run_or_of_videos(two_shards, folder, tmp_path):
    shutil.copytree(two_shards / "test", tmp_path / "test")
    merge(tmp_path, quiet=True)
    only_t = dataclasses.replace(NATIVE, domains=("T",))
    built(folder, tmp_path, only_t, force=True)
    with pytest.raises(DataError, match=r"manifest\.jsonl does not tell of O\.h5, of which shards are kept"):
        merge(tmp_path, remove=True, quiet=True)
    for index in range(2):  # in the same place
        built(folder, tmp_path, only_t, shard=Shard(index, 2), force=True)
    with pytest.raises(DataError, match=r"does not tell of O\.h5"):
        merge(tmp_path, remove=True, quiet=True)
    assert list((tmp_path / "test").glob("O-*.merged")) and list((tmp_path / "test").glob("T-*.h5"))
    for index in range(2):
        built(folder, tmp_path / "videos", VIDEOS, shard=Shard(index, 2))
    merge(tmp_path / "videos", quiet=True)
    (tmp_path / "videos" / "test" / "T" / f"{IDS[1]}.mkv").unlink()
    with pytest.raises(DataError, match=rf"T/{IDS[1]}\.mkv is gone or damaged"):
        merge(tmp_path / "videos", remove=True, quiet=True)
    assert len(list((tmp_path / "videos" / "test").glob("*.merged"))) == 2


def test_a_pack_whose_whole_is_gone(folder, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(folder.root, root)
    (root / "Diving48_V2_test.json").rename(root / "Diving48_V2_train.json")
    training, out = open_folder(root), tmp_path / "out"
    for index in range(2):
        pack(training, out, PACK, engine=SERIAL, shard=Shard(index, 2), quiet=True)
    merge(out, quiet=True)
    (out / "train.h5").unlink()
    with pytest.raises(UsageError, match=r"train\.h5 is gone, which train\.jsonl tells of; its shards are kept"):
        pack(training, out, PACK, engine=SERIAL, shard=Shard(0, 2), quiet=True)
    with pytest.raises(DataError, match=r"train\.h5 is gone.* and merge again"):
        merge(out, remove=True, quiet=True)
    assert len(list(out.glob("*.merged"))) == 8
    for path in out.glob("train-*.merged"):
        path.rename(path.with_suffix(""))
    (out / "train.jsonl").unlink()
    merge(out, remove=True, quiet=True)
    assert sorted(path.name for path in out.iterdir()) == ["train.h5", "train.jsonl", "val.h5", "val.jsonl"]


@pytest.mark.parametrize(
    "name", ["manifest-00003-of-00002.jsonl", "foo-00002-of-00002.jsonl", "foo-00000-of-00000.jsonl"]
)
def test_names_that_no_shard_has(two_shards, tmp_path, name):
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(UsageError, match="holds no shards"):
        merge(tmp_path, quiet=True)
    shutil.copytree(two_shards / "test", tmp_path / "test")
    (tmp_path / name).rename(tmp_path / "test" / name)
    assert [one.shards for one in merge(tmp_path, quiet=True)] == [2]


def test_manifests_of_others_are_to_be_moved_away(two_shards, tmp_path):
    shutil.copytree(two_shards / "test", tmp_path / "test")
    (tmp_path / "test" / "predictions-00000-of-00001.jsonl").write_text('{"clip": 1}\n')
    with pytest.raises(DataError, match=r"If d48dom did not write predictions-00000-of-00001\.jsonl, move it away"):
        merge(tmp_path, quiet=True)


def test_shards_that_replace_a_whole_build_at_once(folder, whole_videos, tmp_path, monkeypatch):
    """Shard 1's first removal of a video lasts until shard 0 has made its own; or would, did shard 0 not wait."""
    shutil.copytree(whole_videos, tmp_path, dirs_exist_ok=True)
    target, unlink = tmp_path / "test", Path.unlink
    begun, done, problems = threading.Event(), threading.Event(), []

    def slow(self, missing_ok=False):
        if self.suffix == ".mkv" and not begun.is_set():
            begun.set()
            done.wait(1)
        unlink(self, missing_ok=missing_ok)

    def second():
        try:
            remove_earlier(target, Shard(1, 2), IDS[2:], (target / "O", target / "T"))
        except Exception as problem:
            problems.append(problem)

    monkeypatch.setattr(Path, "unlink", slow)
    thread = threading.Thread(target=second)
    thread.start()
    assert begun.wait(20)
    built(folder, tmp_path, VIDEOS, shard=Shard(0, 2), force=True)
    done.set()
    thread.join()
    assert not problems
    built(folder, tmp_path, VIDEOS, shard=Shard(1, 2))
    assert [one.clips for one in merge(tmp_path, remove=True, quiet=True)] == [5]
    assert bytes_of(tmp_path) == bytes_of(whole_videos)


def test_force_leaves_what_a_sibling_has_just_made(folder, tmp_path):
    """Of clips that this shard's own earlier run had, and this one has not."""
    built(folder, tmp_path, VIDEOS, shard=Shard(1, 2))
    own, video = IDS[2:], tmp_path / "test" / "T"
    later = (tmp_path / "test" / "manifest-00001-of-00002.jsonl").stat().st_mtime + 5
    os.utime(video / f"{own[0]}.mkv", (later, later))
    remove_earlier(tmp_path / "test", Shard(1, 2), own[2:], (video,))
    assert [one.name for one in video.iterdir()] == [f"{own[0]}.mkv"]
    remove_earlier(tmp_path / "test", Shard(1, 2), own, (video,))
    assert video.is_dir() and not list(video.iterdir()), "a sibling may be about to write there"
    assert not (tmp_path / "test" / "O").exists()


def test_a_clip_that_cannot_be_made_is_passed_on_one_machine(folder, tmp_path, monkeypatch):
    """The other shards stay as they are, whatever policy they were made with."""
    data = tmp_path / "data"
    shutil.copytree(folder.root, data)
    own = open_folder(data)
    built(own, tmp_path / "out", shard=Shard(0, 2))
    (data / "rgb" / f"{IDS[4]}.mkv").unlink()
    with pytest.raises(DataError, match="--on-bad-clip drop leaves them out"):
        built(own, tmp_path / "out", shard=Shard(1, 2))
    dropping = dataclasses.replace(NATIVE, on_bad_clip="drop")
    built(own, tmp_path / "out", dropping, shard=Shard(1, 2))
    with pytest.raises(UsageError, match=rf"without 1 bad clips, the first is {IDS[4]}; give --on-bad-clip drop"):
        monkeypatch.setattr(build_module, "_check_complete", lambda *_: None)
        built(own, tmp_path / "out", shard=Shard(1, 2))
    (done,) = merge(tmp_path / "out", remove=True, quiet=True)
    assert (done.clips, done.written) == (5, 4)
    built(own, tmp_path / "whole", dropping)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert len(open_store(tmp_path / "out" / "test" / "T.h5")) == 4


def test_instances_of_one_shard_are_refused(folder, tmp_path):
    with InstanceFile(folder.root / "found.h5") as file:
        write_instances(tmp_path / "part.h5", list(file), {"shard": "0/2"})
    message = re.escape("part.h5 holds shard 0/2 of a segmented list; join all of them with `d48dom merge-instances`")
    with pytest.raises(UsageError, match=message):
        built(folder, tmp_path / "out", instances=tmp_path / "part.h5")
    assert not (tmp_path / "out").exists()
