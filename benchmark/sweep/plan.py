"""How long jobs take: from the epochs this sweep has measured, else from a short trial."""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmark.results import read_json
from benchmark.sweep.grid import Family, Job
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.worker import PACK
from tsgen.common.errors import DataError, RacError

if TYPE_CHECKING:
    import torch

    from benchmark.data import Clips, SourceData

MACHINE = ("device", "processor", "threads", "torch")
"""What must agree for the seconds of another run to say something about this machine."""

TRIAL_BATCHES = 2
VALIDATION_SHARE = 1 / 3
"""A batch of validation costs about a third of a training step: forward, but not backward."""


@dataclass
class Measured:
    """What the runs of one family tell: seconds of single epochs here, numbers of epochs of finished runs anywhere."""

    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Timing:
    """Of one (model, h). ``measured``: epochs behind ``epoch_s``, 0 for a trial. ``finished``: runs behind
    ``expected_epochs``, 0 when that is the maximum of the protocol."""

    epoch_s: float
    measured: int
    expected_epochs: float
    finished: int


@dataclass
class Estimator:
    """Estimates that follow the sweep. ``trials``: seconds an epoch of families nobody has measured."""

    directory: SweepDirectory
    machine: dict[str, Any]
    trials: dict[Family, float] = field(default_factory=dict)
    measured: dict[Family, Measured] = field(default_factory=dict)

    def update(self) -> None:
        """Read the jobs of the sweep again."""
        self.measured = {}
        if not self.directory.record_path.exists():
            return
        for job in self.directory.begun_jobs():
            found = self.measured.setdefault(job.family, Measured())
            history = self.epochs(job)
            if self.directory.state(job) == "done":
                found.epochs.append(len(history))
            if self._ran_here(job):
                found.seconds += [epoch["seconds"] for epoch in history]

    def epochs(self, job: Job) -> list[dict[str, Any]]:
        """The epochs a job has behind it, as in its metrics.jsonl."""
        path = self.directory.run_directory(job).seed_path(job.seed, "metrics.jsonl")
        try:
            return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        except ValueError as problem:
            raise DataError(f"{path} is damaged: {problem}") from problem

    def timing(self, job: Job) -> Timing | None:
        """None when nothing is known about the family."""
        found = self.measured.get(job.family, Measured())
        epoch_s = statistics.median(found.seconds) if found.seconds else self.trials.get(job.family)
        if epoch_s is None:
            return None
        expected = statistics.fmean(found.epochs) if found.epochs else float(job.config.max_epochs)
        return Timing(epoch_s, len(found.seconds), expected, len(found.epochs))

    def remaining_s(self, job: Job) -> float | None:
        """Seconds of one worker until the job is done; at least an epoch. None when nothing is known."""
        timing = self.timing(job)
        if timing is None:
            return None
        return max(timing.expected_epochs - len(self.epochs(job)), 1.0) * timing.epoch_s

    def try_unknown(self, jobs: Sequence[Job], device: torch.device, pack: int, say: Callable[[str], None]) -> None:
        """A short trial for every family of ``jobs`` that nobody has measured."""
        unknown: dict[Family, list[Job]] = {}
        for job in jobs:
            if self.timing(job) is None:
                unknown.setdefault(job.family, []).append(job)
        if unknown:
            say(f"trying a few steps of {len(unknown)} models to estimate times")
        for family, alike in unknown.items():
            self.trials[family] = trial_epoch_s(alike[:pack], device)

    def _ran_here(self, job: Job) -> bool:
        path = self.directory.run_directory(job).path / "environment.json"
        stored = read_json(path) if path.exists() else {}
        begun = stored.get("begun", {})
        return not stored.get("resumed_elsewhere") and all(begun.get(k) == self.machine.get(k) for k in MACHINE)


def trial_epoch_s(jobs: Sequence[Job], device: torch.device) -> float:
    """Seconds an epoch and model, from a few training steps of these jobs side by side on random clips."""
    from benchmark.engine.member import Training
    from benchmark.engine.tuning import models_per_second, tune

    config = jobs[0].config
    source = _random_source(config.batch_size)
    trainings = [Training(job.config, job.seed, source) for job in jobs]
    tuning = tune(PACK, trainings, device)
    rate = models_per_second(trainings[: tuning.pack_size], device, tuning)
    if rate == 0:
        raise RacError(f"{jobs[0].name} does not fit into the memory of the device; leave {config.model} out.")
    steps = config.n_train // config.batch_size + VALIDATION_SHARE * math.ceil(config.n_val / config.batch_size)
    return steps / rate


