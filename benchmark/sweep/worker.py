"""A process that does one job, or one pack of jobs, after the other. Its only memory is the file system.

Messages to it: a list of jobs; "stop after epoch"; "stop now"; None to end. From it: ``Ready``, then an ``Outcome`` for
every job. It may be killed at any moment, and ends by itself when the process that started it is gone.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmark.sweep.grid import Job
from benchmark.sweep.store import SweepDirectory
from tsgen.common.errors import RacError
from tsgen.common.interrupts import keep_interrupts

STOP_AFTER_EPOCH, STOP_NOW = "stop after epoch", "stop now"
PACK = "auto"  # of the jobs handed over together, run_many finds out how many should train side by side
HELD_AGAIN_S = 2.0  # so long a lock may outlive the process that held it
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Settings:
    """What all jobs of a sweep have in common beyond their protocol; ``digits`` is resolved, never "auto".

    ``levels``: source validation accuracies at which checkpoints are kept (:mod:`benchmark.engine.levels`).
    """

    directory: SweepDirectory
    digits: str | None
    data_dir: Path
    device: str
    threads: int
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Ready:
    """The worker has imported what it needs."""


@dataclass(frozen=True)
class Outcome:
    """How a job went. ``kind``: done, failed, held (by another sweep), stopped, no space, apart (to be done alone)."""

    job: Job
    kind: str
    text: str = ""


def work(connection: Connection, settings: Settings) -> None:
    """The whole life of a worker process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_interrupts()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # blocked by the starter: only `_listen` raises it
    tasks: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, tasks, stop), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        import benchmark.run  # noqa: F401 - torch, once and before the first job is taken

        connection.send(Ready())
        while (jobs := tasks.get()) is not None:
            outcomes, usable = do_jobs(jobs, settings, stop.is_set)
            for outcome in outcomes:
                connection.send(outcome)
            if not usable:
                return


def _listen(connection: Connection, tasks: queue.SimpleQueue[list[Job] | None], stop: threading.Event) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(1)  # the sweep is gone; whatever is on disk is whole
        if message == STOP_AFTER_EPOCH:
            stop.set()
        elif message == STOP_NOW:
            tasks.put(None)
            _thread.interrupt_main()
        else:
            tasks.put(message)


def do_jobs(jobs: Sequence[Job], settings: Settings, stop: Callable[[], bool]) -> tuple[list[Outcome], bool]:
    """Train, evaluate and finish all that is free and not done; ``stop()`` is asked at the end of every epoch. Also
    whether this process can be trusted further."""
    directory = settings.directory
    outcomes = []
    mine = []
    with contextlib.ExitStack() as locks:
        for job in jobs:
            lock = directory.claim(job)
            if lock is None:
                outcomes.append(Outcome(job, "held"))
                continue
            locks.enter_context(lock)
            if directory.state(job) == "done":
                outcomes.append(Outcome(job, "done", "by another sweep"))
            else:
                mine.append(job)
        if not mine:
            return outcomes, True
        found, usable = _train(mine, settings, stop)
        return [*outcomes, *found], usable


def _train(jobs: Sequence[Job], settings: Settings, stop: Callable[[], bool]) -> tuple[list[Outcome], bool]:
    from benchmark.engine.fit import StoppedError

    try:
        problems = train_pack(jobs, settings, stop)
    except StoppedError:
        return [Outcome(job, "stopped") for job in jobs], True
    except OSError as problem:
        if problem.errno in DISK_FULL:
            return [Outcome(job, "no space", str(problem)) for job in jobs], True
        return _failed(jobs, settings, str(problem)), True
    except RacError as problem:
        return _failed(jobs, settings, str(problem)), True
    except Exception as problem:  # a bug or a broken device: said as it is, and no further job in this process
        return _failed(jobs, settings, f"{problem!r}\n{traceback.format_exc()}"), False
    outcomes = []
    for job, failure in zip(jobs, problems, strict=True):
        if failure is None:
            settings.directory.clear_failure(job)
            outcomes.append(Outcome(job, "done", _how_it_went(job, settings)))
        else:
            outcomes += _failed([job], settings, str(failure))
    return outcomes, True


def _failed(jobs: Sequence[Job], settings: Settings, error: str) -> list[Outcome]:
    if len(jobs) > 1:  # one of them is to blame, or all of them together: each gets its own try
        return [Outcome(job, "apart", error) for job in jobs]
    settings.directory.mark_failed(jobs[0], error)
    return [Outcome(jobs[0], "failed", error)]


def no_space(settings: Settings, outcome: Outcome) -> str:
    return f"no space left in {settings.directory.path}: {outcome.text}. The same command goes on."


def how_it_ended(jobs: Sequence[Job], store: SweepDirectory, error: str) -> list[Outcome]:
    """Of jobs whose process was ended, for the reason ``error``; a job that was alone there has failed."""
    outcomes = []
    for job in jobs:
        if store.state(job) == "done":
            outcomes.append(Outcome(job, "done"))
        elif len(jobs) > 1:
            outcomes.append(Outcome(job, "apart", error))
        elif (lock := store.claim(job)) is None:  # another sweep has taken it over already
            outcomes.append(Outcome(job, "held"))
        else:
            with lock:
                store.mark_failed(job, error)
            outcomes.append(Outcome(job, "failed", error))
    return outcomes


def train_pack(jobs: Sequence[Job], settings: Settings, stop: Callable[[], bool]) -> list[RacError | None]:
    """Finish the run directory of every job, all of one family; what went wrong with each."""
    from benchmark.run import run_many

    outcomes = run_many(
        [(job.config, settings.directory.run_directory(job).path) for job in jobs],
        digits=settings.digits,
        data_dir=settings.data_dir,
        device=settings.device,
        threads=settings.threads,
        pack=PACK,
        levels=settings.levels,
        resume=True,
        quiet=True,
        stop=stop,
    )
    return [outcome if isinstance(outcome, RacError) else None for outcome in outcomes]


def _how_it_went(job: Job, settings: Settings) -> str:
    seed = settings.directory.run_directory(job).read_result()["seeds"][0]
    V = seed["domains"][job.config.source]["accuracy"]
    return f"V {V:.3f} in epoch {seed['best_epoch']} of {seed['epochs']}"
