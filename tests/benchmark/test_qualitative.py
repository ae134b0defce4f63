"""The qualitative tables: which clips are drawn, what is counted on them, and which runs are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest

from benchmark.attributes import MATCHES, dive_ids
from benchmark.config import make_config
from benchmark.paper.reproduce import KNOWN
from benchmark.paper.tables import read_table
from benchmark.predictions import predictions_path, read_predictions
from benchmark.qualitative.answers import read_answered
from benchmark.qualitative.tables import (
    NEAR,
    NO_ATTRIBUTES,
    RIGHT,
    WRONG,
    class_tables,
    draw_class,
    draw_clips,
    wrong_answers,
)
from benchmark.submission.key_file import id_of_name
from tests.benchmark.qualitative_samples import IDS, LABELS, NAMES, write_run, write_study
from tsgen.common.errors import DataError, UsageError
from tsgen.common.intervals import clopper_pearson

DIVES = dive_ids(NAMES)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("qualitative")
    write_study(place / "study")
    write_run(place / "other", "3dcnn-4l", salt=5)
    return place


@pytest.fixture(scope="module")
def answered(place):
    return read_answered([place / "study"])


@pytest.mark.parametrize("record", read_table("main7").records(), ids=lambda one: f"{one['class']}-{one['model']}")
def test_the_count_is_the_paper_s(record):
    """From the answers printed in Table 7 come its sets and its attributes, but for the documented misprint."""
    label = int(record["class"])
    given = np.array([*json.loads(record["S1"]), *json.loads(record["S2"])])
    wrong = wrong_answers(label, given, DIVES)
    assert ", ".join(map(str, wrong.classes)) == record["Misclassifications (set)"]
    known = KNOWN.get(("main7", f"class {label}, {record['model']}", "Correct attr."))
    assert f"{wrong.attributes.correct}/{wrong.attributes.total}" == (known[0] if known else record["Correct attr."])
    assert wrong.errors == sum(each != label for each in given) and wrong.answers == 10
    assert 0 < wrong.p <= 1


def test_one_cell_of_the_paper_is_a_misprint():
    assert [key for key in KNOWN if key[0] == "main7"] == [("main7", "class 34, TimeSf", "Correct attr.")]


def test_nothing_wrong_and_nothing_known():
    right = wrong_answers(34, np.full(10, 34), DIVES)
    assert (right.classes, right.errors, right.attributes, right.p) == ((), 0, None, None)
    unknown = wrong_answers(1, np.array([0, 1, 2, 0]), None)
    assert (unknown.classes, unknown.errors, unknown.attributes, unknown.every) == ((0, 2), 3, None, None)


def test_every_error_counts_as_often_as_it_was_given():
    wrong = wrong_answers(34, np.array([35, 35, 20, 34]), DIVES)
    assert (wrong.attributes.correct, wrong.attributes.total) == (3 + 1, 8)
    assert (wrong.every.correct, wrong.every.total) == (3 + 3 + 1, 12)
    others = [each for each in range(48) if each not in (30, 34)]
    assert wrong.attributes.chance == pytest.approx(MATCHES[34, others].mean())


def test_other_names_of_the_same_dives_in_another_order():
    """A class is what its name says: class 0 is the vocabulary's 47 here."""
    backwards = dive_ids(NAMES[::-1])
    given = np.array([34, 35, 20, 8, 44])
    mine, theirs = wrong_answers(34, given, DIVES), wrong_answers(47 - 34, 47 - given, backwards)
    assert (mine.attributes, mine.p) == (theirs.attributes, theirs.p)


def test_draws_repeat_and_do_not_depend_on_the_order():
    ids = np.array([id_of_name(str(each)) for each in range(40)])
    five = ids[draw_clips(ids, 5, 3, 34)]
    assert list(ids[::-1][draw_clips(ids[::-1], 5, 3, 34)]) == list(five)
    assert list(ids[draw_clips(ids, 3, 3, 34)]) == list(five[:3])
    assert len(set(five)) == 5
    assert set(five) != set(ids[draw_clips(ids, 5, 4, 34)]) and set(five) != set(ids[draw_clips(ids, 5, 3, 35)])
    assert sorted(draw_clips(ids[:3], 5, 0, 1)) == [0, 1, 2]


def test_the_draw_is_pinned():
    """Another draw in a later version would change published pages: these are the first of seed 0."""
    assert draw_clips(np.arange(100), 5, 0, 34).tolist() == [65, 96, 47, 4, 64]
    assert [draw_class(range(48), seed) for seed in range(5)] == [35, 10, 25, 41, 16]


