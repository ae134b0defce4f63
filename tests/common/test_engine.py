"""Engines: what serial and processes do alike, and what becomes of processes when either side is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cluster_work
import engine_contract
import pytest

from tsgen.common.engine import EngineOptions, Work, run_units, usable_cores
from tsgen.common.engine.options import chosen_engine
from tsgen.common.errors import UsageError

CLUSTER = Path(__file__).parents[1] / "cluster"
TWO = EngineOptions(workers=2)


@pytest.mark.parametrize("options", [EngineOptions("serial"), TWO], ids=lambda options: options.name)
@pytest.mark.parametrize("check", engine_contract.CHECKS, ids=lambda check: check.__name__)
def test_alike(check, options):
    check(options)


@pytest.mark.parametrize("check", engine_contract.WITH_PROCESSES, ids=lambda check: check.__name__)
def test_processes(check):
    check(TWO)


def test_no_more_processes_than_units():
    def processes(options, units):
        return {one.result[0] for one in run_units(Work(cluster_work.where), range(units), options)}

    assert processes(TWO, 1) == processes(EngineOptions(workers=0), 5) == {os.getpid()}
    assert os.getpid() not in processes(TWO, 6)
    assert TWO.number_of_workers(1) == 1 and TWO.number_of_workers(9) == 2
    assert EngineOptions().number_of_workers(10**6) == usable_cores()


def test_options():
    with pytest.raises(UsageError, match=r"unknown engine 'proceses'\. Did you mean 'processes'"):
        chosen_engine("proceses", None, None)
    with pytest.raises(UsageError, match="add --engine ray"):
        chosen_engine("serial", "10.0.0.1:6379", None)
    with pytest.raises(UsageError, match="--workers -1"):
        chosen_engine("processes", None, -1)
    with pytest.raises(UsageError, match="cannot take 0 CPUs and 0 GPUs"):
        Work(cluster_work.square, cpus=0)


@pytest.fixture
def driver(tmp_path):
    """A command that does ten slow units in two processes; the folder has a file for each that was begun."""
    code = (
        "import cluster_work\nfrom tsgen.common.engine import *\n"
        f"units = [({str(tmp_path)!r}, n, 60.0) for n in range(10)]\n"
        "list(run_units(Work(cluster_work.slow), units, EngineOptions(workers=2)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CLUSTER)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(folder):
    """Process ids of the units that were begun, in order."""
    names = [path.name.split("-") for path in folder.iterdir()]
    return [int(pid) for _, pid, _ in sorted(names, key=lambda name: int(name[2]))]


def gone(pids):
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_interrupt_ends_all_at_once(driver, tmp_path):
    until(lambda: len(begun(tmp_path)) == 2)
    began = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)  # as the terminal does, to workers too
    stderr = driver.communicate(timeout=10)[1]
    assert time.monotonic() - began < 5 and driver.returncode != 0
    assert stderr.count("KeyboardInterrupt") == 1  # of the command alone
    until(lambda: gone(begun(tmp_path)))


def test_interrupt_while_workers_start(driver, tmp_path):
    until(lambda: len(Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()) >= 2)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.communicate(timeout=10)[1].count("KeyboardInterrupt") == 1


def test_no_worker_outlives_its_parent(driver, tmp_path):
    until(lambda: len(begun(tmp_path)) == 2)
    driver.kill()
    driver.wait()
    until(lambda: gone(begun(tmp_path)), 5)


def test_a_worker_that_is_killed_costs_no_unit(tmp_path):
    units = [(str(tmp_path), n, 0.3) for n in range(6)]
    finished = run_units(Work(cluster_work.slow), units, TWO)
    done = [next(finished).result]
    os.kill(begun(tmp_path)[-1], signal.SIGKILL)
    done += [one.result for one in finished]
    assert sorted(done) == list(range(6))
