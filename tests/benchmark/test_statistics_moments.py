"""The variance parts against a plain analysis of variance, and many submissions against one by one."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from benchmark.statistics import accuracies, accuracy, robustness_ratio, robustness_ratios, target_ratio, target_ratios
from benchmark.statistics.moments import moments, shared_clips, spread


def draw(rng, seeds, n, mean=0.5):
    clip = rng.random(n)
    seed = rng.normal(0, 0.1, (seeds, 1))
    return rng.random((seeds, n)) * 0.5 + clip * 0.5 < mean + seed


def parts_in_floats(x, y):
    """clips, seeds and mixed covariance of two float (S, N) on the same clips, from residuals."""
    S, N = x.shape

    def split(z):
        clip, seed, mean = z.mean(0), z.mean(1), z.mean()
        return clip - mean, seed - mean, z - clip - seed[:, None] + mean

    (cx, sx, ex), (cy, sy, ey) = split(x.astype(float)), split(y.astype(float))
    return (
        (cx @ cy) / (N - 1) / N,
        (sx @ sy) / (S - 1) / S,
        (ex * ey).sum() / ((S - 1) * (N - 1)) / (S * N),
    )


def test_parts_are_those_of_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    first, second = draw(rng, 4, 57), draw(rng, 4, 57, 0.3)
    everything = np.arange(57)
    of = moments([first, second], (everything, everything))
    assert of.mean == pytest.approx([first.mean(), second.mean()], abs=1e-15)
    for k, x in enumerate((first, second)):
        for m, y in enumerate((first, second)):
            found = (of.clips[k, m], of.seeds[k, m], of.mixed[k, m])
            assert found == pytest.approx(parts_in_floats(x, y), abs=1e-14)


def test_different_clips_share_the_seeds_alone():
    rng = np.random.default_rng(1)
    of = moments([draw(rng, 3, 40), draw(rng, 3, 25)])
    assert of.clips[0, 1] == of.mixed[0, 1] == 0
    assert of.seeds[0, 1] == of.seeds[1, 0] != 0


def test_covariance_of_clips_that_only_partly_overlap():
    """Simulated: two means over 60 and 50 clips of which 40 are the same."""
    rng = np.random.default_rng(2)
    ids, others = np.arange(60), np.arange(20, 70)
    shared = shared_clips(ids, others)
    assert len(shared[0]) == 40 and np.array_equal(ids[shared[0]], others[shared[1]])
    hard = rng.random((4000, 1, 70))
    noise = rng.random((4000, 3, 70)) * 0.3
    first, second = (hard + noise)[..., ids] < 0.6, (hard + noise)[..., others] < 0.7
    of = moments([first, second], shared)
    true = np.cov(of.mean[:, 0], of.mean[:, 1])
    expected = of.clips.mean(axis=0) + of.seeds.mean(axis=0) - of.mixed.mean(axis=0)
    assert expected[0, 1] == pytest.approx(true[0, 1], rel=0.08)
    assert expected[0, 0] == pytest.approx(true[0, 0], rel=0.08)


def test_spread_of_a_sum_needs_no_covariances():
    """The variance of a t - b v from the outcomes themselves, without any matrix."""
    rng = np.random.default_rng(3)
    first, second = draw(rng, 5, 80), draw(rng, 5, 80, 0.4)
    rows = np.arange(80)
    variance, dof = spread(moments([first, second], (rows, rows)), np.array([-1.3, 0.7]))
    clips, seeds, mixed = parts_in_floats(0.7 * second - 1.3 * first, 0.7 * second - 1.3 * first)
    clips += 2 * 1.3 * 0.7 / (80 * 5) ** 2  # one outcome more for each side
    assert variance == pytest.approx(clips + max(seeds - mixed, 0), abs=1e-15)
    by_hand = variance**2 / (clips**2 / 79 + seeds**2 / 4)
    assert dof == pytest.approx(max(by_hand, 4))


def test_degrees_of_freedom_are_never_less_than_those_of_the_seeds():
    """Found by comparing: taking ``mixed`` off could leave 0.01 of them, and a bound that overflowed."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        val, target = rng.random((2, 40)) < 0.8, rng.random((2, 12)) < 0.4
        _, dof = spread(moments([val, target]), np.array([-1 / 0.8, 1 / 0.4]))
        assert dof >= 1
        estimate = robustness_ratio(val, target)
        assert estimate is None or estimate.high < np.inf


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_many_at_once_equal_one_by_one(seeds):
    rng = np.random.default_rng(5)
    rates = np.concatenate([[0.0, 1.0], rng.random(60)])
    val = rng.random((62, seeds, 90)) < rng.permutation(rates)[:, None, None]
    target = rng.random((62, seeds, 50)) < rates[:, None, None]
    reference = rng.random((62, seeds, 50)) < rng.permutation(rates)[:, None, None]
    ids = rng.permutation(50)
    shared = shared_clips(ids, np.arange(10, 60))
    pairs = [
        (accuracies(target), [accuracy(each) for each in target]),
        (robustness_ratios(val, target), [robustness_ratio(v, t) for v, t in zip(val, target, strict=True)]),
        (
            target_ratios(target, reference, shared),
            [target_ratio(t, r, np.arange(10, 60), ids) for t, r in zip(target, reference, strict=True)],
        ),
    ]
    for many, singles in pairs:
        for index, single in enumerate(singles):
            at = many.at(index)
            assert (at is None) == (single is None)
            if single is not None:
                assert dataclasses.astuple(at)[:3] == pytest.approx(dataclasses.astuple(single)[:3], rel=1e-12)
                assert at.variance == single.variance
    assert any(single is None for single in pairs[1][1])


def test_a_thousand_submissions_score_in_seconds():
    rng = np.random.default_rng(6)
    val = rng.random((1000, 5, 1000), dtype=np.float32) < 0.8
    targets = [rng.random((1000, 5, 500), dtype=np.float32) < rate for rate in (0.6, 0.4, 0.3)]
    start = time.process_time()
    for each in (val, *targets):
        accuracies(each)
    ratios = [robustness_ratios(val, target) for target in targets]
    assert time.process_time() - start < 2
    assert all(np.isfinite(each.high).all() for each in ratios)


@pytest.mark.parametrize(
    "blocks, message",
    [
        ([np.ones((2, 3, 0), bool)], r"got \(2, 3, 0\)"),
        ([np.ones((2, 3), bool), np.ones((3, 3), bool)], r"\(2, 3\) and \(3, 3\)"),
        ([np.ones((256, 3), bool)], "at most 255 seeds, got 256"),
    ],
)
def test_refuses(blocks, message):
    with pytest.raises(ValueError, match=message):
        moments(blocks)