def test_every_clip_and_class_has_the_same_chance():
    counts = np.bincount(np.concatenate([draw_clips(np.arange(10), 5, seed, 0) for seed in range(2000)]), minlength=10)
    assert abs(counts - 1000).max() < 5 * np.sqrt(2000 * 0.25)
    drawn = np.bincount([draw_class([1, 4, 7], seed) for seed in range(1500)], minlength=8)
    assert abs(drawn[[1, 4, 7]] - 500).max() < 5 * np.sqrt(1500 * 2 / 9) and drawn.sum() == 1500


def test_the_tables_say_what_the_predictions_say(place, answered):
    tables = class_tables(answered, 34, clips=4, seed=1)
    assert [model.title for model in answered.models] == ["3D CNN", "ConvLSTM", "TimeSformer"]
    assert (len(tables.clip_ids), tables.clips_of_class, tables.fewer) == (4, 9, None)
    assert (tables.chance, tables.chance_top5) == (1 / 48, 5 / 48)
    for row, model in zip(tables.rows, ("3dcnn-4l", "convlstm-4l", "timesf-4l"), strict=True):
        of = {
            name: read_predictions(predictions_path(place / "study" / model / "level-0.3", 1, name))
            for name in ("S1", "S2", "T")
        }
        for domain, one in of.items():
            best = {int(key): list(ranked) for key, ranked in zip(one.clip_id, one.ranked, strict=True)}
            mine = [best[clip_id] for clip_id in tables.clip_ids]
            assert [list(each) for each in row.top[domain]] == mine
            assert row.drawn[domain].top1.value == np.mean([each[0] == 34 for each in mine])
            assert row.drawn[domain].top5.value == np.mean([34 in each for each in mine])
            of_class = one.label == 34
            assert row.all_clips[domain].top1.hits == int(one.correct[of_class].sum())
            assert row.all_clips[domain].top5.hits == int(one.correct_in_top5[of_class].sum())
            assert row.all_clips[domain].top1.interval == clopper_pearson(row.all_clips[domain].top1.hits, 9)
        given = [*row.answers("S1"), *row.answers("S2")]
        assert row.wrong.classes == tuple(sorted(set(given) - {34}))
        every = np.concatenate([of[name].predicted[of[name].label == 34] for name in ("S1", "S2")])
        assert set(row.all_wrong.classes) == set(every.tolist()) - {34} and row.all_wrong.answers == 18


def test_an_answer_is_right_near_or_wrong(answered):
    tables = class_tables(answered, 34)
    assert [tables.verdict(best) for best in ((34, 1, 2, 3, 4), (1, 2, 3, 4, 34), (1, 2, 3, 4, 5))] == [
        RIGHT,
        NEAR,
        WRONG,
    ]


def test_a_class_with_fewer_clips_says_so(answered):
    tables = class_tables(answered, 45)
    assert len(tables.clip_ids) == 3 and "has 3 clips, fewer than the 5 asked for" in tables.fewer
    one = dataclasses.replace(tables, clip_ids=tables.clip_ids[:1])
    assert one.fewer == "The class has 1 clip, fewer than the 5 asked for."
    for label, words in ((30, "class 30 has no test clips; those with clips: 3, 12, 34, 45"), (48, "allowed: 0..47")):
        with pytest.raises(UsageError, match=words):
            class_tables(answered, label)
    for count in (0, 51):
        with pytest.raises(UsageError, match=f"--clips {count} is not possible"):
            class_tables(answered, 34, clips=count)
    with pytest.raises(UsageError, match="seed -1 is not possible"):
        class_tables(answered, 34, seed=-1)


def test_other_classes_have_no_attributes_and_few_no_top5(tmp_path):
    labels = tuple(row % 3 for row in range(12))
    write_run(tmp_path / "run", names=("a", "b", "c"), labels=labels, ids=IDS[:12])
    tables = class_tables(read_answered([tmp_path / "run"]), 1)
    assert tables.dives is None and tables.chance_top5 is None and tables.paper_class is None
    assert tables.verdict((0, 1, 2)) == WRONG and NEAR not in tables.verdicts
    assert tables.rows[0].drawn["S1"].top5 is None and tables.rows[0].wrong.attributes is None
    assert tables.to_json()["attributes"] == NO_ATTRIBUTES


