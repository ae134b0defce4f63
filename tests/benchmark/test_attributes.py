from __future__ import annotations

import json
import runpy
import shutil
from collections import Counter
from itertools import combinations, permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark import attributes, exchange
from benchmark.attributes import MATCHES, POPULATED, analyse, bag_count, chance_shares, dive_ids, random_sets, set_count
from benchmark.attributes_commands import attributes as command
from benchmark.predictions import Predictions, write_predictions
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError, UsageError

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("diving_samples.py"))))
NAMES = tuple("_".join(dive) for dive in DIVE_CLASSES)


def of(*classes):
    return np.array(classes, dtype=np.int64)


# Class 34 of Table 7, ConvLSTM: S1, then S2. 8, 35 and 44 have three attributes right, 20 has one (section 4.2).
TRUE = np.full(10, 34)
ANSWERS = of(34, 34, 35, 8, 20, 34, 34, 44, 8, 20)


def answers_of(rng, n, skill=0.0, accuracy=0.2):
    """Labels and answers; a wrong one is another class by chance, or with ``skill`` one that shares attributes."""
    populated = of(*POPULATED)
    true = rng.choice(populated, n, p=rng.dirichlet(np.ones(len(populated))))
    liking = rng.dirichlet(np.ones(len(populated)))
    weights = liking * np.exp(skill * MATCHES[true][:, populated].sum(axis=-1))
    weights[true[:, None] == populated] = 0
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    wrong = populated[(rng.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)]
    return true, np.where(rng.random(n) < accuracy, true, wrong)


def test_the_count_of_the_paper_by_hand():
    count = set_count(TRUE, ANSWERS)
    assert (count.correct, count.total) == (10, 16)
    bag = bag_count(TRUE, ANSWERS)
    assert (bag.correct, bag.total) == (3 + 3 + 3 + 3 + 1 + 1, 24)


def test_sets_of_different_classes_add_up():
    count = set_count(of(34, 34, 12, 12), of(35, 35, 35, 12))
    assert (count.correct, count.total) == (3 + 3, 8)


def test_chance_is_that_of_random_wrong_classes():
    assert len(POPULATED) == 47 and 30 not in POPULATED
    takeoff = sum(DIVE_CLASSES[index].takeoff == "Inward" for index in POPULATED) - 1
    assert chance_shares()[34, 0] == takeoff / 46
    rng = np.random.default_rng(0)
    true, wrong = answers_of(rng, 400, accuracy=0)
    drawn = []
    for _ in range(300):
        others = rng.choice(46, len(true))
        rank = np.searchsorted(POPULATED, true)
        drawn.append(bag_count(true, of(*POPULATED)[others + (others >= rank)]).share)
    assert bag_count(true, wrong).chance == pytest.approx(np.mean(drawn), abs=0.003)
    assert chance_shares((34, 35, 20))[34].sum() == (3 + 1) / 2


def test_random_sets_against_all_sets():
    others = [index for index in POPULATED if index != 34]
    matches = MATCHES[34].sum(axis=-1)
    sums = [matches[list(each)].sum() for each in combinations(others, 3)]
    expected, p = random_sets(of(34, 34, 34, 34), of(8, 35, 20, 34))
    assert expected == pytest.approx(np.mean(sums))
    assert p == pytest.approx(np.mean(np.array(sums) >= 7))


def test_random_sets_of_several_classes():
    true, wrong = of(34, 34, 12), of(8, 35, 20)
    pairs = [random_sets(true[:2], wrong[:2]), random_sets(true[2:], wrong[2:])]
    assert random_sets(true, wrong)[0] == pytest.approx(sum(expected for expected, _ in pairs))
    assert 0 < random_sets(true, wrong)[1] < 1
    every = of(*(index for index in POPULATED if index != 34))
    assert random_sets(np.full(46, 34), every)[1] == pytest.approx(1)


