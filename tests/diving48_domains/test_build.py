"""Building domains: right pixels in every form, all frames and clips accounted for, kills that change nothing."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from d48_scenes import CLIPS, DIVER_RGB, disc, frames_of, instances_of, write_folder

from diving48_domains.annotations import ClipEntry, open_folder, write_list
from diving48_domains.build import build, truth_path
from diving48_domains.build_options import PRESETS, BuildOptions
from diving48_domains.domains import IMAGENET_MEAN, DomainOptions
from diving48_domains.framestore import open_store
from diving48_domains.instance_file import write_instances
from diving48_domains.manifest import read_manifest
from diving48_domains.sampling import uniform_indices
from diving48_domains.video import read_frames
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

SERIAL = EngineOptions("serial")
NATIVE = BuildOptions(size=None, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11))
WHOLE, SHORT, GAP, NOTHING, BRIDGED = CLIPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


@pytest.fixture(scope="module")
def native(folder, tmp_path_factory):
    """All domains at native size from the soft instances."""
    out = tmp_path_factory.mktemp("native")
    return build(folder, "test", folder.root / "found.h5", out, NATIVE, engine=SERIAL, quiet=True)


def clips_of(report, domain):
    store = open_store(report.outputs[domain])
    return {clip_id: store.clip(number) for number, clip_id in enumerate(store.ids)}


def records_of(report):
    return {one.clip_id: one for one in report.manifest.clips}


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_original_and_control_are_the_sampled_frames(native):
    for domain in ("O", "C"):
        for clip_id, clip in clips_of(native, domain).items():
            frames = frames_of(clip_id)
            np.testing.assert_array_equal(clip, frames[uniform_indices(len(frames))])


def test_domains_show_and_hide_the_diver(native):
    clips = {domain: clips_of(native, domain)[WHOLE] for domain in ("O", "S1", "S2", "T", "T_union", "B")}
    for place, t in enumerate(uniform_indices(40).tolist()):
        diver = disc(t, 40)
        assert (clips["S2"][place][diver] == DIVER_RGB).all()
        assert (clips["S1"][place][diver] == DIVER_RGB).all(axis=1).mean() > 0.9
        for domain in ("T", "T_union", "B"):
            assert (clips[domain][place][diver] == IMAGENET_MEAN).all()
        changed = (clips["T"][place] != clips["O"][place]).any(axis=2)
        assert changed.sum() < 2.2 * diver.sum()
        assert (clips["S1"][place] != clips["O"][place]).any(axis=2)[~changed].mean() > 0.9
    hidden = (clips["T_union"] == IMAGENET_MEAN).all(axis=3)
    assert (hidden == hidden[0]).all()
    assert set(map(tuple, clips["B"].reshape(-1, 3))) == {IMAGENET_MEAN, (0, 0, 0)}


def test_every_frame_is_accounted_for(native):
    records = records_of(native)
    assert records[WHOLE].status == ("detected",) * 32
    assert records[WHOLE].flags == ()
    assert records[SHORT].flags == ("short",)
    assert records[SHORT].frame_indices == tuple(uniform_indices(20).tolist())
    gap = [t in CLIPS[GAP][2] for t in uniform_indices(40).tolist()]
    assert [status == "leaked" for status in records[GAP].status] == gap
    assert records[GAP].flags == ("leaked",)
    assert records[NOTHING].status == ("empty",) * 32
    assert records[NOTHING].flags == ("no_diver", "mostly_empty")
    assert records[BRIDGED].status.count("interpolated") == 2
    totals = native.manifest.totals()
    assert totals["clips written"] == 5
    assert totals["frames leaked"] == sum(gap)
    assert totals["frames empty"] == 32
    assert sum(totals[f"frames {name}"] for name in ("detected", "interpolated", "empty", "leaked")) == 5 * 32


def test_the_manifest_and_the_stores_agree(native):
    manifest = read_manifest(native.manifest_path)
    store = open_store(native.outputs["T"])
    assert manifest.header["outputs"]["T"]["content_hash"] == store.content_hash
    for number, record in enumerate(manifest.written()):
        assert record.outputs["T"] == store.fingerprints[number].tobytes().hex()
        np.testing.assert_array_equal(store.frame_indices[number], record.frame_indices)
    assert store.settings["options"]["composition"]["mask_threshold"] == 0.4
    assert str(native.folder.parent) not in native.manifest_path.read_text()


def test_a_frame_without_a_diver_is_blurred_in_s1_and_unfilled_in_t(native):
    original, shape, texture = (clips_of(native, domain)[NOTHING] for domain in ("O", "S1", "T"))
    np.testing.assert_array_equal(texture, original)
    assert not (shape == DIVER_RGB).all(axis=3).any()


def test_frames_without_a_diver_can_be_filled(folder, tmp_path):
    options = dataclasses.replace(NATIVE, on_empty="fill", domains=("T",))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, quiet=True)
    assert (clips_of(report, "T")[NOTHING] == IMAGENET_MEAN).all()


def test_frames_without_a_diver_can_be_dropped(folder, tmp_path):
    options = dataclasses.replace(NATIVE, on_empty="drop", domains=("O", "T"))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, quiet=True)
    records = records_of(report)
    assert records[NOTHING].outcome == "dropped"
    assert records[NOTHING].reason == "no frame has a diver"
    assert NOTHING not in clips_of(report, "T")
    assert set(records[GAP].status) == {"detected"}
    assert not set(records[GAP].frame_indices) & set(CLIPS[GAP][2])
    np.testing.assert_array_equal(clips_of(report, "O")[GAP], frames_of(GAP)[list(records[GAP].frame_indices)])


def test_clips_without_divers_can_be_dropped(folder, tmp_path):
    options = dataclasses.replace(NATIVE, on_empty="drop-clip", max_empty=0.2, domains=("T",))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, quiet=True)
    dropped = [one.clip_id for one in report.manifest.clips if one.outcome == "dropped"]
    assert dropped == [GAP, NOTHING]


def test_frames_are_resized_with_antialiasing(folder, tmp_path):
    from PIL import Image

    options = BuildOptions(size=(24, 32), domains=("O",))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, limit=1, quiet=True)
    expected = np.asarray(Image.fromarray(frames_of(WHOLE)[0]).resize((32, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(clips_of(report, "O")[WHOLE][0], expected)


def test_processes_write_the_same_bytes(folder, native, tmp_path):
    build(folder, "test", folder.root / "found.h5", tmp_path, NATIVE, engine=EngineOptions(workers=2), quiet=True)
    assert bytes_of(tmp_path / "test") == bytes_of(native.folder)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/../oracles"]
from diving48_domains import build as module, storewriter
import test_build as t
module.FLUSH_VIDEOS = storewriter.FLUSH_CLIPS = 1
real, made = module.build_clip, []
def build_clip(job, *rest):
    if len(made) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    made.append(job)
    return real(job, *rest)
module.build_clip = build_clip
folder = t.open_folder(Path({data!r}))
options = t.dataclasses.replace(t.NATIVE, form={form!r})
t.build(folder, "test", folder.root / "found.h5", Path({out!r}), options, engine=t.SERIAL, quiet=True)
"""


