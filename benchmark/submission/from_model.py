"""A trained model to a submission: its weights from safetensors, or a factory of your own that brings them along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import RunConfig
from benchmark.data import Say, plan_data
from benchmark.engine.device import select_device
from benchmark.models import MODELS
from benchmark.nodes import check_device
from benchmark.submission.evaluating import Checkpoint, Evaluation, answer_pairs
from benchmark.submission.layout import shown
from benchmark.submission.parts import Part, same_part, shard_of_pairs, write_part
from benchmark.submission.record import Submission
from benchmark.submission.write import Words, check_out, describe, evaluated_on, protocol_of, write_submission
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file
from tsgen.common.shards import WHOLE, Shard

TRAINED_INSIDE = "py:"
SERIAL = EngineOptions("serial")


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
    engine: EngineOptions = SERIAL,
    shard: Shard = WHOLE,
    say: Say = lambda line: None,
) -> Submission:
    """Evaluate on the source's validation clips and on every target, and write what the model answered.

    One checkpoint a seed; without any, ``wanted.model`` is a factory that returns a trained model. Of a ``shard`` only
    its pairs of seed and domain are answered, and their part is written (:mod:`benchmark.submission.parts`). UsageError
    for a request that cannot be met, DataError for a checkpoint of another model, shape or source, or answers not
    finite.
    """
    path = shard.folder(out)
    if shard.is_whole or not path.exists():
        check_out(path)
    files = [Checkpoint.read(path) for path in checkpoints]
    _check_different(checkpoints)
    config = resolve(wanted, files)
    words = _complete(words, config, files)
    describe(config, 0, {}, words)  # what only the submitter can say is asked for before the work
    check_device(engine, device)
    if engine.name != "ray":
        device = select_device(device).type
    clips = plan_data(config, digits, data_dir)
    evaluation = Evaluation(config, tuple(files), (clips.val, *clips.targets), device, threads)
    pairs = shard_of_pairs(evaluation.pairs, shard)
    domains = [file.load(say) for file in evaluation.clips]
    evaluated = {each.facts.domain: evaluated_on(each.facts.to_json()) for each in domains}
    weights = {seed: sha256_file(file.path) for seed, file in zip(config.seeds, files, strict=False)}
    if path.exists():
        return same_part(path, shard, weights, describe(config, 0, evaluated, words))

    answers = dict(answer_pairs(evaluation, pairs, domains, engine, say))
    if not weights and len({each.weights for each in answers.values()}) > 1:
        raise DataError(
            f"{config.model} does not keep its weights from one answer to the next; let its factory load them, or fix "
            "their seed."
        )
    weights = weights or {config.seeds[0]: answers[pairs[0]].weights}
    submission = describe(config, answers[pairs[0]].parameters, evaluated, words)
    predictions = [answers[pair].predictions for pair in pairs]
    if shard.is_whole:
        write_submission(out, submission, predictions)
    else:
        write_part(path, Part(shard, weights, submission), predictions)
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
