from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from diving48_domains.mini.choreography import GRAVITY, Dive, draw_dive, filmed_path, flight_s, joints_at
from diving48_domains.mini.skeleton import (
    BODIES,
    BONES,
    JOINT_INDEX,
    JOINTS,
    MASS_FRACTIONS,
    PARTS,
    center_of_mass,
    pose_joints,
)
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import UsageError

LABELS = range(len(DIVE_CLASSES))
SOME = (4, 13, 20, 25, 27, 28, 34, 40, 42, 30)  # every takeoff, every position, whole and half counts, twists


def drawn(label: int, seed: int, body: str | None = None) -> Dive:
    dive = draw_dive(label, np.random.default_rng([label, seed]))
    return dive if body is None else replace(dive, body=body)


def at(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, JOINT_INDEX[name]]


def lateral_momentum(joints: np.ndarray, step_s: float) -> np.ndarray:
    """Angular momentum about the lateral axis through the centre of mass, from ten lumps of mass a segment."""
    lumps = np.concatenate(
        [
            np.stack([at(joints, a) * (1 - s) + at(joints, b) * s for s in np.arange(0.05, 1.0, 0.1)], axis=1)
            for a, b, _ in MASS_FRACTIONS
        ],
        axis=1,
    )
    masses = np.repeat([fraction / 10 for *_, fraction in MASS_FRACTIONS], 10)
    lumps = lumps - (masses @ lumps / masses.sum())[:, None]
    velocity = np.gradient(lumps, step_s, axis=0)
    return (masses * (lumps[..., 0] * velocity[..., 1] - lumps[..., 1] * velocity[..., 0])).sum(axis=1)[2:-2]


def test_skeleton_is_complete():
    assert len(JOINTS) == len(set(JOINTS)) == 21
    for bone in BONES:
        assert {bone.joint_a, bone.joint_b} <= set(JOINTS)
        assert bone.part in PARTS
        assert all({bone.radius_a, bone.radius_b} <= set(body.radii) for body in BODIES.values())
    assert abs(sum(fraction for *_, fraction in MASS_FRACTIONS) - 1) < 1e-3


def test_a_standing_body_is_as_tall_as_a_person():
    for name, height in (("tall", 1.78), ("compact", 1.61)):
        joints = pose_joints(BODIES[name], np.array([[0, 0, 0, 0, 0, 0, 0, 20, 0.0]]))[0]
        crown = joints[JOINT_INDEX["head"], 1] + BODIES[name].radii["head"]
        sole = joints[JOINT_INDEX["toe_l"], 1] - BODIES[name].radii["toe"]
        assert crown - sole == pytest.approx(height, abs=0.02)


@pytest.mark.parametrize("body", BODIES)
def test_bones_keep_their_length_and_joints_their_range(body):
    """No stretching, no knee bent forwards, no elbow bent backwards, at any time of any class."""
    for label in LABELS:
        dive = drawn(label, 1, body)
        joints = joints_at(dive, np.linspace(-1.0, flight_s(dive) + 0.5, 80))
        for bone in BONES:
            length = np.linalg.norm(at(joints, bone.joint_a) - at(joints, bone.joint_b), axis=1)
            if (bone.joint_a[:8], bone.joint_b) != ("shoulder", "spine"):  # the flank spans two joints of the trunk
                assert np.ptp(length) < 1e-9, (label, bone)
        up = at(joints, "spine") - at(joints, "pelvis")
        ahead = np.cross(up, at(joints, "hip_r") - at(joints, "hip_l"))
        for side in "lr":
            thigh = at(joints, f"knee_{side}") - at(joints, f"hip_{side}")
            shank = at(joints, f"ankle_{side}") - at(joints, f"knee_{side}")
            axis = np.cross(thigh, shank)  # along the body's right when the knee bends as knees do
            hinge = np.cross(ahead, up)
            assert (np.einsum("tc,tc->t", axis, hinge) <= 1e-3).all(), (label, side)


def test_nothing_is_in_the_board_and_the_feet_stand_on_it():
    for label in LABELS:
        for seed in range(3):
            dive = drawn(label, seed)
            joints = joints_at(dive, np.linspace(-dive.lead_in_s, flight_s(dive), 300))
            inside = (joints[..., 0] < 0) & (np.abs(joints[..., 1] - (dive.board_m - 0.15)) < 0.15)
            assert not inside.any(), (label, seed)
            toes = at(joints_at(dive, np.linspace(-dive.lead_in_s, -1e-6, 40)), "toe_l")
            assert np.ptp(toes, axis=0).max() < 0.01
            assert toes[:, 0].max() < 0


@pytest.mark.parametrize("label", SOME)
def test_flight_is_ballistic_and_starts_and_ends_without_a_jump(label):
    dive, step = drawn(label, 2), 1e-3
    end = flight_s(dive)
    flight = center_of_mass(joints_at(dive, np.arange(0.0, end, step)))
    acceleration = np.diff(flight, 2, axis=0) / step**2
    np.testing.assert_allclose(acceleration, np.broadcast_to([0, -GRAVITY, 0], acceleration.shape), atol=1e-6)
    for moment, tolerance in ((0.0, 0.5), (end, 0.3)):
        joints = joints_at(dive, moment + step * np.arange(-2, 3) + 1e-9)
        assert np.abs(np.diff(joints, axis=0)).max() < 0.03  # no joint is faster than 30 m/s
        velocity = np.diff(center_of_mass(joints), axis=0) / step
        assert np.abs(velocity[-1] - velocity[0]).max() < tolerance


