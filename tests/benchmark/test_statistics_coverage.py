"""Coverage of nominal 95 % intervals by simulation, and the bootstrap. docs/scoring.md quotes the longer runs."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from benchmark.statistics import (
    bootstrap_ratio,
    chance_corrected,
    compare_accuracies,
    compare_ratios,
    robustness_ratio,
    robustness_ratios,
    target_ratios,
)
from benchmark.statistics.bootstrap import _weights


def outcomes(rng, mean, seed_effect, clip_effect):
    """bool (..., S, N), right where mean + seed + clip + noise > 0; seed_effect (..., S), clip_effect (..., N)."""
    level = mean + seed_effect[..., :, None] + clip_effect[..., None, :]
    return level + rng.standard_normal(level.shape) > 0


def rate(mean, seed_sd, clip_sd):
    return special.ndtr(mean / math.sqrt(1 + seed_sd**2 + clip_sd**2))


@pytest.mark.parametrize("seeds, seed_sd, clip_sd", [(1, 0, 1), (1, 0, 3), (5, 0.4, 1), (5, 0.2, 2), (3, 0.1, 1)])
def test_ratio_of_two_targets_on_the_same_clips(seeds, seed_sd, clip_sd):
    rng = np.random.default_rng(0)
    seed, clip = seed_sd * rng.standard_normal((2000, seeds)), clip_sd * rng.standard_normal((2000, 200))
    target, reference = outcomes(rng, 0.0, seed, clip), outcomes(rng, 0.3, seed / 2, clip)
    found = target_ratios(target, reference, (np.arange(200), np.arange(200)))
    true = rate(0.0, seed_sd, clip_sd) / rate(0.3, seed_sd / 2, clip_sd)
    covered = ((found.low <= true) & (true <= found.high)).mean()
    assert 0.93 <= covered <= 0.985, covered


@pytest.mark.parametrize("seeds, seed_sd, clip_sd", [(1, 0, 1), (5, 0.2, 1), (5, 0, 1)])
def test_chance_corrected(seeds, seed_sd, clip_sd):
    """The target is close to chance, where a log would not do."""
    rng = np.random.default_rng(8)
    true = (rate(-1.1, seed_sd, clip_sd) - 0.2) / (rate(0.8, seed_sd / 4, clip_sd) - 0.2)
    covered, trials = 0, 800
    for _ in range(trials):
        seed = seed_sd * rng.standard_normal(seeds)
        val = outcomes(rng, 0.8, seed / 4, clip_sd * rng.standard_normal(400))
        target = outcomes(rng, -1.1, seed, clip_sd * rng.standard_normal(200))
        found = chance_corrected(val, target, 0.2)
        covered += found.low <= true <= found.high
    assert 0.93 <= covered / trials <= 0.985, covered / trials


@pytest.mark.parametrize("seeds, seed_sd, clip_sd", [(1, 0, 1), (1, 0, 3), (5, 0.3, 1), (5, 0, 1), (3, 0.2, 1)])
def test_two_models_on_shared_clips(seeds, seed_sd, clip_sd):
    rng = np.random.default_rng(2)
    difference = rate(0.4, seed_sd, clip_sd) - rate(0.1, seed_sd, clip_sd)
    val = rate(1.0, seed_sd, clip_sd), rate(0.9, seed_sd, clip_sd)
    ratio = rate(0.4, seed_sd, clip_sd) / val[0] / (rate(0.1, seed_sd, clip_sd) / val[1])
    covered, trials = np.zeros(2), 800
    for _ in range(trials):
        clip, of_val = clip_sd * rng.standard_normal(200), clip_sd * rng.standard_normal(400)
        a, b = seed_sd * rng.standard_normal((2, seeds))
        targets = outcomes(rng, 0.4, a, clip), outcomes(rng, 0.1, b, clip)
        vals = outcomes(rng, 1.0, a, of_val), outcomes(rng, 0.9, b, of_val)
        first = compare_accuracies(*targets).estimate
        second = compare_ratios(vals[0], targets[0], vals[1], targets[1]).estimate
        covered += [first.low <= difference <= first.high, second.low <= ratio <= second.high]
    assert (covered / trials >= 0.93).all() and (covered / trials <= 0.985).all(), covered / trials


@pytest.mark.parametrize(
    "seeds, seed_sd, least, most", [(1, 0, 0.92, 0.985), (5, 0.1, 0.93, 1.0), (5, 0.5, 0.84, 0.94)]
)
def test_bootstrap_covers_less_where_few_seeds_differ(seeds, seed_sd, least, most):
    rng = np.random.default_rng(3)
    clip_sd = 0.5
    true = rate(0.0, seed_sd, clip_sd) / rate(0.8, seed_sd / 4, clip_sd)
    covered, trials = 0, 400
    for trial in range(trials):
        seed = seed_sd * rng.standard_normal(seeds)
        val = outcomes(rng, 0.8, seed / 4, clip_sd * rng.standard_normal(400))
        target = outcomes(rng, 0.0, seed, clip_sd * rng.standard_normal(200))
        found = bootstrap_ratio(val, target, replicates=500, seed=trial)
        covered += found.low <= true <= found.high
    assert least <= covered / trials <= most, covered / trials


def test_bootstrap_agrees_with_the_formula_for_one_seed():
    rng = np.random.default_rng(4)
    val, target = rng.random((1, 2000)) < 0.8, rng.random((1, 1500)) < 0.5
    drawn, formula = bootstrap_ratio(val, target, replicates=8000), robustness_ratio(val, target)
    assert drawn.value == pytest.approx(formula.value) and drawn.variance == "clips"
    assert (drawn.low, drawn.high) == pytest.approx((formula.low, formula.high), abs=0.004)


def test_bootstrap_by_hand():
    """Percentiles of replicates made by taking rows and columns, as often as the weights say."""
    rng = np.random.default_rng(5)
    reference, target = rng.random((3, 40)) < 0.7, rng.random((3, 40)) < 0.4
    of_seed, of_clip = _weights(9, 0, 50, 3).astype(int), _weights(9, 1, 50, 40).astype(int)
    ratios = []
    for seeds, clips in zip(of_seed, of_clip, strict=True):
        rows, columns = np.repeat(np.arange(3), seeds), np.repeat(np.arange(40), clips)
        ratios.append(target[np.ix_(rows, columns)].mean() / reference[np.ix_(rows, columns)].mean())
    found = bootstrap_ratio(reference, target, same_clips=True, replicates=50, seed=9, level=0.9)
    assert (found.low, found.high) == pytest.approx((sorted(ratios)[2], sorted(ratios)[47]))


def test_weights_are_draws_that_repeat_and_do_not_depend_on_their_number():
    weights = _weights(1, 2, 600, 77)
    assert (weights.sum(axis=1) == 77).all()
    assert np.array_equal(weights[300:], _weights(1, 2, 300, 77, start=300))
    assert not np.array_equal(weights, _weights(1, 1, 600, 77)) and not np.array_equal(weights, _weights(2, 2, 600, 77))
    chi_squared = ((weights.sum(axis=0) - 600) ** 2 / 600).sum()
    assert 40 < chi_squared < 120  # 76 degrees of freedom
    assert weights.var() == pytest.approx(1 - 1 / 77, rel=0.03)


def test_bootstrap_repeats_and_falls_back_on_exact_bounds():
    rng = np.random.default_rng(6)
    val, target = rng.random((5, 100)) < 0.8, rng.random((5, 50)) < 0.5
    assert bootstrap_ratio(val, target, seed=3) == bootstrap_ratio(val, target, seed=3)
    assert bootstrap_ratio(val, target, seed=3) != bootstrap_ratio(val, target, seed=4)
    none = np.zeros_like(target)
    assert bootstrap_ratio(val, none) == robustness_ratio(val, none)
    assert bootstrap_ratio(np.zeros_like(val), target) is None
    with pytest.raises(ValueError, match=r"same shape, got \(5, 100\) and \(5, 50\)"):
        bootstrap_ratio(val, target, same_clips=True)


def test_bootstrap_takes_well_under_a_second():
    rng = np.random.default_rng(7)
    val, target = rng.random((5, 2000)) < 0.8, rng.random((5, 2000)) < 0.5
    start = time.process_time()
    bootstrap_ratio(val, target)
    assert time.process_time() - start < 0.8


# seeds; standard deviation of the seeds (that on V a quarter of it, on S1 half) and of the clips, on the probit scale
SETTINGS = [
    (1, 0, 1),
    (2, 0.1, 1),
    (2, 0.4, 1),
    (3, 0.1, 1),
    (3, 0.4, 1),
    (5, 0, 1),
    (5, 0.1, 1),
    (5, 0.4, 1),
    (5, 0.5, 0),
]


def coverage(seeds, seed_sd, clip_sd, trials=3000, drawn=600):
    """Of rr and T / S1 by the formula (``trials``), then by the bootstrap (``drawn``). V: 400 clips, T and S1: 200."""
    rng = np.random.default_rng(12)
    seed = seed_sd * rng.standard_normal((trials, seeds))
    clip = clip_sd * rng.standard_normal((trials, 200))
    val = outcomes(rng, 0.8, seed / 4, clip_sd * rng.standard_normal((trials, 400)))
    target, reference = outcomes(rng, 0.0, seed, clip), outcomes(rng, 0.3, seed / 2, clip)
    T, rows = rate(0.0, seed_sd, clip_sd), np.arange(200)
    shares = []
    for found, below, paired, true in (
        (robustness_ratios(val, target), val, False, T / rate(0.8, seed_sd / 4, clip_sd)),
        (target_ratios(target, reference, (rows, rows)), reference, True, T / rate(0.3, seed_sd / 2, clip_sd)),
    ):
        shares.append(float(((found.low <= true) & (true <= found.high)).mean()))
        bootstraps = [bootstrap_ratio(below[i], target[i], paired, replicates=1000, seed=i) for i in range(drawn)]
        shares.append(float(np.mean([each.low <= true <= each.high for each in bootstraps])))
    return shares


@pytest.mark.slow
def test_the_table_in_the_docs():
    """Each line of docs/scoring.md is what ``coverage`` says, to 0.5 points: other releases of NumPy may draw anew."""
    text = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| \d \| [\d.]+ \| \d \|", line)]
    assert [tuple(float(cell) for cell in line[:3]) for line in lines] == [tuple(map(float, each)) for each in SETTINGS]
    for setting, line in zip(SETTINGS, lines, strict=True):
        printed = [float(cell) / 100 for cell in line[3:]]
        assert coverage(*setting) == pytest.approx(printed, abs=0.005), setting
