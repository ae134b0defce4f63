"""``d48dom segment`` with a real (untrained) tiny network over real video files."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("av")

from click.testing import CliRunner  # noqa: E402

from diving48_domains import segment as module  # noqa: E402
from diving48_domains.annotations import ClipEntry, write_list  # noqa: E402
from diving48_domains.cli import group  # noqa: E402
from diving48_domains.instance_file import InstanceFile, write_instances  # noqa: E402
from diving48_domains.sampling import uniform_indices  # noqa: E402
from diving48_domains.segment import SegmentOptions, merge_instances, segment, segment_clip  # noqa: E402
from diving48_domains.segmenter.checkpoint import save_segmenter  # noqa: E402
from diving48_domains.segmenter.network import DetectOptions, NetworkSpec, build_network  # noqa: E402
from diving48_domains.segmenter.predict import load_segmenter  # noqa: E402
from diving48_domains.video import DamagedVideo, read_frames, write_video  # noqa: E402
from tsgen.common.errors import DataError, UsageError  # noqa: E402
from tsgen.common.shards import Shard  # noqa: E402

torch.set_num_threads(1)
CLIPS = [f"abcdefghijk_{number:05d}" for number in range(5)]
OPTIONS = SegmentOptions(frames=4, device="cpu", max_detections=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder in Diving48's form with five small clips, and a segmenter of random weights."""
    root = tmp_path_factory.mktemp("world")
    (root / "data" / "rgb").mkdir(parents=True)
    for number, clip_id in enumerate(CLIPS):
        frames = np.random.default_rng(number).integers(0, 256, (6 + number, 48, 64, 3)).astype(np.uint8)
        write_video(root / "data" / "rgb" / f"{clip_id}.mkv", frames, 25, "ffv1")
    write_list(root / "data" / "Diving48_V2_test.json", [ClipEntry(clip_id, 8) for clip_id in CLIPS[::-1]])
    spec = NetworkSpec("tiny", "group")
    (root / "net").mkdir()
    save_segmenter(root / "net", spec, build_network(spec, seed=1).state_dict(), {})
    return root


@pytest.fixture(scope="module")
def whole(world):
    """The bytes of the file of an undisturbed run."""
    segment(world / "data", world / "net", world / "whole.h5", OPTIONS)
    return (world / "whole.h5").read_bytes()


def copy_of(world, tmp_path):
    """The data folder with links to its videos, to be damaged."""
    (tmp_path / "data" / "rgb").mkdir(parents=True)
    for path in (world / "data" / "rgb").iterdir():
        (tmp_path / "data" / "rgb" / path.name).symlink_to(path)
    (tmp_path / "data" / "Diving48_V2_test.json").symlink_to(world / "data" / "Diving48_V2_test.json")
    return tmp_path / "data"


def cut(data, clip_id, share=0.6):
    path = data / "rgb" / f"{clip_id}.mkv"
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[: int(len(raw) * share)])


def test_the_file_holds_what_the_segmenter_says_of_the_right_frames(world, whole):
    segmenter = load_segmenter(world / "net", options=DetectOptions(max_detections=3), device="cpu", threads=1)
    with InstanceFile(world / "whole.h5") as file:
        assert list(file.clip_ids) == CLIPS
        assert file.facts["segmenter"] == {"name": segmenter.name, "sha256": segmenter.sha256}
        assert (file.facts["frames"], file.facts["parameters"]["max_detections"]) == (4, 3)
        clip = file.read(CLIPS[2])
    video = read_frames(world / "data" / "rgb" / f"{CLIPS[2]}.mkv", 4)
    assert clip.frame_indices.tolist() == uniform_indices(8, 4).tolist() == video.indices.tolist()
    expected = segmenter.instances(video.frames)
    assert sum(map(len, expected)) > 0
    for mine, theirs in zip(clip.frames, expected, strict=True):
        assert [(one.box.tolist(), one.score) for one in mine] == [(one.box.tolist(), one.score) for one in theirs]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(mine, theirs, strict=True))