@pytest.mark.parametrize("form", ["hdf5", "ffv1"])
def test_sigkill_and_resume_end_in_the_same_bytes(folder, tmp_path, form):
    options = dataclasses.replace(NATIVE, form=form)
    whole = build(folder, "test", folder.root / "found.h5", tmp_path / "whole", options, engine=SERIAL, quiet=True)
    out = tmp_path / "killed"
    names = {"tests": str(Path(__file__).parent), "data": str(folder.root), "out": str(out), "form": form}
    code = textwrap.dedent(KILLED).format(**names)
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not (out / "test" / "manifest.jsonl").exists()
    report = build(folder, "test", folder.root / "found.h5", out, options, engine=SERIAL, quiet=True)
    assert not report.was_there
    assert bytes_of(out / "test") == bytes_of(whole.folder)
    assert build(folder, "test", folder.root / "found.h5", out, options, engine=SERIAL, quiet=True).was_there


def test_other_options_need_force(folder, tmp_path):
    options = dataclasses.replace(NATIVE, domains=("T",))
    build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, quiet=True)
    other = dataclasses.replace(options, on_empty="fill")
    with pytest.raises(UsageError, match="other options"):
        build(folder, "test", folder.root / "found.h5", tmp_path, other, engine=SERIAL, quiet=True)
    report = build(folder, "test", folder.root / "found.h5", tmp_path, other, engine=SERIAL, quiet=True, force=True)
    assert (clips_of(report, "T")[NOTHING] == IMAGENET_MEAN).all()


def test_lossless_videos_hold_the_stores_frames(folder, native, tmp_path):
    options = dataclasses.replace(NATIVE, form="ffv1", domains=("S1", "T"))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, quiet=True)
    for domain in ("S1", "T"):
        frames = read_frames(report.outputs[domain] / f"{GAP}.mkv", None).frames
        np.testing.assert_array_equal(frames, clips_of(native, domain)[GAP])


def test_lossy_forms_leave_the_original_lossless(folder, tmp_path):
    options = dataclasses.replace(NATIVE, form="mp4", domains=("O", "C"))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, limit=1, quiet=True)
    expected = frames_of(WHOLE)[uniform_indices(40)]
    original = read_frames(report.outputs["O"] / f"{WHOLE}.mkv", None).frames
    control = read_frames(report.outputs["C"] / f"{WHOLE}.mp4", None).frames
    np.testing.assert_array_equal(original, expected)
    assert control.shape == expected.shape
    assert 0 < np.abs(control.astype(int) - expected).mean() < 30


def test_faithful_builds_what_was_published(folder, tmp_path):
    options = dataclasses.replace(PRESETS["faithful"], domains=("S1", "T"))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, limit=1, quiet=True)
    video = read_frames(report.outputs["T"] / f"{WHOLE}.mp4", None)
    assert video.frames.shape == (32, 369, 492, 3)
    assert video.fps == pytest.approx(5)


