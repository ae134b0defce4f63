"""The laws of motion against the table of facts, and the proof that rounding makes them the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from tsgen.motion import SUBPIXELS
from tsgen.sampling import heading_to_radians
from tsgen.trajectories import HEADING_STEPS, TRAJECTORIES

T = 20
# cos and sin of every known C library are within one unit in the last place; speed * cos * 65536 is below 2**20.
LIBRARY_ERROR = 2.0**20 * 2.0**-51


def velocities(name, speed, heading=0.0, reach=10):
    return TRAJECTORIES[name].velocities(np.array([speed]), np.array([heading]), T, reach)[0]


def test_circle_turns_once_at_speed_two():
    v = velocities("circle", 2.0)
    np.testing.assert_allclose(np.hypot(*v.T), 2.0)
    np.testing.assert_allclose(v[0], [2, 0])
    np.testing.assert_allclose(v[-1], [2, 0], atol=1e-12)
    np.testing.assert_allclose(v[:-1].sum(axis=0), 0, atol=1e-12)


def test_arc_turns_half_a_turn_from_its_heading():
    v = velocities("arc", 2.0, heading=1.0)
    np.testing.assert_allclose(np.unwrap(np.arctan2(v[:, 1], v[:, 0])), np.linspace(1, 1 + np.pi, T))


def test_spiral_speed_grows_with_its_angle():
    v = velocities("spiral", 0.5)
    tau = np.linspace(0, 10, T)
    np.testing.assert_allclose(np.hypot(*v.T), 0.5 * tau)
    np.testing.assert_allclose(v[:, 0], 0.5 * tau * np.cos(tau))


def test_line_keeps_speed_and_heading():
    np.testing.assert_allclose(velocities("line", 3.0, heading=np.pi / 2), np.tile([0.0, 3.0], (T, 1)), atol=1e-12)


def test_rectangle_has_four_legs():
    v = velocities("rectangle", 1.0)
    for leg, expected in enumerate([(0, 1), (-1, 0), (0, -1), (1, 0)]):
        np.testing.assert_allclose(v[5 * leg : 5 * leg + 5], np.tile(expected, (5, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "clearance"),
    [("circle", [8]), ("arc", [8]), ("spiral", [10] * 9), ("line", [2, 4, 6]), ("rectangle", [2, 4, 6])],
)
def test_clearances_of_dots(name, clearance):
    assert TRAJECTORIES[name].clearances(10, T).tolist() == clearance


@pytest.mark.parametrize("reach", [8, 10])
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_no_velocity_lies_near_a_rounding_tie(name, reach):
    """All velocities any clip of the paper can have, enumerated: a last-bit difference of cos or sin moves none.

    Exact multiples of 1/65536 are far from ties, so only the distance to the nearest half counts.
    """
    trajectory = TRAJECTORIES[name]
    headings = heading_to_radians(np.arange(HEADING_STEPS)) if trajectory.draws_heading else np.zeros(1)
    for speed in trajectory.speeds:
        v = trajectory.velocities(np.full(len(headings), speed), headings, T, reach) * SUBPIXELS
        distance_to_tie = np.abs(v - np.floor(v) - 0.5).min()
        assert distance_to_tie > LIBRARY_ERROR
