"""Tracking on synthetic tracks whose answer is known: divers, spectators, gaps, false positives, crossings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.tracking import TRACK_PRESETS, TrackOptions, track
from diving48_domains.tracks import COUNTS, STATUS, Tracks
from tsgen.common.errors import DataError, UsageError

HEIGHT, WIDTH, T = 480, 640, 32


def body(x, y, width, height, *, score=0.9, mark=200):
    """A detection centred at (x, y) px, cut at the frame; ``mark`` tells it from others."""
    box = [max(x - width / 2, 0), max(y - height / 2, 0), min(x + width / 2, WIDTH), min(y + height / 2, HEIGHT)]
    if not (box[0] < box[2] and box[1] < box[3]):
        return None
    return Instance(np.array(box), score, np.full((28, 28), mark, np.uint8))


def diver(t, *, x=320.0, y=240.0, mark=200, score=0.9, phase=0.0, rng=None):
    """A body tumbling twice a clip: tall, wide, tall, ..."""
    noise = rng.normal(0, 3, 2) if rng is not None else (0, 0)
    wide = np.cos(2 * np.pi * 2 * t / T + phase) ** 2
    return body(x + noise[0], y + noise[1], 60 + 90 * wide, 150 - 90 * wide, score=score, mark=mark)


def clip_of(*bodies, indices=None, frames=T):
    """``bodies``: functions from frame number to an instance or None."""
    rows = []
    for t in range(frames):
        found = [one for one in (make(t) for make in bodies) if one is not None]
        rows.append(tuple(sorted(found, key=lambda one: -one.score)))
    indices = np.arange(frames) * 3 if indices is None else np.asarray(indices)
    return ClipInstances("clip_00000", HEIGHT, WIDTH, indices.astype(np.int64), tuple(rows))


def marks(tracks):
    """The marks of each frame's divers, sorted."""
    return [sorted(int(one.mask[0, 0]) for one in frame) for frame in tracks.divers]


def check_sums(tracks):
    counts = tracks.counts
    dropped = ("low_score", "duplicate", "short", "spectator", "surplus")
    assert counts["instances"] == counts["kept"] + sum(counts[name] for name in dropped)
    assert sum(map(len, tracks.divers)) == counts["kept"] + counts["interpolated"]
    names = tracks.status_names()
    assert (names.count("empty"), names.count("interpolated")) == (
        counts["empty_frames"],
        counts["interpolated_frames"],
    )


def test_one_diver_is_kept_as_detected():
    clip = clip_of(diver)
    tracks = track(clip)
    assert tracks.divers == clip.frames  # the very objects
    assert set(tracks.status_names()) == {"detected"}
    assert set(sum(tracks.track_ids, ())) == {0}
    check_sums(tracks)


@pytest.mark.parametrize("seed", range(8))
def test_a_spectator_drifts_past_the_diver_whom_the_camera_follows(seed):
    rng = np.random.default_rng(seed)

    def fan(t):
        return body(80 + rng.normal(0, 2), -200 + 28 * t, 50 + rng.normal(0, 2), 110, score=0.97, mark=10)

    tracks = track(clip_of(lambda t: diver(t, rng=rng), fan))
    assert marks(tracks) == [[200]] * T
    assert tracks.counts["spectator"] > 8
    check_sums(tracks)


def test_a_row_of_large_sure_spectators_does_not_displace_the_diver():
    def fan(place):
        return lambda t: body(100 + 180 * place, 700 - 24 * t, 90, 190, score=0.99, mark=10 + place)

    tracks = track(clip_of(lambda t: diver(t, score=0.6), fan(0), fan(1), fan(2)))
    assert marks(tracks) == [[200]] * T
    check_sums(tracks)


def test_a_spectator_under_a_fixed_camera_stands_still():
    def fan(t):
        return body(500, 400, 60 + (t % 3), 120, score=0.99, mark=10)

    tracks = track(clip_of(lambda t: diver(t, y=40 + 12.0 * t), fan))
    assert marks(tracks) == [[200]] * T


