"""Sweeps of shards that shared no files, joined: the records of one sweep, or a word on what does not fit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.merge_commands import merge
from benchmark.sweep import merge as merge_module
from benchmark.sweep.grid import Grid, protocol_of
from benchmark.sweep.merge import jobs_of_each, merge_sweeps
from benchmark.sweep.run import Means, run_sweep
from benchmark.sweep.store import SweepDirectory
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

SIZES = {"n_train": 32, "n_val": 20, "n_target": 20, "max_epochs": 1, "batch_size": 16}
GRID = Grid(models=("3dcnn",), hidden=(2,), sources=("2dot",), seeds=(0, 1, 2))
JOBS = GRID.jobs("quick", **SIZES)


def sweep(out, jobs, data_dir, **overrides):
    protocol = protocol_of("quick", **{**SIZES, **overrides})
    options = {"digits": "embedded", "data_dir": data_dir, "retry_failed": False, "say": lambda line: None}
    run_sweep(SweepDirectory(out), jobs, protocol, Means("cpu", engine=EngineOptions("serial")), **options)


@pytest.fixture(scope="module")
def swept(tmp_path_factory, data_dir):
    """``whole``, and the shards ``0`` and ``1`` of the same jobs."""
    folder = tmp_path_factory.mktemp("swept")
    sweep(folder / "whole", JOBS, data_dir)
    for index in range(2):
        sweep(folder / f"{index}", GRID.shard(JOBS, Shard(index, 2)), data_dir)
    return folder


@pytest.fixture
def shards(swept, tmp_path):
    """Copies, to be damaged."""
    return [Path(shutil.copytree(swept / name, tmp_path / name)) for name in "01"]


def files_of(folder):
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)) for path in found if not path.name.startswith(".")}


def test_shards_joined_are_the_sweep_of_one_machine(swept, shards, tmp_path):
    out = tmp_path / "merged"
    (shards[0] / "jobs" / JOBS[0].name / ".lock").write_text("1\n")
    done = CliRunner().invoke(merge, [*map(str, shards), "--out", str(out)], catch_exceptions=False)
    assert f"Written to {out}: jobs: 3 done. The table: rac-bench sweep --summary" in done.stdout
    assert "\n3dcnn trained on 2dot: 3 of h 2\n" in done.stdout
    assert (out / "records.jsonl").read_bytes() == (swept / "whole" / "records.jsonl").read_bytes()
    assert files_of(out) == files_of(swept / "whole")
    assert not list(out.glob("jobs/*/.lock"))
    summary = CliRunner().invoke(cli, ["sweep", "--summary", "--out", str(out)]).stdout
    assert summary == CliRunner().invoke(cli, ["sweep", "--summary", "--out", str(swept / "whole")]).stdout


def test_merging_goes_on_where_it_was_ended(swept, shards, tmp_path, monkeypatch):
    out, copied = tmp_path / "merged", []

    def copy(run, files, final):
        if copied:
            raise KeyboardInterrupt
        copied.append(final)
        real(run, files, final)

    real = merge_module._copy
    monkeypatch.setattr(merge_module, "_copy", copy)
    with pytest.raises(KeyboardInterrupt):
        merge_sweeps(shards, out, print)
    monkeypatch.undo()
    partial = out / "jobs" / f".{JOBS[1].name}.partial-0-0-0"  # as kill -9 leaves it
    shutil.copytree(shards[0] / "jobs" / JOBS[0].name, partial)
    before = copied[0].stat().st_ino
    assert merge_sweeps(shards, out, print)["done"] == 3
    assert copied[0].stat().st_ino == before
    assert (out / "records.jsonl").read_bytes() == (swept / "whole" / "records.jsonl").read_bytes()


def test_one_of_the_shards_may_take_the_others_in(swept, shards):
    assert merge_sweeps(shards, shards[0], print)["done"] == 3
    assert (shards[0] / "records.jsonl").read_bytes() == (swept / "whole" / "records.jsonl").read_bytes()


def test_what_is_not_done_travels_too_and_done_wins(shards, tmp_path):
    begun, failed = (shards[0] / "jobs" / JOBS[0].name, shards[1] / "jobs" / JOBS[1].name)
    (begun / "result.json").unlink()
    (failed / "result.json").unlink()
    (failed / "failed.json").write_text(json.dumps({"error": "out of memory", "attempts": 1}))
    assert merge_sweeps(shards, tmp_path / "out", print) == {"done": 1, "failed": 1, "begun": 1, "todo": 0}
    again = Path(shutil.copytree(tmp_path / "out", tmp_path / "again"))
    (again / "jobs" / JOBS[1].name / "failed.json").unlink()
    assert merge_sweeps([tmp_path / "out", again], tmp_path / "both", print)["begun"] == 2


def test_what_the_sweeps_hold_of_each():
    jobs = Grid(("3dcnn", "convlstm"), (2, 4), ("2dot",), (0, 1)).jobs("quick", **SIZES)
    assert jobs_of_each(jobs[1:]) == [
        "convlstm trained on 2dot: 2 of h 2, 4",
        "3dcnn trained on 2dot: 2 of h 4; 1 of h 2",
    ]
    assert jobs_of_each([]) == []


def test_of_unfinished_ones_that_with_most_epochs_wins(shards, tmp_path):
    mine = shards[0] / "jobs" / JOBS[0].name
    (mine / "result.json").unlink()
    out = Path(shutil.copytree(shards[0], tmp_path / "out"))  # what an earlier merge brought here
    metrics = mine / "seed0" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() * 2)
    assert merge_sweeps(shards, out, print)["begun"] == 1
    assert (out / "jobs" / JOBS[0].name / "seed0" / "metrics.jsonl").read_bytes() == metrics.read_bytes()


def test_a_job_that_a_shard_still_works_on_is_not_copied(shards, tmp_path):
    store = SweepDirectory(shards[0])
    store.run_directory(JOBS[0]).result_path.unlink()
    with store.claim(JOBS[0]), pytest.raises(UsageError, match=rf"{JOBS[0].name} is being worked on; wait"):
        merge_sweeps(shards, tmp_path / "out", print)
    assert not (tmp_path / "out" / "jobs" / JOBS[0].name).exists()


def test_a_job_that_somebody_works_on_is_not_replaced(swept, shards):
    unfinished = SweepDirectory(shards[0])
    unfinished.run_directory(JOBS[0]).result_path.unlink()
    with unfinished.claim(JOBS[0]), pytest.raises(UsageError, match=r"is being worked on; wait"):
        merge_sweeps([swept / "whole"], shards[0], print)


def _result(run, change):
    value = json.loads((run / "result.json").read_text())
    change(value)
    (run / "result.json").write_text(json.dumps(value))


def _other_hits(run):
    _result(run, lambda value: value["seeds"][0]["domains"]["2dot"].update(hits=19))


def _other_clips(run):
    digests = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**digests, "5dot/test": "0" * 64}))


@pytest.mark.parametrize(
    "damage, message",
    [
        (_other_hits, r"result\.json and the predictions on 2dot differ"),
        (lambda run: _result(run, lambda value: value.pop("seeds")), "is damaged"),
        (lambda run: (run / "predictions/seed0/mnist.h5").unlink(), "no predictions of seed 0 on mnist"),
        (_other_clips, "are about other clips of 5dot/test"),
        (lambda run: (run / "notes").symlink_to(run), "is no plain file"),
    ],
)
def test_damaged_jobs_are_refused(shards, tmp_path, damage, message):
    damage(shards[0] / "jobs" / JOBS[0].name)
    with pytest.raises(DataError, match=message):
        merge_sweeps(shards, tmp_path / "out", print)
    assert not list(tmp_path.glob("out/jobs/*"))


def test_a_job_with_two_results_is_refused(swept, shards, tmp_path):
    _result(shards[0] / "jobs" / JOBS[0].name, lambda value: value["environment"].update(torch="0"))
    with pytest.raises(DataError, match="have different results; remove one of them"):
        merge_sweeps([swept / "whole", *shards], tmp_path / "out", print)


def test_another_protocol_and_other_folders_are_refused(swept, data_dir, tmp_path):
    sweep(tmp_path / "longer", [], data_dir, max_epochs=2)
    with pytest.raises(UsageError, match=r"longer has another protocol than .*max_epochs: 1 -> 2"):
        merge_sweeps([swept / "0", tmp_path / "longer"], tmp_path / "out", print)
    with pytest.raises(UsageError, match="was begun with another protocol"):
        merge_sweeps([swept / "0"], tmp_path / "longer", print)
    with pytest.raises(UsageError, match="is not empty and holds no sweep"):
        merge_sweeps([swept / "0"], tmp_path, print)


def test_killed_while_it_copies(swept, shards, tmp_path):
    """kill -9 between two jobs, in a process of its own; the same command goes on."""
    out = tmp_path / "out"
    code = (
        "import os, sys, benchmark.sweep.merge as m\n"
        "real, seen = m._copy, []\n"
        "def copy(*a):\n"
        "    if seen: os.kill(os.getpid(), 9)\n"
        "    seen.append(real(*a))\n"
        "m._copy = copy\n"
        "from pathlib import Path\n"
        "m.merge_sweeps([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]), print)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(out), *map(str, shards)])
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.glob("jobs/*/result.json"))) == 1
    assert merge_sweeps(shards, out, print)["done"] == 3
