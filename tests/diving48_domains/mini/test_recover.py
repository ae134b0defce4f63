from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diving48_domains.mini.choreography import draw_dive, flight_s, joints_at
from diving48_domains.mini.recover import attributes_from_motion
from diving48_domains.mini.skeleton import BODIES, JOINT_INDEX, JOINTS
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError

LABELS = range(len(DIVE_CLASSES))
SIDES = [
    JOINTS.index(name[:-2] + {"_l": "_r", "_r": "_l"}[name[-2:]]) if name[-2] == "_" else i
    for i, name in enumerate(JOINTS)
]
"""Index of each joint's partner on the other side."""


def motion(label: int, seed: int = 0, body: str = "tall", fps: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    dive = replace(draw_dive(label, np.random.default_rng([label, seed])), body=body)
    t = np.arange(-dive.lead_in_s, flight_s(dive) + dive.tail_s, 1 / fps)
    return joints_at(dive, t), t


def about(vectors: np.ndarray, axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rodrigues: vectors (T, J, 3) turned about unit axes (T, 3) by angle (T,)."""
    axis, cos, sin = axis[:, None], np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return vectors * cos + np.cross(axis, vectors) * sin + axis * (vectors * axis).sum(-1, keepdims=True) * (1 - cos)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("label", LABELS)
def test_all_classes_are_recovered(label, body):
    for seed, fps in ((0, 30.0), (1, 60.0), (2, 240.0), (3, 30.0)):
        assert attributes_from_motion(*motion(label, seed, body, fps)) == DIVE_CLASSES[label], seed


@pytest.mark.parametrize("label", LABELS)
def test_a_dive_backwards_in_time_is_none(label):
    joints, t = motion(label)
    with pytest.raises(DataError, match="starts in the water"):
        attributes_from_motion(joints[::-1], t)


@pytest.mark.parametrize("label", LABELS)
def test_a_dive_mirrored_at_the_boards_end_is_none(label):
    joints, t = motion(label)
    with pytest.raises(DataError, match="away from the pool"):
        attributes_from_motion(joints * np.array([-1.0, 1.0, 1.0]), t)


@pytest.mark.parametrize("label", LABELS)
def test_swapped_sides_are_noticed(label):
    """Left and right exchanged is no body; exchanged and mirrored is a body again, that twists the other way."""
    joints, t = motion(label)
    with pytest.raises(DataError, match="left and right"):
        attributes_from_motion(joints[:, SIDES], t)
    assert attributes_from_motion(joints[:, SIDES] * np.array([1.0, 1.0, -1.0]), t) == DIVE_CLASSES[label]


def in_flight(t: np.ndarray) -> np.ndarray:
    """0 before 0.3 s, 1 after 1.1 s, a straight line between."""
    return np.clip((t - 0.3) / 0.8, 0.0, 1.0)


@pytest.mark.parametrize(("label", "turns", "found"), [(31, -1, 33), (3, 1, 7), (24, 1, 26), (43, 1, 41), (29, 1, 19)])
def test_a_somersault_more_or_less_is_another_class(label, turns, found):
    """Turned once more about the lateral axis (clockwise is towards the water), a dive becomes its neighbour."""
    joints, t = motion(label, fps=240.0)
    pelvis = joints[:, :1]
    lateral = np.tile([0.0, 0.0, 1.0], (len(t), 1))
    turned = pelvis + about(joints - pelvis, lateral, -2 * np.pi * turns * in_flight(t))
    assert attributes_from_motion(turned, t) == DIVE_CLASSES[found]


@pytest.mark.parametrize(("label", "found"), [(37, 38), (0, 1), (17, 18), (9, 10), (5, 6), (22, 23)])
def test_a_twist_more_is_another_class(label, found):
    joints, t = motion(label, fps=240.0)
    sense = np.array([draw_dive(label, np.random.default_rng([label, 0])).twist_sense])
    pelvis = joints[:, :1]
    trunk = joints[:, JOINT_INDEX["neck"]] - joints[:, JOINT_INDEX["pelvis"]]
    trunk /= np.linalg.norm(trunk, axis=1, keepdims=True)
    turned = pelvis + about(joints - pelvis, trunk, 2 * np.pi * sense * in_flight(t))
    assert attributes_from_motion(turned, t) == DIVE_CLASSES[found]


def test_a_tuck_with_straight_knees_is_a_pike():
    joints, t = motion(34)
    for side in "lr":
        hip, knee, ankle = (JOINT_INDEX[f"{name}_{side}"] for name in ("hip", "knee", "ankle"))
        thigh = joints[:, knee] - joints[:, hip]
        joints[t > 0.1, ankle] = (joints[:, knee] + thigh)[t > 0.1]
    assert attributes_from_motion(joints, t) == DIVE_CLASSES[33]


def test_a_turn_that_no_class_has_is_refused():
    joints, t = motion(20)
    pelvis = joints[:, :1]
    lateral = np.tile([0.0, 0.0, 1.0], (len(t), 1))
    quarter = pelvis + about(joints - pelvis, lateral, -0.5 * np.pi * in_flight(t))
    with pytest.raises(DataError, match=r"somersault of 1\.[12]\d turns is in no class"):
        attributes_from_motion(quarter, t)


def test_an_unfinished_dive_is_refused():
    joints, t = motion(20)
    with pytest.raises(DataError, match="ends above the water"):
        attributes_from_motion(joints[t < 1.0], t[t < 1.0])


def test_too_few_samples_are_refused():
    joints, t = motion(40, fps=60.0)
    with pytest.raises(DataError):
        attributes_from_motion(joints[::8], t[::8])


def test_arrays_of_another_shape_are_refused():
    joints, t = motion(20)
    with pytest.raises(DataError, match=r"\(T, 21, 3\)"):
        attributes_from_motion(joints[:, :20], t)
    with pytest.raises(DataError, match="rise"):
        attributes_from_motion(joints, t[::-1])
