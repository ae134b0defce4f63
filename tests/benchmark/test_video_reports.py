"""Reports of runs on videos (V and its seven test domains), with drawn answers: no frames, no training."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from benchmark.config import VIDEO_TARGETS, make_config
from benchmark.predictions import Predictions, predictions_path, write_predictions
from benchmark.report.entries import boards_of, ordered_targets, read_entries
from benchmark.results import Result, RunDirectory, SeedTraining
from benchmark.submission.key_file import key_from, write_key
from benchmark.submission.truth import AnswerKeys
from benchmark.submission.write import Words, submit_runs
from tests.benchmark.report_samples import ENVIRONMENT
from tsgen.common.errors import UsageError

CLASSES = ("a", "b", "c", "d")
SIZES = {"n_train": 16, "n_val": 200, "n_target": 150, "batch_size": 8}
SKILL = {"V": 0.8, "O": 0.7, "C": 0.65, "S1": 0.55, "S2": 0.5, "T": 0.4, "T_union": 0.45, "B": 0.35}


def predict(domain, seed, better):
    n, split = (SIZES["n_val"], "val") if domain == "V" else (SIZES["n_target"], "test")
    drawn = np.random.default_rng([seed, len(domain), *domain.encode()])
    label = np.arange(n) % len(CLASSES)
    right = drawn.random(n) < SKILL[domain] + better
    answer = np.where(right, label, (label + drawn.integers(1, 4, n)) % len(CLASSES))
    digest = hashlib.sha256(domain.encode()).hexdigest()
    logits = np.eye(len(CLASSES), dtype=np.float32)[answer]
    return Predictions(domain, split, seed, CLASSES, digest, None, None, np.arange(n), label, logits)


def write_run(path, model="3dcnn-4l", *, seeds=(1, 2), better=0.0, level=None):
    """A finished directory of a run, or with ``level`` of its checkpoints at one."""
    config = make_config("d48", model=model, hidden=2, seeds=seeds, **SIZES)
    found = {(seed, domain): predict(domain, seed, better) for seed in seeds for domain in ("V", *VIDEO_TARGETS)}
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs, and the folder of one of them at a level, with its answer keys and a submission made of it."""
    place = tmp_path_factory.mktemp("videos")
    write_run(place / "one")
    write_run(place / "other", "convlstm-4l", better=0.1)
    at_level = write_run(place / "other" / "level-0.5", "convlstm-4l", level=0.5)
    submit_runs([at_level], place / "sent", Words())
    (place / "keys").mkdir()
    for domain in ("V", *VIDEO_TARGETS):
        key = key_from(predictions_path(at_level, 1, domain), None, None)
        write_key(place / "keys" / f"{domain}.json", key)
    return place


def test_a_report_ranks_shape_and_texture(place):
    """Not O, C, S1: the order in which a run evaluates is not that of the required targets."""
    (board,) = boards_of(read_entries([place / "one", place / "other"]))
    assert board.targets == ("S1", "S2", "T")
    for entry in board.entries:
        assert [row.domain for row in board.rows_of(entry)] == ["V", "S1", "S2", "T"]
        assert tuple(row.domain for row in entry.targets) == ordered_targets("V", VIDEO_TARGETS)
        rows = dict(zip((row.domain for row in entry.card.rows), entry.correct, strict=True))
        for row in entry.card.rows:
            assert rows[row.domain].mean() == pytest.approx(row.accuracy.value)


def test_a_run_and_its_submission_share_a_board(place):
    entries = read_entries([place / "other" / "level-0.5", place / "sent", place / "one"], AnswerKeys([place / "keys"]))
    (board,) = boards_of(entries)
    assert sorted(entry.kind for entry in board.entries) == ["run", "run", "submission"]
    at_level, sent = (entry.card for entry in entries[:2])
    assert [row.accuracy for row in at_level.rows] == [row.accuracy for row in sent.rows]


def test_the_checkpoint_of_a_level_is_named(place):
    words = "the first epoch with V of at least 0.5"
    (entry,) = read_entries([place / "other" / "level-0.5"])
    assert entry.card.selection == words
    assert json.loads((place / "sent" / "submission.json").read_text())["selection"] == words


def test_a_submission_does_not_mix_checkpoints(place, tmp_path):
    write_run(tmp_path / "more", "convlstm-4l", seeds=(3,))
    with pytest.raises(UsageError, match="were not chosen alike"):
        submit_runs([place / "other" / "level-0.5", tmp_path / "more"], tmp_path / "sent", Words())
    assert not (tmp_path / "sent").exists()
