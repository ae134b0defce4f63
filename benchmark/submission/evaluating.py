"""A trained model's answers, one seed on one domain at a time: in this process, or in those of an engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from benchmark.config import RunConfig
from benchmark.data import Clips, DataFile, Say
from benchmark.engine.device import prepare, select_device
from benchmark.engine.state import METADATA_KEY
from benchmark.evaluation import predict
from benchmark.models import build_model, trainable_parameters
from benchmark.nodes import gpus_of
from benchmark.predictions import Predictions
from benchmark.results import RunDirectory
from benchmark.submission.layout import shown
from tsgen.common.engine import EngineOptions, UnitError, Work, run_units
from tsgen.common.engine.place import enter
from tsgen.common.errors import DataError, UsageError

MAX_NAMED = 3

Pair = tuple[int, int]
"""A unit: which of the seeds, and which of the domains, the source first."""


@dataclass(frozen=True)
class Checkpoint:
    """A file with weights. ``facts``: what rac-bench noted in it; empty for files of others."""

    path: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        if not path.is_file():
            raise UsageError(f"--checkpoint {path}: no such file.")
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        except (SafetensorError, ValueError, RecursionError, OSError) as problem:
            raise DataError(
                f"{path} is no safetensors file ({shown(str(problem))}); write one with "
                "safetensors.torch.save_file(model.state_dict(), FILE). Pickles (.pt, .pth) are never read."
            ) from None
        return cls(path, facts if isinstance(facts, dict) else {})

    def tensors(self) -> dict[str, Tensor]:
        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as problem:
            raise DataError(f"{self.path} is damaged: {problem}.") from problem

    def run_config(self) -> RunConfig | None:
        """Of the run directory it lies in, seed<seed>/checkpoint.safetensors, if it does."""
        run = RunDirectory(self.path.absolute().parent.parent)
        return run.read_config() if self.facts and run.config_path.is_file() else None


@dataclass(frozen=True)
class Evaluation:
    """What every process that answers must know. ``files``: one a seed; none: the model brings its weights along."""

    config: RunConfig
    files: tuple[Checkpoint, ...]
    clips: tuple[DataFile, ...]
    device: str
    threads: int | None

    @property
    def pairs(self) -> list[Pair]:
        return [(seed, domain) for seed in range(len(self.config.seeds)) for domain in range(len(self.clips))]


@dataclass(frozen=True)
class Answered:
    """Logits float32 (N, C) of the clips whose content hash this is; ``weights``: SHA-256 of those that gave them."""

    logits: NDArray[np.float32]
    content_hash: str
    parameters: int
    weights: str


@dataclass(frozen=True)
class Answer:
    """:class:`Answered`, with the logits beside the truth."""

    predictions: Predictions
    parameters: int
    weights: str


def answer_pairs(
    evaluation: Evaluation, pairs: Sequence[Pair], domains: Sequence[Clips], engine: EngineOptions, say: Say
) -> Iterator[tuple[Pair, Answer]]:
    """Every pair and its answer, as they come. The first problem ends all: a submission lacks nothing."""
    work = Work(
        run=answer,
        start=begin,
        arguments=(Path.cwd(), evaluation, domains if engine.name == "serial" else ()),
        cpus=float(evaluation.threads or 1),
        gpus=gpus_of(evaluation.device),
    )
    try:
        with contextlib.closing(run_units(work, pairs, engine)) as units:
            for finished in units:
                number, domain = finished.unit
                seed, clips = evaluation.config.seeds[number], domains[domain]
                facts = clips.facts
                if isinstance(finished.problem, UnitError):
                    raise UnitError(f"seed {seed}, {facts.domain}: {finished.problem}") from finished.problem
                if finished.problem is not None:
                    raise finished.problem
                assert finished.result is not None
                found = finished.result
                if found.content_hash != facts.content_hash:
                    raise DataError(
                        f"{evaluation.clips[domain].path} is another file there than here; give common files."
                    )
                if not np.isfinite(found.logits).all():
                    raise DataError(f"seed {seed}: the model's answers on {facts.domain} are not finite.")
                predictions = Predictions(
                    facts.domain, facts.split, seed, clips.class_names, facts.content_hash, facts.digits_source,
                    facts.digits_sha256, clips.clip_id, clips.labels, found.logits,
                )  # fmt: skip
                say(f"seed {seed}, {facts.domain}: accuracy {predictions.correct.mean():.3f} on {facts.n} clips")
                yield finished.unit, Answer(predictions, found.parameters, found.weights)
    finally:
        _mine.clear()  # of this process, with the serial engine: the model and all clips


@dataclass
class _Evaluator:
    """What a process keeps from one unit to the next: the model, and the clips it has read."""

    evaluation: Evaluation
    device: torch.device
    clips: dict[int, Clips]
    models: dict[int, nn.Module] = field(default_factory=dict)

    def model(self, number: int) -> nn.Module:
        """With the weights of one seed; one at a time, as they may be large."""
        if number not in self.models:
            config, files = self.evaluation.config, self.evaluation.files
            model = next(iter(self.models.values()), None)
            if model is None:
                classes = len(next(iter(self.clips.values())).class_names)
                model = build_model(config.model, config.hidden, classes).to(self.device)
            if files:
                load(model, files[number], config)
            self.models = {number: model}
        return self.models[number]


_mine: list[_Evaluator] = []
"""Of a process: what it has begun with."""


def begin(folder: Path, evaluation: Evaluation, domains: Sequence[Clips]) -> None:
    """``domains``: the clips, where this process has read them already."""
    enter(folder, [*(file.path for file in evaluation.files), *(file.path for file in evaluation.clips)])
    device = select_device(evaluation.device)
    prepare(device, evaluation.threads, "auto")
    _mine[:] = [_Evaluator(evaluation, device, dict(enumerate(domains)))]


def answer(pair: Pair) -> Answered:
    """The unit: of one seed on one domain."""
    number, domain = pair
    own = _mine[0]
    if domain not in own.clips:
        own.clips[domain] = own.evaluation.clips[domain].load(lambda line: None)
    model = own.model(number)
    logits = predict(model, own.clips[domain], own.device)
    return Answered(logits, own.clips[domain].facts.content_hash, trainable_parameters(model), digest_of(model))


def digest_of(model: nn.Module) -> str:
    """SHA-256 of names, types, shapes and bytes of the weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load(model: nn.Module, file: Checkpoint, config: RunConfig) -> None:
    """Put the weights into ``model``; DataError naming what does not fit.

    Weights of a model from outside may have the names it knows itself, without those of what we put around it.
    """
    tensors, own = file.tensors(), model.state_dict()
    inner = getattr(model, "net", None)
    if isinstance(inner, nn.Module) and not set(tensors) & set(own):
        model, own = inner, inner.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{shown(name)} is unknown" for name in tensors if name not in own]
    problems += [
        f"{name} is {tuple(tensors[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        title = f"{config.model}{f' with hidden {config.hidden}' if config.hidden else ''}"
        raise DataError(f"{file.path} does not fit {title}: {'; '.join(problems[:MAX_NAMED])}{more}.")
    model.load_state_dict(tensors)