def test_a_clip_is_the_same_in_one_pass_and_in_many(world, monkeypatch):
    segmenter = load_segmenter(world / "net", options=DetectOptions(max_detections=3), device="cpu", threads=1)
    path = world / "data" / "rgb" / f"{CLIPS[4]}.mkv"
    for frames in (None, 7):
        options = SegmentOptions(frames=frames)
        monkeypatch.setattr(module, "MOST_AT_ONCE", 64)
        monkeypatch.setattr(module, "AT_ONCE_BYTES", 1 << 30)
        once, _ = segment_clip(segmenter, CLIPS[4], path, options)
        monkeypatch.setattr(module, "MOST_AT_ONCE", 0)
        monkeypatch.setattr(module, "AT_ONCE_BYTES", 3 * 48 * 64 * 3)  # three frames
        many, _ = segment_clip(segmenter, CLIPS[4], path, options)
        assert once.frame_indices.tolist() == many.frame_indices.tolist()
        assert len(once.frames) == (10 if frames is None else 7)
        # Frames in another batch: the last bits of sums differ.
        for mine, theirs in zip(once.frames, many.frames, strict=True):
            assert np.allclose([one.score for one in mine], [one.score for one in theirs], atol=1e-4)
            assert np.allclose([one.box for one in mine], [one.box for one in theirs], atol=0.01)


def test_shards_merge_to_the_very_file_of_one_run(world, whole, tmp_path):
    shards = []
    for number in (2, 0, 1):
        shards.append(tmp_path / f"{number}.h5")
        options = SegmentOptions(frames=4, device="cpu", max_detections=3, shard=Shard(number, 3))
        segment(world / "data", world / "net", shards[-1], options)
    merge_instances(shards, tmp_path / "merged.h5")
    assert (tmp_path / "merged.h5").read_bytes() == whole
    for wrong, message in (
        (shards[:2], "3 of 5 listed clips"),
        ([*shards, shards[0]], "is both in"),
        ([*shards[:2], world / "whole.h5"], "is both in"),
    ):
        with pytest.raises(DataError, match=message):
            merge_instances(wrong, tmp_path / "other.h5")
    other = SegmentOptions(frames=3, device="cpu", max_detections=3, shard=Shard(1, 3))
    segment(world / "data", world / "net", shards[2], other, force=True)
    with pytest.raises(DataError, match=r"differ in frames; only shards of one run"):
        merge_instances(shards, tmp_path / "other.h5")
    assert not (tmp_path / "other.h5").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(world, whole, tmp_path, workers):
    out = tmp_path / "out.h5"
    arguments = ["segment", "--data", world / "data", "--segmenter", world / "net", "--out", out, "--frames", "4"]
    arguments += ["--max-detections", "3", "--device", "cpu", "--workers", workers]
    code = "import sys; sys.argv[0] = 'd48dom'; from diving48_domains.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, start_new_session=True
    )
    parts = tmp_path / "out.h5.parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("*.part")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.read()  # ends when the workers have ended too, which they do by themselves
    process.stderr.close()
    assert not out.exists()
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.part")}
    assert done
    result = segment(world / "data", world / "net", out, OPTIONS)
    assert result["resumed"] == len(done)
    assert out.read_bytes() == whole
    assert not parts.exists()


def test_parts_of_another_run_are_not_mixed_in(world, whole, tmp_path):
    out, parts = tmp_path / "out.h5", tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / "run.json").write_text(json.dumps({"frames": 9}))
    with pytest.raises(UsageError, match="another segmenter, list or options"):
        segment(world / "data", world / "net", out, OPTIONS)
    segment(world / "data", world / "net", out, OPTIONS, force=True)
    assert out.read_bytes() == whole
    with pytest.raises(UsageError, match=r"exists and is of another run: they differ in frames; .*add --force"):
        segment(world / "data", world / "net", out, dataclasses.replace(OPTIONS, frames=3))
    out.write_text("words")
    with pytest.raises(UsageError, match="exists; give another name"):
        segment(world / "data", world / "net", out, OPTIONS)
    assert out.read_text() == "words"


