"""Where units of work are done: in this process, in processes of this machine, or on a Ray cluster.

A unit is a piece of a long command that can be done anywhere, in any order and twice: a clip, a slice of a file, a
training. What it leaves behind is whole or absent, so a command that was stopped does again only what is missing. The
engines differ in where units run and in nothing else: results are the same to the byte where the serial ones are.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tsgen.common.errors import DataError, RacError, UsageError, unknown_name

Unit = TypeVar("Unit")
Result = TypeVar("Result")

ENGINES: dict[str, str] = {
    "serial": "tsgen.common.engine.serial",
    "processes": "tsgen.common.engine.processes",
    "ray": "tsgen.common.engine.on_ray",
}
"""Name of an engine -> its module, which has ``run_units(work, units, options)`` as below; imported when asked for."""

MOST_LOST_IN_A_ROW = 3
"""Units whose processes die one after the other, none finished in between: then it is not the units."""

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Work(Generic[Unit, Result]):
    """What is done with every unit: ``run(unit)``, after ``start(*arguments)`` once in every process that works.

    All of it, units and results too, must be picklable, and functions must be those of modules. ``cpus`` and ``gpus``
    that a unit takes, which only a cluster's engine looks at; fractions share one. A process that works on units with
    GPUs stays, with whatever ``start`` loaded.
    """

    run: Callable[[Unit], Result]
    start: Callable[..., None] | None = None
    arguments: tuple[Any, ...] = ()
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or not self.cpus + self.gpus:
            raise UsageError(f"a unit cannot take {self.cpus:g} CPUs and {self.gpus:g} GPUs; it takes some of either.")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """``name``: a key of :data:`ENGINES`; ``workers``: units side by side at most, None for one a core (ray: as many as
    the cluster has room for, 0 too); ``address`` of a Ray cluster, None for one that is started on this machine and
    ends with the command.
    """

    name: str = "processes"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise unknown_name("engine", self.name, ENGINES)
        if self.address is not None and self.name != "ray":
            raise UsageError(f"--address {self.address} is that of a Ray cluster; add --engine ray.")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers} is not possible; allowed: 0 or more.")

    def number_of_workers(self, num_units: int) -> int:
        """Processes of this machine; never more than there are units. 0 or 1: none beside this process."""
        if self.name == "serial":
            return 0
        return min(usable_cores() if self.workers is None else self.workers, num_units)


@dataclass(frozen=True, slots=True)
class Finished(Generic[Unit, Result]):
    """How a unit went: its result, or the problem: foreseen (RacError, OSError), or a :class:`UnitError` that tells
    what nobody foresaw and lost processes.
    """

    unit: Unit
    result: Result | None = None
    problem: Exception | None = None


class UnitError(RacError):
    """A unit ended its process, or failed in a way nobody foresaw."""

    exit_code = 4


class UnitsFailed(RacError):  # noqa: N818 - not one error: the account of them
    """All units that could be done are done and kept, but some failed. Exit code 4."""

    exit_code = 4


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions | None = None
) -> Generator[Finished[Unit, Result], None, None]:
    """Every unit once, as they are finished; a unit that fails ends none of the others.

    Raises what ``work.start`` raises (UnitError for what nobody foresaw), UsageError for an engine that is not
    installed, not reached or has no machine for such units, and UnitError when processes keep dying. Units that are
    under way when the caller stops asking are given up.
    """
    options = options or EngineOptions()
    engine = importlib.import_module(ENGINES[options.name])
    yield from engine.run_units(work, units, options)


def results(
    finished: Iterable[Finished[Unit, Result]],
    name: Callable[[Unit], str] = str,
    at_once: tuple[type[Exception], ...] = (UsageError, DataError, OSError),
) -> Iterator[tuple[Unit, Result]]:
    """(unit, result) of those that went well. A problem of the types ``at_once`` is raised when it comes and ends all;
    others are gathered, and UnitsFailed names them at the end.
    """
    named: list[str] = []
    failed = done = 0
    try:
        for one in finished:
            if one.problem is None:
                done += 1
                yield one.unit, one.result  # type: ignore[misc]  # a result may be None by its own right
            elif isinstance(one.problem, at_once):
                raise one.problem
            else:
                failed += 1
                if failed <= MOST_NAMED:
                    named.append(f"{name(one.unit)}: {one.problem}")
    finally:
        # At once: a traceback that is still looked at would keep the workers.
        if isinstance(finished, Generator):
            finished.close()
    if failed:
        more = f"\n... and {failed - MOST_NAMED} more" if failed > MOST_NAMED else ""
        raise UnitsFailed(
            f"{failed} of {done + failed} units failed; the others are done and kept, the same command tries "
            "these again:\n" + "\n".join(named) + more
        )


def usable_cores() -> int:
    """Of this process, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