def test_exchanged_errors_are_uniform_over_what_is_allowed():
    true, wrong = of(0, 0, 1, 2, 2, 3), of(1, 2, 0, 3, 0, 2)
    allowed = {each for each in permutations(wrong.tolist()) if all(a != t for a, t in zip(each, true, strict=True))}
    samples = exchange.exchanged_errors(true, wrong, 20_000, np.random.default_rng(1))
    seen = Counter(map(tuple, samples.T.tolist()))
    assert set(seen) == allowed
    assert np.abs(np.array(list(seen.values())) / 20_000 * len(allowed) - 1).max() < 0.25


def test_exchanged_errors_keep_every_answer_and_hit_nothing():
    true, wrong = answers_of(np.random.default_rng(2), 301, accuracy=0)
    samples = exchange.exchanged_errors(true, wrong, 50, np.random.default_rng(3))
    assert (np.sort(samples, axis=0) == np.sort(wrong)[:, None]).all()
    assert (samples != true[:, None]).all()
    assert (samples == wrong[:, None]).mean() < 0.25


def test_the_null_forgets_where_it_began():
    """A chain twice as long has the same mean; one of a single round has not."""
    true, wrong = answers_of(np.random.default_rng(4), 1500, skill=1.0, accuracy=0)

    def mean_right(sweeps):
        samples = exchange.exchanged_errors(true, wrong, 300, np.random.default_rng(5), sweeps)
        return MATCHES[true[:, None], samples].sum(axis=-1).mean()

    standard = mean_right(exchange.SWEEPS)
    assert mean_right(2 * exchange.SWEEPS) == pytest.approx(standard, abs=0.01)
    assert mean_right(1) > standard + 0.1


def test_p_is_uniform_when_errors_are_at_random():
    rng = np.random.default_rng(6)
    p_of = {"bag": [], "set": [], "takeoff": []}
    for trial in range(300):
        report = analyse(*answers_of(rng, 60), permutations=99, seed=trial)
        p_of["bag"].append(report.bag_null.p)
        p_of["set"].append(report.set_null.p)
        p_of["takeoff"].append(report.attributes[0].null.p)
    for values in p_of.values():
        # Ties make p larger, never smaller, than uniform.
        for level in (0.05, 0.2, 0.5):
            share = np.mean(np.array(values) <= level)
            assert level / 2.5 < share < level + 3 * np.sqrt(level * (1 - level) / 300)


def test_a_model_of_the_attributes_is_told_from_luck():
    rng = np.random.default_rng(7)
    skilled, lucky = analyse(*answers_of(rng, 400, skill=0.7)), analyse(*answers_of(rng, 400))
    assert skilled.bag_null.p == skilled.set_null.p == 1 / (1 + attributes.PERMUTATIONS)
    assert skilled.bag.share > skilled.bag_null.high > skilled.bag_null.low
    assert lucky.bag_null.p > 0.01
    assert lucky.bag_null.low <= lucky.bag.share <= lucky.bag_null.high


def test_report_adds_up():
    true, predicted = answers_of(np.random.default_rng(8), 500)
    report = analyse(true, predicted)
    assert report == analyse(true, predicted)
    assert report != analyse(true, predicted, seed=1)
    assert report.errors == (true != predicted).sum()
    assert sum(row.of_errors.correct for row in report.attributes) == report.bag.correct
    assert np.mean([row.of_errors.chance for row in report.attributes]) == pytest.approx(report.bag.chance)
    for row in report.attributes:
        assert row.correct == report.clips - report.errors + row.of_errors.correct
        assert row.interval[0] < row.correct / report.clips < row.interval[1]
        assert sum(value.clips for value in row.values) == report.clips
        assert sum(value.attribute_correct for value in row.values) == row.correct
        assert sum(value.class_correct for value in row.values) == report.clips - report.errors


def test_nothing_wrong_and_one_thing_wrong():
    right = analyse(TRUE, TRUE)
    assert (right.errors, right.bag, right.set, right.bag_null) == (0, None, None, None)
    assert right.attributes[0].of_errors is None
    one = analyse(of(34, 34), of(34, 35))
    assert one.bag_null.p == one.set_null.p == 1  # nothing to exchange it with


