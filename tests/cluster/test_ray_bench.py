"""sweep, predict and run on a Ray cluster of this machine: the files of one process, also when workers die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmark.sweep.store import SweepDirectory
from tsgen.common.engine import EngineOptions, Work, run_units

pytestmark = pytest.mark.cluster

SIZES = ["--hidden", "2", "--n-val", "20", "--n-target", "20", "--digits", "embedded"]
TRAINING = ["--preset", "quick", *SIZES, "--n-train", "32", "--batch-size", "16", "--threads", "1"]
GRID = ["--models", "3dcnn", "--sources", "2dot", "--seeds", "0,61"]
PATIENCE_S = 240


@pytest.fixture(scope="module")
def address(ray_cluster):
    """A machine whose cores hold two ranks, and one that says that it has a GPU."""
    return str(ray_cluster({"num_cpus": 2}, {"num_cpus": 4, "num_gpus": 1}).address)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def start(ray_environment, folder):
    """``rac-bench`` as a process of its own, in ``folder`` and with names relative to it."""
    environment = {**os.environ, "RAC_DATA_DIR": "clips"}

    def begin(*arguments):
        command = [sys.executable, "-c", "from benchmark.cli import main; main()", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return begin


@pytest.fixture(scope="module")
def rac_bench(start):
    def call(*arguments, code=0):
        process = start(*arguments)
        printed, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, said
        return printed, said

    return call


@pytest.fixture(scope="module")
def pool(rac_bench, folder):
    """A sweep by the pool."""
    rac_bench("sweep", "--out", "pool", *TRAINING, *GRID, "--epochs", "2", "--device", "cpu", "--workers", "1")
    return SweepDirectory(folder / "pool")


def test_a_sweep_has_the_records_of_the_pool(pool, rac_bench, address, folder):
    options = ["--epochs", "2", "--engine", "ray", "--address", address, "--device", "cpu"]
    printed, said = rac_bench("sweep", "--out", "on-ray", *TRAINING, *GRID, *options)
    assert "2 of 2 jobs to do, --engine ray on cpu" in said
    assert "Jobs: 2 done." in printed
    assert (folder / "on-ray" / "records.jsonl").read_bytes() == pool.records_path.read_bytes()


def test_a_job_whose_process_keeps_dying_fails_alone(rac_bench, start, address, folder):
    """Killed three times in its first epochs; the other job is done, and --retry-failed does the rest."""
    store = SweepDirectory(folder / "killed")
    options = [*TRAINING, *GRID, "--device", "cpu", "--engine", "ray", "--address", address]
    process = start("sweep", "--out", "killed", *options, "--epochs", "20", "--patience", "20", "--workers", "1")
    victims = set()
    until = time.monotonic() + PATIENCE_S
    while len(victims) < 3:
        assert time.monotonic() < until and process.poll() is None
        for lock in folder.glob("killed/jobs/*-seed0/.lock"):
            text = lock.read_text().strip()
            if text.isdigit() and int(text) not in victims and next(folder.glob("killed/jobs/*-seed0/seed0/*"), None):
                victims.add(int(text))
                os.kill(int(text), signal.SIGKILL)
        time.sleep(0.02)
    printed, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, said
    assert "1 done, 1 failed" in printed
    failed, done = sorted(store.begun_jobs(), key=lambda job: job.seed)
    assert (store.state(failed), store.state(done)) == ("failed", "done")
    assert "its process was ended from outside" in store.failure(failed)["error"]
    assert store.failure(failed)["attempts"] == 1


def test_a_job_on_a_machine_without_its_gpu_says_so(rac_bench, address, folder):
    """The cluster declares a GPU that PyTorch does not find."""
    options = ["--epochs", "1", "--engine", "ray", "--address", address, "--device", "cuda", "--gpus", "0.5"]
    printed, _ = rac_bench("sweep", "--out", "no-gpu", *TRAINING, *GRID, *options, code=4)
    assert printed.count("--device cuda: PyTorch finds no CUDA device here") == 2


def test_four_units_share_a_gpu(ray_environment, address, tmp_path):
    """What ``--gpus 0.25`` asks of the engine; each waits until all four are there."""
    import bench_work

    work = Work(run=partial(bench_work.meet, tmp_path, 4), cpus=1.0, gpus=0.25)
    seen = [one.result for one in run_units(work, range(4), EngineOptions("ray", address=address))]
    assert seen == [4, 4, 4, 4]


def test_predict_writes_the_bytes_of_one_process(pool, rac_bench, address, folder):
    checkpoints = sorted(folder.glob("pool/jobs/*/seed*/checkpoint.safetensors"))
    files = [part for path in checkpoints for part in ("--checkpoint", path.relative_to(folder))]
    common = [*files, *SIZES, "--threads", "1", "--device", "cpu"]
    rac_bench("predict", *common, "--out", "alone")
    rac_bench("predict", *common, "--out", "together", "--engine", "ray", "--address", address)
    names = sorted(str(path.relative_to(folder / "alone")) for path in folder.glob("alone/**/*.*"))
    assert len(names) == 9
    for name in names:
        assert (folder / "together" / name).read_bytes() == (folder / "alone" / name).read_bytes()


def test_two_ranks_on_one_machine_of_the_cluster(rac_bench, address, folder):
    options = [*TRAINING, "--device", "cpu", "--epochs", "2", "--json"]
    printed, said = rac_bench(
        "run", *options, "--out", "ranks", "--ranks", "2", "--engine", "ray", "--address", address
    )
    assert json.loads(printed) == json.loads((folder / "ranks" / "result.json").read_text())
    assert said.count("training on 32 2dot clips: seed 42") == 1
    rac_bench("run", *options, "--out", "local", "--ranks", "2")
    assert (folder / "ranks" / "result.json").read_bytes() == (folder / "local" / "result.json").read_bytes()
    options[-2] = "3"
    assert "add --resume" in rac_bench("run", *options, "--out", "ranks", "--ranks", "2", "--engine", "ray", code=2)[1]


def test_a_run_whose_worker_dies_goes_on_and_a_stopped_one_leaves_nothing(start, address, folder):
    long = [*TRAINING, "--device", "cpu", "--epochs", "100000", "--patience", "100000", "--out", "long"]
    process = start("run", *long, "--engine", "ray", "--address", address)
    wait_until(lambda: epochs(folder) > 3, process)
    (first,) = processes_of("--out=long")
    os.kill(parent_of(first), signal.SIGKILL)
    wait_until(lambda: processes_of("--out=long") not in ([], [first]), process)
    reached = epochs(folder)
    wait_until(lambda: epochs(folder) > reached + 1, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130, said
    wait_until(lambda: not processes_of("--out=long"))
    numbers = [json.loads(line)["epoch"] for line in (folder / "long/seed42/metrics.jsonl").read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))  # none was begun anew


def epochs(folder: Path) -> int:
    metrics = folder / "long/seed42/metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def wait_until(condition, process=None):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until and (process is None or process.poll() is None)
        time.sleep(0.05)


def processes_of(argument):
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            alive = "State:\tZ" not in (line.parent / "status").read_text()
            if alive and argument in line.read_text().split("\0"):
                found.append(int(line.parent.name))
        except OSError:
            continue
    return found


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
