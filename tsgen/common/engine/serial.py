"""Units one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tsgen.common.engine import EngineOptions, Finished, Result, Unit, Work
from tsgen.common.engine.doing import sendable
from tsgen.common.errors import RacError


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    """As :func:`tsgen.common.engine.run_units`; what nobody foresaw is the cause of its UnitError, for a debugger."""
    try:
        if work.start is not None:
            work.start(*work.arguments)
    except (RacError, OSError):
        raise
    except (Exception, SystemExit) as problem:
        raise sendable(problem) from problem
    for unit in units:
        try:
            result = work.run(unit)
        except (RacError, OSError) as problem:
            yield Finished(unit, problem=problem)
        except (Exception, SystemExit) as problem:
            error = sendable(problem)
            error.__cause__ = problem
            yield Finished(unit, problem=error)
        else:
            yield Finished(unit, result)