def test_refusals():
    with pytest.raises(DataError, match=r"no clip in the V2 lists: 30 \(Forward_Dive_NoTwis_STR\)"):
        analyse(of(30, 1), of(1, 1))
    for number in (0, 10**6 + 1):
        with pytest.raises(UsageError, match=f"^{number} permutations"):
            analyse(TRUE, ANSWERS, permutations=number)
    with pytest.raises(UsageError, match="seed -1 is not possible"):
        analyse(TRUE, ANSWERS, seed=-1)
    with pytest.raises(DataError, match="class 'circle' is not one of Diving48"):
        dive_ids(["circle"])
    with pytest.raises(DataError, match="two of the 2 class names"):
        dive_ids([NAMES[3], NAMES[3].lower()])


def test_names_in_any_spelling_and_order():
    assert dive_ids(NAMES).tolist() == list(range(48))
    assert dive_ids(["inward, 25som, NoTwis, tuck", "Back-15som-05Twis-FREE"]).tolist() == [34, 0]


def write(path, true, predicted, ids=tuple(range(48)), **changes):
    """Predictions whose columns are the classes ``ids``."""
    column = {index: place for place, index in enumerate(ids)}
    logits = np.zeros((len(true), len(ids)), np.float32)
    logits[np.arange(len(true)), [column[index] for index in predicted.tolist()]] = 1
    label = of(*(column[index] for index in true.tolist()))
    fields = {"domain": "S1", "split": "test", "seed": 42, "content_hash": "ab" * 32}
    fields |= {"class_names": tuple(NAMES[index] for index in ids), "digits_source": None, "digits_sha256": None}
    write_predictions(path, Predictions(**fields | changes, clip_id=np.arange(len(true)), label=label, logits=logits))
    return str(path)


def test_command(tmp_path):
    s1, s2 = (
        write(tmp_path / f"{name}.h5", TRUE[:5], part, domain=name)
        for name, part in (("S1", ANSWERS[:5]), ("S2", ANSWERS[5:]))
    )
    done = CliRunner().invoke(command, [s1, s2, "--permutations", "50"], catch_exceptions=False)
    assert "set count of all 2 together: 10/16 = 0.625" in done.output
    assert "S2, seed 42; 5 clips, 3 errors" in done.output
    record = json.loads(CliRunner().invoke(command, [s1, "--json"], catch_exceptions=False).output)
    assert record["files"][0]["set"]["correct"] == 7 and record["together"] is None
    assert "Inward" in CliRunner().invoke(command, [s1, "--values"], catch_exceptions=False).output


def test_columns_may_be_the_47_populated_classes_in_any_order(tmp_path):
    true, predicted = answers_of(np.random.default_rng(9), 200)
    ids = tuple(np.random.default_rng(10).permutation(POPULATED).tolist())
    files = [write(tmp_path / "48.h5", true, predicted), write(tmp_path / "47.h5", true, predicted, ids)]
    one, other = (json.loads(CliRunner().invoke(command, [path, "--json"]).output)["files"][0] for path in files)
    del one["file"], other["file"]
    assert one == other


def test_files_of_different_classes_are_not_put_together(tmp_path):
    files = [write(tmp_path / "48.h5", TRUE, ANSWERS), write(tmp_path / "5.h5", TRUE, ANSWERS, (34, 35, 8, 20, 44))]
    with pytest.raises(UsageError, match="has other classes than"):
        CliRunner().invoke(command, files, catch_exceptions=False)


def lists_of(rng, n, skill=0.0):
    """Labels and their best five classes; with ``skill`` the wrong ones share attributes."""
    true = rng.choice(of(*POPULATED), n)
    score = skill * MATCHES[true].sum(axis=-1) + rng.gumbel(size=(n, 48))
    score[:, 30] = -np.inf
    return true, np.argsort(-score, axis=1)[:, :5]


def test_lists_of_one_are_answers():
    true, predicted = answers_of(np.random.default_rng(11), 300)
    assert analyse(true, predicted) == analyse(true, predicted[:, None])