def _random_source(batch_size: int) -> SourceData:
    import numpy as np

    from benchmark.data import Clips, DataFacts, SourceData
    from benchmark.models.specs import TEMPORAL_SHAPE
    from tsgen.vocabulary import CLASS_NAMES

    n, shape = TRIAL_BATCHES * batch_size, TEMPORAL_SHAPE
    rng = np.random.default_rng(0)
    facts = DataFacts("random", "train", "random", 0, n, "", "", "", None, None)

    def clips(split: str) -> Clips:
        pixels = rng.integers(0, 256, (n, shape.frames, shape.height, shape.width), dtype=np.uint8)
        labels = rng.integers(0, len(CLASS_NAMES), n)
        return Clips(pixels, labels, np.arange(n), CLASS_NAMES, dataclasses.replace(facts, split=split))

    return SourceData(clips("train"), clips("val"))


def makespan(seconds: Sequence[float], num_workers: int) -> float:
    """Seconds until the last of these jobs is done, each given to the worker that is free first."""
    free_at = [0.0] * max(1, num_workers)
    for each in seconds:
        heapq.heapreplace(free_at, free_at[0] + each)
    return max(free_at)


def plan_rows(jobs: Sequence[Job], estimator: Estimator) -> list[dict[str, Any]]:
    """One row a (model, h), in the order of the jobs; every family must have been measured or tried."""
    families: dict[Family, list[Job]] = {}
    for job in jobs:
        families.setdefault(job.family, []).append(job)
    rows = []
    for (model, hidden), alike in families.items():
        timing = estimator.timing(alike[0])
        assert timing is not None
        left = [job for job in alike if estimator.directory.state(job) != "done"]
        rows.append(
            {
                "model": model,
                "hidden": hidden,
                "runs": len(alike),
                "done": len(alike) - len(left),
                "max_epochs": alike[0].config.max_epochs,
                **dataclasses.asdict(timing),
                "hours": sum(estimator.remaining_s(job) or 0.0 for job in left) / 3600,
            }
        )
    return rows


def plan_json(jobs: Sequence[Job], estimator: Estimator, num_workers: int) -> dict[str, Any]:
    """The rows, and the hours that all jobs together need: of one worker, and here."""
    rows = plan_rows(jobs, estimator)
    left = [job for job in jobs if estimator.directory.state(job) != "done"]
    return {
        "rows": rows,
        "runs_left": len(left),
        "worker_hours": sum(row["hours"] for row in rows),
        "workers": num_workers,
        "hours": makespan([estimator.remaining_s(job) or 0.0 for job in left], num_workers) / 3600,
        "machine": {name: estimator.machine.get(name) for name in MACHINE},
    }


def render_plan(plan: dict[str, Any]) -> str:
    header = ("model", "h", "runs", "done", "epochs", "expected", "s/epoch", "from", "hours")
    cells = [header]
    for row in plan["rows"]:
        finished = f"{row['finished']} runs" if row["finished"] else "maximum"
        measured = f"{row['measured']} epochs" if row["measured"] else "trial"
        cells.append(
            (
                row["model"],
                str(row["hidden"]),
                str(row["runs"]),
                str(row["done"]),
                str(row["max_epochs"]),
                f"{row['expected_epochs']:.1f} ({finished})",
                f"{row['epoch_s']:.3g}",
                measured,
                f"{row['hours']:.3g}",
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    lines = ["  ".join(f"{text:>{w}}" for text, w in zip(line, widths, strict=True)) for line in cells]
    machine = plan["machine"]
    return "\n".join(
        [
            lines[0],
            "-" * len(lines[0]),
            *lines[1:],
            "",
            f"{plan['runs_left']} runs left: {plan['worker_hours']:.3g} hours of one worker, about {plan['hours']:.3g} "
            f"with {plan['workers']} on this machine ({machine['processor']}, threads a worker: {machine['threads']}).",
            "s/epoch: the median of epochs that this sweep ran on this machine, or a trial of a few training steps on "
            "random clips in one process; with all workers busy it may be more.",
            "expected: mean number of epochs of finished runs of the family, else the maximum, of which early stopping "
            "may leave a part.",
        ]
    )


def time_left(seconds: float) -> str:
    """``5400`` -> "1.5 h"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
