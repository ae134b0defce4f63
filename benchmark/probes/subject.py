"""The subject of a probe: the checkpoints of a finished run and the clips it was about, as answers on any clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.config import VIDEO_SOURCE, RunConfig
from benchmark.data import Clips, DataFile, DataPlan, plan_data
from benchmark.engine.device import Environment, prepare, select_device
from benchmark.engine.levels import level_name, read_levels
from benchmark.engine.precision import prepare_precision
from benchmark.engine.state import load_state
from benchmark.evaluation import predict
from benchmark.models import build_model
from benchmark.models.specs import ClipShape
from benchmark.results import RunDirectory, check_same_clips
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.digits import AUTO, EMBEDDED, EMBEDDED_SOURCE
from tsgen.vocabulary import CLASS_NAMES

CHECKPOINT_NAME = "checkpoint.safetensors"
AS_THE_RUN = "as the run"


@dataclass(frozen=True)
class Checkpoint:
    """Weights of one seed; ``epoch`` they were taken after."""

    seed: int
    epoch: int
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """A run's checkpoints, one a seed. ``level`` None: those of the best source validation accuracy."""

    config: RunConfig
    checkpoints: tuple[Checkpoint, ...]
    level: float | None
    plan: DataPlan
    digits: str
    device: torch.device
    environment: Environment

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(each.seed for each in self.checkpoints)

    def clips_of(self, domain: str, say: Callable[[str], None]) -> Clips:
        """Validation clips of the source, test clips of a target."""
        return self._file(domain).load(say)

    def _file(self, domain: str) -> DataFile:
        files = {file.domain: file for file in (self.plan.val, *self.plan.targets)}
        if domain not in files:
            raise unknown_name("domain of this run", domain, files)
        return files[domain]

    def models(self, num_frames: int) -> _Models:
        """Evaluates every seed on clips of ``num_frames``; UsageError when the layers need another number."""
        return _Models(self, num_frames)

    def to_json(self) -> dict[str, Any]:
        """What was evaluated and where; no path and no time."""
        return {
            "config": self.config.to_json(),
            "checkpoint": "best source validation accuracy" if self.level is None else f"level {self.level!r}",
            "level": self.level,
            "checkpoints": [{"seed": each.seed, "epoch": each.epoch} for each in self.checkpoints],
            "environment": self.environment.to_json(),
        }


class _Models:
    """One model into which the weights of each seed are loaded in turn."""

    def __init__(self, subject: Subject, num_frames: int) -> None:
        self._subject = subject
        config = subject.config
        self._model: nn.Module = build_model(
            config.model, config.hidden, len(CLASS_NAMES), ClipShape(frames=num_frames)
        ).to(subject.device)
        for checkpoint in subject.checkpoints:
            try:
                self._model.load_state_dict(checkpoint.weights)
            except RuntimeError as problem:
                if num_frames != ClipShape().frames:
                    raise UsageError(
                        f"{config.model} has layers made for clips of {ClipShape().frames} frames and cannot take "
                        f"{num_frames}; convlstm, timesf-8 and timesf-1 can."
                    ) from problem
                raise DataError(
                    f"the checkpoint of seed {checkpoint.seed} does not fit {config.model}: {problem}"
                ) from (problem)

    def answers(self, clips: Clips) -> NDArray[np.int64]:
        """The class each seed gives each clip, int64 (S, N)."""
        given = []
        for checkpoint in self._subject.checkpoints:
            self._model.load_state_dict(checkpoint.weights)
            logits = predict(self._model, clips, self._subject.device)
            if not np.isfinite(logits).all():
                raise DataError(f"seed {checkpoint.seed}: the model's answers on {clips.facts.domain} are not finite.")
            given.append(logits.argmax(axis=1))
        return np.stack(given)

    def answers_to(self, clips: Clips, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The same with other frames uint8 (N, T, H, W) in the place of the clips'."""
        return self.answers(dataclasses.replace(clips, clips=frames))


def open_subject(
    run_dir: Path,
    *,
    data_dir: Path,
    digits: str = AS_THE_RUN,
    seeds: Sequence[int] | None = None,
    level: float | None = None,
    device: str = AUTO,
    threads: int | None = None,
) -> Subject:
    """The finished run in ``run_dir``, with ``seeds`` or all, at a level of ``rac-bench run --levels`` or its best.

    UsageError for a run that is not finished, unknown seeds, a level that was not kept, or other digits than the run's;
    DataError for damaged files or those of another run.
    """
    directory = RunDirectory(run_dir)
    config = directory.read_config()
    if config.source == VIDEO_SOURCE:
        raise UsageError(
            f"{run_dir} was trained on videos; probes are made for Temporal Shape, whose clips they redraw."
        )
    if not directory.result_path.exists():
        raise UsageError(f"{run_dir} is not finished; continue it with rac-bench run --resume.")
    for seed in seeds or ():
        if seed not in config.seeds:
            raise UsageError(f"seed {seed} is not one of this run: {', '.join(map(str, config.seeds))}.")
    chosen = tuple(seeds or config.seeds)
    where = select_device(device)
    environment = prepare(where, threads, "1")
    prepare_precision(config.precision, where)
    checkpoints = tuple(_read(directory, config, seed, level) for seed in chosen)
    if digits == AS_THE_RUN:
        digits = _recorded_digits(directory)
    plan = plan_data(config, digits, data_dir)
    check_same_clips(directory, plan)
    return Subject(config, checkpoints, level, plan, plan.val.digits or digits, where, environment)


def _read(directory: RunDirectory, config: RunConfig, seed: int, level: float | None) -> Checkpoint:
    path = directory.seed_path(seed, CHECKPOINT_NAME if level is None else level_name(level))
    if level is not None and not path.exists():
        kept = read_levels(directory)
        if level in kept:
            raise UsageError(f"seed {seed} never reached the level {level:g}; leave it out with --seeds.")
        known = f"the run kept {', '.join(f'{each:g}' for each in kept)}" if kept else "the run kept no levels"
        raise UsageError(f"level {level:g}: {known}; rac-bench run --levels keeps them.")
    if not path.exists():
        raise DataError(f"{path} is missing; do the run again.")
    weights, facts = load_state(path)
    wanted = {"model": config.model, "hidden": config.hidden, "seed": seed}
    found = {name: facts.get(name) for name in wanted} if isinstance(facts, dict) else {}
    if found != wanted or not isinstance(facts.get("epoch"), int):
        raise DataError(f"{path} is of another run: it says {found}, the run's config {wanted}.")
    return Checkpoint(seed, facts["epoch"], weights)


def _recorded_digits(directory: RunDirectory) -> str:
    """The source that can be named from what the run recorded; the digests decide whether it is the right one."""
    data = directory.read_result().get("data")
    named = (
        {facts.get("digits_source") for facts in data if isinstance(facts, dict)} if isinstance(data, list) else set()
    )
    return EMBEDDED if EMBEDDED_SOURCE in named else AUTO
