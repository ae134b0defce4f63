"""What every engine does alike. ``CHECKS``: functions of the engine's options, run for each by its tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import cluster_work
import pytest

from tsgen.common.engine import EngineOptions, Finished, UnitError, UnitsFailed, Work, results, run_units
from tsgen.common.errors import DataError

MOST_AHEAD = 40


def by_unit(options: EngineOptions, units: Any, **work: Any) -> dict[Any, Finished[Any, Any]]:
    finished = list(run_units(Work(**{"run": cluster_work.square, **work}), units, options))
    assert len(finished) == len({one.unit for one in finished}), "a unit came twice"
    return {one.unit: one for one in finished}


def every_unit_once(options: EngineOptions) -> None:
    assert {n: one.result for n, one in by_unit(options, range(7)).items()} == {n: n * n for n in range(7)}
    assert by_unit(options, []) == {}
    assert sorted(results(run_units(Work(cluster_work.square), iter([3, 4]), options))) == [(3, 9), (4, 16)]


def problems_end_no_others(options: EngineOptions) -> None:
    got = by_unit(options, [7, 8, 10, 0, 1, 2])
    assert {n: one.result for n, one in got.items() if not one.problem} == {0: 0, 1: 1, 2: 4}
    assert type(got[7].problem) is DataError and str(got[7].problem) == "seven is damaged"
    text = str(got[8].problem)
    assert type(got[8].problem) is UnitError and text.startswith("ZeroDivisionError: eight is odd\n")
    assert "cluster_work.py" in text and "doing.py" not in text
    assert str(got[10].problem).startswith("SystemExit: ten has gone")


def results_end_at_once_or_at_the_end(options: EngineOptions) -> None:
    def named(*units: int) -> Iterator[Any]:
        return results(run_units(Work(cluster_work.square), units, options), "unit {}".format)

    with pytest.raises(DataError, match="seven is damaged"):
        list(named(7, 1))
    done = []
    with pytest.raises(UnitsFailed, match=r"^2 of 5 units failed.*\nunit (8: Zero|10: System)") as failed:
        for unit, _ in named(8, 1, 10, 2, 3):
            done.append(unit)
    assert failed.value.exit_code == 4 and sorted(done) == [1, 2, 3]


def start_comes_first_and_once(options: EngineOptions) -> None:
    got = by_unit(options, range(9), run=cluster_work.where, start=cluster_work.note, arguments=("for me",))
    processes = dict(one.result for one in got.values())
    # Serial: this process has seen other works before.
    assert all(told[-1] == "for me" for told in processes.values())
    assert options.name == "serial" or all(told == ["for me"] for told in processes.values())


def start_that_fails_is_raised(options: EngineOptions) -> None:
    for told, error, text in (("foreseen", DataError, "^foreseen"), ("not", UnitError, "^KeyError: 'not'")):
        with pytest.raises(error, match=text):
            by_unit(options, range(9), start=cluster_work.fail, arguments=(told,))


def a_list_without_end(options: EngineOptions) -> None:
    taken = []

    def count() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield len(taken) % 5

    finished = run_units(Work(cluster_work.square), count(), options)
    for _ in range(50):
        next(finished)
    finished.close()
    assert len(taken) <= 50 + MOST_AHEAD


def a_poisoned_unit_is_reported(options: EngineOptions) -> None:
    got = by_unit(options, [0, 9, 1, 11, 2, 3])
    assert {n: one.result for n, one in got.items() if not one.problem} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert type(got[9].problem) is UnitError and "its process was ended from outside" in str(got[9].problem)
    assert type(got[11].problem) is UnitError and "pickle" in str(got[11].problem)


def a_unit_that_cannot_be_sent(options: EngineOptions) -> None:
    lock, refuses = threading.Lock(), cluster_work.Unsendable()
    got = by_unit(options, [lock, 2, refuses, 3])
    assert got[2].result == 4 and got[3].result == 9
    for unit in (lock, refuses):
        assert type(got[unit].problem) is UnitError and "pickle" in str(got[unit].problem)


def processes_that_keep_dying(options: EngineOptions) -> None:
    with pytest.raises(UnitError, match="3 units, one after the other, failed"):
        by_unit(options, range(100), start=cluster_work.vanish)


CHECKS: list[Callable[[EngineOptions], None]] = [
    every_unit_once,
    problems_end_no_others,
    results_end_at_once_or_at_the_end,
    start_comes_first_and_once,
    start_that_fails_is_raised,
    a_list_without_end,
]
WITH_PROCESSES = [
    a_poisoned_unit_is_reported,
    a_unit_that_cannot_be_sent,
    processes_that_keep_dying,
]