def test_a_spectator_alone_is_not_known_from_a_diver_and_kept():
    tracks = track(clip_of(lambda t: body(500, 400, 60, 120, mark=10)))
    assert marks(tracks) == [[10]] * T


@pytest.mark.parametrize("seed", range(8))
def test_a_synchronized_second_diver_is_kept(seed):
    rng = np.random.default_rng(seed)
    second = lambda t: diver(t, x=480, y=260, phase=0.2, mark=100, score=0.8, rng=rng)  # noqa: E731
    tracks = track(clip_of(lambda t: diver(t, x=180, rng=rng), second))
    assert marks(tracks) == [[100, 200]] * T
    assert tracks.counts["spectator"] == 0


def test_crossing_divers_keep_their_numbers():
    one = lambda t: diver(t, x=120 + 13.0 * t, y=200, mark=200)  # noqa: E731
    other = lambda t: diver(t, x=520 - 13.0 * t, y=260, mark=100)  # noqa: E731
    tracks = track(clip_of(one, other))
    assert marks(tracks) == [[100, 200]] * T
    pairs = {
        (number, int(instance.mask[0, 0]))
        for ids, frame in zip(tracks.track_ids, tracks.divers, strict=True)
        for number, instance in zip(ids, frame, strict=True)
    }
    assert len(pairs) == 2


def test_short_gaps_are_interpolated_in_box_and_nearest_mask():
    missing = {10, 11, 12}

    def moving(t):
        return None if t in missing else diver(t, x=100 + 10.0 * t, mark=t)

    tracks = track(clip_of(moving))
    assert [STATUS[status] for status in tracks.status[9:14]] == ["detected", *["interpolated"] * 3, "detected"]
    before, after = tracks.divers[9][0].box.astype(float), tracks.divers[13][0].box.astype(float)
    for place, t in enumerate((10, 11, 12), 1):
        assert np.allclose(tracks.divers[t][0].box, before + (after - before) * place / 4, atol=1e-3)
    assert [frame[0].mask[0, 0] for frame in tracks.divers[10:13]] == [9, 9, 13]
    assert (tracks.counts["interpolated"], tracks.counts["empty_frames"]) == (3, 0)
    check_sums(tracks)


def test_interpolation_goes_by_frame_number_not_by_position():
    clip = clip_of(lambda t: None if t == 1 else diver(0, x=100.0 + t, mark=t), indices=[0, 9, 10], frames=3)
    tracks = track(clip, TrackOptions(min_track_frames=1))
    assert np.isclose(tracks.divers[1][0].box[0], tracks.divers[0][0].box[0] + 0.9 * 2)
    assert tracks.divers[1][0].mask[0, 0] == 2


def test_long_gaps_stay_empty_and_are_counted():
    tracks = track(clip_of(lambda t: None if 10 <= t < 16 else diver(t)))
    assert tracks.status_names()[10:16] == ["empty"] * 6
    assert (tracks.counts["gap_frames"], tracks.counts["interpolated"]) == (6, 0)
    more = track(clip_of(lambda t: None if 10 <= t < 16 else diver(t)), TrackOptions(max_gap_frames=6))
    assert more.status_names()[10:16] == ["interpolated"] * 6


@pytest.mark.parametrize("in_place", [True, False])
def test_false_positives_that_flicker_are_dropped(in_place):
    rng = np.random.default_rng(5)

    def flicker(t):
        x, y = (60, 60) if in_place else rng.uniform(30, 450, 2)
        return body(x, y, 40, 40, mark=10) if t % 5 == 0 else None

    tracks = track(clip_of(diver, flicker))
    assert marks(tracks) == [[200]] * T
    assert tracks.counts["short"] + tracks.counts["duplicate"] == 7
    check_sums(tracks)


def test_a_diver_seen_seldom_is_still_the_diver():
    tracks = track(clip_of(lambda t: diver(t) if t % 4 == 0 else None))
    assert tracks.counts["kept"] == 8
    assert tracks.status_names().count("empty") == 3  # behind the last


