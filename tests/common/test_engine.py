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

from tsgen.common.engine import (
    EngineOptions,
    Finished,
    UnitError,
    UnitsFailed,
    Work,
    results,
    run_units,
    usable_cores,
)
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
        EngineOptions("proceses", None, None)
    with pytest.raises(UsageError, match="add --engine ray"):
        EngineOptions("serial", None, "10.0.0.1:6379")
    with pytest.raises(UsageError, match="--workers -1"):
        EngineOptions("processes", -1, None)
    with pytest.raises(UsageError, match="cannot take 0 CPUs and 0 GPUs"):
        Work(cluster_work.square, cpus=0)


@pytest.fixture
def command():
    """Start Python code as a command of its own, as a terminal does."""
    begun = []

    def start(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": str(CLUSTER)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def driver(command, tmp_path):
    """Does ten units of a minute in two processes; the folder has a file for each that was begun."""

    def start(what="slow"):
        return command(
            "import cluster_work\nfrom tsgen.common.engine import *\n"
            f"units = [({str(tmp_path)!r}, n, 60.0) for n in range(10)]\n"
            f"list(run_units(Work(cluster_work.{what}), units, EngineOptions(workers=2)))\n"
        )

    return start


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
    """None is a process still; a zombie, which nobody has waited for yet, is none."""
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    return not any(path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z" for path in states)


@pytest.mark.parametrize("what", ["slow", "long_call"])
def test_interrupt_ends_all_at_once(driver, tmp_path, what):
    process = driver(what)
    until(lambda: len(begun(tmp_path)) == 2)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does, to workers too
    stderr = process.communicate(timeout=10)[1]
    assert time.monotonic() - began < 5 and process.returncode != 0
    assert stderr.count("KeyboardInterrupt") == 1  # of the command alone
    until(lambda: gone(begun(tmp_path)))


def test_interrupt_while_workers_start(driver, tmp_path):
    process = driver()
    until(lambda: len(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=10)[1].count("KeyboardInterrupt") == 1


@pytest.mark.parametrize("what", ["slow", "long_call"])
def test_no_worker_outlives_its_parent(driver, tmp_path, what):
    process = driver(what)
    until(lambda: len(begun(tmp_path)) == 2)
    process.kill()
    process.wait()
    until(lambda: gone(begun(tmp_path)), 5)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_units_that_are_given_up_remove_what_is_half_written(driver, tmp_path, kill):
    process = driver("unfinished")
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    os.killpg(process.pid, kill) if kill == signal.SIGINT else process.send_signal(kill)
    process.communicate(timeout=10)
    until(lambda: not list(tmp_path.iterdir()), 5)


def test_a_worker_ends_by_sigterm_alone(driver, tmp_path):
    driver("long_call")
    until(lambda: len(begun(tmp_path)) == 2)
    pids = begun(tmp_path)
    os.kill(pids[0], signal.SIGTERM)
    until(lambda: gone(pids), 8)  # the other with it: its pool is lost
    until(lambda: len(begun(tmp_path)) == 3)  # one of the two units again


MAKE = "from tsgen.cli import main; main()", "make", "--domain", "5dot", "--engine", "processes", "--threads", "2"


def test_a_command_in_processes_says_nothing_else(command, tmp_path):
    process = command(*MAKE, "--n", "64", "--shards", "4", "--out", str(tmp_path / "clips.h5"))
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["clips.h5"]


def test_an_interrupted_command_leaves_whole_files(command, tmp_path):
    process = command(*MAKE, "--n", "2000000", "--shards", "4", "--out", str(tmp_path / "clips.h5"))
    until(lambda: len(list(tmp_path.glob(".clips-0000*partial*"))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=10)[1].strip()
    assert said.startswith("interrupted: no half-written result") and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_most_failures_are_counted_only():
    finished = (Finished(unit, problem=UnitError(f"failed {unit}")) for unit in range(1000))
    with pytest.raises(UnitsFailed, match=r"^1000 of 1000 units failed") as failed:
        list(results(finished))
    assert str(failed.value).endswith("\n9: failed 9\n... and 990 more")


def test_a_worker_that_is_killed_costs_no_unit(tmp_path):
    units = [(str(tmp_path), n, 0.3) for n in range(6)]
    finished = run_units(Work(cluster_work.slow), units, TWO)
    done = [next(finished).result]
    os.kill(begun(tmp_path)[-1], signal.SIGKILL)
    done += [one.result for one in finished]
    assert sorted(done) == list(range(6))