def test_a_finished_file_is_taken_as_it_is(world, whole, tmp_path, monkeypatch):
    out, parts = tmp_path / "out.h5", tmp_path / "out.h5.parts"
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        segment(world / "data", world / "net", out, OPTIONS)
    monkeypatch.undo()
    assert out.read_bytes() == whole and parts.is_dir(), "stopped between the file and the end of its parts"
    before = out.stat().st_mtime_ns
    for _ in range(2):
        told = segment(world / "data", world / "net", out, OPTIONS)
        assert (told["was_there"], told["clips"], told["resumed"]) == (True, 5, 5)
        assert out.stat().st_mtime_ns == before and not parts.exists()
    parts.mkdir()
    (parts / "run.json").write_text("{}")  # of others
    segment(world / "data", world / "net", out, OPTIONS)
    assert parts.exists()


def test_two_at_once_are_refused_and_shards_need_files_of_their_own(world, whole, tmp_path, monkeypatch):
    out, first = tmp_path / "out.h5", dataclasses.replace(OPTIONS, shard=Shard(0, 2))
    real = module.write_instances

    def meanwhile(*given):
        with pytest.raises(UsageError, match=r"another process works on .*out\.h5\.parts"):
            segment(world / "data", world / "net", out, first)
        with pytest.raises(UsageError, match=r"another process works on"):
            segment(world / "data", world / "net", out, first, force=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_instances", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        segment(world / "data", world / "net", out, first)
    monkeypatch.setattr(module, "write_instances", real)
    second = dataclasses.replace(OPTIONS, shard=Shard(1, 2))
    with pytest.raises(UsageError, match=r"parts of shard 0/2, this run is of shard 1/2; each shard needs an --out of"):
        segment(world / "data", world / "net", out, second)
    assert segment(world / "data", world / "net", out, first)["resumed"] == 2
    with pytest.raises(
        UsageError, match=r"exists and is of shard 0/2, this run of shard 1/2; each shard needs an --out"
    ):
        segment(world / "data", world / "net", out, second)
    with pytest.raises(UsageError, match=r"is of shard 0/2, this run of the whole list"):
        segment(world / "data", world / "net", out, OPTIONS)


def test_a_run_killed_before_it_named_itself_is_begun_anew(world, whole, tmp_path):
    out, parts = tmp_path / "out.h5", tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / ".run.json.partial-00000000-other-1").write_text("{")
    segment(world / "data", world / "net", out, OPTIONS)
    assert out.read_bytes() == whole
    out.unlink()
    parts.mkdir()
    (parts / "thesis.txt").write_text("words")
    with pytest.raises(UsageError, match="another segmenter, list or options"):
        segment(world / "data", world / "net", out, OPTIONS)
    assert (parts / "thesis.txt").exists()


