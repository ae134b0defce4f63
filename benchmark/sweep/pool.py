"""The parent's side: starts workers, hands out jobs, and notices how each of them ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection as mp_connection
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from benchmark.sweep.grid import Job
from benchmark.sweep.worker import (
    HELD_AGAIN_S,
    STOP_AFTER_EPOCH,
    STOP_NOW,
    Outcome,
    Ready,
    Settings,
    how_it_ended,
    no_space,
    work,
)
from tsgen.common.errors import RacError

TICK_S = 0.5
STOP_S = 5.0
MAX_BROKEN_STARTS = 3
OUT_OF_MEMORY_HINT = " (out of memory? fewer --workers need less)"


@dataclass(frozen=True)
class Hooks:
    """What the pool asks and tells.

    ``fits(jobs)``: may these still begin together? ``over()``: is the budget used up? ``tell(outcome)``: a job has
    ended. ``tick(running)``: now and then.
    """

    fits: Callable[[Sequence[Job]], bool]
    over: Callable[[], bool]
    tell: Callable[[Outcome], None]
    tick: Callable[[Sequence[Job]], None]


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    jobs: list[Job] = field(default_factory=list)


@dataclass
class _Entry:
    """A job that waits: not before ``due`` (monotonic seconds), and with others unless ``alone``."""

    job: Job
    due: float = 0.0
    alone: bool = False


class Pool:
    """Workers of one sweep. :meth:`run` returns when nothing more can be done; states are on the file system."""

    def __init__(self, settings: Settings, num_workers: int, pack: int, hooks: Hooks) -> None:
        self._settings, self._num_workers, self._pack, self._hooks = settings, num_workers, pack, hooks
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: list[_Entry] = []
        self._held: set[str] = set()
        self._stopping = False
        self._broken_starts = 0
        self._fatal: str | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        """Do the jobs in this order. RacError when workers cannot start or the disk is full."""
        self._queue = [_Entry(job) for job in jobs]
        try:
            while self._queue or any(worker.jobs for worker in self._workers):
                self._hand_out()
                self._hear()
                self._hooks.tick([job for worker in self._workers for job in worker.jobs])
                if not self._stopping and (self._fatal or self._hooks.over()):
                    self._stop_after_epoch()
        except BaseException:
            self._end(STOP_NOW)
            raise
        self._end(None)
        if self._fatal:
            raise RacError(self._fatal)

    def _hand_out(self) -> None:
        busy = sum(bool(worker.jobs) for worker in self._workers)
        fitting = sum(self._hooks.fits([entry.job]) for entry in self._queue)
        if not busy and not fitting:  # while others run, what they measure may still change that
            self._queue = []
        while len(self._workers) < min(self._num_workers, busy + fitting):
            self._workers.append(self._start())
        for worker in self._workers:
            if worker.ready and not worker.jobs:
                worker.jobs = self._take()
                if worker.jobs:
                    with contextlib.suppress(OSError):  # it died meanwhile; _hear sees that
                        worker.connection.send(worker.jobs)

    def _take(self) -> list[Job]:
        """The next job and, where a pack may be larger, others that can train with it."""
        now = time.monotonic()
        ready = [entry for entry in self._queue if entry.due <= now and self._hooks.fits([entry.job])]
        if not ready:
            return []
        first = ready[0]
        alike = [entry for entry in ready if entry.job.family == first.job.family and not entry.alone]
        taken = [first]
        for entry in [] if first.alone else alike[1 : self._pack]:
            if self._hooks.fits([*(each.job for each in taken), entry.job]):
                taken.append(entry)
        self._queue = [entry for entry in self._queue if entry not in taken]
        return [entry.job for entry in taken]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, self._settings), daemon=True)
        with _no_interrupts():  # inherited: Ctrl-C reaches every process of a terminal, and only ours may answer
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hear(self) -> None:
        """Wait a moment for messages and for the end of workers."""
        waiting = [thing for worker in self._workers for thing in (worker.connection, worker.process.sentinel)]
        mp_connection.wait(waiting, timeout=TICK_S)
        for worker in list(self._workers):
            ended = not worker.process.is_alive()  # asked first: what was sent before the end is then in the pipe
            with contextlib.suppress(EOFError, OSError):
                while worker.connection.poll():
                    self._heard(worker, worker.connection.recv())
            if ended:
                self._workers.remove(worker)
                self._bury(worker)

    def _heard(self, worker: _Worker, message: Ready | Outcome) -> None:
        if isinstance(message, Ready):
            worker.ready = True
            self._broken_starts = 0
            return
        worker.jobs.remove(message.job)
        self._settle(message)

    def _settle(self, outcome: Outcome) -> None:
        job = outcome.job
        if outcome.kind == "no space":
            self._fatal = no_space(self._settings, outcome)
        elif outcome.kind == "apart" and not self._stopping:
            self._queue.insert(0, _Entry(job, alone=True))
        elif outcome.kind == "held" and not self._stopping and job.name not in self._held:
            self._held.add(job.name)
            self._queue.append(_Entry(job, due=time.monotonic() + HELD_AGAIN_S))
        else:
            self._hooks.tell(outcome)

    def _bury(self, worker: _Worker) -> None:
        """A worker has ended, by itself or by a signal; jobs it had not finished have failed."""
        worker.process.join()
        worker.connection.close()
        how = _ending(worker.process.exitcode or 0)
        if not worker.ready:
            self._broken_starts += 1
            if self._broken_starts >= MAX_BROKEN_STARTS:
                raise RacError(f"workers end while they start: the last one was {how}. See its messages above.")
        for outcome in how_it_ended(worker.jobs, self._settings.directory, f"the worker was {how}"):
            self._settle(outcome)

    def _stop_after_epoch(self) -> None:
        self._stopping = True
        self._queue = []
        self._send(STOP_AFTER_EPOCH)

    def _end(self, message: str | None) -> None:
        """Send the last message and see everyone off."""
        self._send(message)
        deadline = time.monotonic() + STOP_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.kill()  # harmless: files are written whole or not at all
                worker.process.join()
            worker.connection.close()
        self._workers = []

    def _send(self, message: str | None) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.connection.send(message)


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"killed by {name}{OUT_OF_MEMORY_HINT if name == 'SIGKILL' else ''}"


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    resource_tracker.ensure_running()  # its first start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
