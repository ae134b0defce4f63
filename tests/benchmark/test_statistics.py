from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from benchmark import statistics
from benchmark.statistics import accuracy, clopper_pearson, robustness_ratio


def outcomes(hits, n, seeds=1):
    return np.tile(np.arange(n) < hits, (seeds, 1))


@pytest.mark.parametrize("hits, n", [(0, 20), (1, 20), (7, 20), (20, 20), (431, 500)])
def test_clopper_pearson_agrees_with_scipy(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(clopper_pearson(hits, n), (expected.low, expected.high), rtol=1e-10)


@pytest.mark.parametrize("hits, n", [(-1, 5), (6, 5), (0, 0)])
def test_clopper_pearson_refuses(hits, n):
    with pytest.raises(ValueError, match=f"{hits} hits of {n}"):
        clopper_pearson(hits, n)


def test_one_seed_is_katz():
    v_hits, v_n, t_hits, t_n = 780, 1000, 310, 500
    rr = robustness_ratio(outcomes(v_hits, v_n), outcomes(t_hits, t_n))
    half = 1.96 * math.sqrt(1 / v_hits - 1 / v_n + 1 / t_hits - 1 / t_n)
    value = (t_hits / t_n) / (v_hits / v_n)
    assert rr.value == pytest.approx(value)
    assert (rr.low, rr.high) == pytest.approx((value * math.exp(-half), value * math.exp(half)), rel=1e-3)
    assert rr.variance == "clips"


def test_seeds_widen_the_interval_when_they_disagree():
    rng = np.random.default_rng(0)
    val = rng.random((5, 1000)) < 0.8
    alike = rng.random((5, 500)) < 0.5
    apart = rng.random((5, 500)) < np.linspace(0.3, 0.7, 5)[:, None]
    narrow, wide = robustness_ratio(val, alike), robustness_ratio(val, apart)
    assert narrow.variance == wide.variance == "seeds+clips"
    assert math.log(wide.high / wide.low) > 3 * math.log(narrow.high / narrow.low)


def test_large_clip_numbers_leave_the_t_interval_over_seeds():
    rng = np.random.default_rng(1)
    rates = np.array([0.40, 0.45, 0.52, 0.58, 0.61])
    target = rng.random((5, 40_000)) < rates[:, None]
    val = rng.random((5, 40_000)) < 0.8
    rr = robustness_ratio(val, target)
    log_rr = np.log(target.mean(1) / val.mean(1))
    half = stats.t.ppf(0.975, 4) * log_rr.std(ddof=1) / math.sqrt(5)
    assert math.log(rr.high / rr.value) == pytest.approx(half, rel=0.05)


def test_no_hit_gives_zero_with_a_conservative_upper_bound():
    rr = robustness_ratio(outcomes(80, 100), outcomes(0, 50))
    one_sided = clopper_pearson(0, 50)[1] / 0.8
    assert (rr.value, rr.low) == (0.0, 0.0)
    assert one_sided < rr.high < 0.15


def test_all_right_still_has_an_interval():
    rr = robustness_ratio(outcomes(100, 100), outcomes(50, 50))
    assert rr.low < 0.95 < rr.value < 1.03 < rr.high


def test_no_validation_hit_leaves_rr_undefined():
    assert robustness_ratio(outcomes(0, 100), outcomes(10, 50)) is None


def test_a_seed_without_hits_is_no_problem_in_a_group():
    target = np.stack([np.zeros(50, bool), np.arange(50) < 20, np.arange(50) < 10])
    rr = robustness_ratio(outcomes(80, 100, seeds=3), target)
    assert 0 < rr.low < rr.value < rr.high < math.inf


def test_refuses_groups_of_different_seeds():
    with pytest.raises(ValueError, match=r"\(2, 10\) and \(3, 10\)"):
        robustness_ratio(outcomes(5, 10, 2), outcomes(5, 10, 3))


def test_chance_corrected():
    assert statistics.chance_corrected_ratio(0.8, 0.5, 0.2) == pytest.approx(0.5)
    assert statistics.chance_corrected_ratio(0.2, 0.5, 0.2) is None


def probit_outcomes(rng, mean, seed_effect, clip_sd, n):
    """(S, n): right where mean + seed + clip + noise > 0. Accuracy is Phi(mean / sqrt(1 + var_seed + var_clip))."""
    clip_effect = clip_sd * rng.standard_normal(n)
    noise = rng.standard_normal((len(seed_effect), n))
    return mean + seed_effect[:, None] + clip_effect + noise > 0


@pytest.mark.parametrize(
    "seeds, val_mean, target_mean, seed_sd, clip_sd",
    [
        (1, 0.8, 0.0, 0.0, 0.0),
        (1, 2.3, 1.5, 0.0, 0.0),  # V near 0.99
        (5, 0.8, 0.0, 0.4, 1.0),
        (5, 0.8, 0.0, 0.0, 1.0),  # only clips differ
        (5, 0.8, -0.4, 0.5, 0.0),  # only seeds differ
        (5, 0.8, 0.0, 0.0, 0.0),  # pure noise: counts once, not in both terms
    ],
)
def test_intervals_cover_95_percent(seeds, val_mean, target_mean, seed_sd, clip_sd):
    """A single seed's interval is about that seed: hence no seed effect in the cases with S = 1."""
    rng = np.random.default_rng(7)
    trials, rr_covered, accuracy_covered = 1500, 0, 0
    V = special.ndtr(val_mean / math.sqrt(1 + (seed_sd / 4) ** 2 + clip_sd**2))
    T = special.ndtr(target_mean / math.sqrt(1 + seed_sd**2 + clip_sd**2))
    for _ in range(trials):
        effect = seed_sd * rng.standard_normal(seeds)
        val = probit_outcomes(rng, val_mean, effect / 4, clip_sd, 400)
        target = probit_outcomes(rng, target_mean, effect, clip_sd, 200)
        rr, mean = robustness_ratio(val, target), accuracy(target)
        rr_covered += rr.low <= T / V <= rr.high
        accuracy_covered += mean.low <= T <= mean.high
    assert 0.93 <= rr_covered / trials <= 0.985, rr_covered / trials
    assert 0.93 <= accuracy_covered / trials <= 0.985, accuracy_covered / trials
