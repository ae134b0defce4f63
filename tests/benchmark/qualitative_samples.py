"""Runs on videos with drawn answers, and stores with the clips they are about: no training, no torch."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from benchmark.attributes import MATCHES
from benchmark.config import VIDEO_TARGETS, make_config
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.results import Result, RunDirectory, SeedTraining
from benchmark.submission.key_file import id_of_name
from diving48_domains.framestore import StorePlan, open_store
from diving48_domains.manifest import ClipRecord
from diving48_domains.storewriter import StoreWriter, write_clip
from diving48_domains.vocabulary import DIVE_CLASSES
from tests.benchmark.report_samples import ENVIRONMENT

NAMES = tuple("_".join(dive) for dive in DIVE_CLASSES)
LABELS = (34,) * 9 + (12,) * 7 + (45,) * 3 + (3,) * 6
IDS = tuple(f"video{row:03d}_{row:05d}" for row in range(len(LABELS)))
T, SIDE = 8, 16
SKILL = {"V": 0.5, "O": 0.5, "C": 0.5, "S1": 0.4, "S2": 0.3, "T": 0.05}


def frames_of(grey):
    """Of one grey, but for the corner, which tells the number of the frame."""
    frames = np.full((T, SIDE, SIDE, 3), grey, np.uint8)
    frames[:, 0, 0] = 200 + np.arange(T)[:, None]
    return frames


def write_stores(folder, labels=LABELS, ids=IDS):
    """The test domains of a data folder; greys tell store and row of the clip."""
    (folder / "test").mkdir(parents=True)
    paths = {name: folder / "test" / f"{name}.h5" for name in VIDEO_TARGETS}
    plan = StorePlan(ids, labels, ids, T, SIDE, SIDE, {"resize_rule": "none"})
    with StoreWriter(paths, plan, folder / "test.journal") as writer:
        for row, clip_id in enumerate(ids):
            outputs = {
                name: write_clip(writer.slots[name], row, frames_of(30 * place + row))
                for place, name in enumerate(VIDEO_TARGETS)
            }
            writer.record(
                ClipRecord(
                    clip_id, labels[row], clip_id, "written", row=row, num_frames=4 * T,
                    frame_indices=tuple(range(0, 4 * T, 4)), status=("detected",) * T, outputs=outputs,
                )
            )  # fmt: skip
        writer.finish()
        writer.done()
    return folder


def predict(domain, seed, salt, *, names=NAMES, labels=LABELS, ids=IDS, digest=None):
    drawn = np.random.default_rng([seed, salt, *domain.encode()])
    if domain == "V":
        label, clip_id, split = np.arange(60) % len(names), np.arange(60), "val"
    else:
        label, clip_id, split = np.array(labels), np.array([id_of_name(one) for one in ids]), "test"
    n = len(label)
    logits = drawn.normal(size=(n, len(names)))
    if names == NAMES:
        logits += MATCHES[label].sum(axis=-1)
    logits[np.arange(n), label] += np.where(drawn.random(n) < SKILL.get(domain, 0.2), 20, 0)
    digest = digest or hashlib.sha256(domain.encode()).hexdigest()
    return Predictions(domain, split, seed, names, digest, None, None, clip_id, label, logits.astype(np.float32))


def write_run(path, model="3dcnn-4l", *, salt=0, seeds=(1, 2), level=None, stores=None, source=None, **clips):
    """A finished run, or with ``level`` the folder of one. ``stores``: the data folder that was answered."""
    n = len(clips.get("ids", IDS))
    config = make_config(
        "d48", model=model, hidden=2, seeds=seeds, n_train=60, n_val=60, n_target=n, batch_size=6
    )  # fmt: skip
    for seed in seeds:
        for domain in ("V", *config.targets):
            digest = None
            if stores is not None and domain != "V":
                digest = open_store(stores / "test" / f"{domain}.h5").content_hash
            one = predict(domain, seed, salt, **{"digest": digest, **clips})
            write_predictions(predictions_path(path, seed, domain), one)
    (path / "config.json").write_text(json.dumps(config.to_json()))
    if level is not None:
        (path / "selection.json").write_text(json.dumps({"level": level}))
    run = RunDirectory(path)
    trainings = tuple(SeedTraining(seed, 3, 5, "patience") for seed in seeds)
    run.write_result(Result(config, 1000, trainings, run.scorecard(), (), ENVIRONMENT))
    return path


def write_study(out, level=0.3, models=("convlstm-4l", "3dcnn-4l", "timesf-4l"), **about):
    """As run --experiment leaves it: runs, and a level folder in each."""
    out.mkdir()
    (out / "experiment.json").write_text(json.dumps({"experiment": "d48-a", "level": level}))
    for salt, model in enumerate(models):
        write_run(out / model, model, salt=salt, **about)
        write_run(out / model / f"level-{level!r}", model, salt=salt + 10, level=level, **about)
    return out
