"""Two entries on shared clips: what is printed is what the statistics say, and other data is refused by name."""

from __future__ import annotations

import json
import math
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.results import RunDirectory
from benchmark.statistics import (
    bootstrap_difference,
    bootstrap_ratio_of_ratios,
    compare_accuracies,
    compare_ratios,
    detectable_difference,
    detectable_ratio,
    minimum_detectable_difference,
)
from benchmark.statistics.measured import measure
from tsgen.common.errors import RacError

HERE = Path(__file__)
runs = SimpleNamespace(**runpy.run_path(str(HERE.with_name("report_samples.py"))))
diving = SimpleNamespace(**runpy.run_path(str(HERE.with_name("diving_samples.py"))))
Z = 1.959964 + 0.841621


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    runs.write_sweep(root / "sweep", models=("3dcnn", "convlstm"), hidden=(8,))
    runs.write_run(root / "one", runs.run_config("3dcnn", 48, seeds=(42,)))
    runs.write_run(root / "other", runs.run_config("convlstm", 8, seeds=(42,)))
    runs.write_run(root / "guess", runs.run_config("timesf-1", 2, seeds=(42,)))
    runs.write_run(root / "elsewhere", runs.run_config("3dcnn", 8, seeds=(42,)), clips="b")
    runs.write_run(root / "reverse", runs.run_config("3dcnn", 8, source="mnist-bg", seeds=(42,)))
    keys = diving.write_keys(root / "keys")
    diving.write(root / "mine", keys)
    diving.write(root / "theirs", keys, name="theirs", skill={"T": 0.4}, first=10)
    shutil.make_archive(str(root / "packed"), "gztar", root / "theirs")
    return root


def compare(*arguments, code=0):
    done = CliRunner().invoke(cli, ["compare", *map(str, arguments)])
    found = getattr(done.exception, "exit_code", None) or done.exit_code
    assert found == code, done.output + repr(done.exception)
    return str(done.exception) if isinstance(done.exception, RacError) else done.stdout


def correct_of(run, domain):
    directory = RunDirectory(run)
    config = directory.read_config()
    predictions = directory.read_predictions(config)
    return np.stack([predictions[seed, domain].correct for seed in config.seeds])


def test_two_runs_of_one_seed(place):
    """The numbers are those of the statistics on the predictions in the directories."""
    value = json.loads(compare(place / "one", place / "other", "--bootstrap", "--json"))
    a, b = place / "one", place / "other"
    source = [correct_of(each, "2dot") for each in (a, b)]
    assert [each["domain"] for each in value["accuracies"]] == ["2dot", "5dot", "mnist", "mnist-bg"]
    for each in value["accuracies"]:
        pair = [correct_of(entry, each["domain"]) for entry in (a, b)]
        found = compare_accuracies(*pair)
        assert each["difference"]["estimate"] == found.estimate.to_json()
        assert each["difference"]["p"] == found.p == each["mcnemar"]["p"]
        assert each["mcnemar"]["only_a"] == int((pair[0] & ~pair[1]).sum())
        assert each["a"]["value"] == pair[0].mean()
        assert each["bootstrap"] == bootstrap_difference(*pair).to_json()
    for each in value["ratios"]:
        target = [correct_of(entry, each["domain"]) for entry in (a, b)]
        four = (source[0], target[0], source[1], target[1])
        assert each["ratio"]["estimate"] == compare_ratios(*four).estimate.to_json()
        assert each["minimum_detectable_ratio"] == detectable_ratio(*four)
        assert each["difference"] == pytest.approx(each["a"]["value"] - each["b"]["value"])
    assert value["power"] == 0.8 and value["left_out"] == []


def test_what_is_printed(place):
    text = compare(place / "one", place / "other", "--bootstrap")
    assert "A: 3D CNN, h = 48 (one), trained on 2dot; seed 42" in text
    for words in ("McNemar's p", "One seed each", "detectable: the difference", "rr A / rr B", "A better"):
        assert words in text
    assert all(len(line) <= 110 for line in text.splitlines())
    assert "McNemar" not in compare(f"{place / 'sweep'}#3dcnn-h8-2dot", place / "other")


def test_groups_of_a_sweep_by_name(place):
    value = json.loads(compare(f"{place / 'sweep'}#3dcnn-h8-2dot", f"{place / 'sweep'}#convlstm-h8-2dot", "--json"))
    assert value["a"]["seeds"] == value["b"]["seeds"] == [42, 47, 61]
    assert {each["difference"]["estimate"]["variance"] for each in value["accuracies"]} == {"seeds+clips"}
    assert {each["mcnemar"] for each in value["accuracies"]} == {None}
    named = compare(place / "sweep", place / "other", code=2)
    assert "holds 2 entries" in named and "sweep#NAME: 3dcnn-h8-2dot, convlstm-h8-2dot" in named
    assert "Did you mean '3dcnn-h8-2dot'" in compare(f"{place / 'sweep'}#3dcnn-h9-2dot", place / "other", code=2)


def test_submissions_and_archives(place):
    keys = ("--data", place / "keys")
    value = json.loads(compare(place / "mine", place / "theirs", *keys, "--json"))
    assert [each["domain"] for each in value["ratios"]] == ["S1", "S2", "T"]
    assert value["ratios"][2]["ratio"]["verdict"] == "B better"
    packed = json.loads(compare(place / "mine", place / "packed.tar.gz", *keys, "--json"))
    assert packed["ratios"] == value["ratios"] and packed["b"]["origin"] == "packed.tar.gz"


