"""The claims of the profiles ``strict`` and ``order``, each by construction or by a test that could fail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tsgen import strict
from tsgen.common.errors import UsageError
from tsgen.domains import DOMAINS, get_domain
from tsgen.sampling import check_domain_fits, sample_clips
from tsgen.strict import TABLE_BITS, canonical_paths, smallest_enclosing_circle

ONE = 1 << TABLE_BITS
N = 5000


def sample(profile, name="5dot", split="train", n=N, seed=0):
    return sample_clips(get_domain(name, profile), split, seed, np.arange(n), 40)


def test_canonical_paths_fill_the_unit_circle_and_start_on_it():
    for path in canonical_paths(20) / ONE:
        centre, radius = smallest_enclosing_circle(path)
        np.testing.assert_allclose(centre, 0, atol=1e-5)
        assert radius == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(path[0], [1, 0], atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_enclosing_circle_is_the_smallest(seed):
    points = np.random.default_rng(seed).normal(size=(12, 2))
    centre, radius = smallest_enclosing_circle(points)
    distances = np.hypot(*(points - centre).T)
    assert distances.max() == pytest.approx(radius)
    # Optimal: no direction moves the centre closer to all points on the rim.
    rim = (points - centre)[distances > radius - 1e-9]
    angles = np.sort(np.arctan2(rim[:, 1], rim[:, 0]))
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    assert gaps.max() <= np.pi + 1e-9


def test_angle_table_lies_away_from_rounding_ties():
    angle = np.arange(65536) * (2 * np.pi / 65536)
    exact = np.stack([np.cos(angle), np.sin(angle)]) * ONE
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-8


@pytest.mark.parametrize("num_frames", [2, 20, 33])
def test_path_tables_lie_away_from_rounding_ties(num_frames, monkeypatch):
    exact = []
    monkeypatch.setattr(strict, "_to_table", lambda values: exact.append(values * ONE) or np.rint(values * ONE))
    canonical_paths.__wrapped__(num_frames)
    strict.order_path.__wrapped__(num_frames)
    values = np.concatenate([table.ravel() for table in exact])
    assert np.abs(values - np.floor(values) - 0.5).min() > 1e-7


@pytest.mark.parametrize("name", ["2dot", "5dot", "mnist"])
def test_strict_paths_are_their_class_moved_turned_and_scaled(name):
    specs = sample("strict", name, n=200)
    for row in range(len(specs)):
        drawn = specs.corner[row] / 65536
        centre, radius = smallest_enclosing_circle(drawn)
        path = canonical_paths(20)[specs.label[row]] / ONE * [1, specs.direction[row]]
        angle = specs.heading[row] * 2 * np.pi / 65536
        turned = path @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(drawn, centre + radius * turned, atol=2e-3)


@pytest.mark.parametrize("profile", ["strict", "order"])
@pytest.mark.parametrize("name", DOMAINS)
def test_the_entity_is_whole_and_never_twice_at_one_place(profile, name):
    domain = get_domain(name, profile)
    specs = sample(profile, name, n=2000)
    assert specs.visible.all()
    assert specs.corner.min() >= 0
    assert specs.corner.max() <= (64 - domain.width_px) << 16
    if profile == "strict":
        for path in specs.corner_px:
            assert len(np.unique(path, axis=0)) == 20


def test_strict_marginals_are_one_law_in_every_class():
    """Start position, extent of the visited area: Kolmogorov-Smirnov against the other classes, Bonferroni at 1 %."""
    specs = sample("strict", n=20_000)
    extent = np.array([2 * smallest_enclosing_circle(path / 65536)[1] for path in specs.corner[:4000]])
    p_values = []
    for class_id in range(5):
        own = specs.label == class_id
        for axis in (0, 1):
            p_values.append(stats.ks_2samp(specs.corner[own, 0, axis], specs.corner[~own, 0, axis]).pvalue)
        p_values.append(stats.ks_2samp(extent[own[:4000]], extent[~own[:4000]]).pvalue)
    assert min(p_values) > 0.01 / len(p_values)


def test_that_test_can_fail_on_the_paper_profile():
    specs = sample("paper", n=20_000)
    own = specs.label == 2
    assert stats.ks_2samp(specs.corner[own, 0, 0], specs.corner[~own, 0, 0]).pvalue < 1e-10


def test_order_pairs_visit_the_same_places_in_opposite_order():
    for name in ("5dot", "mnist-bg"):
        specs = sample("order", name)
        forward, reversed_ = (np.flatnonzero(specs.label == label) for label in (0, 1))
        assert (forward // 2 == reversed_ // 2).all()
        np.testing.assert_array_equal(specs.corner[forward], specs.corner[reversed_, ::-1])
        np.testing.assert_array_equal(specs.digit_index[forward], specs.digit_index[reversed_])
        np.testing.assert_array_equal(specs.sigma[forward], specs.sigma[reversed_])
        assert (specs.corner[forward] != specs.corner[reversed_]).any(axis=(1, 2)).all()


def test_order_classes_have_one_law_of_first_positions():
    specs = sample("order", n=20_000)
    for axis in (0, 1):
        first = specs.corner[:, 0, axis]
        assert stats.ks_2samp(first[specs.label == 0], first[specs.label == 1]).pvalue > 0.005


@pytest.mark.parametrize("profile", ["strict", "order"])
def test_splits_share_no_drawn_path_forwards_or_backwards(profile):
    paths = {}
    for split in ("train", "val", "test"):
        drawn = sample(profile, "2dot", split, n=20_000).corner_px
        paths[split] = {path.tobytes() for path in drawn} | {path[::-1].tobytes() for path in drawn}
    assert not paths["train"] & paths["val"]
    assert not paths["train"] & paths["test"]
    assert not paths["val"] & paths["test"]


def test_the_paper_profile_does_share_paths():
    train, val = (
        {path.tobytes() for path in sample("paper", "2dot", split, n=20_000).corner_px} for split in ("train", "val")
    )
    assert train & val


def test_dataverse_quirks():
    """Facts: 3x3 dots, vanishing where a coordinate truncates to 0, sigma 1..9, independent labels, dots transposed."""
    domain = get_domain("2dot", "dataverse")
    assert domain.width_px == 3
    specs = sample("dataverse", "2dot", n=20_000)
    np.testing.assert_array_equal(specs.visible, (specs.corner_px > 0).all(axis=-1))
    blank = (~specs.visible).any(axis=1)
    share = [blank[specs.label == class_id].mean() for class_id in range(5)]
    for class_id, published in ((0, 0.0), (1, 0.03), (2, 0.20), (3, 0.02), (4, 0.10)):
        assert share[class_id] == pytest.approx(published, abs=0.02)
    counts = np.bincount(specs.label)
    assert counts.max() - counts.min() > 1, "independent draws are not balanced"
    assert stats.chisquare(counts).pvalue > 1e-4
    noise = sample("dataverse", "mnist-bg", n=5000)
    assert (noise.sigma.min(), noise.sigma.max()) == (1, 9)
    assert noise.visible.all()


def test_too_many_frames_are_refused():
    with pytest.raises(UsageError, match=r"at least \d+ px"):
        check_domain_fits(get_domain("5dot", "strict").with_dials(num_frames=60))
    with pytest.raises(UsageError, match="at least 5"):
        check_domain_fits(get_domain("5dot", "order").with_dials(num_frames=1))
    with pytest.raises(UsageError, match="fixed extent"):
        get_domain("5dot", "strict").with_dials(speed_factor=2.0)
