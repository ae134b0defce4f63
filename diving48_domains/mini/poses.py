"""Pose keyframes of a dive and the order in which a class runs through them (degrees; columns of ``skeleton.Angles``).

Hips, knees and spine are the design's, refined by eye; the arms are set so that hands hold the shins (tuck) or the
calves (pike), as in a closed position, and cover the ears at entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diving48_domains.vocabulary import DiveClass

from .skeleton import ANGLE_RANGES, NUM_ANGLES, Angles

#                     spine hip knee shoulder elbow abduction inward ankle skew
POSES: Mapping[str, Angles] = {
    "UP": Angles(0, 0, 0, 176, 2, -12, 9, 76, 0),
    "ARM": Angles(0, 0, 2, 92, 2, 0, 0, 20, 0),
    "SIDE": Angles(2, 2, 2, 4, 6, 6, 4, 20, 0),
    "CROUCH": Angles(20, 62, 78, -38, 6, 12, 4, 20, 0),
    "LEAP_FORWARDS": Angles(10, 18, 18, 152, 8, -4, 2, 56, 0),
    "LEAP_BACKWARDS": Angles(-12, -2, 20, 168, 6, -6, 4, 56, 0),
    "TUCK": Angles(52, 122, 140, 8, 88, 18, 36, 60, 0),
    "PIKE": Angles(44, 130, 1, 72, 114, 6, 18, 76, 0),
    "STR": Angles(-4, -4, 0, 14, 4, 76, 2, 78, 0),
    "FREE": Angles(2, 8, 2, 78, 128, 14, 40, 78, 48),
    "FEET": Angles(0, 0, 0, 3, 3, 4, 2, 76, 0),
}

SOMERSAULTS: Mapping[str, float] = {
    "Dive": 0.5,
    "1som": 1.0,
    "15som": 1.5,
    "2som": 2.0,
    "25som": 2.5,
    "3som": 3.0,
    "35som": 3.5,
    "45som": 4.5,
}
TWISTS: Mapping[str, float] = {
    "NoTwis": 0.0,
    "05Twis": 0.5,
    "1Twis": 1.0,
    "15Twis": 1.5,
    "2Twis": 2.0,
    "25Twis": 2.5,
    "3Twis": 3.0,
    "35Twis": 3.5,
}
FACES_WATER: Mapping[str, bool] = {"Forward": True, "Back": False, "Reverse": True, "Inward": False}
TURNS_TO_WATER: Mapping[str, bool] = {"Forward": True, "Back": True, "Reverse": False, "Inward": False}
"""Whether the head goes over towards the pool (Forward, Back) or back towards the board."""


class Frame(NamedTuple):
    """A keyframe: the fraction of the flight, and the pose."""

    u: float
    pose: str


class Script(NamedTuple):
    """What a class does in the air: keyframes at rising fractions of the flight and the span of the twist."""

    frames: tuple[Frame, ...]
    twist_span: tuple[float, float]


def flight_script(dive: DiveClass, shift: float = 0.0) -> Script:
    """Keyframes of the flight of a class; ``shift`` moves those in mid-air, as a fraction of the flight (+-0.03)."""
    forwards = FACES_WATER[dive.takeoff] == TURNS_TO_WATER[dive.takeoff]
    leap = "LEAP_FORWARDS" if forwards else "LEAP_BACKWARDS"
    # A half count of somersaults ends head first, hands leading; a whole count feet first, arms at the sides.
    entry = "UP" if SOMERSAULTS[dive.somersault] % 1 else "FEET"
    twisting = TWISTS[dive.twist] > 0
    middle: tuple[Frame, ...]
    if dive.somersault == "Dive":
        middle = (Frame(0.06, leap), Frame(0.28, dive.position), Frame(0.46, dive.position), Frame(0.76, entry))
    elif not twisting:
        middle = (Frame(0.04, leap), Frame(0.18, dive.position), Frame(0.78, dive.position), Frame(0.91, entry))
    elif dive.position == "FREE":
        middle = (Frame(0.05, leap), Frame(0.16, "FREE"), Frame(0.78, "FREE"), Frame(0.92, entry))
    else:  # the twist first, then somersaults in that position
        folded = (Frame(0.54, dive.position), Frame(0.83, dive.position), Frame(0.92, entry))
        middle = (Frame(0.05, leap), Frame(0.15, "FREE"), Frame(0.45, "FREE"), *folded)
    moved = (Frame(frame.u + shift, frame.pose) for frame in middle)
    span = (0.16, 0.8) if dive.position == "FREE" else (0.14, 0.5)
    return Script((Frame(0.0, leap), *moved, Frame(1.0, entry)), (span[0] + shift, span[1] + shift))


def smoothstep(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """3x^2 - 2x^3 on 0..1, constant outside."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def steady(x: NDArray[np.float64], ramp: float = 0.2) -> NDArray[np.float64]:
    """0 to 1 at a constant rate but for its ends, which take ``ramp`` (0 to 0.5) of the way each; constant outside."""
    x = np.clip(x, 0.0, 1.0)
    near = np.minimum(x, 1.0 - x)
    half = np.where(near < ramp, near * near / (2.0 * ramp), near - 0.5 * ramp) / (1.0 - ramp)
    return np.where(x < 0.5, half, 1.0 - half)


def blend(keys: NDArray[np.float64], poses: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles at ``at`` (T,): smoothsteps between ``poses`` (K, 9) at rising ``keys`` (K,), constant outside; (T, 9)."""
    index = np.clip(np.searchsorted(keys, at, side="right") - 1, 0, len(keys) - 2)
    weight = smoothstep((at - keys[index]) / (keys[index + 1] - keys[index]))[:, None]
    return poses[index] * (1.0 - weight) + poses[index + 1] * weight


OFFSET_SD_DEG: Angles = Angles(3, 4, 4, 5, 5, 2, 3, 3, 3)
"""Standard deviation of a diver's own deviation from the keyframes, degrees."""
OFFSET_SHARE: Mapping[str, float] = {"TUCK": 1.0, "PIKE": 1.0, "FREE": 1.0, "STR": 0.7, "ARM": 0.7, "SIDE": 0.7}
"""Part of that deviation a pose takes; the rest (take-off, entry) takes 0.3."""


def posed(name: str, offsets_deg: tuple[float, ...]) -> NDArray[np.float64]:
    """(9,) degrees: a keyframe with a diver's own deviation, within what joints can do (so blends of them are too)."""
    angles = np.array(POSES[name]) + OFFSET_SHARE.get(name, 0.3) * np.asarray(offsets_deg).reshape(NUM_ANGLES)
    return np.clip(angles, ANGLE_RANGES[:, 0], ANGLE_RANGES[:, 1])