def test_other_data_is_refused_by_name(place):
    said = compare(place / "one", place / "elsewhere", code=3)
    assert "other clips of 4 of 4 domains: 2dot: A " in said and "(1000 clips)" in said and "mnist-bg: A " in said
    assert "A was trained on 2dot and B on mnist-bg" in compare(place / "one", place / "reverse", code=3)
    assert "compared with itself" in compare(place / "one", place / "one", code=2)
    assert "does not exist" in compare(place / "none", place / "one", code=2)
    assert "no answer key" in compare(place / "mine", place / "theirs", code=3)


def test_a_model_at_guessing_has_no_verdict_on_rr(place):
    text = compare(place / "one", place / "guess")
    assert "WARNING: V of B is not above guessing" in text
    rows = text.split("\n\n")[2].splitlines()[2:]
    assert len(rows) == 3 and all("not valid" in row and "better" not in row for row in rows)


def drawn(rng, rates, n, seeds, spread=0.0):
    """Models that find the same clips hard; the trainings of each differ by ``spread``."""
    hard = rng.normal(size=n)
    return [
        hard + rng.normal(size=(S, n))
        < np.quantile(rng.normal(size=5000) * 1.41, rate) + rng.normal(size=(S, 1)) * spread
        for rate, S in zip(rates, seeds, strict=True)
    ]


def test_one_seed_detects_what_its_standard_error_says():
    a, b = drawn(np.random.default_rng(0), (0.55, 0.5), 800, (1, 1))
    estimate = compare_accuracies(a, b).estimate
    error = (estimate.high - estimate.low) / 2 / 1.963
    assert detectable_difference(a, b) == pytest.approx(Z * error, rel=0.01)
    alike = detectable_difference(a, a)
    assert alike == pytest.approx(Z * math.sqrt(2) / 800, rel=0.01)  # two clips, as the interval of a tie


def test_assumptions_are_recovered():
    rng = np.random.default_rng(1)
    a, b = drawn(rng, (0.6, 0.5), 20_000, (8, 8), spread=0.15)
    of = measure(a, b)
    assert (of.n, of.seeds) == (20_000, 8)
    # The outcomes of two normals of correlation 1/2, cut at the middle: correlation 1/3.
    assert of.agreement == pytest.approx(1 / 3, abs=0.02) and of.shared == pytest.approx(1 / 3, abs=0.02)
    slope = 1 / math.sqrt(4 * math.pi)  # of the accuracy in the threshold, at 1/2
    assert of.seed_sd == pytest.approx(0.15 * slope, rel=0.5)
    fields = (of.n, of.accuracy, of.seeds, of.seed_sd, of.agreement, of.shared)
    assert detectable_difference(a, b) == minimum_detectable_difference(*fields)


def test_power_is_what_it_says():
    """Two models that differ by what is said to be detectable are told apart four times of five."""
    rng = np.random.default_rng(2)
    detectable = detectable_difference(*drawn(rng, (0.5, 0.5), 400, (1, 1)))
    found = [
        compare_accuracies(*drawn(rng, (0.5 + detectable / 2, 0.5 - detectable / 2), 400, (1, 1))).verdict
        for _ in range(300)
    ]
    assert 0.7 < np.mean([each == "A better" for each in found]) < 0.9


def test_a_detectable_ratio_knows_that_v_and_t_vary_together():
    """Trainings differ by far more than their rr, and a ratio is still found four times of five."""
    rng = np.random.default_rng(4)

    def trained(T, S=5, n=2000):
        luck = np.exp(rng.normal(0, 0.25, (S, 1)).clip(-0.5, 0.5))  # of a training: in V and in T
        return rng.random((S, n)) < 0.4 * luck, rng.random((S, n)) < T * luck

    factor = np.median([detectable_ratio(*trained(0.25), *trained(0.25)) for _ in range(20)])
    found = [
        compare_ratios(*trained(0.25 * factor**0.5), *trained(0.25 * factor**-0.5)).verdict == "A better"
        for _ in range(400)
    ]
    assert 0.7 < np.mean(found) < 0.9


def test_nothing_is_detectable_where_nothing_varies():
    always, some = np.ones((1, 50), bool), np.arange(50)[None] % 2 == 0
    assert detectable_difference(always, some) is None
    assert detectable_ratio(some, some, some, always) is None


def test_bootstrap_agrees_with_the_formula():
    rng = np.random.default_rng(3)
    a, b = drawn(rng, (0.6, 0.5), 500, (4, 3))
    one, other = bootstrap_difference(a, b), compare_accuracies(a, b).estimate
    assert one.value == pytest.approx(other.value) and one.variance == "seeds+clips"
    assert (one.high - one.low) == pytest.approx(other.high - other.low, rel=0.35)
    val = drawn(rng, (0.8, 0.8), 500, (1, 1))
    target = drawn(rng, (0.4, 0.5), 500, (1, 1))
    one = bootstrap_ratio_of_ratios(val[0], target[0], val[1], target[1])
    other = compare_ratios(val[0], target[0], val[1], target[1]).estimate
    assert one.value == pytest.approx(other.value)
    assert [one.low, one.high] == pytest.approx([other.low, other.high], rel=0.03)
    assert bootstrap_ratio_of_ratios(val[0], np.zeros((1, 5), bool), val[1], np.ones((1, 5), bool)) is None
    # Pairs: of one model and itself nothing is left to draw.
    assert (bootstrap_difference(a, a[::1]).value, len(a)) == (0.0, 4)
    assert bootstrap_difference(val[0], val[0]).high == 0.0
