"""Effective robustness and power: closed forms and simulation."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from benchmark.statistics import (
    LogitPair,
    clips_needed,
    compare_accuracies,
    compare_ratios,
    effective_robustness,
    effective_robustness_of_all,
    logit_pair,
    minimum_detectable_difference,
    minimum_detectable_ratio,
    published_logit_pair,
)


def on_line(logit_v, above=0.0, slope=0.8, n=10**6):
    return published_logit_pair(special.expit(logit_v), special.expit(-0.5 + slope * logit_v + above), n, n)


def test_a_model_above_the_line_of_the_others():
    found = effective_robustness(on_line(1.0, above=0.3), [on_line(x) for x in (-0.5, 0.2, 0.9, 2.0)])
    assert (found.slope, found.intercept) == pytest.approx((0.8, -0.5), abs=1e-4)
    assert found.tau == pytest.approx(0, abs=2e-3)
    assert found.logit.value == pytest.approx(0.3, abs=1e-4)
    assert found.logit.low < 0.3 < found.logit.high < 0.32
    assert found.expected == pytest.approx(special.expit(0.3), abs=1e-4)
    assert found.points.value == pytest.approx(special.expit(0.6) - special.expit(0.3), abs=1e-4)
    assert found.points.low < found.points.value < found.points.high
    assert found.reason is None and found.others == 4


def test_equal_noise_is_least_squares():
    """Models that differ only about the line: the fit is polyfit, tau the standard deviation of its residuals."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 2, 12)
    above = 0.2 * rng.standard_normal(12)
    found = effective_robustness(on_line(0.4), [on_line(v, a) for v, a in zip(x, above, strict=True)])
    slope, intercept = np.polyfit(x, -0.5 + 0.8 * x + above, 1)
    residuals = -0.5 + 0.8 * x + above - intercept - slope * x
    tau = math.sqrt(residuals @ residuals / 10)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=2e-3)
    assert found.tau == pytest.approx(tau, rel=0.05)  # its weights are those of the clips alone
    at = np.array([1, 0.4])
    design = np.stack([np.ones(12), x], axis=1)
    error = tau * math.sqrt(at @ np.linalg.inv(design.T @ design) @ at)
    half = special.stdtrit(10, 0.975) * error
    assert (found.logit.high - found.logit.low) / 2 == pytest.approx(half, rel=0.05)


def test_variance_of_the_logits():
    """By simulation: the standard deviation of logit V and logit T over trainings and clips, and their correlation."""
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(1500):
        seed = 0.05 * rng.standard_normal((4, 1))
        pairs.append(logit_pair(rng.random((4, 300)) < 0.8 + seed, rng.random((4, 200)) < 0.4 + seed))
    true = np.cov(np.stack([pair.value for pair in pairs]).T)
    mean = np.mean([pair.covariance for pair in pairs], axis=0)
    np.testing.assert_allclose(mean, true, rtol=0.15)


def test_what_the_entry_itself_does_not_know():
    """The variance of logit T - 0.8 logit V: 0.04 + 0.64 * 0.02 - 1.6 * 0.01; the line here is nearly exact."""
    own = np.array([[0.02, 0.01], [0.01, 0.04]])
    entry = LogitPair(on_line(1.0).value, own, "clips")
    found = effective_robustness(entry, [on_line(x) for x in np.linspace(-1, 2, 9)]).logit
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * math.sqrt(0.0368), rel=2e-3)


def test_each_entry_is_left_out_of_its_own_line():
    models = [on_line(x) for x in (-0.5, 0.2, 0.9, 2.0)] + [on_line(0.5, above=1.0)]
    found = effective_robustness_of_all(models)
    assert found[4].logit.value == pytest.approx(1.0, abs=1e-3)
    assert [each.others for each in found] == [4] * 5
    assert found[0].tau > 0.3, "the odd one is in the lines of the others"


def test_too_few_or_too_similar_models_give_a_reason():
    few = effective_robustness(on_line(1.0), [on_line(0.0), on_line(2.0)])
    assert few.logit is None and few.reason == "needs 3 other models, there are 2"
    alike = effective_robustness(on_line(1.0), [on_line(x, n=100) for x in (0.5, 0.52, 0.54)])
    assert alike.points is None and "hardly differ in V" in alike.reason


def test_accuracies_of_zero_and_one_have_logits():
    pair = logit_pair(np.ones((1, 100), bool), np.zeros((1, 50), bool))
    assert pair.value == pytest.approx([math.log(100.5 / 0.5), math.log(0.5 / 50.5)])
    assert (np.diag(pair.covariance) > 0.5).all()