def test_scores_below_the_threshold_and_parts_of_the_diver_are_dropped():
    part = lambda t: body(320, 240, 30, 30, score=0.8, mark=10)  # noqa: E731
    faint = lambda t: body(100, 100, 60, 90, score=0.4, mark=20)  # noqa: E731
    tracks = track(clip_of(diver, part, faint))
    assert marks(tracks) == [[200]] * T
    assert (tracks.counts["duplicate"], tracks.counts["low_score"]) == (T, T)


def test_a_third_diver_is_surplus():
    bodies = [lambda t, k=k: diver(t, x=120 + 200 * k, mark=50 * k + 50, score=0.9 - 0.1 * k) for k in range(3)]
    tracks = track(clip_of(*bodies))
    assert marks(tracks) == [[50, 100]] * T
    assert tracks.counts["surplus"] == T
    everyone = track(clip_of(*bodies), TrackOptions(max_divers=None))
    assert marks(everyone) == [[50, 100, 150]] * T


def test_the_faithful_preset_takes_each_frame_by_itself():
    low = lambda t: body(100, 100, 60, 90, score=0.06, mark=20)  # noqa: E731
    lower = lambda t: body(500, 100, 60, 90, score=0.04, mark=30)  # noqa: E731
    middle = lambda t: body(500, 300, 60, 90, score=0.3, mark=40) if t % 2 else None  # noqa: E731
    shape, texture = (track(clip_of(diver, low, lower, middle), one) for one in TRACK_PRESETS["faithful"])
    assert marks(shape) == [[40, 200] if t % 2 else [20, 200] for t in range(T)]
    assert marks(texture) == [[20, 40, 200] if t % 2 else [20, 200] for t in range(T)]
    assert set(sum(shape.track_ids, ())) == {-1}
    check_sums(shape)
    check_sums(texture)


def test_no_detection_at_all_gives_empty_frames():
    tracks = track(clip_of(lambda t: None))
    assert tracks.status_names() == ["empty"] * T
    assert tracks.counts["empty_frames"] == T
    check_sums(tracks)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 3), st.integers(1, 20))
def test_ground_truth_passes_unchanged(seed, num_divers, frames):
    # Labels: still, flickering, more than two, one pixel large, overlapping - nothing may be dropped or added.
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(frames):
        pixels = rng.random((num_divers, 12, 16)) < rng.choice([0.01, 0.3, 1.0])
        rows.append(tuple(one for one in map(Instance.of_pixels, pixels) if one is not None))
    clip = ClipInstances("truth_00000", 12, 16, np.arange(frames), tuple(rows))
    tracks = track(clip)
    assert tracks.divers == clip.frames
    assert tracks.counts["kept"] == tracks.counts["instances"]
    check_sums(tracks)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 12), st.integers(0, 6))
def test_whatever_is_detected_everything_is_counted_and_at_most_two_are_left(seed, frames, most):
    rng = np.random.default_rng(seed)

    def any_body(t):
        if rng.random() < 0.3:
            return None
        return body(*rng.uniform(0, 480, 2), *rng.uniform(0.01, 400, 2), score=float(rng.random()))

    indices = np.cumsum(rng.integers(1, 9, frames))
    tracks = track(clip_of(*[any_body] * most, indices=indices, frames=frames))
    assert max(map(len, tracks.divers)) <= 2
    check_sums(tracks)


def test_options_and_records_check_themselves():
    assert TrackOptions.from_json(TrackOptions(max_divers=1).to_json()) == TrackOptions(max_divers=1)
    for wrong in ({"score_threshold": 1.5}, {"max_divers": 0}, {"max_gap_frames": -1}, {"max_jump": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            TrackOptions(**wrong)
    with pytest.raises(UsageError, match="'tempo'"):
        TrackOptions.from_json({"tempo": 1})
    one = diver(0)
    for divers, status, counts in (([(one,)], [2], {}), ([()], [0], {}), ([(one,)], [9], {}), ([()], [2], {"x": 1})):
        with pytest.raises(DataError):
            Tracks("c_0", HEIGHT, WIDTH, np.arange(1), tuple(divers), np.array(status, np.uint8), counts)
    assert set(track(clip_of(diver)).counts) == set(COUNTS)
