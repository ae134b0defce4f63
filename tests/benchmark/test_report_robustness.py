"""What a board says as a whole: effective robustness, detectable differences, ties, yardsticks; archives as entries."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.paper.reference import reference_rows
from benchmark.report import ranking
from benchmark.report.boards import boards_of
from benchmark.report.entries import read_entries
from benchmark.report.ranking import ranks_of
from benchmark.report.robustness import detectable_text
from benchmark.scoring import Entry, score
from benchmark.statistics import (
    clopper_pearson,
    compare_ratios,
    detectable_difference,
    detectable_ratio,
    effective_robustness,
    logit_pair,
    pairwise_ratios,
    surely_better,
)
from benchmark.submission.check import check
from benchmark.submission.truth import AnswerKeys
from benchmark.table import render

diving = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("diving_samples.py"))))
ENTRIES = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("robustness")
    keys = diving.write_keys(root / "keys")
    (root / "entries").mkdir()
    for number in range(ENTRIES):
        skill = {
            "V": 0.3 + 0.12 * number,
            "S1": 0.3 + 0.1 * number,
            "S2": 0.2 + 0.08 * number,
            "T": 0.1 + 0.06 * number,
        }
        skill |= {"T": 0.6} if number == 1 else {}
        diving.write(
            root / "entries" / f"m{number}", keys, name=f"m{number}", seeds=(1,), skill=skill, first=9 * number
        )
    return root


@pytest.fixture(scope="module")
def board(place):
    (found,) = boards_of(read_entries(sorted((place / "entries").iterdir()), AnswerKeys([place / "keys"])))
    return found


def rac_bench(*arguments):
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_effective_robustness_is_against_all_others(board):
    for number, target in enumerate(board.targets, start=1):
        pairs = {entry.name: logit_pair(entry.correct[0], entry.correct[number]) for entry in board.entries}
        for entry in board.entries:
            others = [pair for name, pair in pairs.items() if name != entry.name]
            expected = effective_robustness(pairs[entry.name], others).points
            assert board.effective_points(entry, target) == expected
    odd = board.effective_points(board.entries[1], "T")
    assert odd.low > 0.1  # the one whose T is much better than its V says
    assert board.entries[1].card.rows[0].accuracy.value < 0.6


def test_three_entries_have_none(board, place):
    (few,) = boards_of(read_entries([place / "entries" / f"m{n}" for n in range(3)], AnswerKeys([place / "keys"])))
    assert not few.has_effective
    text = rac_bench("report", *(place / "entries" / f"m{n}" for n in range(3)), "--data", place / "keys")
    assert "eff." not in text and "Detectable: " in text


def test_detectable_is_the_median_of_neighbours(board):
    assert [each.domain for each in board.detectable] == ["V", "S1", "S2", "T"]
    for number, each in enumerate(board.detectable):
        key = (lambda e: e.card.rows[0].accuracy.value) if not number else (lambda e, n=number: e.card.rows[n].rr.value)
        row = [entry.correct for entry in sorted(board.entries, key=key)]
        pairs = list(itertools.pairwise(row))
        assert each.pairs == ENTRIES - 1
        assert each.difference == np.median([detectable_difference(a[number], b[number]) for a, b in pairs])
        if number:
            assert each.ratio == np.median([detectable_ratio(a[0], a[number], b[0], b[number]) for a, b in pairs])
        else:
            assert each.ratio is None
    assert detectable_text(()) == ""


def test_every_form_has_both(place, board, tmp_path):
    paths = sorted((place / "entries").iterdir())
    forms = {
        form: rac_bench("report", *paths, "--data", place / "keys", "--format", form) for form in ("md", "csv", "tex")
    }
    note = detectable_text(board.detectable)
    assert note in forms["md"]
    points = board.effective_points(board.entries[1], "T")
    shown = f"{points.value:+.3f} [{points.low:+.3f}, {points.high:+.3f}]"
    assert shown in forms["md"] and "eff. T" in forms["md"]
    assert shown in forms["tex"] and "Detectable: of two neighbours" in forms["tex"]
    rows = list(csv.DictReader(io.StringIO(forms["csv"])))
    (row,) = [row for row in rows if row["origin"] == "m1" and row["domain"] == "T"]
    assert float(row["effective_robustness"]) == points.value
    assert float(row["minimum_detectable_ratio"]) == board.detectable[3].ratio
    assert [row["effective_robustness"] for row in rows if row["domain"] == "V"] == [""] * ENTRIES
    rac_bench("leaderboard", "build", place / "entries", "--out", tmp_path / "site", "--data", place / "keys")
    page = (tmp_path / "site" / "index.html").read_text()
    assert note.split(", and")[0] in page and f"{points.value:+.3f}" in page and "Effective robustness (eff.)" in page
    record = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["boards"][0]
    assert record["minimum_detectable"] == [each.to_json() for each in board.detectable]
    (entry,) = [each for each in record["entries"] if each["name"] == board.entries[1].name]
    assert entry["effective_robustness"]["T"] == points.to_json()


def test_letters_say_exactly_who_is_told_apart(board, monkeypatch):
    ranks = ranks_of(board)
    for number, target in enumerate(board.targets, start=1):
        pairs = [(entry.correct[0], entry.correct[number]) for entry in board.entries]
        better = surely_better(pairwise_ratios(pairs))
        for i, j in itertools.combinations(range(ENTRIES), 2):
            one, other = (ranks[board.entries[place].name, target] for place in (i, j))
            assert bool(set(one.ties) & set(other.ties)) == (not better[i, j] and not better[j, i])
            assert one.exact and "–" not in one.ties_text
    monkeypatch.setattr(ranking, "MAX_GROUPED", 2)  # a long list: runs
    assert not any(place.exact for place in ranks_of(board).values())
    verdict = compare_ratios(
        board.entries[1].correct[0],
        board.entries[1].correct[3],
        board.entries[4].correct[0],
        board.entries[4].correct[3],
    )
    assert verdict.verdict == "A better"


def test_archives_are_entries(place, board, tmp_path):
    """One named by hand under any name, those of a folder by their ending."""
    (tmp_path / "entries").mkdir()
    for number, form in enumerate(("zip", "tar", "gztar", "zip", "tar")):
        shutil.make_archive(str(tmp_path / "entries" / f"m{number}"), form, place / "entries", f"m{number}")
    (tmp_path / "entries" / "notes.txt").write_text("not an entry")
    options = ("--data", place / "keys")
    rac_bench("leaderboard", "build", tmp_path / "entries", "--out", tmp_path / "site", *options)
    rac_bench("leaderboard", "build", place / "entries", "--out", tmp_path / "same", *options)
    cards = []
    for site in ("site", "same"):
        records = [json.loads(path.read_text()) for path in sorted((tmp_path / site / "records").iterdir())]
        cards.append([record["scorecard"] for record in records])
    assert cards[0] == cards[1] and len(cards[0]) == ENTRIES
    packed = (tmp_path / "entries" / "m0.zip").rename(tmp_path / "entry.bin")
    text = rac_bench("report", packed, place / "entries" / "m1", *options, "--format", "csv")
    assert {row["origin"] for row in csv.DictReader(io.StringIO(text))} == {"entry.bin", "m1"}


def test_yardsticks_of_classes_of_unequal_number(place):
    checked = check(place / "entries" / "m0", AnswerKeys([place / "keys"]))
    card = checked.scorecard()
    labels = {domain: checked.predictions[1, domain].label for domain in ("V", "T")}
    frequencies = np.bincount(labels["V"], minlength=48) / len(labels["V"])
    (T,) = [row for row in card.rows if row.domain == "T"]
    assert T.prior == pytest.approx(frequencies[labels["T"]].mean())
    five = sorted(range(48), key=lambda label: (-frequencies[label], label))[:5]
    assert T.prior_top5 == pytest.approx(np.isin(labels["T"], five).mean())
    drawn = np.random.default_rng(0).choice(labels["V"], (2000, len(labels["T"])))
    assert T.prior == pytest.approx((drawn == labels["T"]).mean(), abs=0.002)
    text = render(card)
    assert re.search(r"^chance +0\.021 +0\.104$", text, re.MULTILINE)
    assert re.search(rf"^prior +{max(row.prior for row in card.rows):.3f}", text, re.MULTILINE)
    page = rac_bench("report", place / "entries" / "m0", "--data", place / "keys", "--format", "html")
    assert "prior, top 5" in page and f"{T.prior_top5:.3f}" in page


def test_even_classes_show_no_prior():
    rng = np.random.default_rng(1)
    from benchmark.predictions import Predictions

    label = np.arange(500, dtype=np.int64) % 5
    of = {}
    for domain, split in (("2dot", "val"), ("5dot", "test")):
        logits = rng.normal(size=(500, 5)).astype(np.float32) + 2 * np.eye(5, dtype=np.float32)[label]
        facts = (domain, split, 1, tuple("abcde"), "ab" * 32, None, None)
        of[1, domain] = Predictions(*facts, np.arange(500), label, logits)
    card = score(Entry("t", "2dot", ("5dot",), (1,)), of)
    assert card.rows[1].prior == pytest.approx(0.2) and card.rows[1].prior_top5 is None
    assert "prior" not in render(card)


def test_the_papers_levels_have_exact_intervals():
    row = reference_rows()[0]
    assert (row.accuracy.low, row.accuracy.high) == clopper_pearson(row.V * 1502, 1502)
    assert row.to_json()["V_interval"] == [row.accuracy.low, row.accuracy.high]


def test_one_training_as_logits_and_as_ranking(place, tmp_path):
    """Under two seeds it is recognised, whichever comes first; another ranking of one clip makes them two."""
    keys = AnswerKeys([place / "keys"])
    copy = Path(shutil.copytree(place / "entries" / "m0", tmp_path / "copy"))
    record = json.loads((copy / "submission.json").read_text())
    (copy / "submission.json").write_text(json.dumps(record | {"seeds": [2, 1]}))
    shutil.copytree(copy / "predictions" / "seed1", copy / "predictions" / "seed2")
    for domain in ("V", "S2", "T"):  # S1 stays as logits
        with h5py.File(copy / "predictions" / "seed2" / f"{domain}.h5", "a") as file:
            best = np.argsort(-file["logits"][:], axis=1, kind="stable")[:, :5]
            del file["logits"]
            file["top5"] = best.astype(np.int64)
    for path in (copy / "predictions" / "seed2").iterdir():
        with h5py.File(path, "a") as file:
            file.attrs["seed"] = 2
    (problem,) = check(copy, keys).problems
    assert "seeds 2 and 1 have the same answers on every domain" in problem.text
    with h5py.File(copy / "predictions" / "seed2" / "T.h5", "a") as file:
        file["top5"][0] = file["top5"][0][::-1]
    assert check(copy, keys).is_admissible
