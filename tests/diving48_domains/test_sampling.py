"""Evenly spaced frames by index and by time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diving48_domains.sampling import indices_by_time, uniform_indices
from tsgen.common.errors import UsageError


def test_the_published_rule():
    assert uniform_indices(110).tolist() == [round(position) for position in np.linspace(0, 109, 32)]
    assert uniform_indices(32).tolist() == list(range(32))
    assert uniform_indices(1).tolist() == [0] * 32
    assert uniform_indices(100, 1).tolist() == [0]


@given(st.integers(1, 5000), st.integers(2, 64))
def test_first_and_last_frame_are_in_and_steps_are_even(num_frames, count):
    indices = uniform_indices(num_frames, count)
    assert indices[0] == 0 and indices[-1] == num_frames - 1 and indices.dtype == np.int64
    steps = np.diff(indices)
    assert steps.min() >= 0 and steps.max() - steps.min() <= 1
    assert num_frames >= count or len(set(indices.tolist())) == num_frames


@pytest.mark.parametrize(("num_frames", "count"), [(0, 32), (-1, 32), (10, 0)])
def test_nothing_to_choose_is_refused(num_frames, count):
    with pytest.raises(UsageError, match="must be 1 or more"):
        uniform_indices(num_frames, count)


@given(st.integers(1, 400), st.integers(1, 40), st.floats(0.01, 1))
def test_at_a_constant_rate_time_and_index_agree_to_one_frame(num_frames, count, step):
    by_time = indices_by_time(np.arange(num_frames) * step, count)
    assert np.abs(by_time - uniform_indices(num_frames, count)).max() <= 1
    assert by_time[0] == 0 and (count == 1 or by_time[-1] == num_frames - 1)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 20))
def test_no_other_frame_is_nearer_in_time(times, count):
    times = np.sort(times)
    chosen = times[indices_by_time(times, count)]
    moments = np.linspace(times[0], times[-1], count)
    nearest = np.abs(times[None] - moments[:, None]).min(axis=1)
    assert np.allclose(np.abs(chosen - moments), nearest, atol=1e-12)


def test_a_pause_is_crossed_by_time_not_by_index():
    times = np.concatenate([np.arange(10) * 0.1, 9 + np.arange(2) * 0.1])
    assert indices_by_time(times, 3).tolist() == [0, 9, 11]
    assert uniform_indices(12, 3).tolist() == [0, 6, 11]


@pytest.mark.parametrize("times", [[], [1.0, 0.5], [0.0, np.nan], [[0.0, 1.0]]])
def test_times_that_are_none_are_refused(times):
    with pytest.raises(UsageError, match="time"):
        indices_by_time(times, 4)