@pytest.mark.parametrize("label", SOME)
def test_angular_momentum_is_conserved(label):
    dive, step = drawn(label, 3), 5e-4
    joints = joints_at(dive, np.arange(0.0, flight_s(dive), step))
    momentum = lateral_momentum(joints, step)
    assert np.abs(momentum - momentum.mean()).max() < 0.01 * abs(momentum.mean())


def test_a_stretched_body_turns_slower_than_a_tucked_one():
    dive = drawn(34, 0)
    t = np.linspace(0, flight_s(dive), 400)
    trunk = at(joints_at(dive, t), "neck") - at(joints_at(dive, t), "pelvis")
    rate = np.abs(np.gradient(np.unwrap(np.arctan2(trunk[:, 0], trunk[:, 1])), t))
    assert np.median(rate[140:280]) > 2.0 * np.median(rate[380:])


@pytest.mark.parametrize("label", LABELS)
def test_entry_is_hands_or_feet_first_and_near_vertical(label):
    half = DIVE_CLASSES[label].somersault not in ("1som", "2som", "3som")
    for seed in range(2):
        dive = drawn(label, seed)
        t = flight_s(dive) + np.arange(-0.15, 0.3, 0.002)
        joints = joints_at(dive, t)
        touch = int(np.argmax(joints[..., 1].min(axis=1) <= 0))
        assert abs(t[touch] - flight_s(dive)) < 0.05
        first = JOINTS[int(joints[touch, :, 1].argmin())]
        assert first.startswith("hand" if half else "toe")
        trunk = joints[:, JOINT_INDEX["neck"]] - joints[:, JOINT_INDEX["pelvis"]]
        upright = np.degrees(np.arccos((-1 if half else 1) * trunk[:, 1] / np.linalg.norm(trunk, axis=1)))
        assert upright[touch] < 26
        assert upright[-1] < 8


def test_under_water_the_body_goes_on_down_and_slows():
    dive = replace(drawn(19, 0), tail_s=1.0)
    depth = center_of_mass(joints_at(dive, flight_s(dive) + np.linspace(0, 1.0, 21)))[:, 1]
    fall = -np.diff(depth)
    assert (fall > 0).all()
    assert (np.diff(fall) < 0).all()
    assert fall[-1] < 0.1 * fall[0]


def test_clip_length_and_path_do_not_tell_the_class():
    """Same random numbers, any class: all but the label is equal, and the centre of mass takes the same path."""
    dives = [draw_dive(label, np.random.default_rng(5)) for label in LABELS]
    for field in fields(Dive):
        if field.name != "label":
            assert len({getattr(dive, field.name) for dive in dives}) == 1
    assert len({flight_s(dive) for dive in dives}) == 1
    t = np.arange(-1.0, 2.2, 0.05)
    paths = np.stack([center_of_mass(joints_at(dive, t)) for dive in dives])
    assert np.ptp(paths, axis=0).max() < 0.05


def test_hard_dives_get_the_height_they_need():
    def boards(hardest: float) -> set[float]:
        dives = [draw_dive(29, np.random.default_rng(seed), hardest=hardest) for seed in range(300)]
        least = {2.0: 1.1, 2.5: 1.25, 3.5: 1.45, 4.5: 1.45}[hardest]
        assert min(flight_s(dive) for dive in dives) > least
        return {dive.board_m for dive in dives}

    assert boards(2.0) == boards(2.5) == {1.0, 3.0, 5.0, 7.5, 10.0}
    assert boards(3.5) == boards(4.5) == {3.0, 5.0, 7.5, 10.0}


def test_any_times_in_any_order():
    dive = drawn(22, 7)
    t = np.linspace(-1.5, 2.5, 97)
    order = np.random.default_rng(0).permutation(len(t))
    np.testing.assert_array_equal(joints_at(dive, t)[order], joints_at(dive, t[order]))
    assert joints_at(dive, np.zeros(0)).shape == (0, 21, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 48}, r"0\.\.47, got 48"),
        ({"body": "tal"}, "Did you mean 'tall'"),
        ({"stand": "HEAD"}, "ARM, SIDE, UP"),
        ({"twist_sense": 0}, "1 or -1, got 0"),
        ({"board_m": 100.0}, r"board_m lies in 0\.5\.\.12\.0, got 100"),
        ({"jump_m_s": float("nan")}, "jump_m_s"),
        ({"offsets_deg": (1.0,)}, "9 angles, got 1"),
    ],
)
def test_impossible_dives_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        replace(Dive(3), **change)


def test_impossible_requests_are_refused():
    with pytest.raises(UsageError, match=r"0\.\.47, got -1"):
        draw_dive(-1, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"class 28 has 4\.5 somersaults"):
        draw_dive(28, np.random.default_rng(0), hardest=2.5)
    with pytest.raises(UsageError, match="finite"):
        joints_at(Dive(0), np.array([np.nan]))


@pytest.mark.parametrize("seed", range(3))
def test_what_the_camera_follows_is_the_same_for_every_class(seed):
    t = np.linspace(-1.5, 3.0, 200)
    paths = [filmed_path(draw_dive(label, np.random.default_rng(seed)), t) for label in range(48)]
    assert all(np.array_equal(path, paths[0]) for path in paths[1:])
    assert np.ptp(paths[0][t <= 0], axis=0).max() == 0
    joints = joints_at(draw_dive(34, np.random.default_rng(seed)), t)
    away = np.linalg.norm(center_of_mass(joints) - paths[0], axis=1)
    assert away[t > 0].max() < 0.15
