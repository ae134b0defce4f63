"""Jobs side by side in worker processes: the one way the long commands use several cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from tsgen.common.errors import DataError, UsageError

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
AHEAD = 2
"""Jobs a worker has waiting: enough that none is idle, few enough that a list of any length fits into memory."""


def number_of_workers(wanted: int | None, num_jobs: int) -> int:
    """``wanted`` None: one a core. Never more than there are jobs; 0 or 1: none beside this process."""
    if wanted is not None and wanted < 0:
        raise UsageError(f"--workers {wanted} is not possible; allowed: 0 or more.")
    return min(usable_cores() if wanted is None else wanted, num_jobs)


def usable_cores() -> int:
    """Of this process, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[[Job], Outcome],
    jobs: Iterable[Job],
    workers: int,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Job, Outcome]]:
    """``work`` of every job, as they are finished. ``start(*arguments)`` comes first in every process that works.

    All of them must be picklable. What ``work`` raises is raised here and ends the others. DataError when a worker was
    ended from outside.
    """
    if workers <= 1:
        if start is not None:
            start(*arguments)
        for job in jobs:
            yield job, work(job)
        return
    # Spawned, not forked: a fork copies the locks of whatever threads run here.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (start, arguments))
    left, waiting = iter(jobs), dict[Future[Outcome], Job]()
    try:
        while True:
            for job in left:
                waiting[pool.submit(work, job)] = job
                if len(waiting) >= AHEAD * workers:
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as problem:
        raise DataError(
            "a worker process was ended from outside (out of memory?); what is finished is kept: run the command "
            "again, with fewer --workers."
        ) from problem
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it: after kill -9 nobody else would end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
