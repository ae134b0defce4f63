"""Building where something was built before: nothing gone unseen, nothing stale, nothing done before it is checked."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner
from d48_scenes import CLIPS, instances_of, write_folder

from diving48_domains.build import build
from diving48_domains.build_commands import build as build_command
from diving48_domains.build_options import PRESETS, BuildOptions
from diving48_domains.domains import DomainOptions
from diving48_domains.embedded import CACHE_VARIABLE
from diving48_domains.framestore import open_store
from diving48_domains.instance_file import write_instances
from diving48_domains.preview_commands import preview
from diving48_domains.video import read_frames
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

SERIAL = EngineOptions("serial")
NATIVE = BuildOptions(size=None, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11), domains=("O", "T"))
VIDEOS = dataclasses.replace(NATIVE, form="ffv1")
IDS = tuple(CLIPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


def made(folder, out, options=NATIVE, **more):
    return build(folder, "test", folder.root / "found.h5", out, options, engine=SERIAL, quiet=True, **more)


def names(root):
    return {path.relative_to(root / "test").as_posix() for path in root.rglob("*") if path.is_file()}


def command(folder, out, *more):
    given = ["--data", str(folder.root), "--instances", "truth", "--out", str(out), "--size", "native", "--quiet"]
    return CliRunner().invoke(build_command, [*given, "--workers", "0", *more], catch_exceptions=False)


@pytest.mark.parametrize(("options", "lost"), [(NATIVE, "T.h5"), (VIDEOS, f"T/{IDS[2]}.mkv")])
def test_a_build_whose_files_are_gone_is_not_there_already(folder, tmp_path, options, lost):
    made(folder, tmp_path, options)
    before = (tmp_path / "test" / lost).read_bytes()
    (tmp_path / "test" / lost).unlink()
    with pytest.raises(UsageError, match=f"{lost} is gone, 1 of the .*add --force"):
        made(folder, tmp_path, options)
    assert not made(folder, tmp_path, options, force=True).was_there
    assert (tmp_path / "test" / lost).read_bytes() == before
    assert made(folder, tmp_path, options).was_there


def test_a_shard_made_by_force_leaves_no_whole_store_beside_it(folder, tmp_path):
    made(folder, tmp_path)
    assert made(folder, tmp_path, shard=Shard(0, 2)).was_there
    with pytest.raises(UsageError, match=r"holds manifest.jsonl, of a run that was divided otherwise than shard 0/2"):
        made(folder, tmp_path, shard=Shard(0, 2), limit=4)
    made(folder, tmp_path, shard=Shard(0, 2), force=True)
    first = {f"{name}-00000-of-00002" for name in ("O", "T", "manifest")}
    assert {name.split(".")[0] for name in names(tmp_path)} == first
    made(folder, tmp_path, shard=Shard(1, 2))
    made(folder, tmp_path, shard=Shard(0, 2), force=True)  # the sibling stays
    assert len(open_store(tmp_path / "test" / "T.h5")) == len(IDS)
    with pytest.raises(UsageError, match="divided otherwise than a whole run"):
        made(folder, tmp_path)
    made(folder, tmp_path, force=True)
    assert names(tmp_path) == {"O.h5", "T.h5", "manifest.jsonl"}


def test_shards_of_videos_replace_only_their_own(folder, tmp_path):
    made(folder, tmp_path, VIDEOS)
    for index in range(2):
        made(folder, tmp_path, VIDEOS, shard=Shard(index, 2), force=True)
    other = dataclasses.replace(VIDEOS, domains=("T",))
    made(folder, tmp_path, other, shard=Shard(0, 2), force=True)
    assert {name for name in names(tmp_path) if name.startswith("T/")} == {f"T/{one}.mkv" for one in IDS}
    assert {name for name in names(tmp_path) if name.startswith("O/")} == {f"O/{one}.mkv" for one in IDS[2:]}


def test_force_removes_other_domains_and_forms_and_nothing_else(folder, tmp_path):
    made(folder, tmp_path)
    (tmp_path / "test" / "notes.txt").write_text("mine")
    made(folder, tmp_path, dataclasses.replace(NATIVE, domains=("T",)), force=True)
    assert names(tmp_path) == {"T.h5", "manifest.jsonl", "notes.txt"}
    made(folder, tmp_path, VIDEOS, force=True)
    (tmp_path / "test" / "O" / "mine.mkv").write_text("mine")
    assert "T.h5" not in names(tmp_path)
    made(folder, tmp_path, dataclasses.replace(NATIVE, domains=("B",)), force=True)
    assert names(tmp_path) == {"B.h5", "manifest.jsonl", "notes.txt", "O/mine.mkv"}
    assert not (tmp_path / "test" / "T").exists()


def test_force_removes_what_a_killed_run_began(folder, tmp_path):
    bad = tmp_path / "bad.h5"
    write_instances(bad, [instances_of(one, False, "" if one == IDS[0] else "0" * 64) for one in IDS], {})
    for options in (NATIVE, VIDEOS):
        with pytest.raises(DataError, match="another video file"):
            build(folder, "test", bad, tmp_path / "out", options, engine=SERIAL, quiet=True, force=True)
    assert f"T/{IDS[0]}.mkv" in names(tmp_path / "out") and "T.h5.partial" not in names(tmp_path / "out")
    (tmp_path / "out" / "test" / "manifest.jsonl").write_text("{damaged\n")
    made(folder, tmp_path / "out", dataclasses.replace(NATIVE, domains=("B",)), force=True)
    assert names(tmp_path / "out") == {"B.h5", "manifest.jsonl"}


def test_a_store_beside_its_shards_is_refused(folder, tmp_path):
    made(folder, tmp_path, shard=Shard(0, 2))
    shard = tmp_path / "test" / "T-00000-of-00002.h5"
    (tmp_path / "test" / "T.h5").write_bytes(shard.read_bytes())
    with pytest.raises(DataError, match=r"holds T.h5 and 1 shards of it \(T-00000-of-00002.h5\)"):
        open_store(tmp_path / "test" / "T.h5")


def test_the_contact_sheet_follows_force(folder, tmp_path):
    sheet = tmp_path / "test" / "contact_sheet.png"
    command(folder, tmp_path, "--domains", "T")
    before = sheet.read_bytes()
    command(folder, tmp_path, "--domains", "S1,T", "--force")
    assert sheet.read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", "0"), "--limit"),
        (("--shard", "2/2"), "shard 2/2 is not possible"),
        (("--shard", "0/0"), "shard 0/0 is not possible"),
        (("--split", "test,train"), "'train' is not among"),
    ],
)
def test_arguments_are_checked_before_any_work(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(build_command, ["--quick", "--out", str(tmp_path), *arguments], catch_exceptions=False)
    with pytest.raises(UsageError, match=message):
        command(folder, tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "mp4", "size": (75, 100)}, "even width and height, got 100x75"),
        ({"form": "mp4", "quality": 52}, "crf of 0 to 51"),
        ({"form": "mpeg4", "quality": 10}, "bit_rate of 1000 to"),
        ({"on_damage": "guess"}, "unknown policy for damaged videos"),
    ],
)
def test_what_a_codec_cannot_hold_is_refused_at_once(changes, message):
    with pytest.raises(UsageError, match=message):
        BuildOptions(**changes)


def test_what_a_codec_can_hold_is_taken():
    assert PRESETS["faithful"].size == (369, 492)  # MPEG-4 takes odd sides
    assert BuildOptions(form="mp4", size=(75, 100), domains=("O",)).form == "mp4"  # O is FFV1
    assert BuildOptions(form="mp4", quality=51).quality == 51


def test_a_native_size_that_is_odd_is_refused_before_a_frame_is_written(folder, tmp_path):
    odd = tmp_path / "odd.h5"
    clips = [instances_of(one, False) for one in IDS]
    write_instances(odd, [dataclasses.replace(one, height=one.height + 1) for one in clips], {})
    with pytest.raises(UsageError, match="even width and height, got 64x49"):
        build(folder, "test", odd, tmp_path / "out", dataclasses.replace(VIDEOS, form="mp4"), engine=SERIAL, quiet=True)
    assert not (tmp_path / "out").exists()


def test_damaged_videos_can_be_kept(tmp_path):
    folder = write_folder(tmp_path / "data")
    video = folder.root / "rgb" / f"{IDS[0]}.mkv"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    kept = read_frames(video, None, on_damage="keep").num_frames
    write_instances(folder.root / "found.h5", [instances_of(one, False) for one in IDS], {})
    given = ("--instances", str(folder.root / "found.h5"), "--domains", "T")
    with pytest.raises(DataError, match=IDS[0]):
        command(folder, tmp_path / "out", *given)
    told = json.loads(command(folder, tmp_path / "kept", *given, "--on-damage", "keep", "--json").output)
    assert told[0]["clips written"] == len(IDS) and told[0]["flag partial"] == 1
    sheet = ["--data", str(folder.root), *given, "--out", str(tmp_path / "a.png"), "--on-damage", "keep"]
    seen = CliRunner().invoke(preview, [IDS[0], *sheet], catch_exceptions=False)
    assert f"{min(kept, 32)} frames looked at" in seen.output


def test_each_help_tells_its_own_default_of_the_blur():
    texts = {one.name: " ".join(CliRunner().invoke(one, ["--help"]).output.split()) for one in (build_command, preview)}
    assert "[default: 15; without --data: 5]" in texts["build"]
    assert "[default: 15]" in texts["preview"] and "without --data" not in texts["preview"]
