"""Jobs of a sweep as units of an engine (:mod:`tsgen.common.engine`): the machines share files and nothing else."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmark.nodes import gpus_of
from benchmark.sweep.grid import Family, Job
from benchmark.sweep.worker import HELD_AGAIN_S, Outcome, Settings, do_jobs, how_it_ended, no_space
from tsgen.common.engine import EngineOptions, Finished, UnitError, Work, run_units
from tsgen.common.engine.place import enter
from tsgen.common.errors import RacError

Pack = list[Job]
"""One unit: jobs of one family, which may train side by side."""


def do_units(
    jobs: Sequence[Job],
    settings: Settings,
    engine: EngineOptions,
    tell: Callable[[Outcome], None],
    *,
    pack: int = 1,
    gpus: float | None = None,
    until: float | None = None,
) -> None:
    """Do the jobs and tell how each went; states are on the file system, as with :class:`benchmark.sweep.pool.Pool`.

    ``until``: seconds since 1970 from which on nothing begins, and jobs that run stop at the end of their epoch.
    RacError when the disk is full; UnitError when processes keep dying.
    """
    work = Work(
        run=partial(do_pack, settings, until, engine.name != "serial"),
        start=_begin,
        arguments=(Path.cwd(), settings),
        cpus=settings.threads,
        gpus=gpus_of(settings.device, gpus),
    )
    left = packs(jobs, pack)
    held: set[str] = set()
    while left:
        again: list[Pack] = []
        with contextlib.closing(run_units(work, _in_time(left, until), engine)) as finished:
            for outcome in (outcome for one in finished for outcome in outcomes_of(one, settings)):
                if outcome.kind == "no space":
                    raise RacError(no_space(settings, outcome))
                if outcome.kind == "apart":
                    again.append([outcome.job])
                elif outcome.kind == "held" and outcome.job.name not in held:
                    held.add(outcome.job.name)
                    again.append([outcome.job])
                else:
                    tell(outcome)
        left = again
        time.sleep(HELD_AGAIN_S if any(pack[0].name in held for pack in left) else 0.0)


def packs(jobs: Sequence[Job], most: int) -> list[Pack]:
    """Up to ``most`` of one family together, otherwise in the order of ``jobs``."""
    found: list[Pack] = []
    open_packs: dict[Family, Pack] = {}
    for job in jobs:
        pack = open_packs.get(job.family)
        if pack is None or len(pack) == most:
            pack = open_packs[job.family] = []
            found.append(pack)
        pack.append(job)
    return found


def do_pack(settings: Settings, until: float | None, may_end: bool, jobs: Pack) -> list[Outcome]:
    """What a process does with a unit; a broken one ends, if it may, and the engine gives the unit to another."""
    if may_end and settings.device == "cuda":
        _end_if_broken()

    def over() -> bool:
        return until is not None and time.time() >= until

    if over():
        return [Outcome(job, "stopped") for job in jobs]
    return do_jobs(jobs, settings, over)[0]


def outcomes_of(finished: Finished[Pack, list[Outcome]], settings: Settings) -> list[Outcome]:
    """Of the jobs of a unit, also of one whose process was ended; raises what else went wrong."""
    if finished.problem is None:
        assert finished.result is not None
        return finished.result
    if not isinstance(finished.problem, UnitError):
        raise finished.problem
    return how_it_ended(finished.unit, settings.directory, str(finished.problem))


def _in_time(left: Sequence[Pack], until: float | None) -> Iterator[Pack]:
    for pack in left:
        if until is not None and time.time() >= until:
            return
        yield pack


def _begin(folder: Path, settings: Settings) -> None:
    enter(folder, (settings.directory.record_path, settings.data_dir))


def _end_if_broken() -> None:
    """A GPU's error can stay with its process, which would then fail one job after the other; a new one has none."""
    import torch

    if not torch.cuda.is_available():
        return  # the job says so
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        os._exit(1)
