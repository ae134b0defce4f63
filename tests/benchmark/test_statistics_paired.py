"""Two models, many models, ranks: against closed forms, brute force and one another."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.statistics import (
    compare_accuracies,
    compare_ratios,
    holm,
    letters,
    mcnemar,
    pairwise_accuracies,
    pairwise_ratios,
    published_ratio,
    rank_intervals,
    robustness_ratio,
    surely_better,
    tie_groups,
    tie_runs,
)
from benchmark.statistics.moments import moments


def models(rng, rates, n, seeds):
    """Models that find the same clips hard."""
    hard = rng.random(n)
    return [0.7 * hard + 0.3 * rng.random((S, n)) < rate for rate, S in zip(rates, seeds, strict=True)]


@pytest.mark.parametrize("a, b", [([1, 1, 1, 0, 0], [0, 0, 0, 1, 0]), ([1, 0], [1, 0]), ([1] * 9 + [0], [0] * 9 + [1])])
def test_mcnemar_is_a_binomial_test(a, b):
    a, b = np.array(a, bool), np.array(b, bool)
    only_a, discordant = int((a & ~b).sum()), int((a ^ b).sum())
    expected = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert mcnemar(a, b) == pytest.approx(expected) == mcnemar(b, a)


def test_one_seed_each_by_hand():
    """Bonett and Price's variance: ((b + c) - (b - c)^2 / n) / n^2 with one more clip won by each model."""
    rng = np.random.default_rng(0)
    a, b = models(rng, (0.55, 0.45), 400, (1, 1))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    found = compare_accuracies(a, b)
    variance = (only_a + only_b - (only_a - only_b) ** 2 / 400) / 400 / 399 + 2 / 400**2
    half = stats.t.ppf(0.975, 399) * math.sqrt(variance)
    estimate = found.estimate
    assert estimate.value == pytest.approx((only_a - only_b) / 400)
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-3)  # 399 degrees: the two clips move them a bit
    assert estimate.variance == "clips" and found.p == mcnemar(a[0], b[0])
    assert found.verdict == "A better"
    assert compare_accuracies(b, a).verdict == "B better"


def test_several_seeds_by_hand():
    """A's and B's own seeds: var_i(a_i - b_i) / N, and for each model what its seeds add."""
    rng = np.random.default_rng(1)
    a, b = models(rng, (0.5, 0.45), 300, (4, 3))
    a, b = a ^ (rng.random(a.shape) < np.array([[0.0], [0.1], [0.3], [0.4]])), b ^ (rng.random(b.shape) < 0.05)
    found = compare_accuracies(a, b)
    variance = (a.mean(0) - b.mean(0)).var(ddof=1) / 300 + 2 / (300**2 * 4 * 3)
    squares = variance**2 / 299
    for each in (a, b):
        of = moments([each])
        variance += max(of.seeds[0, 0] - of.mixed[0, 0], 0)
        squares += of.seeds[0, 0] ** 2 / (len(each) - 1)
    half = stats.t.ppf(0.975, max(variance**2 / squares, 2)) * math.sqrt(variance)
    assert found.estimate.high - found.estimate.value == pytest.approx(half, rel=1e-12)
    assert found.estimate.variance == "seeds+clips"


def test_pairing_decides_what_two_intervals_leave_open():
    rng = np.random.default_rng(2)
    a, b = models(rng, (0.51, 0.49), 1000, (5, 5))
    alone = compare_accuracies(a, b[:, rng.permutation(1000)])
    assert compare_accuracies(a, b).verdict == "A better"
    assert alone.verdict == "open"


def test_ratio_of_one_seed_each_by_hand():
    """log rr A - log rr B = log T_A / T_B - log V_A / V_B: two paired ratios, (b + c + 2) / (hits * hits) each."""
    rng = np.random.default_rng(3)
    (va, vb), (ta, tb) = models(rng, (0.75, 0.7), 800, (1, 1)), models(rng, (0.5, 0.4), 500, (1, 1))
    found = compare_ratios(va, ta, vb, tb)
    variance = sum(
        (n / (n - 1) * (x ^ y).sum() + 2) / (int(x.sum()) * int(y.sum())) for x, y, n in ((va, vb, 800), (ta, tb, 500))
    )
    assert found.estimate.value == pytest.approx((ta.mean() / va.mean()) / (tb.mean() / vb.mean()))
    assert math.log(found.estimate.high / found.estimate.value) == pytest.approx(1.96 * math.sqrt(variance), rel=3e-3)
    swapped = compare_ratios(vb, tb, va, ta).estimate
    assert (swapped.low, swapped.high) == pytest.approx((1 / found.estimate.high, 1 / found.estimate.low))


def test_the_example_in_the_docs():
    def two(a, b, both, n):
        clips = np.arange(n)
        return (clips < a)[None], ((clips < both) | ((clips >= a) & (clips < a + b - both)))[None]

    (va, vb), (ta, tb) = two(815, 789, 700, 1000), two(254, 233, 190, 500)
    found = compare_ratios(va, ta, vb, tb)
    shown = f"ratio {found.estimate.value:.3f}, interval {found.estimate.low:.3f} .. {found.estimate.high:.3f}, open"
    text = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    assert shown in text and found.verdict == "open"
    rr = robustness_ratio(va, ta)
    assert f"exp(-+ 1.96 * 0.0465) = {rr.low:.3f} .. {rr.high:.3f}" in text
    printed = published_ratio(0.219, 0.383, 1502, 1970)
    assert f"an interval of {printed.low:.3f} .. {printed.high:.3f}" in " ".join(text.split())


