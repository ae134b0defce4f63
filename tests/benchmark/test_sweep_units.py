"""Jobs of a sweep as units of an engine: in this process here, on Ray in tests/cluster."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.sweep import units as units_module
from benchmark.sweep.grid import Grid, protocol_of
from benchmark.sweep.run import Means, run_sweep
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.units import do_units, outcomes_of, packs
from benchmark.sweep.worker import Outcome, Settings
from tsgen.common.engine import EngineOptions, Finished, UnitError
from tsgen.common.errors import RacError, UsageError

SIZES = {"n_train": 32, "n_val": 20, "n_target": 20, "max_epochs": 2, "batch_size": 16}
SERIAL = EngineOptions("serial")


def jobs_of(seeds=(0, 61), models=("3dcnn",), sources=("2dot",)):
    return Grid(models=models, hidden=(2,), sources=sources, seeds=seeds).jobs("quick", **SIZES)


def sweep(out, data_dir, jobs, **means):
    said = []
    options = {"digits": "embedded", "data_dir": data_dir, "retry_failed": False, "say": said.append}
    run_sweep(SweepDirectory(out), jobs, protocol_of("quick", **SIZES), Means("cpu", **means), **options)
    return said


@pytest.fixture
def begun(tmp_path, data_dir):
    directory = SweepDirectory(tmp_path / "begun")
    with directory.opened(print):
        directory.begin(protocol_of("quick", **SIZES))
    return directory, Settings(directory, "embedded", data_dir, "cpu", 1)


def test_the_engine_changes_no_byte(tmp_path, data_dir, monkeypatch):
    sweep(tmp_path / "pool", data_dir, jobs_of(), workers=1)
    monkeypatch.chdir(tmp_path)
    said = sweep(Path("serial"), data_dir, jobs_of(), engine=SERIAL)
    assert "2 of 2 jobs to do, --engine serial on cpu" in said
    assert (tmp_path / "serial/records.jsonl").read_bytes() == (tmp_path / "pool/records.jsonl").read_bytes() != b""
    assert sweep(Path("serial"), data_dir, jobs_of(), engine=SERIAL) == []  # nothing left to do


def test_packs_are_of_one_family_in_the_order_of_the_jobs():
    jobs = jobs_of(seeds=(1, 2, 3), models=("3dcnn", "convlstm"))
    found = packs(jobs, 2)
    assert [[job.seed for job in pack] for pack in found] == [[1, 2], [1, 2], [3], [3]]
    assert all(len({job.family for job in pack}) == 1 for pack in found)
    assert [pack[0] for pack in packs(jobs, 1)] == jobs


def test_nothing_begins_after_the_budget(begun):
    directory, settings = begun
    told = []
    do_units(jobs_of(), settings, SERIAL, told.append, until=time.time())
    assert told == []
    assert units_module.do_pack(settings, time.time(), False, jobs_of()) == [
        Outcome(job, "stopped") for job in jobs_of()
    ]
    assert not list(directory.jobs_path.iterdir())


def test_a_budget_ends_jobs_that_run_at_an_epoch_and_the_same_command_goes_on(tmp_path, data_dir, monkeypatch):
    """The time is over as soon as the first job has an epoch behind it."""
    out = SweepDirectory(tmp_path / "short")
    first, second = jobs_of()
    state = out.run_directory(first).seed_path(0, "state.safetensors")
    now = time.time
    monkeypatch.setattr(units_module.time, "time", lambda: now() + (3600 if state.exists() else 0))
    said = sweep(out.path, data_dir, [first, second], engine=SERIAL, budget_s=1800.0, started=time.monotonic())
    assert [out.state(job) for job in (first, second)] == ["begun", "todo"]
    assert f"stopped {first.name}" in said
    assert any("2 jobs left" in line for line in said)
    monkeypatch.undo()
    sweep(out.path, data_dir, [first, second], engine=SERIAL)
    assert [out.state(job) for job in (first, second)] == ["done", "done"]


def test_jobs_whose_process_died(begun):
    """Alone it has failed; with others, each is tried alone."""
    directory, settings = begun
    first, second = jobs_of()
    died = UnitError("its process was ended")
    together = outcomes_of(Finished([first, second], problem=died), settings)
    assert together == [Outcome(first, "apart", str(died)), Outcome(second, "apart", str(died))]
    assert directory.state(first) == "todo"
    assert outcomes_of(Finished([first], problem=died), settings) == [Outcome(first, "failed", str(died))]
    assert directory.failure(first) == {"error": str(died), "attempts": 1}
    with directory.claim(second):
        assert outcomes_of(Finished([second], problem=died), settings) == [Outcome(second, "held")]


def test_what_became_of_a_pack_is_done_again_or_told(begun, monkeypatch):
    _, settings = begun
    jobs = jobs_of()
    asked = []

    def do_jobs(pack, settings, stop):
        asked.append([job.seed for job in pack])
        kind = {1: "apart", 2: "held", 3: "held"}.get(len(asked), "done")
        return [Outcome(job, kind) for job in pack], True

    monkeypatch.setattr(units_module, "do_jobs", do_jobs)
    monkeypatch.setattr(units_module, "HELD_AGAIN_S", 0.0)
    told = []
    do_units(jobs, settings, SERIAL, told.append, pack=10)
    assert asked == [[0, 61], [0], [61], [0], [61]]
    assert [outcome.kind for outcome in told] == ["done", "done"]
    monkeypatch.setattr(units_module, "do_jobs", lambda pack, *_: ([Outcome(pack[0], "no space", "28")], True))
    with pytest.raises(RacError, match="no space left"):
        do_units(jobs, settings, SERIAL, told.append)


def test_machines_without_the_files_are_named(begun, tmp_path):
    directory, settings = begun
    directory.record_path.unlink()
    with pytest.raises(UsageError, match=r"sweep\.json is not there on .*: the machines of a cluster work on common"):
        do_units(jobs_of(), settings, SERIAL, print)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--engine ry", "unknown engine 'ry'. Did you mean 'ray'?"),
        ("--engine ray", "--engine ray: say --device cpu or cuda"),
        ("--address auto", "add --engine ray"),
        ("--gpus 0.25", "add --engine ray --device cuda"),
        ("--gpus 0.25 --engine ray --device cpu", "add --engine ray --device cuda"),
        ("--gpus 2 --engine ray --device cuda", "--gpus 2 is not possible; allowed: above 0, at most 1"),
        ("--gpus 0 --engine ray --device cuda", "--gpus 0 is not possible"),
    ],
)
def test_engines_that_cannot_be_asked_for(tmp_path, options, message):
    done = CliRunner().invoke(cli, ["sweep", "--out", str(tmp_path / "new"), *options.split()])
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
    assert not (tmp_path / "new").exists()
