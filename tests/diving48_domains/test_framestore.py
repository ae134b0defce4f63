"""Stores of frames: what is written comes back, killed runs end in the same bytes, bad files are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from diving48_domains.framestore import StorePlan, open_store, partial_path
from diving48_domains.manifest import ClipRecord
from diving48_domains.storewriter import ClipSink, StoreWriter, write_clip
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

T, H, W = 3, 12, 16
NAMES = ("O", "T")


def a_plan(count=5, **settings):
    ids = tuple(f"video{row % 2}_{row:05d}" for row in range(count))
    return StorePlan(ids, tuple(range(count)), tuple(one[:6] for one in ids), T, H, W, {"size": "16x12", **settings})


def frames_of(row, name="O"):
    return np.random.default_rng([row, NAMES.index(name)]).integers(0, 256, (T, H, W, 3), dtype=np.uint8)


def paths_in(folder):
    return {name: folder / f"{name}.h5" for name in NAMES}


def a_record(plan, row, outputs):
    return ClipRecord(
        plan.ids[row],
        plan.labels[row],
        plan.groups[row],
        "written",
        row=row,
        num_frames=T,
        frame_indices=tuple(range(T)),
        status=("detected", "leaked", "empty"),
        outputs=outputs,
    )


def fill(writer, rows):
    for row in rows:
        outputs = {name: write_clip(writer.slots[name], row, frames_of(row, name)) for name in NAMES}
        writer.record(a_record(writer.plan, row, outputs))


def write_all(folder, plan=None):
    folder.mkdir(exist_ok=True)
    with StoreWriter(paths_in(folder), plan or a_plan(), folder / "journal") as writer:
        fill(writer, writer.todo())
        hashes = writer.finish()
        writer.done()
    return hashes


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_is_written_comes_back_mapped(tmp_path):
    hashes = write_all(tmp_path / "a")
    store = open_store(tmp_path / "a" / "T.h5", expect={"size": "16x12", "domain": "T"})
    assert len(store) == 5
    assert store.ids == a_plan().ids
    assert store.groups[:2] == ("video0", "video1")
    assert store.content_hash == hashes["T"] != hashes["O"]
    np.testing.assert_array_equal(store.labels, np.arange(5))
    np.testing.assert_array_equal(store.frame_indices[3], np.arange(T))
    np.testing.assert_array_equal(store.status[3], [0, 3, 2])
    np.testing.assert_array_equal(store.gather([4, 0]), np.stack([frames_of(4, "T"), frames_of(0, "T")]))
    assert isinstance(store.blocks[0], np.memmap)
    assert not store.clip(0).flags.writeable
    assert store.blocks[0].offset % 4096 == 0
    store.verify()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["O.h5", "T.h5"]


def test_plain_h5py_reads_it(tmp_path):
    write_all(tmp_path / "a")
    with h5py.File(tmp_path / "a" / "O.h5") as file:
        np.testing.assert_array_equal(file["clips"][2], frames_of(2))
        assert file["clip_id"].asstr()[2] == a_plan().ids[2]


def test_a_run_left_and_taken_up_again_ends_in_the_same_bytes(tmp_path):
    write_all(tmp_path / "whole")
    folder = tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(RuntimeError), StoreWriter(paths_in(folder), a_plan(), folder / "journal") as writer:
        fill(writer, (3, 1))
        write_clip(writer.slots["O"], 0, frames_of(4))  # half-done work of a worker that dies: wrong frames, no record
        raise RuntimeError("cut")
    with pytest.raises(DataError, match="unfinished"):
        open_store(folder / "O.h5")
    with StoreWriter(paths_in(folder), a_plan(), folder / "journal") as writer:
        assert writer.todo() == [0, 2, 4]
        fill(writer, writer.todo())
        writer.finish()
        writer.done()
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_framestore as t
from diving48_domains import storewriter
storewriter.FLUSH_CLIPS = 1
folder = Path({folder!r})
with t.StoreWriter(t.paths_in(folder), t.a_plan(), folder / "journal") as writer:
    if {stage!r} == "between renames":
        t.fill(writer, writer.todo())
        real, Path.replace = Path.replace, None
        def replace(self, target):
            real(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
        Path.replace = replace
        writer.finish()
    t.fill(writer, writer.todo()[:2])
    sink = t.ClipSink(writer.slots["T"], 4)
    sink.add(t.frames_of(0)[0])
    with (folder / "journal").open("a") as journal:
        journal.write('{{"clip_id": "vid')
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stage", ["among clips", "between renames"])
def test_sigkill_and_resume_end_in_the_same_bytes(tmp_path, stage):
    write_all(tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), folder=str(folder), stage=stage)
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with StoreWriter(paths_in(folder), a_plan(), folder / "journal") as writer:
        assert writer.todo() == ([2, 3, 4] if stage == "among clips" else [])
        fill(writer, writer.todo())
        writer.finish()
        writer.done()
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_framestore as t
folder = Path({folder!r})
def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
if {stage!r} == "laying out":
    allow(9000)
with t.StoreWriter(t.paths_in(folder), t.a_plan(), folder / "journal") as writer:
    t.fill(writer, [0])
    allow(writer.slots["O"].offset + 1700 * 2)
    t.fill(writer, [1, 2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("stage", ["laying out", "among clips"])
def test_a_full_disk_is_an_error_and_the_next_run_goes_on(tmp_path, stage):
    write_all(tmp_path / "whole")
    folder = tmp_path / "full"
    folder.mkdir()
    code = textwrap.dedent(FULL).format(tests=str(Path(__file__).parent), folder=str(folder), stage=stage)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("OSError")
    with StoreWriter(paths_in(folder), a_plan(), folder / "journal") as writer:
        assert writer.todo() == ([1, 2, 3, 4] if stage == "among clips" else [0, 1, 2, 3, 4])
        fill(writer, writer.todo())
        writer.finish()
        writer.done()
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")


def test_an_unfinished_store_is_taken_up_only_with_its_own_settings(tmp_path):
    with StoreWriter(paths_in(tmp_path), a_plan(), tmp_path / "journal") as writer:
        fill(writer, [0])
    with pytest.raises(UsageError, match="other settings"):
        StoreWriter(paths_in(tmp_path), a_plan(blur=3), tmp_path / "journal")


def test_a_finished_store_is_read_only_with_the_settings_asked_for(tmp_path):
    write_all(tmp_path / "a")
    with pytest.raises(DataError, match=r"size is '16x12', not '224x224'"):
        open_store(tmp_path / "a" / "O.h5", expect={"size": "224x224"})
    with pytest.raises(UsageError, match="exists"):
        write_all(tmp_path / "a")


def test_clips_left_out_are_not_read(tmp_path):
    plan = a_plan()
    with StoreWriter(paths_in(tmp_path), plan, tmp_path / "journal") as writer:
        fill(writer, [0, 2, 3])
        writer.record(ClipRecord(plan.ids[1], 1, plan.groups[1], "dropped", "no diver"))
        with pytest.raises(DataError, match="1 clips are unfinished"):
            writer.finish()
        writer.record(ClipRecord(plan.ids[4], 4, plan.groups[4], "failed", "damaged"))
        writer.finish()
        writer.done()
    store = open_store(tmp_path / "O.h5")
    assert store.ids == tuple(plan.ids[row] for row in (0, 2, 3))
    np.testing.assert_array_equal(store.clip(1), frames_of(2))


def test_shards_are_read_as_one(tmp_path):
    whole = a_plan(7)
    for index in range(3):
        rows = Shard(index, 3).rows(7)
        plan = StorePlan(
            tuple(whole.ids[row] for row in rows),
            tuple(whole.labels[row] for row in rows),
            tuple(whole.groups[row] for row in rows),
            *whole.shape[1:4],
            {"shard": [index, 3]},
        )
        with StoreWriter({"O": Shard(index, 3).path(tmp_path / "O.h5")}, plan, tmp_path / f"journal{index}") as writer:
            for row in writer.todo():
                mark = write_clip(writer.slots["O"], row, frames_of(rows[row]))
                writer.record(a_record(plan, row, {"O": mark}))
            writer.finish()
            writer.done()
    store = open_store(tmp_path / "O.h5")
    assert store.ids == whole.ids
    for number in range(7):
        np.testing.assert_array_equal(store.clip(number), frames_of(number))
    Shard(1, 3).path(tmp_path / "O.h5").unlink()
    with pytest.raises(DataError, match="1 are missing, the first is 1"):
        open_store(tmp_path / "O.h5")


def test_a_changed_byte_is_found(tmp_path):
    write_all(tmp_path / "a")
    path = tmp_path / "a" / "O.h5"
    block = open_store(path).blocks[0]
    with path.open("rb+") as file:
        file.seek(block.offset + 2 * T * H * W * 3)
        file.write(bytes([255 - int(block[2].flat[0])]))
    with pytest.raises(DataError, match=r"1 of 5 clips are damaged, the first is video0_00002"):
        open_store(path).verify()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.attrs.__setitem__("format", "cake"), "no store of frames"),
        (lambda file: file.attrs.__setitem__("version", 9), "version 9"),
        (lambda file: file["labels"].__setitem__(0, 7), "content hash"),
        (lambda file: file["digest"].__setitem__(slice(None), 0), "unfinished"),
        (lambda file: file.__delitem__("group"), "group"),
        (lambda file: file.__setitem__("far", h5py.ExternalLink("x.h5", "/y")), "external link"),
    ],
)
def test_other_files_are_refused(tmp_path, harm, message):
    write_all(tmp_path / "a")
    with h5py.File(tmp_path / "a" / "O.h5", "r+") as file:
        harm(file)
    with pytest.raises(DataError, match=message):
        open_store(tmp_path / "a" / "O.h5")


def test_truncated_and_absent_files_are_refused(tmp_path):
    write_all(tmp_path / "a")
    path = tmp_path / "a" / "O.h5"
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(DataError, match="damaged or truncated"):
        open_store(path)
    with pytest.raises(DataError, match="no such file"):
        open_store(tmp_path / "b.h5")


def test_too_large_a_store_is_refused_before_the_first_byte(tmp_path):
    plan = StorePlan(("a",), (0,), ("a",), 4096, 8192, 8192)
    with pytest.raises(UsageError, match="GB free"):
        StoreWriter(paths_in(tmp_path), plan, tmp_path / "journal")
    assert not list(tmp_path.iterdir())


def test_a_sink_takes_exactly_one_clip(tmp_path):
    with StoreWriter(paths_in(tmp_path), a_plan(), tmp_path / "journal") as writer:
        assert writer.slots["O"].path == partial_path(tmp_path / "O.h5")
        sink = ClipSink(writer.slots["O"], 0)
        with pytest.raises(DataError, match="frame 0 is float64"):
            sink.add(np.zeros((H, W, 3)))
        sink.add(frames_of(0)[0])
        with pytest.raises(DataError, match="a clip of 1 frames"):
            sink.close()


@pytest.mark.parametrize(
    "changes", [{"ids": ("a", "a")}, {"labels": (1,)}, {"num_frames": 0}, {"groups": ("x" * 200, "y")}]
)
def test_a_plan_checks_itself(changes):
    good = {"ids": ("a", "b"), "labels": (1, 2), "groups": ("a", "b"), "num_frames": 1, "height": 2, "width": 2}
    StorePlan(**good)
    with pytest.raises(UsageError):
        StorePlan(**(good | changes))
