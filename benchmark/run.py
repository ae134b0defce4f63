"""A whole run: data, one training per seed, then the targets, then the result. The only place that knows the order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmark.config import RunConfig
from benchmark.data import Clips, DataPlan, Say, SourceData, plan_data
from benchmark.engine.device import prepare, select_device
from benchmark.engine.fit import Fitted, fit
from benchmark.engine.selection import Epoch, best_epoch
from benchmark.engine.state import save_state
from benchmark.evaluation import predict
from benchmark.models import build_model, count_parameters
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.results import Result, RunDirectory, SeedTraining
from benchmark.scoring import score
from tsgen.common.errors import DataError
from tsgen.common.files import write_text_atomic


def run(
    config: RunConfig,
    out: Path,
    *,
    digits: str | None,
    data_dir: Path,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    say: Say = lambda line: None,
    quiet: bool = False,
) -> RunDirectory:
    """Do everything that is not done yet and leave a finished run directory at ``out``.

    Sections 3.1 and 4.1 of the paper. Target files are made beforehand, so that a missing digit source is noticed
    before hours of training, but opened only when every seed is trained.
    """
    where = select_device(device)
    environment = prepare(where, threads)
    directory = RunDirectory(out)
    directory.check_free(config, resume=resume)
    if directory.result_path.exists():
        say(f"{out} is finished: nothing to do.")
        return directory
    plan = plan_data(config, digits, data_dir)
    for line in directory.begin(config, plan.digests(), environment.to_json()):
        say(f"resumed elsewhere than begun, so the last bits may differ ({line})")
    for file in plan.files:
        file.ensure(say)

    source = plan.load_source(say)
    fitted = {}
    for seed in config.seeds:
        fitted[seed] = _train(config, seed, source, where, directory, say, quiet)
    data = _evaluate(config, fitted, source.val, plan, where, directory, say)

    facts = environment.to_json()
    if directory.was_resumed_elsewhere():
        facts["determinism"] = "none: the run was resumed in another environment, see environment.json"
    directory.write_result(
        Result(
            config=config,
            parameters=count_parameters(config.model, config.hidden),
            trainings=tuple(
                SeedTraining(seed, one.best_epoch, len(one.history), one.stopped) for seed, one in fitted.items()
            ),
            scorecard=score(config, directory.read_predictions(config)),
            data=tuple(clips.facts.to_json() for clips in (source.train, *data)),
            environment=facts,
        )
    )
    return directory


def _train(
    config: RunConfig,
    seed: int,
    source: SourceData,
    device: torch.device,
    directory: RunDirectory,
    say: Say,
    quiet: bool,
) -> Fitted:
    say(f"seed {seed}: training on {source.train.facts.n} {config.source} clips")
    metrics_path = directory.seed_path(seed, "metrics.jsonl")
    batches = config.max_epochs * (config.n_train // config.batch_size)
    with tqdm(total=batches, desc=f"seed {seed}", unit="batch", disable=True if quiet else None) as progress:
        fitted = fit(
            config,
            seed,
            source,
            device,
            state_path=directory.seed_path(seed, "state.safetensors"),
            on_batch=lambda: _advance(progress),
            on_epoch=_epoch_writer(metrics_path, progress),
        )
    # Written again here because a kill may have come between the state and the metrics of the last epoch.
    _write_metrics(metrics_path, list(fitted.history))
    save_state(
        directory.seed_path(seed, "checkpoint.safetensors"),
        fitted.weights,
        {"model": config.model, "hidden": config.hidden, "seed": seed, "epoch": fitted.best_epoch},
    )
    V = fitted.history[fitted.best_epoch - 1].val_accuracy
    say(f"seed {seed}: best source validation accuracy {V:.3f} in epoch {fitted.best_epoch} of {len(fitted.history)}")
    return fitted


def _evaluate(
    config: RunConfig,
    fitted: dict[int, Fitted],
    val: Clips,
    plan: DataPlan,
    device: torch.device,
    directory: RunDirectory,
    say: Say,
) -> list[Clips]:
    say(f"evaluating on {', '.join(config.targets)}")
    domains = [val, *(target.clips for target in plan.load_targets(say))]
    for seed, one in fitted.items():
        model = build_model(config.model, config.hidden, len(val.class_names)).to(device)
        model.load_state_dict(one.weights)
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
    return domains


def _epoch_writer(path: Path, progress: tqdm[None]) -> Callable[[list[Epoch]], None]:
    def write(history: list[Epoch]) -> None:
        _write_metrics(path, history)
        last, best = history[-1], best_epoch(history)
        progress.set_postfix_str(
            f"epoch {last.epoch}, loss {last.train_loss:.3f}, V {last.val_accuracy:.3f} "
            f"(best {history[best - 1].val_accuracy:.3f})"
        )

    return write


def _write_metrics(path: Path, history: list[Epoch]) -> None:
    write_text_atomic(path, "".join(json.dumps(epoch.to_json()) + "\n" for epoch in history))


def _advance(progress: tqdm[None]) -> None:
    progress.update()  # without its answer, which fit has no use for
