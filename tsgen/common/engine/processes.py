"""Units side by side in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from types import FrameType
from typing import Any

from tsgen.common.engine import MOST_LOST_IN_A_ROW, EngineOptions, Finished, Result, Unit, UnitError, Work, serial
from tsgen.common.engine.doing import StartFailed, perform, sendable
from tsgen.common.interrupts import keep_interrupts

AHEAD = 2
"""Units a process has waiting: enough that none is idle, few enough that a list of any length fits into memory."""

GIVE_UP_S = 2.0
"""How long a unit that is given up may take to remove what it has half written."""

LOST = "its process was ended from outside (out of memory? fewer at once need less: --workers, of tsgen make --threads)"

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
        if waiting:
            alive.close()
        pool.shutdown(cancel_futures=True)
        alive.close()
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

_at_work: list[bool] = []
"""Of a worker: not empty while it does a unit."""


def _do(unit: Any) -> Answer:
    try:
        _at_work.append(True)
        answer = perform(_mine[0], _mine[1], unit)
        _at_work.clear()
        return answer
    except KeyboardInterrupt:  # by _give_up
        os._exit(1)


def _begin(ending: connection.Connection, token: str, work: Work[Any, Any]) -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it: after kill -9 nobody else would end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # What arrives is told to a thread at once; the handler itself runs when the unit is back from a long call.
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _give_up)
    keep_interrupts()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_be_no_worker)
    threading.Thread(target=_end_with, args=(ending, told), daemon=True).start()
    # The default lock of progress bars is one of all processes, which the end of a worker would leave behind.
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())
    _mine[:] = [token, work]


def _end_with(ending: connection.Connection, told: socket.socket) -> None:
    """The other end is closed by the parent, or by the system after it. SIGTERM says the same."""
    while told in connection.wait([ending, told]):
        if told.recv(1) == bytes([signal.SIGTERM]):
            break
    else:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GIVE_UP_S)
    os._exit(1)


def _give_up(signum: int, frame: FrameType | None) -> None:
    """Ends the unit as Ctrl-C would, so that it leaves nothing half written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # not again while it cleans up
    if not _at_work:
        os._exit(1)
    raise KeyboardInterrupt


def _be_no_worker() -> None:
    """Processes that a unit forks are its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
