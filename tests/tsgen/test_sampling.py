from __future__ import annotations

import numpy as np
import pytest

from tsgen.common.errors import UsageError
from tsgen.domains import DOMAINS
from tsgen.sampling import check_domain_fits, class_of, sample_clips, stream_key
from tsgen.vocabulary import CLASS_NAMES

NUM_DIGITS = 100
FIELDS = ("label", "start_px", "speed", "heading", "direction", "rotation", "sigma", "digit_index", "corner")


def sample(name, index, seed=0, split="train"):
    return sample_clips(DOMAINS[name], split, seed, np.asarray(index), NUM_DIGITS)


def assert_same(a, b):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)


@pytest.mark.parametrize("name", DOMAINS)
def test_a_clip_depends_on_its_index_alone(name):
    whole = sample(name, np.arange(1000))
    assert_same(whole.rows(300, 437), sample(name, np.arange(300, 437)))
    shuffled = np.random.default_rng(1).permutation(1000)
    picked = sample(name, shuffled)
    np.testing.assert_array_equal(whole.corner[shuffled], picked.corner)
    np.testing.assert_array_equal(whole.label[shuffled], picked.label)


@pytest.mark.parametrize("n", [1, 4, 5, 6, 7, 13, 999, 1000])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_classes_differ_by_at_most_one_for_every_n(n, seed):
    labels = class_of(np.arange(n), stream_key(DOMAINS["2dot"], "train", seed))
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    assert counts.max() - counts.min() <= 1


def test_the_order_of_classes_is_shuffled():
    labels = class_of(np.arange(60_000), stream_key(DOMAINS["2dot"], "train", 0)).reshape(-1, 5)
    orders, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(orders) == 120  # all of 5!
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert chi_square < 177.6  # 0.05 % point with 119 degrees of freedom


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "val"}, {"split": "test"}])
def test_streams_differ(change):
    a, b = sample("2dot", np.arange(500)), sample("2dot", np.arange(500), **change)
    assert (a.start_px != b.start_px).mean() > 0.9


def test_domains_that_share_a_stream_move_alike():
    index = np.arange(200)
    small, large = (sample_clips(DOMAINS["5dot"].with_dials(width_px=width), "test", 3, index, 0) for width in (5, 7))
    for field in ("label", "speed", "heading", "direction", "rotation"):
        np.testing.assert_array_equal(getattr(small, field), getattr(large, field))


@pytest.mark.parametrize("name", DOMAINS)
def test_start_limits_and_frame_are_kept(name):
    domain = DOMAINS[name]
    specs = sample(name, np.arange(20_000))
    width = domain.width_px
    for class_id, class_name in enumerate(CLASS_NAMES):
        rows = specs.label == class_id
        radius = {"circle": 8, "arc": 8, "spiral": domain.spiral_reach}.get(class_name, 2 * specs.speed[rows])
        low = (2 * radius + width) * np.ones(rows.sum())
        start = specs.start_px[rows]
        assert (start >= low[:, None]).all()
        assert (start < 64 - low[:, None]).all()
        assert (start.min(axis=0) == low.min()).all()
        assert (start.max(axis=0) == 63 - low.min()).all()
    assert specs.corner_px.min() >= 0
    assert specs.corner_px.max() <= 64 - width
    assert specs.corner_px.min() == 0, "some clip touches the border, or the test proves nothing"
    assert specs.corner_px.max() == 64 - width


def test_the_state_counts_of_the_supplement():
    """Supplement 6.1: circle 31 360 = 28*28 starts x 20 rotations x 2 directions; spiral 7 200 = 20*20 x 9 x 2."""
    specs = sample("2dot", np.arange(2_000_000))
    for name, per_start, starts, expected in (("circle", 40, 28, 31_360), ("spiral", 18, 20, 7_200)):
        rows = specs.label == CLASS_NAMES.index(name)
        states = np.column_stack(
            [specs.start_px[rows], specs.speed[rows] * 10, specs.direction[rows], specs.rotation[rows]]
        ).astype(np.int64)
        assert starts**2 * per_start == expected
        assert len(np.unique(states, axis=0)) == expected


def test_draws_are_spread_evenly():
    specs = sample("mnist-bg", np.arange(50_000))
    for values, count in ((specs.sigma - 1, 10), (specs.digit_index, NUM_DIGITS)):
        observed = np.bincount(values, minlength=count)
        assert len(observed) == count
        expected = len(values) / count
        z = ((observed - expected) ** 2 / expected).sum()
        assert z < count + 6 * np.sqrt(2 * count)
    headed = specs.heading[specs.heading >= 0]
    assert abs(np.exp(2j * np.pi * headed / 65536).mean()) < 0.03


@pytest.mark.parametrize(("dials", "part"), [({"size_px": 32}, "circle"), ({"width_px": 30}, "leaves no start")])
def test_domains_that_do_not_fit_are_refused(dials, part):
    with pytest.raises(UsageError, match=part):
        check_domain_fits(DOMAINS["2dot"].with_dials(**dials))