def test_models_that_answer_alike_are_open_with_an_interval():
    rng = np.random.default_rng(4)
    val, target = rng.random((3, 200)) < 0.8, rng.random((3, 100)) < 0.5
    same = compare_accuracies(target, target)
    assert same.verdict == "open" and same.estimate.value == 0 and -0.1 < same.estimate.low < -0.01
    same = compare_ratios(val, target, val, target)
    assert same.verdict == "open" and 0.8 < same.estimate.low < 0.99


def test_ratio_with_no_hit():
    val, some, none = np.ones((2, 50), bool), np.tile(np.arange(100) < 40, (2, 1)), np.zeros((2, 100), bool)
    val[:, :10] = False
    assert compare_ratios(val, some, val, none).verdict == "A better"
    assert compare_ratios(val, none, val, none).verdict == "open"
    undefined = compare_ratios(np.zeros((2, 50), bool), some, val, some)
    assert (undefined.estimate, undefined.verdict, undefined.p) == (None, "open", 1.0)


def test_refuses_models_with_other_clips():
    with pytest.raises(ValueError, match=r"other clips: \[\(10,\), \(12,\)\]"):
        pairwise_accuracies([np.ones((2, 10), bool), np.ones((2, 12), bool)])


def test_every_pair_is_the_comparison_of_two():
    rng = np.random.default_rng(5)
    seeds = (1, 5, 3, 5)
    vals, targets = models(rng, (0.7, 0.8, 0.75, 0.8), 200, seeds), models(rng, (0.3, 0.5, 0.5, 0.4), 150, seeds)
    both = list(zip(vals, targets, strict=True))
    accuracies, ratios = pairwise_accuracies(targets), pairwise_ratios(both)
    for i, j in itertools.permutations(range(4), 2):
        one = compare_accuracies(targets[i], targets[j])
        assert accuracies.difference[i, j] == pytest.approx(one.estimate.value, abs=1e-12)
        assert accuracies.p[i, j] == pytest.approx(one.p, rel=1e-9)
        one = compare_ratios(*both[i], *both[j])
        assert math.exp(ratios.difference[i, j]) == pytest.approx(one.estimate.value, rel=1e-12)
        assert (ratios.p[i, j] < 0.05) == (one.verdict != "open")
        assert surely_better(ratios, "none")[i, j] == (one.verdict == "A better")


def test_holm_by_hand():
    p = np.ones((3, 3))
    p[0, 1] = p[1, 0] = 0.01
    p[0, 2] = p[2, 0] = 0.02
    p[1, 2] = p[2, 1] = 0.9
    adjusted = holm(p)
    assert (adjusted[0, 1], adjusted[0, 2], adjusted[2, 1]) == pytest.approx((0.03, 0.04, 0.9))
    p[0, 2] = p[2, 0] = 0.012  # 2 * 0.012 is less than the 3 * 0.01 before it
    assert holm(p)[2, 0] == pytest.approx(0.03)


def test_holm_keeps_equal_models_together():
    """The share of sets of six equal models in which any pair is called different."""
    rng = np.random.default_rng(6)
    wrong = {"holm": 0, "none": 0}
    for _ in range(300):
        pairs = pairwise_accuracies(models(rng, [0.5] * 6, 100, [2] * 6))
        for correction in wrong:
            wrong[correction] += surely_better(pairs, correction).any()
    assert wrong["holm"] / 300 <= 0.08 < 0.1 < wrong["none"] / 300


def test_unknown_correction():
    with pytest.raises(ValueError, match="'tukey'; known: holm, none"):
        surely_better(pairwise_accuracies([np.ones((1, 5), bool)] * 2), "tukey")


# The first is better than the last two, the second than the last; order is 0 1 2 3.
BETTER = np.zeros((4, 4), bool)
BETTER[0, 2] = BETTER[0, 3] = BETTER[1, 3] = True


def test_ranks_and_groups_by_hand():
    assert rank_intervals(BETTER) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    groups = tie_groups(BETTER, [0, 1, 2, 3])
    assert groups == [(0, 1), (1, 2), (2, 3)] == tie_runs(BETTER, [0, 1, 2, 3])
    assert letters(groups, 4) == ["a", "a b", "b c", "c"]
    assert rank_intervals(np.zeros((3, 3), bool)) == [(1, 3)] * 3
    assert tie_groups(np.zeros((3, 3), bool), [2, 0, 1]) == [(2, 0, 1)] == tie_runs(np.zeros((3, 3), bool), [2, 0, 1])


def test_letters_go_on_after_z():
    assert letters([(0,)] * 28, 1)[0].split()[25:] == ["z", "aa", "ab"]


def test_groups_are_all_largest_sets_without_a_verdict():
    """Against all subsets; and two entries share a letter exactly if neither is surely better."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        better = np.triu(rng.random((7, 7)) < 0.4, 1)
        order = list(range(7))
        groups = tie_groups(better, order)
        free = [
            set(subset)
            for size in range(1, 8)
            for subset in itertools.combinations(order, size)
            if not better[np.ix_(subset, subset)].any()
        ]
        largest = {frozenset(each) for each in free if not any(each < other for other in free)}
        assert {frozenset(group) for group in groups} == largest and len(groups) == len(largest)
        for run in tie_runs(better, order):
            assert any(set(run) <= set(group) for group in groups)
        assert set().union(*tie_runs(better, order)) == set(order)
