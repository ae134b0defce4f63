"""Sweeps as processes that are killed, stopped and started again; grids, locks and tables beside them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.cli import cli
from benchmark.config import RunConfig
from benchmark.data import plan_data
from benchmark.statistics import clopper_pearson
from benchmark.sweep import worker as worker_module
from benchmark.sweep.grid import Grid, Job, parse_budget, protocol_of
from benchmark.sweep.plan import MACHINE, Estimator, makespan
from benchmark.sweep.pool import Hooks, Pool
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.worker import Outcome, Settings, do_jobs
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

COMMAND = [sys.executable, "-W", "error", "-c", "from benchmark.cli import main; main()"]
SIZES = {"n_train": 32, "n_val": 20, "n_target": 20, "max_epochs": 4, "batch_size": 16}
TINY = ["--models", "3dcnn", "--hidden", "2", "--digits", "embedded", "--device", "cpu", "--epochs", "4"]
TINY += ["--n-train", "32", "--n-val", "20", "--n-target", "20", "--batch-size", "16"]
SEEDS = ["--seeds", "0,61"]
PATIENCE_S = 100


def command(out, *arguments):
    return [*COMMAND, "sweep", "--out", str(out), *TINY, *arguments]


@pytest.fixture(scope="module")
def environment(data_dir):
    return {**os.environ, "RAC_DATA_DIR": str(data_dir)}


@pytest.fixture(scope="module")
def sweep(environment):
    def call(out, *arguments, code=0):
        done = subprocess.run(command(out, *arguments), env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sweep):
    """A sweep of four jobs on two workers that nothing disturbed, and its output."""
    out = tmp_path_factory.mktemp("sweeps") / "whole"
    return out, sweep(out, *SEEDS, "--workers", "2")


def tiny_jobs(**grid):
    chosen = {"models": ("3dcnn",), "hidden": (2,), "seeds": (0, 61), **grid}
    return Grid(**chosen).jobs("paper", **SIZES)


@pytest.fixture
def begun(tmp_path, data_dir):
    """A sweep without jobs, and settings for working in it."""
    directory = SweepDirectory(tmp_path / "begun")
    with directory.opened(print):
        directory.begin(protocol_of("paper", **SIZES))
    return directory, Settings(directory, "embedded", data_dir, "cpu", 1)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def never():
    return False


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # where there is one: the dead may wait to be buried
    return not Path("/proc/self").exists() or (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z")


@pytest.fixture
def start_first_epoch(environment):
    """Start a sweep and wait until the first job has an epoch behind it: its process and the pid of that worker."""

    def start(out, *arguments):
        process = subprocess.Popen(
            command(out, *arguments), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_until(lambda: list(out.glob("jobs/*/seed*/state.safetensors")), "no job began")
        state = next(out.glob("jobs/*/seed*/state.safetensors"))
        return process, int((state.parent.parent / ".lock").read_text())

    return start


def bytes_that_must_agree(out):
    patterns = ["records.jsonl", "sweep.json", "jobs/*/*.json", "jobs/*/report.md", "jobs/*/predictions/*/*.h5"]
    patterns += ["jobs/*/seed*/checkpoint.safetensors"]
    return {str(path.relative_to(out)): path.read_bytes() for pattern in patterns for path in out.glob(pattern)}


def test_paper_grid_begins_with_the_first_seed_of_every_model():
    jobs = Grid().jobs("paper")
    assert len(jobs) == len({job.name for job in jobs}) == 400
    assert {job.seed for job in jobs[:80]} == {42}
    assert len({(*job.family, job.config.source) for job in jobs[:80]}) == 80
    assert [job.config.hidden for job in jobs[:80]] == sorted(job.config.hidden for job in jobs[:80])
    assert (jobs[0].name, jobs[-1].name) == ("3dcnn-h2-2dot-seed42", "timesf-1-h48-mnist-bg-seed57")
    assert {job.config.max_epochs for job in jobs if job.config.model.startswith("timesf")} == {300}


@pytest.mark.parametrize("n", [1, 3, 8, 80])
def test_shards_are_a_partition_and_no_shard_gets_one_model_alone(n):
    grid = Grid()
    jobs = grid.jobs("paper")
    shards = [grid.shard(jobs, Shard(i, n)) for i in range(n)]
    assert sorted(job.name for shard in shards for job in shard) == sorted(job.name for job in jobs)
    assert max(map(len, shards)) - min(map(len, shards)) <= 5
    assert all(len({job.config.model for job in shard}) > 1 for shard in shards)


def test_a_model_from_outside_comes_once_whatever_h():
    jobs = Grid(models=("3dcnn", "torchvision:r3d_18"), hidden=(2, 4), sources=("2dot",), seeds=(1,)).jobs("paper")
    assert [job.name for job in jobs] == [
        "3dcnn-h2-2dot-seed1",
        "torchvision-r3d-18-2dot-seed1",
        "3dcnn-h4-2dot-seed1",
    ]


def test_times_as_text():
    assert [parse_budget(text) for text in ("900s", "30m", "2h", "0.5d")] == [900, 1800, 7200, 43200]


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models 3dcnn,convlsm", "unknown model 'convlsm'. Did you mean 'convlstm'?"),
        ("--models 3dcnn,", "unknown model ''"),
        ("--sources 2dot,5dot", "unknown source '5dot'."),
        ("--preset papr", "unknown preset 'papr'. Did you mean 'paper'?"),
        ("--hidden 2,x", "hidden '2,x' is not whole numbers"),
        ("--hidden 2,0", "hidden 0 is not possible"),
        ("--models 3dcnn,timesf-1 --hidden 2,3", "hidden 3 is not possible for timesf-1"),
        ("--hidden 2,4,2", "--hidden names 2 twice"),
        ("--seeds 1,1", "--seeds names 1 twice"),
        ("--epochs 0", "max_epochs 0 is not possible"),
        ("--shard -1/3", "give i/n, from 0/n to n-1/n"),
        ("--shard 3/3", "shards are counted from 0, so n of them are 0/n to n-1/n"),
        ("--shard 1", "give i/n, from 0/n to n-1/n"),
        ("--budget abc", "budget 'abc' is no time"),
        ("--budget 0h", "budget '0h' is no time"),
        ("--workers 0", "workers 0 is not possible"),
        ("--threads 0", "threads 0 is not possible"),
        ("--device gpu", "unknown device 'gpu'."),
        ("--plan --summary", "ask one at a time"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, options, message):
    out = tmp_path / "new"
    with pytest.raises(UsageError) as caught:
        cli.main(["sweep", "--out", str(out), *options.split()], standalone_mode=False)
    assert message in str(caught.value)
    assert not out.exists()


def test_what_is_no_sweep_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for out, message in ((tmp_path, "is not empty and holds no sweep"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(UsageError, match=message):
            cli.main(["sweep", "--out", str(out)], standalone_mode=False)
    with pytest.raises(DataError, match=r"it has no sweep\.json"):
        cli.main(["sweep", "--out", str(tmp_path), "--summary"], standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_protocol_is_refused_with_the_differences(whole):
    with pytest.raises(UsageError, match=r"max_epochs: 4 -> 7; learning_rate: 0\.001 -> 0\.1"):
        cli.main(
            ["sweep", "--out", str(whole[0]), *TINY, "--epochs", "7", "--learning-rate", "0.1"], standalone_mode=False
        )


def test_records_alone_give_the_accuracies_of_the_table(whole, sweep):
    out, printed = whole
    text = (out / "records.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert str(out.parent) not in text
    assert [record["job"] for record in records] == sorted(job.name for job in tiny_jobs())
    summary = json.loads(sweep(out, "--summary", "--json").stdout)
    assert summary["states"] == {"done": 4, "failed": 0, "begun": 0, "todo": 0}
    for group in summary["groups"]:
        mine = [record for record in records if record["config"]["source"] == group["source"]]
        assert group["scorecard"]["seeds"] == [0, 61]
        for row in group["scorecard"]["rows"]:
            shares = [record["domains"][row["domain"]] for record in mine]
            assert [share["hits"] for share in shares] == row["hits_per_seed"]
            assert row["accuracy"]["value"] == pytest.approx(sum(s["hits"] / s["n"] for s in shares) / len(shares))
    assert all("!" in line for line in printed.stdout.splitlines() if line.startswith("3dcnn"))  # V is near chance
    assert sum(line.startswith("done ") for line in printed.stderr.splitlines()) == 4


def test_summary_prints_the_same_table_without_torch(whole):
    code = (
        "import sys; from benchmark.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", "--summary", "--out", str(whole[0])], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, whole[1].stdout), done.stderr


def test_kill_9_of_the_sweep_costs_an_epoch_and_no_byte(whole, sweep, start_first_epoch, tmp_path):
    out = tmp_path / "killed"
    process, worker = start_first_epoch(out, *SEEDS, "--workers", "1")
    process.kill()
    process.communicate()
    wait_until(lambda: not is_alive(worker), "the worker outlived its sweep")
    states = {job.name: SweepDirectory(out).state(job) for job in tiny_jobs()}
    assert states[tiny_jobs()[0].name] == "begun"
    sweep(out, *SEEDS, "--workers", "1")
    assert bytes_that_must_agree(out) == bytes_that_must_agree(whole[0])


def test_a_worker_that_dies_fails_its_job_alone(sweep, start_first_epoch, tmp_path):
    out = tmp_path / "crashed"
    options = ["--sources", "2dot", *SEEDS, "--workers", "1"]
    process, worker = start_first_epoch(out, *options)
    os.kill(worker, signal.SIGSEGV)
    stderr = process.communicate()[1]
    assert process.returncode == 4, stderr
    first, second = tiny_jobs(sources=("2dot",))
    directory = SweepDirectory(out)
    assert (directory.state(first), directory.state(second)) == ("failed", "done")
    assert directory.failure(first) == {"error": "the worker was killed by SIGSEGV", "attempts": 1}
    again = sweep(out, *options, code=4)
    assert "1 failed jobs are left out" in again.stderr
    assert f"failed: {first.name}: the worker was killed by SIGSEGV" in again.stdout
    sweep(out, *options, "--retry-failed")
    assert (directory.state(first), directory.failure(first)) == ("done", {})


def test_ctrl_c_stops_everything_and_says_how_to_go_on(start_first_epoch, tmp_path):
    process, worker = start_first_epoch(tmp_path / "stopped", *SEEDS, "--workers", "2")
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    stopped = time.monotonic()
    stderr = process.communicate()[1]
    assert process.returncode == 130, stderr
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert not is_alive(worker)
    assert time.monotonic() - stopped < 15


def test_budget_begins_nothing_that_would_not_end(sweep, tmp_path):
    out = tmp_path / "short"
    done = sweep(out, "--seeds", "0", "--sources", "2dot", "--epochs", "100000", "--budget", "5m", "--json")
    assert "1 jobs left: none of them is estimated to end within the budget" in done.stderr
    assert json.loads(done.stdout)["states"]["todo"] == 1
    assert not list(out.glob("jobs/*"))


def test_used_up_budget_stops_a_pack_at_the_end_of_an_epoch(begun):
    directory, settings = begun
    endless = RunConfig(**{**SIZES, "max_epochs": 10000, "patience": 10000, "hidden": 2})
    job, other = pack = [Job(dataclasses.replace(endless, seeds=(seed,))) for seed in (0, 1)]
    state = directory.run_directory(job).seed_path(0, "state.safetensors")
    told = []
    Pool(settings, 1, 2, Hooks(lambda jobs: True, state.exists, told.append, lambda running: None)).run(pack)
    assert told == [Outcome(job, "stopped"), Outcome(other, "stopped")]
    assert (directory.state(job), directory.state(other)) == ("begun", "todo")
    metrics = directory.run_directory(job).seed_path(0, "metrics.jsonl").read_text().splitlines()
    assert 1 <= len(metrics) < 1000


def test_a_job_is_never_done_twice_and_jobs_of_a_pack_get_what_they_get_alone(begun, whole):
    directory, settings = begun
    first, second = jobs = tiny_jobs()[:2]
    with directory.claim(first):
        assert do_jobs([first], settings, never) == ([Outcome(first, "held")], True)
    outcomes, usable = do_jobs(jobs, settings, never)
    assert ([outcome.kind for outcome in outcomes], usable) == (["done", "done"], True)
    for job in jobs:
        alone = SweepDirectory(whole[0]).run_directory(job).result_path
        assert directory.run_directory(job).result_path.read_bytes() == alone.read_bytes()
    before = directory.run_directory(second).result_path.stat().st_mtime_ns
    assert do_jobs([second], settings, never)[0] == [Outcome(second, "done", "by another sweep")]
    assert directory.run_directory(second).result_path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "problem, kind, state, usable",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space", "todo", True),
        (DataError("the clips are damaged."), "failed", "failed", True),
        (ZeroDivisionError("a bug"), "failed", "failed", False),
    ],
)
def test_what_goes_wrong_in_a_job(begun, monkeypatch, problem, kind, state, usable):
    directory, settings = begun

    def broken(*_):
        raise problem

    monkeypatch.setattr(worker_module, "train_pack", broken)
    first, second = tiny_jobs()[:2]
    (outcome,), trusted = do_jobs([first], settings, never)
    assert (outcome.kind, directory.state(first), trusted) == (kind, state, usable)
    if kind == "failed":
        do_jobs([first], settings, never)
        assert directory.failure(first)["attempts"] == 2
        together, _ = do_jobs([first, second], settings, never)
        assert [each.kind for each in together] == ["apart", "apart"]  # nobody is blamed for another
        assert directory.state(second) == "todo"


def test_other_clips_and_foreign_jobs_are_refused(whole, data_dir):
    directory, job = SweepDirectory(whole[0]), tiny_jobs()[0]
    plan = plan_data(job.config, "embedded", data_dir)
    directory.check_same_clips([plan])
    other = dataclasses.replace(plan, val=dataclasses.replace(plan.val, digest="0" * 64))
    with pytest.raises(UsageError, match="was begun with other clips of 2dot/val"):
        directory.check_same_clips([other])
    foreign = directory.jobs_path / "3dcnn-h4-2dot-seed0"
    foreign.mkdir()
    config = {**RunConfig(**{**SIZES, "hidden": 4, "seeds": (0,), "learning_rate": 0.5}).to_json()}
    try:
        (foreign / "config.json").write_text(json.dumps(config))
        with pytest.raises(DataError, match=r"another protocol than this sweep \(learning_rate: 0.001 -> 0.5\)"):
            directory.begun_jobs()
        (foreign / "config.json").write_text(json.dumps({**config, "hidden": 8}))
        with pytest.raises(DataError, match="its name and its config differ"):
            directory.begun_jobs()
    finally:
        (foreign / "config.json").unlink()
        foreign.rmdir()


def test_plan_says_what_is_measured_and_what_is_tried(whole, sweep):
    out = whole[0]
    before = sorted(out.rglob("*"))
    plan = json.loads(sweep(out, "--plan", "--json", "--hidden", "2,4", "--seeds", "0,61,7", "--workers", "3").stdout)
    measured, tried = plan["rows"]
    assert (measured["runs"], measured["done"], measured["measured"], measured["finished"]) == (6, 4, 16, 4)
    assert (tried["runs"], tried["done"], tried["measured"], tried["finished"]) == (6, 0, 0, 0)
    assert (tried["expected_epochs"], tried["max_epochs"]) == (4.0, 4)
    assert 0.001 < tried["epoch_s"] < 60
    assert measured["hours"] == pytest.approx(2 * 4 * measured["epoch_s"] / 3600)
    assert plan["worker_hours"] / 3 <= plan["hours"] < plan["worker_hours"]
    assert sorted(out.rglob("*")) == before


def test_estimates_count_what_is_left_and_ignore_other_machines(whole):
    out = whole[0]
    stored = json.loads(next(out.glob("jobs/*/environment.json")).read_text())["begun"]
    here = Estimator(SweepDirectory(out), stored)
    here.update()
    job = tiny_jobs()[0]
    timing = here.timing(job)
    assert here.remaining_s(job) == timing.epoch_s  # behind its last epoch: one more at least
    assert here.remaining_s(tiny_jobs(seeds=(5,))[0]) == 4 * timing.epoch_s
    for name in MACHINE:
        there = Estimator(SweepDirectory(out), {**stored, name: "another"})
        there.update()
        assert there.timing(job) is None
    assert makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert makespan([], 2) == 0.0


def test_interval_of_one_seed_in_the_table_is_exact(whole):
    from benchmark.sweep.summary import summarise

    job = tiny_jobs()[0]
    (group,) = summarise(SweepDirectory(whole[0]), [job]).groups
    row = group.card.rows[0]
    assert (row.accuracy.low, row.accuracy.high) == clopper_pearson(row.hits[0], row.n)