def test_all_frames_go_into_videos_only(folder, tmp_path):
    with pytest.raises(UsageError, match="videos only"):
        dataclasses.replace(NATIVE, num_frames=None)
    options = dataclasses.replace(NATIVE, form="ffv1", num_frames=None, domains=("T",))
    report = build(folder, "test", folder.root / "found.h5", tmp_path, options, engine=SERIAL, limit=1, quiet=True)
    assert read_frames(report.outputs["T"] / f"{WHOLE}.mkv", None).num_frames == 40
    assert records_of(report)[WHOLE].frame_indices == tuple(range(40))


def test_limit_is_spread_over_the_list_and_shards_make_it_whole(folder, native, tmp_path):
    options = dataclasses.replace(NATIVE, domains=("T",))
    found = folder.root / "found.h5"
    report = build(folder, "test", found, tmp_path / "few", options, engine=SERIAL, limit=3, quiet=True)
    assert [one.clip_id for one in report.manifest.clips] == [WHOLE, GAP, BRIDGED]
    for index in range(2):
        build(folder, "test", found, tmp_path / "parts", options, engine=SERIAL, shard=Shard(index, 2), quiet=True)
    store = open_store(tmp_path / "parts" / "test" / "T.h5")
    assert store.ids == tuple(CLIPS)
    for number, clip in enumerate(clips_of(native, "T").values()):
        np.testing.assert_array_equal(store.clip(number), clip)


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the folder with one video cut, one absent, and one clip without instances."""
    root = tmp_path / "damaged"
    shutil.copytree(folder.root, root)
    cut = root / "rgb" / f"{WHOLE}.mkv"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (root / "rgb" / f"{SHORT}.mkv").unlink()
    write_instances(root / "found.h5", [instances_of(one, False) for one in CLIPS if one != GAP], {})
    return open_folder(root)


def test_bad_clips_stop_a_build_before_it_begins(damaged, tmp_path):
    with pytest.raises(DataError, match=f"1 of 5 clips of the list have no video in .*, the first is {SHORT}"):
        build(damaged, "test", damaged.root / "found.h5", tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)
    assert not (tmp_path / "out").exists()
    shutil.copy(damaged.root / "rgb" / f"{GAP}.mkv", damaged.root / "rgb" / f"{SHORT}.mkv")
    with pytest.raises(DataError, match=f"1 of 5 clips of the list are not in .*found.h5, the first is {GAP}"):
        build(damaged, "test", damaged.root / "found.h5", tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)


def test_bad_clips_can_be_left_out_and_are_listed(damaged, tmp_path):
    options = dataclasses.replace(NATIVE, on_bad_clip="drop", domains=("T",))
    report = build(damaged, "test", damaged.root / "found.h5", tmp_path / "out", options, engine=SERIAL, quiet=True)
    failed = {one.clip_id: one.reason for one in report.manifest.clips if one.outcome == "failed"}
    assert set(failed) == {WHOLE, SHORT, GAP}
    assert "absent" in failed[SHORT]
    assert "no instances" in failed[GAP]
    assert len(open_store(report.outputs["T"])) == 2


def test_instances_of_another_video_are_refused(folder, tmp_path):
    other = tmp_path / "other.h5"
    write_instances(other, [instances_of(one, False, "0" * 64) for one in CLIPS], {})
    with pytest.raises(DataError, match="another video file"):
        build(folder, "test", other, tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)


def test_instances_must_cover_the_wanted_frames(folder, tmp_path):
    clip = instances_of(WHOLE, False)
    few = tmp_path / "few.h5"
    write_instances(
        few, [dataclasses.replace(clip, frame_indices=clip.frame_indices[:30], frames=clip.frames[:30])], {}
    )
    write_list(folder.root / "Diving48_V2_train.json", [ClipEntry(WHOLE, 0)])
    with pytest.raises(DataError, match="cover 30 frames, but not 8 of the 32 wanted"):
        build(open_folder(folder.root), "train", few, tmp_path / "out", NATIVE, engine=SERIAL, quiet=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ("S3",)}, "unknown domain 'S3'"),
        ({"form": "avi"}, "unknown form"),
        ({"on_empty": "guess"}, "unknown policy"),
        ({"by": "colour"}, "unknown by 'colour'"),
        ({"on_bad_clip": "guess"}, "unknown policy"),
        ({"max_empty": 2.0}, "max_empty"),
        ({"size": (0, 5)}, "1 to 8192"),
        ({"num_frames": 0}, "1 to 4096"),
        ({"quality": 20}, "lossless"),
        ({"fps": 0.0}, "frames/s"),
    ],
)
def test_options_check_themselves(changes, message):
    with pytest.raises(UsageError, match=message):
        BuildOptions(**changes)


def test_truth_is_found_or_its_absence_explained(folder, tmp_path):
    assert truth_path(folder) == folder.root / "truth.h5"
    with pytest.raises(UsageError, match="only Mini-Diving48 has ground truth"):
        truth_path(dataclasses.replace(folder, root=tmp_path))
