"""The trajectory classes: what each draws at random and the velocities that follow (section 3.2).

The paper says that start, angle, direction, size and speed vary; the laws of motion are those of the published data.
A class is one function ``velocities(speed, heading, num_frames, reach)`` and one row of :data:`TRAJECTORIES`.

Velocities are in px/frame, x to the right and y downwards. Angles are turns / 65536: so the velocities a clip can have
form a finite set, and a test enumerates it to prove that no difference in the last bits of ``cos`` between processors
can survive the rounding in ``motion.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgen.vocabulary import CLASS_NAMES, NUM_FRAMES

FloatArray = NDArray[np.float64]
HEADING_STEPS = 65536


@dataclass(frozen=True)
class Trajectory:
    """One class: its free parameters and its law of motion.

    ``speeds`` px/frame (for the spiral px/frame per radian turned), one drawn uniformly. ``clearance_px(speed, reach)``
    is R: a clip starts at least 2R + the entity's width from the border. ``extent_grows`` tells that the drawn figure,
    and with it R, grows with the number of frames.
    """

    velocities: Callable[[FloatArray, FloatArray, int, int], FloatArray]
    speeds: tuple[float, ...]
    clearance_px: Callable[[float, int], int]
    draws_heading: bool = False
    draws_direction: bool = False
    draws_rotation: bool = False
    extent_grows: bool = True

    def clearances(self, reach: int, num_frames: int, speed_factor: float = 1.0) -> NDArray[np.int64]:
        """R in px for each of ``speeds`` times ``speed_factor``, int64 (len(speeds),)."""
        scale = speed_factor * (max(num_frames / NUM_FRAMES, 1.0) if self.extent_grows else 1.0)
        return np.array([math.ceil(self.clearance_px(speed, reach) * scale) for speed in self.speeds])


def circle(speed: FloatArray, heading: FloatArray, num_frames: int, reach: int) -> FloatArray:
    return _polar(speed[:, None], np.linspace(0, 2 * np.pi, num_frames)[None])


def arc(speed: FloatArray, heading: FloatArray, num_frames: int, reach: int) -> FloatArray:
    return _polar(speed[:, None], heading[:, None] + np.linspace(0, np.pi, num_frames)[None])


def spiral(speed: FloatArray, heading: FloatArray, num_frames: int, reach: int) -> FloatArray:
    tau = np.linspace(0, reach, num_frames)[None]
    return _polar(speed[:, None] * tau, tau)


def line(speed: FloatArray, heading: FloatArray, num_frames: int, reach: int) -> FloatArray:
    return _polar(speed[:, None], np.repeat(heading[:, None], num_frames, axis=1))


def rectangle(speed: FloatArray, heading: FloatArray, num_frames: int, reach: int) -> FloatArray:
    leg_headings = np.deg2rad([90.0, 180.0, -90.0, 0.0])
    leg = 4 * np.arange(num_frames) // num_frames
    return _polar(speed[:, None], leg_headings[leg][None])


def _polar(speed: FloatArray, heading: FloatArray) -> FloatArray:
    """Speed and heading, broadcast to (N, T) -> velocities (N, T, 2)."""
    return np.stack(np.broadcast_arrays(speed * np.cos(heading), speed * np.sin(heading)), axis=-1)


TRAJECTORIES: dict[str, Trajectory] = {
    "circle": Trajectory(circle, (2.0,), lambda speed, reach: 8, draws_direction=True, draws_rotation=True),
    "spiral": Trajectory(spiral, tuple(k / 10 for k in range(2, 11)), lambda speed, reach: reach, draws_direction=True),
    "line": Trajectory(
        line, (1.0, 2.0, 3.0), lambda speed, reach: int(2 * speed), draws_heading=True, extent_grows=False
    ),
    "rectangle": Trajectory(
        rectangle,
        (1.0, 2.0, 3.0),
        lambda speed, reach: int(2 * speed),
        draws_direction=True,
        draws_rotation=True,
        extent_grows=False,
    ),
    "arc": Trajectory(arc, (2.0,), lambda speed, reach: 8, draws_heading=True, draws_direction=True),
}
assert tuple(TRAJECTORIES) == CLASS_NAMES
