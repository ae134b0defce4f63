"""Directories of runs and experiments on videos (V, its test domains), with drawn answers: no frames, no training."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from benchmark.config import VIDEO_TARGETS, make_config
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.results import Result, RunDirectory, SeedTraining
from benchmark.study_record import Study, StudyConfig, asked_of, level_folder, row_of
from tests.benchmark.report_samples import ENVIRONMENT

CLASSES = ("a", "b", "c", "d")
SIZES = {"n_train": 16, "n_val": 200, "n_target": 150, "batch_size": 8}
SKILL = {"V": 0.8, "O": 0.7, "C": 0.65, "S1": 0.55, "S2": 0.5, "T": 0.4, "T_union": 0.45, "B": 0.35}
TEXTURE = {"3D CNN": 0.1, "ConvLSTM": -0.1, "TimeSformer": 0.2}
"""Family -> added to its skill on T."""


def predict(domain, seed, better):
    """``better``: added to the skill, a number or one of each domain. The same clips for all."""
    n, split = (SIZES["n_val"], "val") if domain == "V" else (SIZES["n_target"], "test")
    drawn = np.random.default_rng([seed, len(domain), *domain.encode()])
    label = np.arange(n) % len(CLASSES)
    more = better.get(domain, 0.0) if isinstance(better, dict) else better
    right = drawn.random(n) < SKILL[domain] + more
    answer = np.where(right, label, (label + drawn.integers(1, 4, n)) % len(CLASSES))
    digest = hashlib.sha256(domain.encode()).hexdigest()
    logits = np.eye(len(CLASSES), dtype=np.float32)[answer]
    return Predictions(domain, split, seed, CLASSES, digest, None, None, np.arange(n), label, logits)


def write_run(path, model="3dcnn-4l", *, hidden=2, seeds=(1, 2), better=0.0, level=None, targets=VIDEO_TARGETS):
    """A finished directory of a run, or with ``level`` of its checkpoints at one."""
    config = make_config("d48", model=model, hidden=hidden, seeds=seeds, target_domains=targets, **SIZES)
    found = {(seed, domain): predict(domain, seed, better) for seed in seeds for domain in ("V", *targets)}
    for (seed, domain), each in found.items():
        write_predictions(predictions_path(path, seed, domain), each)
    (path / "config.json").write_text(json.dumps(config.to_json()))
    if level is not None:
        (path / "selection.json").write_text(json.dumps({"level": level}))
    data = [
        {
            "domain": one.domain, "split": one.split, "profile": "", "n": len(one.label),
            "content_hash": one.content_hash, "digits_source": None, "digits_sha256": None,
        }
        for (seed, _), one in found.items() if seed == seeds[0]
    ]  # fmt: skip
    run = RunDirectory(path)
    trainings = tuple(SeedTraining(seed, 3, 5, "patience") for seed in seeds)
    run.write_result(Result(config, 1000, trainings, run.scorecard(), tuple(data), ENVIRONMENT))
    return path


def write_study(path, letter="a", *, seeds=(1, 2), missing=(), targets=VIDEO_TARGETS, better=0.0, **asked):
    """A finished experiment. ``missing``: families that did not reach the level, though their seeds came near it."""
    study, data = StudyConfig(f"d48-{letter}", **{"shrink": 32, "level": 0.5, **asked}), {"train": "0" * 64}
    overrides, rows = {"seeds": list(seeds)}, []
    for title, one in study.contenders_for(64).items():
        of = dict.fromkeys(SKILL, better) | {"T": better + TEXTURE[title]}
        shown = tuple(name for name in targets if name in {"S1", "S2", "T"})  # of the best checkpoint, to be quick
        run = RunDirectory(write_run(path / one.model, one.model, hidden=one.hidden, seeds=seeds, targets=shown))
        best = 0.4 if title in missing else 0.8
        for seed in seeds:
            run.seed_path(seed, "metrics.jsonl").parent.mkdir()
            run.seed_path(seed, "metrics.jsonl").write_text(json.dumps({"val_accuracy": best}) + "\n")
        folder = run.path / level_folder(study.at)
        facts = {"hidden": one.hidden, "seeds": seeds, "better": of, "level": study.at, "targets": targets}
        at_level = None if title in missing else RunDirectory(write_run(folder, one.model, **facts))
        rows.append(row_of(letter, title, run, at_level))
    (path / "experiment.json").write_text(json.dumps(asked_of(study, overrides, data)))
    (path / "result.json").write_text(json.dumps(Study(path.name, study, overrides, data, tuple(rows)).to_json()))
    return path
