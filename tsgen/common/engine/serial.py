"""Units one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tsgen.common.engine import EngineOptions, Finished, Result, Unit, Work


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    """As :func:`tsgen.common.engine.run_units`; problems keep their tracebacks."""
    if work.start is not None:
        work.start(*work.arguments)
    for unit in units:
        try:
            result = work.run(unit)
        except Exception as problem:
            yield Finished(unit, problem=problem)
        else:
            yield Finished(unit, result)
