"""T / S1, chance-corrected rr, the rules, and intervals of printed numbers, each against another computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from benchmark.statistics import (
    Estimate,
    above_guessing,
    asterisk,
    chance_corrected,
    published_accuracy,
    published_ratio,
    robustness_ratio,
    target_ratio,
)
from benchmark.statistics.moments import moments


def outcomes(hits, n, seeds=1):
    return np.tile(np.arange(n) < hits, (seeds, 1))


def test_pairs_of_one_seed_by_hand():
    """Var(log T / S1) = (b + c) / (hits of T * hits of S1), b and c the clips on which exactly one is right."""
    rng = np.random.default_rng(0)
    hard = rng.random(600)
    target, reference = (hard + 0.2 * rng.random((2, 600)) < np.array([[0.5], [0.6]]))[:, None]
    ids = np.arange(600)
    found = target_ratio(target, reference, ids, ids)
    b, c = (target & ~reference).sum(), (reference & ~target).sum()
    error = math.sqrt((600 / 599 * (b + c) + 2) / (target.sum() * reference.sum()))
    assert found.value == pytest.approx(target.sum() / reference.sum())
    # The t quantile of 599 degrees of freedom instead of the normal one.
    assert math.log(found.high / found.value) == pytest.approx(stats.t.ppf(0.975, 599) * error, rel=1e-9)


def test_pairing_narrows_and_order_does_not_matter():
    rng = np.random.default_rng(1)
    hard, ids = rng.random(500), rng.permutation(500)
    target, reference = (hard + 0.2 * rng.random((3, 500)) < level for level in (0.5, 0.6))
    alone = target_ratio(target, reference)
    paired = target_ratio(target, reference, np.arange(500), np.arange(500))
    shuffled = target_ratio(target[:, ids], reference, ids, np.arange(500))
    assert math.log(paired.high / paired.low) < 0.7 * math.log(alone.high / alone.low)
    assert (shuffled.value, shuffled.low, shuffled.high) == pytest.approx((paired.value, paired.low, paired.high))


def test_clips_without_a_partner_are_like_different_clips():
    rng = np.random.default_rng(2)
    target, reference = rng.random((3, 100)) < 0.4, rng.random((3, 120)) < 0.5
    apart = target_ratio(target, reference, np.arange(100), np.arange(200, 320))
    alone = target_ratio(target, reference)
    assert math.log(apart.high / apart.low) == pytest.approx(math.log(alone.high / alone.low))


def test_equal_outcomes_still_have_an_interval():
    ids = np.arange(300)
    found = target_ratio(outcomes(100, 300, 2), outcomes(100, 300, 2), ids, ids)
    assert 0.9 < found.low < 1 == found.value < found.high < 1.1


def test_no_hit_on_the_reference_leaves_it_undefined():
    assert target_ratio(outcomes(3, 10), outcomes(0, 10)) is None


def estimate(low, high):
    return Estimate((low + high) / 2, low, high, "clips")


@pytest.mark.parametrize(
    "ratio, verdict",
    [
        (estimate(0.7, 0.99), "dropped"),
        (estimate(0.7, 1.0), "open"),
        (estimate(0.9, 1.2), "open"),
        (estimate(1.0, 1.2), "open"),
        (estimate(1.01, 1.2), "not dropped"),
        (None, "open"),
    ],
)
def test_asterisk(ratio, verdict):
    assert asterisk(ratio) == verdict


def test_gate_asks_the_lower_bound_for_chance_and_majority():
    V = estimate(0.3, 0.5)
    assert above_guessing(V, 0.2, 0.29)
    assert not above_guessing(V, 0.2, 0.3)
    assert not above_guessing(V, 0.3, 0.2)


@pytest.mark.parametrize("seeds, rate", [(1, 0.5), (5, 0.5), (5, 0.18)])
def test_fieller_bounds_are_where_the_test_turns(seeds, rate):
    """Each bound r is a root of |T' - r V'| = t sqrt(Var(T - r V)), variance from scratch."""
    rng = np.random.default_rng(3)
    chance = 0.2
    val = rng.random((seeds, 400)) < 0.75 + 0.08 * np.array([[1], [-1], [1], [-1], [0]])[:seeds]
    target = rng.random((seeds, 300)) < rate + 0.08 * np.array([[1], [1], [-1], [-1], [0]])[:seeds]
    found = chance_corrected(val, target, chance)
    V, T = val.mean() - chance, target.mean() - chance
    assert found.value == pytest.approx(T / V)
    of = moments([val, target])
    beyond = of.seeds - of.mixed
    assert seeds == 1 or np.linalg.eigvalsh(beyond).min() > 0, "else the variance below is not the one that is used"

    def variance(r):
        clips = r**2 * val.mean(0).var(ddof=1) / 400 + target.mean(0).var(ddof=1) / 300
        if seeds == 1:
            return clips
        return clips + np.array([-r, 1]) @ beyond @ np.array([-r, 1])

    clips = np.array([found.value**2 * val.mean(0).var(ddof=1) / 400, target.mean(0).var(ddof=1) / 300])
    squares = clips[0] ** 2 / 399 + clips[1] ** 2 / 299
    if seeds > 1:
        between = np.var(target.mean(1) - found.value * val.mean(1), ddof=1) / seeds
        squares += between**2 / (seeds - 1)
    t = stats.t.ppf(0.975, max(variance(found.value) ** 2 / squares, seeds - 1))
    for bound, far in ((found.low, -5), (found.high, 5)):
        root = optimize.brentq(lambda r: abs(T - r * V) - t * math.sqrt(variance(r)), found.value, far)
        assert bound == pytest.approx(root, abs=1e-6)


def test_chance_corrected_is_undefined_where_v_reaches_chance():
    target = outcomes(30, 100)
    assert chance_corrected(outcomes(27, 100), target, 0.2) is None
    assert chance_corrected(outcomes(15, 100), target, 0.2) is None
    assert chance_corrected(outcomes(60, 100), target, 0.2) is not None


def test_chance_corrected_of_no_hit_has_exact_bounds():
    found = chance_corrected(outcomes(160, 200), outcomes(0, 60), 0.2)
    assert found.value == pytest.approx(-0.2 / 0.6)
    assert found.low == pytest.approx(-0.2 / (stats.binomtest(160, 200).proportion_ci(0.975).low - 0.2))
    assert found.low < found.value < found.high < 0


def test_printed_numbers_have_the_interval_of_one_seed():
    """The paper's sets: V on 1502 clips, targets on 1970. A run with these hits gives nearly the same by Katz."""
    V, rr = 575 / 1502, 0.219
    hits = round(rr * V * 1970)
    found = published_ratio(hits / 1970 / V, V, 1502, 1970)
    run = robustness_ratio(outcomes(575, 1502), outcomes(hits, 1970))
    assert (found.value, found.low, found.high) == pytest.approx((run.value, run.low, run.high), rel=1e-3)
    half = 1.959964 * math.sqrt(1 / hits - 1 / 1970 + 1 / 575 - 1 / 1502)
    assert math.log(found.high / found.value) == pytest.approx(half, rel=1e-6)
    assert (published_accuracy(V, 1502).low, published_accuracy(V, 1502).high) == pytest.approx(
        tuple(stats.binomtest(575, 1502).proportion_ci(0.95, "exact")), rel=1e-9
    )


@pytest.mark.parametrize("ratio, reference", [(0.0, 0.4), (0.5, 0.0), (2.5, 0.4)])
def test_printed_numbers_without_an_interval(ratio, reference):
    assert published_ratio(ratio, reference, 1502, 1970) is None
