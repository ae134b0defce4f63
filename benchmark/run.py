"""Whole runs: data, training of every seed, then the targets, then the results. The only place that knows the order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.config import VIDEO_SOURCE, RunConfig
from benchmark.data import Clips, DataFile, DataPlan, Say, SourceData, TargetData, plan_data
from benchmark.engine.device import Environment, prepare, select_device
from benchmark.engine.fit import Fitted, Watch, fit
from benchmark.engine.levels import check_levels, check_same_levels, describe, level_name, record_levels
from benchmark.engine.member import Training
from benchmark.engine.precision import prepare_precision
from benchmark.engine.ranks import Ranks, join_ranks
from benchmark.engine.selection import Epoch, best_epoch
from benchmark.engine.state import load_state, save_state
from benchmark.engine.tuning import check_pack, tune
from benchmark.evaluation import predict
from benchmark.models import build_model, trainable_parameters
from benchmark.models.specs import ClipShape
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.release_data import is_release
from benchmark.results import SELECTION_NAME, Result, RunDirectory, SeedTraining, check_same_clips
from benchmark.scoring import Entry, score
from tsgen.common.errors import DataError, RacError
from tsgen.common.files import write_json_atomic, write_text_atomic
from tsgen.digits import AUTO


def run(config: RunConfig, out: Path, **options: object) -> RunDirectory:
    """:func:`run_many` for one run; raises what went wrong."""
    outcome = run_many([(config, out)], **options)[0]  # type: ignore[arg-type]
    if isinstance(outcome, RacError):
        raise outcome
    return outcome


def run_many(  # noqa: PLR0912 - the order of a run, told once, for one process and for several
    jobs: Sequence[tuple[RunConfig, Path]],
    *,
    digits: str | None,
    data_dir: Path,
    device: str = "auto",
    threads: int | None = None,
    pack: str = "auto",
    levels: Sequence[float] = (),
    resume: bool = False,
    say: Say = lambda line: None,
    quiet: bool = False,
    stop: Callable[[], bool] = lambda: False,
    library: Library | None = None,
) -> list[RunDirectory | RacError]:
    """Do everything that is not done yet and leave a finished run directory for each config; outcomes in order.

    Sections 3.1 and 4.1 of the paper. All configs have one model and protocol; seeds and source may differ. Up to
    ``pack`` trainings run side by side (:func:`benchmark.engine.tuning.tune`). Target files are made
    beforehand, so that a missing digit source is noticed before hours of training, but opened only when every seed is
    trained. ``levels``: source validation accuracies at which to keep a checkpoint as well, rising
    (:mod:`benchmark.engine.levels`). ``library``: of clips that other calls share. A run whose loss was not finite has
    the error as its outcome. StoppedError when ``stop()`` was true at the end of an epoch. Under torchrun all processes
    call this alike and share the training of each model; the first one evaluates and writes, for the others a directory
    may not be finished on return.
    """
    check_pack(pack)
    check_levels(levels)
    where = select_device(device)
    environment = prepare(where, threads, pack)
    ranks = join_ranks(where)
    if not ranks.is_first:
        say, quiet = (lambda line: None), True
    for config, _ in jobs:
        prepare_precision(config.precision, where)
        ranks.check_batch(config.batch_size)
    ranks.wait()  # for the first, which may still evaluate what was trained before
    outcomes: dict[int, RunDirectory | RacError] = {}
    begun: dict[int, _Run] = {}
    library = library or Library()
    for number, (config, out) in enumerate(jobs):
        directory = RunDirectory(out)
        if ranks.is_first:
            directory.check_free(config, resume=resume)
            check_same_levels(directory, config.seeds, levels)
        if directory.result_path.exists():
            if ranks.is_first:
                _check_finished_on(config, directory, digits, data_dir)
            say(f"{out} is finished: nothing to do.")
            outcomes[number] = directory
        else:
            begun[number] = _Run(config, directory, plan_data(config, digits, data_dir), tuple(levels))
    for one in begun.values() if ranks.is_first else ():
        for line in one.directory.begin(one.config, one.plan.digests(), environment.to_json()):
            say(f"resumed elsewhere than begun, so the last bits may differ ({line})")
        record_levels(one.directory, levels)
        for file in one.plan.files:
            file.ensure(say)
    ranks.wait()

    owners = [one for one in begun.values() for _ in one.config.seeds]
    trainings = [
        Training(
            one.config,
            seed,
            library.source(one.plan, say),
            one.directory.seed_path(seed, "state.safetensors"),
            one.levels,
        )
        for one in begun.values()
        for seed in one.config.seeds
    ]
    if trainings:
        fitted = _fit(trainings, owners, where, pack if ranks.size == 1 else "1", say, quiet, stop, ranks)
        if not ranks.is_first:
            return [outcomes.get(number) or RunDirectory(out) for number, (_, out) in enumerate(jobs)]
        for training, owner, outcome in zip(trainings, owners, fitted, strict=True):
            owner.take(training.seed, outcome, say)
    for number, one in begun.items():
        outcomes[number] = one.failure or _finish(one, library, environment, where, say)
    return [outcomes[number] for number in range(len(jobs))]


def _check_finished_on(config: RunConfig, directory: RunDirectory, digits: str | None, data_dir: Path) -> None:
    """UsageError when a finished run is asked for on other clips than it was about, where that can be told at once.

    A finished run needs no digits any more. "auto" would look for them, and may find others than it did; named ones may
    be gone. Both leave the run what it is: finished, on the clips of its own record.
    """
    needs_digits = config.source != VIDEO_SOURCE and not is_release(data_dir)
    if needs_digits and digits == AUTO:
        return
    try:
        plan = plan_data(config, digits, data_dir)
    except RacError:
        if not needs_digits:
            raise
        return
    check_same_clips(directory, plan)


@dataclass
class _Run:
    """A run on its way."""

    config: RunConfig
    directory: RunDirectory
    plan: DataPlan
    levels: tuple[float, ...] = ()
    fitted: dict[int, Fitted] = field(default_factory=dict)
    failure: RacError | None = None

    def take(self, seed: int, outcome: Fitted | RacError, say: Say) -> None:
        """Keep what training one seed gave: metrics and checkpoint, or the failure."""
        if isinstance(outcome, RacError):
            self.failure = self.failure or outcome
            return
        self.fitted[seed] = outcome
        # Written again here because a kill may have come between the state and the metrics of the last epoch.
        _write_metrics(self.directory.seed_path(seed, "metrics.jsonl"), list(outcome.history))
        save_state(
            self.directory.seed_path(seed, "checkpoint.safetensors"),
            outcome.weights,
            {
                "model": self.config.model,
                "hidden": self.config.hidden,
                "source": self.config.source,
                "seed": seed,
                "epoch": outcome.best_epoch,
            },
        )
        V = outcome.history[outcome.best_epoch - 1].val_accuracy
        epochs = f"epoch {outcome.best_epoch} of {len(outcome.history)}"
        say(f"{self.config.source}, seed {seed}: best source validation accuracy {V:.3f} in {epochs}")
        if self.levels:
            say(f"{self.config.source}, seed {seed}: {describe(outcome.history, self.levels)}")


class Library:
    """Clips that several runs share: read, and checked against their hashes, once."""

    def __init__(self) -> None:
        self._clips: dict[DataFile, Clips] = {}
        self._sources: dict[tuple[DataFile, DataFile], SourceData] = {}

    def source(self, plan: DataPlan, say: Say) -> SourceData:
        key = (plan.train, plan.val)
        if key not in self._sources:
            self._sources[key] = SourceData(self._read(plan.train, say), self._read(plan.val, say))
        return self._sources[key]

    def evaluated(self, plan: DataPlan, say: Say) -> list[Clips]:
        """Source validation, then the targets."""
        targets = [TargetData(self._read(file, say)) for file in plan.targets]
        return [self._read(plan.val, say), *(target.clips for target in targets)]

    def _read(self, file: DataFile, say: Say) -> Clips:
        if file not in self._clips:
            self._clips[file] = file.load(say)
        return self._clips[file]


def _fit(
    trainings: Sequence[Training],
    owners: Sequence[_Run],
    device: torch.device,
    pack: str,
    say: Say,
    quiet: bool,
    stop: Callable[[], bool],
    ranks: Ranks,
) -> list[Fitted | RacError]:
    config = trainings[0].config
    tuning = tune(pack, trainings, device, say)
    for source in dict.fromkeys(one.config.source for one in owners):
        seeds = [str(training.seed) for training in trainings if training.config.source == source]
        say(f"training on {config.n_train} {source} clips: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
    batches = config.max_epochs * (config.n_train // config.batch_size)
    with tqdm(
        total=len(trainings) * batches, desc=config.model, unit="batch", disable=True if quiet else None
    ) as progress:

        def on_epoch(number: int, history: list[Epoch]) -> None:
            if not ranks.is_first:
                return
            training, last, best = trainings[number], history[-1], best_epoch(history)
            _write_metrics(owners[number].directory.seed_path(training.seed, "metrics.jsonl"), history)
            progress.set_postfix_str(
                f"{training.config.source}, seed {training.seed}: epoch {last.epoch}, loss {last.train_loss:.3f}, "
                f"V {last.val_accuracy:.3f} (best {history[best - 1].val_accuracy:.3f})"
            )

        def on_batch(models: int) -> None:
            progress.update(models)

        return fit(trainings, device, tuning, Watch(on_batch, on_epoch, say, stop), ranks)


def _finish(one: _Run, library: Library, environment: Environment, device: torch.device, say: Say) -> RunDirectory:
    config, directory = one.config, one.directory
    source, domains = library.source(one.plan, say), library.evaluated(one.plan, say)
    say(f"evaluating on {', '.join(config.targets)}")
    weights = {seed: fitted.weights for seed, fitted in one.fitted.items()}
    parameters = _answer(config, weights, domains, device, directory)
    facts = environment.to_json()
    if directory.was_resumed_elsewhere():
        facts["determinism"] = "none: the run was resumed in another environment, see environment.json"
    directory.write_result(
        Result(
            config=config,
            parameters=parameters,
            trainings=tuple(
                SeedTraining(seed, fitted.best_epoch, len(fitted.history), fitted.stopped)
                for seed, fitted in one.fitted.items()
            ),
            scorecard=score(Entry.of_run(config), directory.read_predictions(config)),
            data=tuple(clips.facts.to_json() for clips in (source.train, *domains)),
            environment=facts,
        )
    )
    return directory


def evaluate_level(
    directory: RunDirectory,
    level: float,
    data_dir: Path,
    *,
    device: str = "auto",
    say: Say = lambda line: None,
    library: Library | None = None,
) -> RunDirectory | None:
    """The predictions of a finished run's checkpoints at ``level``, in its folder ``level-<level>``; done only once.

    None when no seed reached the level; seeds that did not are left out.
    """
    config = directory.read_config()
    found = {seed: directory.seed_path(seed, level_name(level)) for seed in config.seeds}
    reached = tuple(seed for seed, path in found.items() if path.exists())
    if not reached:
        say(f"{config.model}: no seed reached V = {level:g}")
        return None
    at_level = RunDirectory(directory.path / f"level-{level!r}")
    if at_level.result_path.exists():
        return at_level
    where = select_device(device)
    prepare_precision(config.precision, where)
    plan = plan_data(config, None, data_dir)
    check_same_clips(directory, plan)
    domains = (library or Library()).evaluated(plan, say)
    weights, epochs = {}, {}
    for seed in reached:
        weights[seed], facts = load_state(found[seed])
        epochs[seed] = int(facts["epoch"])
    parameters = _answer(config, weights, domains, where, at_level)
    own = dataclasses.replace(config, seeds=reached)
    write_json_atomic(at_level.config_path, own.to_json())
    write_json_atomic(at_level.path / SELECTION_NAME, {"level": float(level)})
    whole = directory.read_result()
    at_level.write_result(
        Result(
            config=own,
            parameters=parameters,
            trainings=tuple(
                SeedTraining(one["seed"], epochs[one["seed"]], one["epochs"], one["stopped"])
                for one in whole["seeds"]
                if one["seed"] in epochs
            ),
            scorecard=at_level.scorecard(),
            data=tuple(whole["data"]),
            environment=whole["environment"],
            selection=at_level.entry().selection.removeprefix("the "),
        )
    )
    return at_level


def _answer(
    config: RunConfig,
    weights: Mapping[int, dict[str, Tensor]],
    domains: Sequence[Clips],
    device: torch.device,
    directory: RunDirectory,
) -> int:
    """Write the predictions of each seed's weights on each domain; how many parameters the model has."""
    shape = ClipShape.of(domains[0].clips.shape)
    model = build_model(config.model, config.hidden, len(domains[0].class_names), shape).to(device)
    for seed, of_seed in weights.items():
        model.load_state_dict(of_seed)
        _predict(model, seed, domains, device, directory)
    return trainable_parameters(model)


def _predict(
    model: torch.nn.Module, seed: int, domains: Sequence[Clips], device: torch.device, directory: RunDirectory
) -> None:
    for clips in domains:
        facts = clips.facts
        logits = predict(model, clips, device)
        if not np.isfinite(logits).all():
            raise DataError(f"seed {seed}: the model's answers on {facts.domain} are not finite.")
        predictions = Predictions(
            domain=facts.domain,
            split=facts.split,
            seed=seed,
            class_names=clips.class_names,
            content_hash=facts.content_hash,
            digits_source=facts.digits_source,
            digits_sha256=facts.digits_sha256,
            clip_id=clips.clip_id,
            label=clips.labels,
            logits=logits,
        )
        write_predictions(predictions_path(directory.path, seed, facts.domain), predictions)


def _write_metrics(path: Path, history: list[Epoch]) -> None:
    write_text_atomic(path, "".join(json.dumps(epoch.to_json()) + "\n" for epoch in history))
