"""A trained model to a submission: its weights from safetensors, or a factory of your own that brings them along."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from benchmark.config import RunConfig
from benchmark.data import Say, plan_data
from benchmark.engine.device import prepare, select_device
from benchmark.engine.state import METADATA_KEY
from benchmark.evaluation import predict
from benchmark.models import MODELS, build_model, trainable_parameters
from benchmark.predictions import Predictions
from benchmark.results import RunDirectory
from benchmark.submission.layout import shown
from benchmark.submission.record import Submission
from benchmark.submission.write import Words, check_out, describe, evaluated_on, protocol_of, write_submission
from tsgen.common.errors import DataError, UsageError

MAX_NAMED = 3
TRAINED_INSIDE = "py:"


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None: what the checkpoints say."""

    model: str | None
    hidden: int | None
    source: str | None
    seeds: tuple[int, ...] | None
    n_val: int
    n_target: int
    data_seed: int


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


def submit_model(
    wanted: Wanted,
    checkpoints: Sequence[Path],
    out: Path,
    words: Words,
    *,
    digits: str | None,
    data_dir: Path,
    device: str = "auto",
    threads: int | None = None,
    say: Say = lambda line: None,
) -> Submission:
    """Evaluate on the source's validation clips and on every target, and write what the model answered.

    One checkpoint a seed; without any, ``wanted.model`` is a factory that returns a trained model. UsageError for a
    request that cannot be met, DataError for a checkpoint of another model, shape or source, or answers not finite.
    """
    check_out(out)
    files = [Checkpoint.read(path) for path in checkpoints]
    _check_different(checkpoints)
    config = resolve(wanted, files)
    words = _complete(words, config, files)
    describe(config, 0, {}, words)  # what only the submitter can say is asked for before the work
    where = select_device(device)
    prepare(where, threads, "auto")
    plan = plan_data(config, digits, data_dir)
    domains = [plan.val.load(say), *(target.clips for target in plan.load_targets(say))]
    model = build_model(config.model, config.hidden, len(domains[0].class_names)).to(where)
    predictions = []
    for number, seed in enumerate(config.seeds):
        if files:
            load(model, files[number], config)
        for clips in domains:
            facts = clips.facts
            logits = predict(model, clips, where)
            if not np.isfinite(logits).all():
                raise DataError(f"seed {seed}: the model's answers on {facts.domain} are not finite.")
            answers = Predictions(
                facts.domain, facts.split, seed, clips.class_names, facts.content_hash, facts.digits_source,
                facts.digits_sha256, clips.clip_id, clips.labels, logits,
            )  # fmt: skip
            predictions.append(answers)
            say(f"seed {seed}, {facts.domain}: accuracy {answers.correct.mean():.3f} on {facts.n} clips")
    evaluated = {clips.facts.domain: evaluated_on(clips.facts.to_json()) for clips in domains}
    submission = describe(config, trainable_parameters(model), evaluated, words)
    write_submission(out, submission, predictions)
    return submission


def _check_different(checkpoints: Sequence[Path]) -> None:
    resolved = [path.resolve() for path in checkpoints]
    twice = [str(path) for path, real in zip(checkpoints, resolved, strict=True) if resolved.count(real) > 1]
    if twice:
        raise UsageError(f"--checkpoint {', '.join(twice)} is one file; give the weights of each training once.")


def resolve(wanted: Wanted, files: Sequence[Checkpoint]) -> RunConfig:
    """What is evaluated: the request and the checkpoints' facts, which must agree."""
    model, hidden, source = (_agreed(name, getattr(wanted, name), files) for name in ("model", "hidden", "source"))
    for file in files:
        trained = file.run_config()
        if trained is not None and source is not None and trained.source != source:
            raise DataError(
                f"{file.path} was trained on {trained.source}, not on {source}; ask for --source {trained.source}."
            )
        source = source if trained is None else trained.source
    if model is None:
        raise UsageError("give --model: the checkpoint does not say which model it is of.")
    if wanted.model is None and model not in MODELS:
        # A file must not choose which code is run, or what is downloaded.
        raise UsageError(f"the checkpoint is of {shown(model)}; give that as --model to have it built.")
    if source is None:
        raise UsageError("give --source: the domain the model was trained on.")
    if not files and not model.startswith(TRAINED_INSIDE):
        raise UsageError(f"{model} without weights was never trained; give --checkpoint FILE for each seed.")
    if hidden is None:
        hidden = RunConfig().hidden if model in MODELS else 0
    seeds = _seeds(wanted.seeds, files)
    return RunConfig(
        model=model, hidden=hidden, source=source, seeds=seeds,
        n_val=wanted.n_val, n_target=wanted.n_target, data_seed=wanted.data_seed,
    )  # fmt: skip


def _agreed(name: str, asked: Any, files: Sequence[Checkpoint]) -> Any:
    for file in files:
        noted = file.facts.get(name)
        if noted is None:
            continue
        if asked is not None and noted != asked:
            raise DataError(
                f"{file.path} is of another {name}: {shown(noted)}, not {asked}; give the checkpoint meant."
            )
        if type(noted) is not (int if name == "hidden" else str):
            raise DataError(f"{file.path} is damaged: its {name} is {shown(noted)}.")
        asked = noted
    return asked


def _seeds(asked: tuple[int, ...] | None, files: Sequence[Checkpoint]) -> tuple[int, ...]:
    noted = [file.facts.get("seed") for file in files]
    if asked is None:
        if not files or any(type(seed) is not int for seed in noted):
            raise UsageError("give --seeds: the training seed of each checkpoint, in their order.")
        return tuple(seed for seed in noted if seed is not None)
    if len(asked) != max(len(files), 1):
        raise UsageError(
            f"--seeds names {len(asked)} seeds for {len(files) or 1} models; give one for each --checkpoint."
        )
    for seed, found, file in zip(asked, noted, files, strict=False):
        if found is not None and found != seed:
            raise DataError(
                f"{file.path} is of seed {shown(found)}, not {seed}; give --seeds in the order of --checkpoint."
            )
    return asked


def _complete(words: Words, config: RunConfig, files: Sequence[Checkpoint]) -> Words:
    """A checkpoint in its run directory says how it was trained; of others only the submitter knows."""
    runs = [file.run_config() for file in files]
    first = runs[0] if runs else None
    if first is not None and all(run is not None and protocol_of(run) == protocol_of(first) for run in runs):
        return Words(
            words.title, words.authors, words.protocol or f"rac-bench run: {protocol_of(first)}", words.selection,
            words.family, words.pretraining,
        )  # fmt: skip
    if words.protocol is None or words.selection is None:
        raise UsageError(
            "say how the model was trained and how its checkpoint was chosen, a sentence each: "
            "--protocol TEXT --selection TEXT."
        )
    return words


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
