"""Reports of runs on videos (V and its seven test domains), with drawn answers: no frames, no training."""

from __future__ import annotations

import json

import pytest

from benchmark.config import VIDEO_TARGETS
from benchmark.predictions import predictions_path
from benchmark.report.boards import boards_of
from benchmark.report.entries import ordered_targets, read_entries
from benchmark.submission.key_file import key_from, write_key
from benchmark.submission.truth import AnswerKeys
from benchmark.submission.write import Words, submit_runs
from tests.benchmark.video_samples import write_run
from tsgen.common.errors import UsageError


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
