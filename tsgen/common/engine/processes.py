"""Units side by side in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

from tsgen.common.engine import MOST_LOST_IN_A_ROW, EngineOptions, Finished, Result, Unit, UnitError, Work, serial
from tsgen.common.engine.doing import StartFailed, perform, sendable

AHEAD = 2
"""Units a process has waiting: enough that none is idle, few enough that a list of any length fits into memory."""

LOST = "its process was ended from outside (out of memory?); fewer --workers need less"

Answer = tuple[Any, Exception | None]


def run_units(
    work: Work[Unit, Result], units: Iterable[Unit], options: EngineOptions
) -> Iterator[Finished[Unit, Result]]:
    """As :func:`tsgen.common.engine.run_units`; ``units`` may be endless, ``options.workers`` 0 or 1 makes no process.

    When a process dies, nobody knows on which unit: those under way get a process of their own, one after the other,
    and those that end it again have failed.
    """
    # Looked at so far only, to start no more processes than units.
    left = iter(units)
    head = list(islice(left, options.number_of_workers(1 << 30)))
    workers = options.number_of_workers(len(head))
    if workers <= 1:
        yield from serial.run_units(work, _chain(head, left), options)
        return
    left = _chain(head, left)
    lost, suspects = 0, list[Unit]()
    while True:
        # Suspects one by one in one process: the one that ends it is to blame.
        some, processes, ahead = (iter(suspects), 1, 1) if suspects else (left, workers, AHEAD * workers)
        suspects = []
        for finished in _pooled(work, some, processes, ahead, suspects):
            lost = 0
            yield finished
        if processes == 1 and suspects:
            lost += 1
            yield Finished(suspects[0], problem=UnitError(LOST))
            if lost >= MOST_LOST_IN_A_ROW:
                raise UnitError(f"{lost} units, one after the other, failed: {LOST}. What is finished is kept.")
            suspects = list(some)
        elif not suspects and processes != 1:
            return


def _chain(head: list[Unit], left: Iterator[Unit]) -> Iterator[Unit]:
    yield from head
    yield from left


def _pooled(
    work: Work[Unit, Result], left: Iterator[Unit], workers: int, ahead: int, suspects: list[Unit]
) -> Iterator[Finished[Unit, Result]]:
    """Until nothing is left, or until a process dies: then ``suspects`` are the units that were under way, at most
    ``ahead`` of them.
    """
    # Spawned, not forked: a fork copies the locks of whatever threads run here.
    context = multiprocessing.get_context("spawn")
    ending, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (ending, secrets.token_hex(8), work))
    waiting: dict[Future[Answer], Unit] = {}
    try:
        while True:
            with _no_interrupt():
                for unit in islice(left, 0 if suspects else ahead - len(waiting)):
                    try:
                        waiting[pool.submit(_do, unit)] = unit
                    except BrokenProcessPool:
                        suspects.append(unit)
                        break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                unit = waiting.pop(future)
                try:
                    result, problem = future.result()
                except BrokenProcessPool:
                    suspects.append(unit)
                    continue
                except Exception as unsent:  # the unit or its result cannot be pickled
                    result, problem = None, sendable(unsent)
                if isinstance(problem, StartFailed):
                    raise problem.problem
                yield Finished(unit, result, problem)
    finally:
        # Workers end when this closes, whatever they do: units under way are given up.
        alive.close()
        pool.shutdown(cancel_futures=True)
        ending.close()


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C comes after the block; processes that are started in it do not see it before they can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_mine: list[Any] = []
"""Of a worker: the token and the work of its pool."""


def _do(unit: Any) -> Answer:
    return perform(_mine[0], _mine[1], unit)


def _begin(ending: Connection, token: str, work: Work[Any, Any]) -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it: after kill -9 nobody else would end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(ending,), daemon=True).start()
    _mine[:] = [token, work]


def _end_with(ending: Connection) -> None:
    """The other end is closed by the parent, or by the system after it."""
    with contextlib.suppress(EOFError, OSError):
        ending.recv_bytes()
    os._exit(1)