def test_top_five_by_hand():
    true = of(34, 34, 12)
    lists = np.array([[34, 0, 1, 2, 3], [35, 8, 20, 0, 1], [8, 35, 12, 4, 7]])
    report = analyse(true, lists)
    assert (report.top, report.errors) == (5, 1)
    right = MATCHES[34, lists[1]]
    assert [row.of_errors.correct for row in report.attributes] == right.sum(axis=0).tolist()
    assert (report.bag.correct, report.bag.total) == (int(right.sum()), 20)
    any_of = [MATCHES[t, row].any(axis=0) for t, row in zip(true, lists, strict=True)]
    assert [row.correct for row in report.attributes] == np.sum(any_of, axis=0).tolist()
    assert {row.errors_interval for row in report.attributes} == {None}


def test_exchanged_lists_are_uniform_over_what_is_allowed():
    true, lists = of(0, 0, 1, 2, 3), np.array([[1, 2], [3, 4], [0, 2], [5, 0], [6, 7]])
    contains = np.zeros((5, 48), bool)
    np.put_along_axis(contains, lists, True, axis=1)
    allowed = {
        p for p in permutations(range(5)) if not any(contains[place, t] for place, t in zip(p, true, strict=True))
    }
    samples = exchange.exchanged_lists(true, contains, 20_000, np.random.default_rng(1))
    seen = Counter(map(tuple, samples.T.tolist()))
    assert set(seen) == allowed and len(allowed) > 3
    assert np.abs(np.array(list(seen.values())) / 20_000 * len(allowed) - 1).max() < 0.25


def test_p_of_lists_is_uniform_when_errors_are_at_random():
    """Lists whose classes go together: exchanging single classes would find more than there is."""
    rng = np.random.default_rng(12)
    found = []
    for trial in range(200):
        true, _ = lists_of(rng, 60)
        centre = rng.choice(of(*POPULATED), 60)
        score = 3 * MATCHES[centre].sum(axis=-1) + rng.gumbel(size=(60, 48))
        found.append(analyse(true, np.argsort(-score, axis=1)[:, :5], permutations=99, seed=trial).bag_null.p)
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(found) <= level)
        assert level / 2.5 < share < level + 3 * np.sqrt(level * (1 - level) / 200)
    assert analyse(*lists_of(rng, 300, skill=0.5), permutations=199).bag_null.p == 1 / 200


def test_command_on_a_submission(tmp_path):
    keys = samples.write_keys(tmp_path / "keys", 40, 60)
    sent = samples.write(tmp_path / "mine", keys, seeds=(1,))
    options = ["--data", str(tmp_path / "keys"), "--permutations", "20"]
    done = CliRunner().invoke(command, [str(sent), *options, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)["files"]
    assert [each["domain"] for each in found] == ["V", "S1", "S2", "T"]
    drawn = samples.answers(keys["S2"], samples.SKILL["S2"], 1)
    assert found[2]["errors"] == (~drawn.correct).sum() and found[2]["top"] == 1
    chosen = ["--domain", "S1", "--domain", "S2", "--top", "5"]
    done = CliRunner().invoke(command, [str(sent), *options, *chosen], catch_exceptions=False)
    assert "S1, seed 1; 60 clips" in done.stdout and "set count of all 2 together" in done.stdout
    assert "class not among the best 5" in done.stdout and " V, seed" not in done.stdout
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", sent)
    done = CliRunner().invoke(command, [archive, *options, *chosen, "--json"], catch_exceptions=False)
    best = samples.answers(keys["S1"], samples.SKILL["S1"], 1).correct_in_top5
    assert json.loads(done.stdout)["files"][0]["errors"] == (~best).sum()
    for arguments, message in (
        (["--domain", "S3"], "unknown domain"),
        (["--top", "3"], "allowed: 1 or 5"),
    ):
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(command, [str(sent), *options, *arguments], catch_exceptions=False)
    with pytest.raises(DataError, match="no answer key"):
        CliRunner().invoke(command, [str(sent)], catch_exceptions=False)
