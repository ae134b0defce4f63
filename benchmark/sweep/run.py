"""A sweep from its command to its end: clips, estimates, workers, records. The only place that knows the order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmark.data import plan_data
from benchmark.engine.levels import check_levels, check_same_levels
from benchmark.models import require_torch
from benchmark.nodes import check_device
from benchmark.sweep.grid import Job
from benchmark.sweep.plan import Estimator, makespan, plan_json, time_left
from benchmark.sweep.pool import Hooks, Pool
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.summary import write_records
from benchmark.sweep.units import do_units
from benchmark.sweep.worker import PACK, Outcome, Settings
from tsgen.common.engine import EngineOptions, usable_cores
from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

Say = Callable[[str], None]

PACK_ON_GPU = 10
RECORDS_EVERY_S = 30.0
MEASURE_EVERY_S = 20.0


@dataclass(frozen=True)
class Means:
    """What a sweep may use. ``budget_s`` seconds from ``started`` (monotonic); None: no limit. ``gpus`` of each unit
    on a cluster, at most 1; None: one, on which up to ten jobs train."""

    device: str = "auto"
    workers: int | None = None
    threads: int = 1
    budget_s: float | None = None
    started: float = 0.0
    engine: EngineOptions = field(default_factory=EngineOptions)
    gpus: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value} is not possible; allowed: 1 or more.")
        check_device(self.engine, self.device)
        if self.gpus is None:
            return
        if self.engine.name != "ray" or self.device != "cuda":
            raise UsageError("--gpus says what a job takes of a cluster's GPUs; add --engine ray --device cuda.")
        if not 0 < self.gpus <= 1:
            raise UsageError(f"--gpus {self.gpus:g} is not possible; allowed: above 0, at most 1, like 0.25.")

    def num_workers(self, device: str) -> int:
        """As asked for, else one a GPU, or as many as the cores this process may use have room for."""
        if self.workers is not None:
            return self.workers
        return max(1, usable_cores() // self.threads) if device == "cpu" else 1

    @property
    def is_pool(self) -> bool:
        """Whether jobs are done by the sweep's own workers, which also estimate times."""
        return self.engine.name == "processes"

    @property
    def until(self) -> float | None:
        """When the budget is over, seconds since 1970: machines have that in common."""
        return None if self.budget_s is None else time.time() + self.started + self.budget_s - time.monotonic()

    @property
    def over(self) -> bool:
        return self.budget_s is not None and time.monotonic() >= self.started + self.budget_s

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long ends within the budget."""
        return self.budget_s is None or time.monotonic() + seconds <= self.started + self.budget_s


def plan_sweep(directory: SweepDirectory, jobs: Sequence[Job], means: Means, say: Say) -> dict[str, Any]:
    """What the jobs will cost here (:func:`benchmark.sweep.plan.plan_json`). Writes nothing."""
    estimator, device = _estimator(directory, means)
    estimator.try_unknown(jobs, device, _pack(device.type), say)
    return plan_json(jobs, estimator, means.num_workers(device.type))


def run_sweep(
    directory: SweepDirectory,
    jobs: Sequence[Job],
    protocol: dict[str, Any],
    means: Means,
    *,
    digits: str | None,
    data_dir: Path,
    retry_failed: bool,
    say: Say,
    levels: Sequence[float] = (),
) -> None:
    """Do every job that is not done, as far as the means go. What became of them is in their directories.

    ``levels``: source validation accuracies at which every job keeps a checkpoint as well. UsageError, before anything
    is written, when one of the jobs was begun with others.
    """
    directory.check_free(protocol)
    check_levels(levels)
    for job in jobs:
        check_same_levels(directory.run_directory(job), (job.seed,), levels)
    settled = ("done",) if retry_failed else ("done", "failed")
    todo = [job for job in jobs if directory.state(job) not in settled]
    failed = sum(directory.state(job) == "failed" for job in jobs)
    if failed and not retry_failed:
        say(f"{failed} failed jobs are left out; --retry-failed tries them again")
    if todo:
        require_torch()
        if means.engine.name != "ray":
            _device(means.device)
    with directory.opened(say):
        directory.begin(protocol)
        resolved = _prepare_clips(directory, todo, digits, data_dir, say)
    try:
        if todo:
            _work_off(directory, todo, len(jobs), means, resolved, data_dir, say, tuple(levels))
    finally:
        _refresh_records(directory, say)
    _say_what_is_left(directory, jobs, means, say)


def _prepare_clips(
    directory: SweepDirectory, jobs: Sequence[Job], digits: str | None, data_dir: Path, say: Say
) -> str | None:
    """Make and check every clip file once, here, so that workers only read. The digits that were meant by "auto"."""
    plans = []
    # First the source whose own clips need digits: it needs every partition of them.
    for source in sorted({job.config.source for job in jobs}, key="mnist-bg".__ne__):
        job = next(job for job in jobs if job.config.source == source)
        plans.append(plan_data(job.config, digits, data_dir))
        digits = plans[-1].train.digits
    directory.check_same_clips(plans)
    for file in dict.fromkeys(file for plan in plans for file in plan.files):
        file.load(say)
    return digits


def _work_off(
    directory: SweepDirectory,
    jobs: Sequence[Job],
    num_jobs: int,
    means: Means,
    digits: str | None,
    data_dir: Path,
    say: Say,
    levels: tuple[float, ...],
) -> None:
    device = means.device if means.engine.name == "ray" else _device(means.device).type
    settings = Settings(directory, digits, data_dir, device, means.threads, levels)
    with tqdm(total=num_jobs, initial=num_jobs - len(jobs), unit="job", disable=None, bar_format=BAR) as progress:
        bar = _Bar(progress, directory, say)
        if means.is_pool:
            _in_pool(jobs, num_jobs, settings, means, say, bar)
            return
        say(f"{len(jobs)} of {num_jobs} jobs to do, --engine {means.engine.name} on {device}")
        pack = _pack(device) if means.gpus is None else 1
        do_units(jobs, settings, means.engine, bar.tell, pack=pack, gpus=means.gpus, until=means.until)


@dataclass
class _Bar:
    """Tells how jobs went, and keeps records.jsonl not far behind."""

    bar: tqdm
    directory: SweepDirectory
    say: Say
    written: float = field(default_factory=time.monotonic)

    def tell(self, outcome: Outcome) -> None:
        line = f"{outcome.kind:7} {outcome.job.name}  {outcome.text}".rstrip()
        if self.bar.disable:
            self.say(line)
        elif outcome.kind == "failed":
            self.bar.write(line, file=sys.stderr)
        if outcome.kind == "done":
            self.bar.update()
        if time.monotonic() > self.written + RECORDS_EVERY_S:
            _refresh_records(self.directory, self.say)
            self.written = time.monotonic()


def _in_pool(jobs: Sequence[Job], num_jobs: int, settings: Settings, means: Means, say: Say, bar: _Bar) -> None:
    """By workers of this machine, with estimates: nothing begins that would not end within the budget."""
    estimator, device = _estimator(settings.directory, means)
    pack = _pack(device.type)
    num_workers = min(means.num_workers(device.type), len(jobs))
    if means.budget_s is not None:
        estimator.try_unknown(jobs, device, pack, say)
    say(f"{len(jobs)} of {num_jobs} jobs to do, {num_workers} workers on {device.type}")
    waiting = {job.name: job for job in jobs}
    measured = time.monotonic()

    def tell(outcome: Outcome) -> None:
        waiting.pop(outcome.job.name, None)
        bar.tell(outcome)
        if outcome.kind == "done":
            estimator.update()

    def tick(running: Sequence[Job]) -> None:
        nonlocal measured
        if time.monotonic() > measured + MEASURE_EVERY_S:
            estimator.update()
            measured = time.monotonic()
        if not bar.bar.disable:
            bar.bar.set_postfix_str(_progress(estimator, list(waiting.values()), len(running), num_workers))

    def fits(together: Sequence[Job]) -> bool:
        return means.budget_s is None or means.allows(sum(estimator.remaining_s(job) or 0.0 for job in together))

    Pool(settings, num_workers, pack, Hooks(fits, lambda: means.over, tell, tick)).run(jobs)


BAR = "{n_fmt}/{total_fmt} jobs |{bar}| {elapsed}{postfix}"


def _progress(estimator: Estimator, waiting: Sequence[Job], num_running: int, num_workers: int) -> str:
    seconds = [estimator.remaining_s(job) for job in waiting]
    known = [each for each in seconds if each is not None]
    unknown = len(seconds) - len(known)
    parts = [f"{num_running} running"]
    if known:
        parts.append(f"at most {time_left(makespan(known, num_workers))} left")
    if unknown:
        parts.append(f"{unknown} jobs not yet measured")
    return ", ".join(parts)


def _device(wanted: str) -> torch.device:
    """As in a single run, but torch is imported only where there is something to do."""
    require_torch()
    from benchmark.engine.device import select_device

    return select_device(wanted)


def _estimator(directory: SweepDirectory, means: Means) -> tuple[Estimator, torch.device]:
    from benchmark.engine.device import prepare

    device = _device(means.device)
    estimator = Estimator(directory, prepare(device, means.threads, PACK).to_json())
    estimator.update()
    return estimator, device


def _pack(device: str) -> int:
    # A GPU trains small models faster side by side, and run_many tries whether these are; cores are better filled
    # by processes.
    return 1 if device == "cpu" else PACK_ON_GPU


def _refresh_records(directory: SweepDirectory, say: Say) -> None:
    with directory.opened(say):
        try:
            write_records(directory)
        except (DataError, OSError) as problem:  # must not end jobs that run; the summary at the end meets it again
            say(f"records.jsonl is not up to date: {problem}")


def _say_what_is_left(directory: SweepDirectory, jobs: Sequence[Job], means: Means, say: Say) -> None:
    left = sum(directory.state(job) in ("begun", "todo") for job in jobs)
    if not left:
        return
    if means.budget_s is not None:
        why = "the budget is used up" if means.over else "none of them is estimated to end within the budget"
    else:
        why = "another sweep has them"
    say(f"{left} jobs left: {why}; the same command goes on with them.")