def test_a_damaged_part_is_told(world, tmp_path, monkeypatch):
    out = tmp_path / "out.h5"
    monkeypatch.setattr(module, "write_instances", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        segment(world / "data", world / "net", out, OPTIONS)
    monkeypatch.setattr(module, "write_instances", write_instances)
    part = tmp_path / "out.h5.parts" / f"{CLIPS[0]}.part"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged or truncated"):
        segment(world / "data", world / "net", out, OPTIONS)


def test_damaged_and_missing_videos_stop_are_skipped_or_kept(world, tmp_path):
    data, out = copy_of(world, tmp_path), tmp_path / "out.h5"
    cut(data, CLIPS[1])
    (data / "rgb" / f"{CLIPS[3]}.mkv").unlink()
    with pytest.raises(DataError, match=f"{CLIPS[1]}.*--on-damage skip or keep"):
        segment(data, world / "net", out, OPTIONS)
    facts = {}
    for choice in ("skip", "keep"):
        options = SegmentOptions(frames=4, device="cpu", max_detections=3, on_damage=choice)
        facts[choice] = segment(data, world / "net", out, options, force=True)["facts"]
        with InstanceFile(out) as file:
            assert file.facts == facts[choice]
            held = set(file.clip_ids)
        assert held == set(CLIPS) - {CLIPS[3]} - ({CLIPS[1]} if choice == "skip" else set())
        assert str(tmp_path) not in json.dumps(facts[choice]), "the file would differ from machine to machine"
    assert [row["clip_id"] for row in facts["skip"]["skipped"]] == [CLIPS[1], CLIPS[3]]
    assert [row["clip_id"] for row in facts["keep"]["skipped"]] == [CLIPS[3]]
    assert [row["clip_id"] for row in facts["keep"]["partial"]] == [CLIPS[1]]
    with InstanceFile(out) as file:
        path = data / "rgb" / f"{CLIPS[1]}.mkv"
        assert file.read(CLIPS[1]).frame_indices.max() < read_frames(path, [0], on_damage="keep").num_frames
    with pytest.raises(DamagedVideo):
        read_frames(path)


def test_the_commands(world, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--data", world / "data", "--segmenter", world / "net", "--frames", 4, "--max-detections", 3]

    def run(*arguments):
        return CliRunner().invoke(group, [str(one) for one in arguments], catch_exceptions=False).stdout

    for number in range(2):
        run("segment", *common, "--device", "cpu", "--shard", f"{number}/2", "--out", f"{number}.h5")
    assert json.loads(run("merge-instances", "0.h5", "1.h5", "--out", "m.h5", "--json"))["clips"] == 5
    assert (tmp_path / "m.h5").read_bytes() == whole
    assert "n.h5: 5 clips" in run("import-instances", "m.h5", "--out", "n.h5")
    assert (tmp_path / "n.h5").read_bytes() == whole
    assert "m.h5: 5 clips, content" in (again := run("segment", *common, "--device", "cpu", "--out", "m.h5"))
    assert "was there already" in again, "what was merged is the whole run's file"
    for wrong, message in (
        (["--out", "x.h5", "--shard", "2/2"], "shard 2/2 is not possible: shards are counted from 0"),
        (["--out", "x.h5", "--shard", "half"], "--shard 'half' is no shard; give i/n"),
        (
            ["--out", "x.h5", "--shard", "9/10"],
            "test has 5 clips; give i/n with n at most 5",
        ),
        (["--out", "x.h5", "--frames", "some"], "a number or all"),
        (["--out", "x.h5", "--frames", "999999999"], "give 1 to 4096, or all"),
        (["--out", "x.h5", "--split", "val"], "val"),
        (["--out", "m.h5", "--split", "test", "--on-damage", "skip"], "differ in on_damage; .*--force"),
        (["--out", "x.h5", "--gpus", "1"], "--gpus 1 goes with --engine ray"),
        (["--out", "x.h5", "--workers", "0"], "--workers must be at least 1"),
        (["--out", "x.h5", "--engine", "ray", "--device", "cuda:1"], "Ray itself says which GPU"),
        (["--out", "x.h5", "--engine", "ray", "--device", "cpu", "--gpus", "0.5"], "cpu takes none"),
        (["--out", "x.h5", "--engine", "ray", "--device", "cuda", "--gpus", "0"], "cuda needs more than 0"),
        (["--out", "x.h5", "--engine", "ray", "--gpus", "2"], "takes 0 to 1 of a GPU"),
        (["--out", "x.h5", "--address", "here:1"], "add --engine ray"),
    ):
        with pytest.raises(UsageError, match=message):
            run("segment", *common, *wrong)
    assert not (tmp_path / "x.h5").exists()


def test_options_check_themselves():
    for wrong in ({"frames": 0}, {"on_damage": "keeep"}):
        with pytest.raises(UsageError):
            SegmentOptions(**wrong)