@pytest.mark.parametrize("others, seeds, tau", [(3, 1, 0.1), (5, 3, 0.1), (10, 1, 0.0), (30, 5, 0.1)])
def test_interval_covers_the_distance_from_the_line(others, seeds, tau):
    rng = np.random.default_rng(2)
    covered, trials = 0, 300
    for _ in range(trials):
        v = np.append(np.linspace(-0.5, 2.5, others), 1.2)
        t = -0.5 + 0.8 * v + np.append(tau * rng.standard_normal(others), 0.3)
        pairs = [
            logit_pair(rng.random((seeds, 1000)) < special.expit(x), rng.random((seeds, 500)) < special.expit(y))
            for x, y in zip(v, t, strict=True)
        ]
        found = effective_robustness(pairs[-1], pairs[:-1]).logit
        covered += found.low <= 0.3 <= found.high
    assert 0.92 <= covered / trials <= 0.995, covered / trials


def pair_of_models(rng, rates, n, seeds, shared):
    """Outcomes near 0.5 whose correlation between models is ``shared``, and as much between the seeds of one."""
    easier = math.sqrt(shared * 0.25) * rng.choice([-1, 1], n)  # for both models: its variance is their covariance
    return rng.random((2, seeds, n)) < np.array(rates)[:, None, None] + easier


@pytest.mark.parametrize("n, seeds, shared", [(500, 1, 0.0), (500, 1, 0.6), (200, 5, 0.3), (200, 3, 0.0)])
def test_a_minimal_difference_is_found_in_four_of_five(n, seeds, shared):
    rng = np.random.default_rng(3)
    difference = minimum_detectable_difference(n, 0.5, seeds, agreement=shared, shared=shared)
    rates = (0.5 + difference / 2, 0.5 - difference / 2)
    found = [compare_accuracies(*pair_of_models(rng, rates, n, seeds, shared)).verdict for _ in range(800)]
    assert found.count("A better") / 800 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("seeds, seed_sd", [(20, 0.05), (5, 0.05), (5, 0.02)])
def test_seeds_that_differ_cost_power(seeds, seed_sd):
    rng = np.random.default_rng(4)
    difference = minimum_detectable_difference(400, 0.5, seeds, seed_sd)
    hits = 0
    for _ in range(600):
        offsets = 0.5 + seed_sd * rng.standard_normal((2, seeds, 1)) + difference / 2 * np.array([1, -1])[:, None, None]
        hits += compare_accuracies(*(rng.random((2, seeds, 400)) < offsets)).verdict == "A better"
    assert hits / 600 == pytest.approx(0.8, abs=0.06)
    assert difference > minimum_detectable_difference(400, 0.5, seeds)


def test_a_minimal_ratio_is_found_in_four_of_five():
    rng = np.random.default_rng(5)
    factor = minimum_detectable_ratio(1000, 500, V=0.8, T=0.4)
    found = 0
    for _ in range(800):
        vals = rng.random((2, 1, 1000)) < 0.8
        targets = rng.random((2, 1, 500)) < 0.4 * np.array([factor**0.5, factor**-0.5])[:, None, None]
        found += compare_ratios(vals[0], targets[0], vals[1], targets[1]).verdict == "A better"
    assert found / 800 == pytest.approx(0.8, abs=0.05)


def test_difference_by_hand():
    """500 clips, one seed, p = 0.5: (1.96 + 0.8416) * sqrt(2 * 0.25 / 500) = 0.0886."""
    assert minimum_detectable_difference(500) == pytest.approx(0.08859, abs=1e-5)
    assert minimum_detectable_difference(500, shared=0.75) == pytest.approx(0.08859 / 2, abs=1e-5)
    many = minimum_detectable_difference(500, seeds=10_000, agreement=0.25, shared=0.0)
    assert many == pytest.approx(0.08859 / 2, rel=1e-3), "so many seeds leave the clips alone"


@pytest.mark.parametrize("facts", [{}, {"seeds": 5, "seed_sd": 0.01, "agreement": 0.5, "shared": 0.4}])
def test_clips_needed_turns_it_round(facts):
    n = clips_needed(0.04, 0.6, **facts)
    assert minimum_detectable_difference(n, 0.6, **facts) <= 0.04 < minimum_detectable_difference(n - 1, 0.6, **facts)


def test_no_number_of_clips_replaces_seeds():
    assert clips_needed(0.05, seeds=2, seed_sd=0.05) is None


def test_refuses_models_more_alike_than_their_seeds():
    with pytest.raises(ValueError, match=r"share more \(0.5\) than the seeds of one agree \(0.400\)"):
        minimum_detectable_difference(500, seeds=2, agreement=-0.2, shared=0.5)


def test_the_table_in_the_docs():
    """The differences and factors of docs/scoring.md."""
    text = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    lines = re.findall(r"^\| (\d+) \| (\d) points \| (.*) \|$", text, re.MULTILINE)
    assert len(lines) == 6
    for seeds, points, cells in lines:
        S, sd = int(seeds), int(points) / 100
        for n, cell in zip((500, 1000, 2000), cells.split(" | "), strict=True):
            difference = minimum_detectable_difference(n, 0.5, S, sd, agreement=0.5, shared=0.3)
            factor = minimum_detectable_ratio(1000, n, 0.8, 0.5, S, sd / 0.5, agreement=0.5, shared=0.3)
            assert cell == f"{100 * difference:.1f}, {factor:.2f}"
