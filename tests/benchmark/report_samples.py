"""Run and sweep directories as the commands leave them, with drawn predictions: no training, no torch."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from benchmark.config import RunConfig
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.results import Result, RunDirectory, SeedTraining
from benchmark.scoring import Entry, score
from benchmark.sweep.grid import Job, protocol_of
from benchmark.sweep.store import SweepDirectory

CLASSES = ("circle", "line", "arc", "spiral", "rectangle")
SIZES = {"n_train": 64, "n_val": 1000, "n_target": 500}
# Accuracy at the source and at the three targets, for a small and a large model.
SKILL = {
    "3dcnn": ((0.70, 0.40, 0.36, 0.23), (0.96, 0.71, 0.52, 0.28)),
    "convlstm": ((0.62, 0.42, 0.41, 0.27), (0.93, 0.70, 0.62, 0.36)),
    "timesf-8": ((0.48, 0.34, 0.33, 0.25), (0.80, 0.58, 0.55, 0.41)),
    "timesf-1": ((0.20, 0.20, 0.20, 0.20), (0.55, 0.39, 0.38, 0.30)),
}
ENVIRONMENT = {
    "device": "cpu",
    "processor": "a processor",
    "threads": 1,
    "determinism": "bitwise: the same machine type, versions and thread count give the same bytes",
    "python": "3.11.7",
    "numpy": "2.4.6",
    "torch": "2.15.0",
    "tsgen": "0.1.0",
}


def predict(config, seed, domain, *, clips="a"):
    """Predictions that are right about as often as ``SKILL`` says; the clips are the same for every model."""
    source = domain == config.source
    n = config.n_val if source else config.n_target
    digest = hashlib.sha256(f"{domain} {source} {clips}".encode()).hexdigest()
    place = 0 if source else 1 + config.targets.index(domain)
    low, high = SKILL.get(config.model, SKILL["3dcnn"])
    share = min(np.log(max(config.hidden, 2) / 2) / np.log(24), 1.0)
    skill = low[place] + (high[place] - low[place]) * share
    drawn = np.random.default_rng([seed, config.hidden, place, len(config.model)])
    label = np.arange(n) % len(CLASSES)
    right = drawn.random(n) < np.clip(skill + drawn.normal(0, 0.015), 0, 1)
    answer = np.where(right, label, (label + drawn.integers(1, 5, n)) % len(CLASSES))
    digits = "embedded-uci-8x8" if domain.startswith("mnist") else None
    return Predictions(
        domain=domain,
        split="val" if source else "test",
        seed=seed,
        class_names=CLASSES,
        content_hash=digest,
        digits_source=digits,
        digits_sha256=hashlib.sha256(b"digits").hexdigest() if digits else None,
        clip_id=np.arange(n, dtype=np.int64),
        label=label.astype(np.int64),
        logits=np.eye(len(CLASSES), dtype=np.float32)[answer],
    )


def write_run(path, config, *, clips="a", parameters=None):
    """A finished run directory."""
    domains = (config.source, *config.targets)
    predictions = {(s, d): predict(config, s, d, clips=clips) for s in config.seeds for d in domains}
    for (seed, domain), each in predictions.items():
        write_predictions(predictions_path(path, seed, domain), each)
    data = [
        {
            "domain": domain,
            "split": predictions[config.seeds[0], domain].split,
            "profile": "paper",
            "n": len(predictions[config.seeds[0], domain].label),
            "content_hash": predictions[config.seeds[0], domain].content_hash,
            "digits_source": predictions[config.seeds[0], domain].digits_source,
            "digits_sha256": predictions[config.seeds[0], domain].digits_sha256,
        }
        for domain in domains
    ]
    (path / "config.json").write_text(json.dumps(config.to_json()))
    result = Result(
        config=config,
        parameters=parameters or 100 * config.hidden**2 + 7,
        trainings=tuple(SeedTraining(seed, 12, 20, "patience") for seed in config.seeds),
        scorecard=score(Entry.of_run(config), predictions),
        data=tuple(data),
        environment=ENVIRONMENT,
    )
    RunDirectory(path).write_result(result)
    return path


def write_sweep(path, models=tuple(SKILL), hidden=(2, 8, 48), sources=("2dot",), seeds=(42, 61, 47), **sizes):
    """The directory of a sweep of which every job is done."""
    sizes = SIZES | sizes
    sweep = SweepDirectory(path)
    with sweep.opened(print):
        sweep.begin(protocol_of("paper", **sizes))
    for model in models:
        for h in hidden:
            for source in sources:
                for seed in seeds:
                    add_job(path, model, h, source, seed, **sizes)
    return path


def add_job(path, model, h, source, seed, **sizes):
    job = Job(next(j.config for j in _jobs(model, h, source, seed, sizes)))
    write_run(SweepDirectory(path).run_directory(job).path, job.config)


def run_config(model="3dcnn", hidden=8, source="2dot", seeds=(42, 61), **fields):
    return RunConfig(model=model, hidden=hidden, source=source, seeds=seeds, **(SIZES | fields))


def _jobs(model, h, source, seed, sizes):
    from benchmark.sweep.grid import Grid

    return Grid(models=(model,), hidden=(h,), sources=(source,), seeds=(seed,)).jobs("paper", **sizes)
