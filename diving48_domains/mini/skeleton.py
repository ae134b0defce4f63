"""The diver's body: joints, two body types, capsules to draw, mass, and joint positions from joint angles.

Body frame: x forwards (anterior), y up (cranial), z to the diver's right; metres, the pelvis at the origin. Angles are
degrees: flexion is positive forwards for trunk, hip and shoulder, and backwards for the knee, as knees bend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SIDE = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
JOINTS: tuple[str, ...] = (
    *("pelvis", "spine", "chest", "neck", "head"),
    *(f"{joint}_l" for joint in _SIDE),
    *(f"{joint}_r" for joint in _SIDE),
)
"""The 21 joints; position in this tuple = index. ``neck`` is its base, ``head`` the head's centre, ``hand`` the
fingertips."""

JOINT_INDEX: Mapping[str, int] = MappingProxyType({name: index for index, name in enumerate(JOINTS)})


class Angles(NamedTuple):
    """The columns of a pose, degrees. ``skew`` lifts the left arm and lowers the right one (a twister's wrap)."""

    spine: float
    hip: float
    knee: float
    shoulder: float
    elbow: float
    abduction: float
    inward: float
    ankle: float
    skew: float


NUM_ANGLES = len(Angles._fields)

ANGLE_RANGES: NDArray[np.float64] = np.array(
    [(-25, 65), (-20, 142), (0, 152), (-60, 182), (0, 145), (-25, 90), (-30, 70), (-25, 82), (-70, 70)], dtype=float
)
"""Lowest and highest angle of each column that a trained diver reaches, degrees (columns of :class:`Angles`)."""
ANGLE_RANGES.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Body:
    """A body type: segment lengths and capsule radii, metres, by the names that ``BONES`` uses."""

    name: str
    lengths: Mapping[str, float]
    radii: Mapping[str, float]


_BODY_TYPES: tuple[str, ...] = ("tall", "compact")
_LENGTHS: Mapping[str, tuple[float, float]] = {  # tall: 1.78 m, broad shoulders; compact: 1.61 m, shorter limbs
    "pelvis_spine": (0.15, 0.14),
    "spine_chest": (0.19, 0.175),
    "chest_neck": (0.19, 0.17),
    "neck_head": (0.175, 0.165),
    "shoulder_half": (0.185, 0.158),
    "shoulder_drop": (0.035, 0.03),
    "upper_arm": (0.29, 0.255),
    "forearm": (0.25, 0.22),
    "hand": (0.17, 0.15),
    "hip_half": (0.085, 0.088),
    "thigh": (0.44, 0.395),
    "shank": (0.43, 0.385),
    "foot": (0.2, 0.175),
}
_RADII: Mapping[str, tuple[float, float]] = {
    "pelvis": (0.115, 0.118),
    "spine": (0.105, 0.092),
    "chest": (0.125, 0.105),
    "neck": (0.058, 0.048),
    "head": (0.105, 0.1),
    "shoulder": (0.066, 0.055),
    "elbow": (0.044, 0.037),
    "wrist": (0.031, 0.026),
    "hand": (0.024, 0.021),
    "hip": (0.088, 0.09),
    "knee": (0.056, 0.052),
    "ankle": (0.038, 0.034),
    "toe": (0.024, 0.021),
}


def _column(table: Mapping[str, tuple[float, float]], column: int) -> Mapping[str, float]:
    return MappingProxyType({name: values[column] for name, values in table.items()})


BODIES: Mapping[str, Body] = MappingProxyType(
    {name: Body(name, _column(_LENGTHS, i), _column(_RADII, i)) for i, name in enumerate(_BODY_TYPES)}
)
"""The two body types by name."""


class Bone(NamedTuple):
    """A tapered capsule between two joints; the radii are keys of ``Body.radii``, the part one of ``PARTS``."""

    joint_a: str
    joint_b: str
    radius_a: str
    radius_b: str
    part: str


PARTS: tuple[str, ...] = ("skin", "suit", "hair")


def _limbs(side: str) -> tuple[Bone, ...]:
    return (
        Bone(f"shoulder_{side}", f"elbow_{side}", "shoulder", "elbow", "skin"),
        Bone(f"elbow_{side}", f"wrist_{side}", "elbow", "wrist", "skin"),
        Bone(f"wrist_{side}", f"hand_{side}", "wrist", "hand", "skin"),
        Bone(f"hip_{side}", f"knee_{side}", "hip", "knee", "skin"),
        Bone(f"knee_{side}", f"ankle_{side}", "knee", "ankle", "skin"),
        Bone(f"ankle_{side}", f"toe_{side}", "ankle", "toe", "skin"),
        Bone("neck", f"shoulder_{side}", "neck", "shoulder", "skin"),
        Bone(f"shoulder_{side}", "spine", "shoulder", "spine", "skin"),  # the flank: a trunk is wider than deep
        Bone("pelvis", f"hip_{side}", "pelvis", "hip", "suit"),
    )


BONES: tuple[Bone, ...] = (
    Bone("pelvis", "spine", "pelvis", "spine", "suit"),
    Bone("spine", "chest", "spine", "chest", "skin"),
    Bone("chest", "neck", "chest", "neck", "skin"),
    Bone("neck", "head", "neck", "neck", "skin"),
    Bone("head", "head", "head", "head", "hair"),
    *_limbs("l"),
    *_limbs("r"),
)
"""The capsules a renderer draws; the head is a sphere (both ends the same joint)."""

MASS_FRACTIONS: tuple[tuple[str, str, float], ...] = (
    *(("pelvis", "spine", 0.15), ("spine", "chest", 0.1446), ("chest", "neck", 0.14), ("neck", "head", 0.0694)),
    *(
        (f"{joint_a}_{side}", f"{joint_b}_{side}", fraction)
        for side in "lr"
        for joint_a, joint_b, fraction in (
            *(("shoulder", "elbow", 0.0271), ("elbow", "wrist", 0.0162), ("wrist", "hand", 0.0061)),
            *(("hip", "knee", 0.1416), ("knee", "ankle", 0.0433), ("ankle", "toe", 0.0137)),
        )
    ),
)
"""Segments as uniform rods: two joints and the share of the body's mass (de Leva 1996, the trunk in three)."""


def _mass_form() -> NDArray[np.float64]:
    """(21, 21) form G: for any two vector fields linear along the segments, the mass integral of p * q is p'Gq."""
    form = np.zeros((len(JOINTS), len(JOINTS)))
    for joint_a, joint_b, fraction in MASS_FRACTIONS:
        a, b = JOINT_INDEX[joint_a], JOINT_INDEX[joint_b]
        form[[a, b], [a, b]] += fraction / 3  # a rod: m (aa + ab + bb) / 3
        form[[a, b], [b, a]] += fraction / 6
    form /= form.sum()
    form.setflags(write=False)
    return form


MASS_FORM: NDArray[np.float64] = _mass_form()
MASS_WEIGHTS: NDArray[np.float64] = MASS_FORM.sum(axis=1)
"""(21,) weights of the joints, summing to 1, that give the centre of mass."""
MASS_WEIGHTS.setflags(write=False)


def center_of_mass(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) m: centre of mass of joints float64 (..., 21, 3) m."""
    center: NDArray[np.float64] = np.einsum("j,...jc->...c", MASS_WEIGHTS, joints)
    return center


def pose_joints(body: Body, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint positions in the body frame, pelvis at the origin.

    ``angles`` float64 (T, 9) degrees, columns of :class:`Angles`; clipped to ``ANGLE_RANGES``, so that no jitter bends
    a knee forwards. Returns float64 (T, 21, 3) m.
    """
    lengths = body.lengths
    columns = np.radians(np.clip(angles, ANGLE_RANGES[:, 0], ANGLE_RANGES[:, 1])).T
    spine, hip, knee, shoulder, elbow, abduction, inward, ankle, skew = columns
    joints = np.zeros((len(spine), len(JOINTS), 3))

    def up(angle: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.sin(angle), np.cos(angle), np.zeros_like(angle)], axis=1)

    def hang(angle: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit vector that hangs down at 0, swung forwards by ``angle`` and to the right by ``side``."""
        out = np.cos(side)
        return np.stack([np.sin(angle) * out, -np.cos(angle) * out, np.sin(side)], axis=1)

    def put(name: str, base: str, offset: NDArray[np.float64]) -> None:
        joints[:, JOINT_INDEX[name]] = joints[:, JOINT_INDEX[base]] + offset

    # The trunk bends in three places; the last segment's direction is the whole spine angle.
    put("spine", "pelvis", lengths["pelvis_spine"] * up(0.25 * spine))
    put("chest", "spine", lengths["spine_chest"] * up(0.7 * spine))
    put("neck", "chest", lengths["chest_neck"] * up(spine))
    put("head", "neck", lengths["neck_head"] * up(1.45 * spine))
    knees_apart = np.radians(-2.5) + 0.06 * knee  # legs together when straight, knees a little open when tucked
    for side, sign in (("l", -1.0), ("r", 1.0)):
        put(f"shoulder_{side}", "neck", -lengths["shoulder_drop"] * up(spine))
        joints[:, JOINT_INDEX[f"shoulder_{side}"], 2] = sign * lengths["shoulder_half"]
        upper = shoulder - sign * skew - spine
        put(f"elbow_{side}", f"shoulder_{side}", lengths["upper_arm"] * hang(upper, sign * abduction))
        fore = hang(upper + elbow, sign * (abduction - inward))
        put(f"wrist_{side}", f"elbow_{side}", lengths["forearm"] * fore)
        put(f"hand_{side}", f"wrist_{side}", lengths["hand"] * fore)
        joints[:, JOINT_INDEX[f"hip_{side}"], 2] = sign * lengths["hip_half"]
        put(f"knee_{side}", f"hip_{side}", lengths["thigh"] * hang(hip, sign * knees_apart))
        knee_z = joints[:, JOINT_INDEX[f"knee_{side}"], 2]
        inwards = np.arcsin((sign * 0.6 * lengths["hip_half"] - knee_z) / lengths["shank"])  # ankles stay together
        put(f"ankle_{side}", f"knee_{side}", lengths["shank"] * hang(hip - knee, inwards))
        foot = hang(hip - knee + np.pi / 2 - ankle, np.zeros_like(hip))
        put(f"toe_{side}", f"ankle_{side}", lengths["foot"] * foot)
    return joints