def test_runs_levels_and_studies_are_read(place):
    answered = read_answered([place / "study", place / "other"], run_seed=2)
    assert answered.left_out == () and [model.seed for model in answered.models] == [2] * 4
    assert [model.title for model in answered.models] == [
        "3D CNN, level-0.3",
        "ConvLSTM",
        "TimeSformer",
        "3D CNN, other",
    ]
    selections = [model.selection for model in answered.models]
    assert selections[0] == "the first epoch with V of at least 0.3" != selections[3]
    assert answered.models[0].others == (1,)
    (one,) = read_answered([place / "study" / "convlstm-4l" / "level-0.3"]).models
    assert one.seed == 1 and one.origin == "convlstm-4l/level-0.3"


def test_titles_are_as_short_as_tells_models_apart(place, tmp_path):
    write_run(tmp_path / "deep", "3dcnn-6l")
    level = place / "study" / "3dcnn-4l" / "level-0.3"
    for path in (tmp_path / "again" / "3dcnn-4l" / "level-0.3", tmp_path / "again" / "other" / "level-0.3"):
        shutil.copytree(level, path)
    for paths, titles in (
        ((level, tmp_path / "deep"), ["4 layers", "6 layers"]),
        ((level, tmp_path / "again" / "other" / "level-0.3"), ["3dcnn-4l/level-0.3", "other/level-0.3"]),
        ((level, tmp_path / "again" / "3dcnn-4l" / "level-0.3"), ["number 1", "number 2"]),
    ):
        assert [model.title for model in read_answered(paths).models] == [f"3D CNN, {each}" for each in titles]


def test_a_family_that_did_not_reach_the_level_is_named(place, tmp_path):
    shutil.copytree(place / "study", tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "timesf-4l" / "level-0.3")
    answered = read_answered([tmp_path / "study"])
    (note,) = answered.left_out
    assert len(answered.models) == 2 and note.startswith("timesf-4l has no checkpoint at V = 0.3")
    for model in ("3dcnn-4l", "convlstm-4l"):
        shutil.rmtree(tmp_path / "study" / model / "level-0.3")
    with pytest.raises(DataError, match="holds no checkpoint at V = 0"):
        read_answered([tmp_path / "study"])


def test_runs_that_do_not_go_together(place, tmp_path):
    study = place / "study"
    write_run(tmp_path / "elsewhere", digest="0" * 64)
    with pytest.raises(DataError, match="answered other clips of O, S1, S2, T"):
        read_answered([study, tmp_path / "elsewhere"])
    write_run(tmp_path / "classes", names=("x", *NAMES[1:]))
    with pytest.raises(DataError, match="have other classes"):
        read_answered([study, tmp_path / "classes"])
    write_run(tmp_path / "labels", labels=(12, *LABELS[1:]))
    with pytest.raises(DataError, match="the clips or labels of O differ under one content hash"):
        read_answered([study, tmp_path / "labels"])
    with pytest.raises(UsageError, match="given more than once"):
        read_answered([place / "other", study / ".." / "other"])
    with pytest.raises(UsageError, match="has no seed 7; it has 1, 2"):
        read_answered([place / "other"], run_seed=7)
    with pytest.raises(UsageError, match="is not a folder"):
        read_answered([tmp_path / "nowhere"])


def test_runs_that_have_no_such_tables(place, tmp_path):
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "config.json").write_text(json.dumps(make_config("quick").to_json()))
    with pytest.raises(UsageError, match="was trained on 2dot; these tables are of runs on videos"):
        read_answered([tmp_path / "drawn"])
    (tmp_path / "two").mkdir()
    config = make_config("d48", model="3dcnn-4l", hidden=2, target_domains=("S1", "T", "UCF"))
    (tmp_path / "two" / "config.json").write_text(json.dumps(config.to_json()))
    with pytest.raises(UsageError, match="was not evaluated on S2; its targets are S1, T, UCF"):
        read_answered([tmp_path / "two"])


def test_clips_that_are_missing(place, tmp_path):
    shutil.copytree(place / "other", tmp_path / "run")
    path = predictions_path(tmp_path / "run", 1, "T")
    with h5py.File(path, "r+") as file:
        for name in ("clip_id", "label", "logits"):
            kept = file[name][2:]
            del file[name]
            file[name] = kept
    with pytest.raises(DataError, match=r"T and S1 are not of the same clips \(2 of 25 missing in T"):
        read_answered([tmp_path / "run"])
    path.unlink()
    with pytest.raises(DataError, match="no predictions of seed 1 on T"):
        read_answered([tmp_path / "run"])
