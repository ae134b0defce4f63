"""The motion of a dive: lead-in on the board, ballistic flight with conserved angular momentum, entry and slowing down.

World: x metres from the board's tip (the pool is at x > 0), y metres above the water, z metres to the side; t = 0 when
the feet leave the board. In the air the body's rotation is ``R = Rz(-alpha) Rx(tilt) Ry(phi + facing)``: the clockwise
angle alpha somersaults, phi twists about the long axis. alpha is integrated so that the angular momentum about the
lateral axis through the centre of mass is constant, reshaping of the body included, and ends at a whole number of half
turns. Nothing but the body's motion depends on the class: boards, speeds and durations are drawn from the same
distributions for every label, and the centre of mass runs along the same path to a few centimetres, so that neither a
clip's length nor the background that a camera following it sees tells the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import UsageError, unknown_name

from .poses import (
    FACES_WATER,
    OFFSET_SD_DEG,
    SOMERSAULTS,
    TURNS_TO_WATER,
    TWISTS,
    blend,
    flight_script,
    posed,
    smoothstep,
    steady,
)
from .skeleton import BODIES, JOINT_INDEX, MASS_FORM, NUM_ANGLES, Angles, center_of_mass, pose_joints

FloatArray = NDArray[np.float64]

GRAVITY = 9.81  # m/s^2
HARDEST = max(SOMERSAULTS.values())

BOARDS: tuple[tuple[float, tuple[tuple[float, float, float], ...]], ...] = (
    (2.0, ((1.0, 4.8, 5.8), (3.0, 4.6, 5.8), (5.0, 3.0, 4.2), (7.5, 2.8, 4.0), (10.0, 2.6, 3.6))),
    (2.5, ((1.0, 5.4, 6.0), (3.0, 4.8, 6.0), (5.0, 3.2, 4.4), (7.5, 2.8, 4.0), (10.0, 2.6, 3.6))),
    (HARDEST, ((3.0, 5.5, 6.3), (5.0, 4.0, 4.8), (7.5, 3.0, 4.0), (10.0, 2.6, 3.6))),
)
"""For dives of up to that many somersaults: boards (height m, least and most upward speed m/s). 1 and 3 m
boards spring, the others are platforms; more somersaults need longer flights (>= 1.15, 1.3 and 1.5 s)."""

_GRID = 257  # points of the flight, and the keyframes, at which rotation is integrated
_STEP_S = 1e-5  # of numerical derivatives; keyframes are kinks
_FOOT_DEG = 70.0  # a flat foot's ankle-to-toe line from straight down
_BALL_M = -0.05  # the ball of the foot, over which one balances, ahead of the toes
_ARMS_FIRST_S = 0.16  # by which the arms' swing upwards precedes the push of the legs
_ARM_COLUMNS = np.isin(Angles._fields, ("spine", "shoulder", "elbow", "abduction", "inward", "skew"))
_SETTLE_S = 0.04  # time constant with which water stops the rotation
_TOE_X = {True: -0.02, False: -0.10}  # facing the water the toes are at the tip; else the heels stand out over it
_STANDS = ("ARM", "SIDE", "UP")

_FILMED_M = (0.05, 1.1)
"""Ahead of the tip and above the board: the mean centre of mass at take-off, over classes and bodies."""


@dataclass(frozen=True, slots=True)
class Dive:
    """One diver's dive: a class and everything that varies within it.

    ``label`` 0 to 47; ``body`` a name in BODIES; ``board_m`` height of the board above water; ``jump_m_s`` upward and
    ``run_off_m_s`` horizontal speed at take-off; ``lead_in_s`` on the board before and ``tail_s`` after entry;
    ``stand`` the pose the diver starts from (ARM, SIDE, UP) and ``swing_s`` its last arm swing; ``shift`` moves the
    mid-air keyframes (fraction of the flight); ``twist_sense`` +1 or -1; ``tilt_deg`` lean of the long axis while
    twisting; ``end_deg`` over-rotation at the end; ``sink_s`` time constant of slowing in water; ``offsets_deg`` (9,)
    the diver's own deviation from the keyframes. Raises UsageError outside those ranges.
    """

    label: int
    body: str = "tall"
    board_m: float = 10.0
    jump_m_s: float = 3.2
    run_off_m_s: float = 1.4
    lead_in_s: float = 1.2
    tail_s: float = 0.7
    stand: str = "ARM"
    swing_s: float = 0.45
    shift: float = 0.0
    twist_sense: int = 1
    tilt_deg: float = 8.0
    end_deg: float = 0.0
    sink_s: float = 0.28
    offsets_deg: tuple[float, ...] = (0.0,) * NUM_ANGLES

    def __post_init__(self) -> None:
        if not 0 <= self.label < len(DIVE_CLASSES):
            raise UsageError(f"a class label lies in 0..{len(DIVE_CLASSES) - 1}, got {self.label}.")
        if self.body not in BODIES:
            raise unknown_name("body", self.body, BODIES)
        if self.stand not in _STANDS:
            raise unknown_name("starting pose", self.stand, _STANDS)
        if self.twist_sense not in (-1, 1):
            raise UsageError(f"twist_sense is 1 or -1, got {self.twist_sense}.")
        if len(self.offsets_deg) != NUM_ANGLES:
            raise UsageError(f"offsets_deg has {NUM_ANGLES} angles, got {len(self.offsets_deg)}.")
        limits = {
            "board_m": (0.5, 12.0),
            "jump_m_s": (1.0, 7.0),
            "run_off_m_s": (0.5, 2.0),
            "lead_in_s": (0.0, 10.0),
            "tail_s": (0.0, 10.0),
            "swing_s": (0.1, 2.0),
            "shift": (-0.03, 0.03),
            "tilt_deg": (0.0, 20.0),
            "end_deg": (-20.0, 20.0),
            "sink_s": (0.05, 1.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"a dive's {name} lies in {low}..{high}, got {value}.")


def draw_dive(label: int, rng: np.random.Generator, *, hardest: float = HARDEST) -> Dive:
    """A dive of class ``label`` (0 to 47).

    ``hardest`` is the largest number of somersaults in the set of classes that is drawn from: it alone chooses among
    BOARDS, so that board and flight time are alike for all of the set's classes. How many numbers are drawn from
    ``rng`` depends on nothing. Raises UsageError for a label outside the vocabulary or harder than ``hardest``.
    """
    if not 0 <= label < len(DIVE_CLASSES):
        raise UsageError(f"a class label lies in 0..{len(DIVE_CLASSES) - 1}, got {label}.")
    own = SOMERSAULTS[DIVE_CLASSES[label].somersault]
    if not own <= hardest <= HARDEST:
        raise UsageError(f"class {label} has {own} somersaults, so hardest lies in {own}..{HARDEST}, got {hardest}.")
    boards = next(row for most, row in BOARDS if hardest <= most)
    height, slowest, fastest = boards[int(rng.random() * len(boards))]
    return Dive(
        label=label,
        body=tuple(BODIES)[int(rng.random() * len(BODIES))],
        board_m=height,
        jump_m_s=rng.uniform(slowest, fastest),
        run_off_m_s=rng.uniform(1.2, 1.6),
        lead_in_s=rng.uniform(0.7, 1.4),
        tail_s=rng.uniform(0.5, 0.9),
        stand=_STANDS[int(rng.random() * len(_STANDS))],
        swing_s=rng.uniform(0.35, 0.6),
        shift=rng.uniform(-0.012, 0.012),
        twist_sense=1 if rng.random() < 0.5 else -1,
        tilt_deg=rng.uniform(4.0, 11.0),
        end_deg=rng.uniform(-6.0, 6.0),
        sink_s=rng.uniform(0.22, 0.34),
        offsets_deg=tuple((rng.uniform(-1.7, 1.7, NUM_ANGLES) * np.array(OFFSET_SD_DEG)).tolist()),
    )


def flight_s(dive: Dive) -> float:
    """Seconds in the air, until hands or feet are about to reach the water: the centre of mass is as high above the
    water as it was above the board. The same for every class, body and pose."""
    return float((dive.jump_m_s + np.sqrt(dive.jump_m_s**2 + 2.0 * GRAVITY * dive.board_m)) / GRAVITY)


def filmed_path(dive: Dive, t: FloatArray) -> FloatArray:
    """What a camera follows, float64 (T, 3) m: the flight of a body of no class, still until it takes off.

    The diver's own centre of mass is within 0.15 m in the air, but on the board it moves as the class does: who leaps
    backwards sways the other way. A camera on that would write the class into the motion of the background.
    """
    t = np.asarray(t, dtype=np.float64)
    return np.array([_FILMED_M[0], dive.board_m + _FILMED_M[1], 0.0]) + _flown(dive, np.maximum(t, 0.0))


def joints_at(dive: Dive, t: FloatArray) -> FloatArray:
    """Where the joints are: float64 (T, 21, 3) m in the world at times ``t`` float64 (T,) s from take-off.

    Any times, in any order: before ``-lead_in_s`` the diver stands, long after entry it hangs in the water.
    """
    t = np.asarray(t, dtype=np.float64)
    if t.ndim != 1 or not np.isfinite(t).all():
        raise UsageError(f"times are finite and (T,), got {t.shape}.")
    plan = _plan(dive)
    joints = np.empty((len(t), len(JOINT_INDEX), 3))
    on_board = t < 0.0
    if on_board.any():
        joints[on_board] = _on_board(dive, plan.push, t[on_board])
    if not on_board.all():
        joints[~on_board] = _in_air(dive, plan, t[~on_board])
    return joints


class _Push(NamedTuple):
    """The push-off: its length, s, and how far it has come (0 to 1) at equally spaced heights of the centre of mass."""

    seconds: float
    progress: FloatArray
    heights: FloatArray


class _Plan(NamedTuple):
    push: _Push
    keys: FloatArray
    poses: FloatArray
    times: FloatArray  # (G,) s, of the flight, keyframes among them
    alpha: FloatArray  # (G,) rad
    rate: FloatArray  # (G,) rad/s, its derivative
    release: FloatArray  # (3,) m, centre of mass at take-off


@lru_cache(maxsize=256)
def _plan(dive: Dive) -> _Plan:
    push = _push(dive)
    first = _on_board(dive, push, np.zeros(1))
    script = flight_script(DIVE_CLASSES[dive.label], dive.shift)
    keys = np.array([frame.u for frame in script.frames]) * flight_s(dive)
    poses = np.stack([posed(frame.pose, dive.offsets_deg) for frame in script.frames])
    t = np.unique(np.concatenate([np.linspace(0.0, flight_s(dive), _GRID), keys]))
    before, later = np.split(_twisted(dive, keys, poses, np.concatenate([t - _STEP_S, t + _STEP_S]))[..., :2], 2)
    shape, velocity = 0.5 * (before + later), (later - before) / (2.0 * _STEP_S)
    inertia = np.einsum("ij,tic,tjc->t", MASS_FORM, shape, shape, optimize=True)
    # Clockwise angular momentum of the reshaping body in its own frame; the whole is L = inertia alpha' + inner.
    inner = np.einsum("ij,ti,tj->t", MASS_FORM, shape[..., 1], velocity[..., 0], optimize=True)
    inner -= np.einsum("ij,ti,tj->t", MASS_FORM, shape[..., 0], velocity[..., 1], optimize=True)
    sense = 1.0 if TURNS_TO_WATER[DIVE_CLASSES[dive.label].takeoff] else -1.0
    turns = SOMERSAULTS[DIVE_CLASSES[dive.label].somersault]
    start = float(_pitch(dive, push, np.zeros(1))[0])
    end = sense * (2.0 * np.pi * turns + np.radians(dive.end_deg))
    # Water stops the rotation exponentially: what it adds is last_rate * _SETTLE_S, linear in L like all else.
    rest = np.trapezoid(inner / inertia, t) + _SETTLE_S * inner[-1] / inertia[-1]
    momentum = (end - start + rest) / (np.trapezoid(1.0 / inertia, t) + _SETTLE_S / inertia[-1])
    rate = (momentum - inner) / inertia
    alpha = start + np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) * 0.5 * np.diff(t))])
    return _Plan(push, keys, poses, t, alpha, rate, center_of_mass(first)[0])


def _twisted(dive: Dive, keys: FloatArray, poses: FloatArray, t: FloatArray) -> FloatArray:
    """Posed, twisted and tilted but not yet somersaulted: (T, 21, 3) about the centre of mass."""
    attributes = DIVE_CLASSES[dive.label]
    joints = pose_joints(BODIES[dive.body], blend(keys, poses, t) * _skew_sign(dive))
    joints -= center_of_mass(joints)[:, None]
    twists = TWISTS[attributes.twist]
    begin, stop = flight_script(attributes, dive.shift).twist_span
    along = (t / flight_s(dive) - begin) / (stop - begin)
    phi = dive.twist_sense * 2.0 * np.pi * twists * steady(along)
    phi = phi + (0.0 if FACES_WATER[attributes.takeoff] else np.pi)
    lean = np.radians(dive.tilt_deg) * dive.twist_sense * min(1.0, twists) * np.sin(np.pi * np.clip(along, 0, 1)) ** 2
    x, y, z = np.moveaxis(joints, 2, 0)
    cos, sin = np.cos(phi)[:, None], np.sin(phi)[:, None]
    x, z = x * cos + z * sin, z * cos - x * sin
    cos, sin = np.cos(lean)[:, None], np.sin(lean)[:, None]
    return np.stack([x, y * cos - z * sin, y * sin + z * cos], axis=2)


def _skew_sign(dive: Dive) -> FloatArray:
    """(9,): the arm on the side one turns to goes down, so skew follows the sense of the twist."""
    return np.array([1.0] * (NUM_ANGLES - 1) + [float(dive.twist_sense)])


def _turn(joints: FloatArray, alpha: FloatArray) -> FloatArray:
    """Rz(-alpha): (T, 21, 3) turned clockwise, seen from +z, by ``alpha`` (T,) rad."""
    cos, sin = np.cos(alpha)[:, None], np.sin(alpha)[:, None]
    x, y = joints[..., 0], joints[..., 1]
    turned: FloatArray = np.stack([x * cos + y * sin, y * cos - x * sin, joints[..., 2]], axis=2)
    return turned


def _hermite(t: FloatArray, times: FloatArray, values: FloatArray, slopes: FloatArray) -> FloatArray:
    """Cubic interpolation at ``t`` (T,) between ``values`` with ``slopes`` at rising ``times`` (G,)."""
    index = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    step = times[index + 1] - times[index]
    x = (t - times[index]) / step
    rise = (values[index + 1] - values[index]) * x * x * (3.0 - 2.0 * x)
    bend = step * x * (1.0 - x) * ((1.0 - x) * slopes[index] - x * slopes[index + 1])
    between: FloatArray = values[index] + rise + bend
    return between


def _in_air(dive: Dive, plan: _Plan, t: FloatArray) -> FloatArray:
    """(T, 21, 3) for t >= 0: flight, and the slowing down below the surface."""
    end = flight_s(dive)
    flown, after = np.minimum(t, end), np.maximum(t - end, 0.0)
    alpha = _hermite(flown, plan.times, plan.alpha, plan.rate)
    alpha += plan.rate[-1] * _SETTLE_S * -np.expm1(-after / _SETTLE_S)
    joints = _turn(_twisted(dive, plan.keys, plan.poses, flown), alpha)
    return joints + (plan.release + _flown(dive, t))[:, None]


def _flown(dive: Dive, t: FloatArray) -> FloatArray:
    """(T, 3) m that the centre of mass is away from where it took off, t >= 0."""
    end = flight_s(dive)
    flown, after = np.minimum(t, end), np.maximum(t - end, 0.0)
    glide = dive.sink_s * -np.expm1(-after / dive.sink_s)  # seconds of travel at the speed of entry
    away = np.zeros((len(t), 3))
    away[:, 0] = dive.run_off_m_s * (flown + glide)
    away[:, 1] = dive.jump_m_s * flown - 0.5 * GRAVITY * flown**2 + (dive.jump_m_s - GRAVITY * end) * glide
    return away


def _stance(dive: Dive, angles: FloatArray, lift: FloatArray, ahead: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Feet on the board: joints (T, 21, 3) in the body frame and the forward pitch (T,) rad of the body.

    ``angles`` (T, 9); ``lift`` (T,) 0 = flat foot, 1 = the pose's own ankle; ``ahead`` (T,) m: the centre of mass is to
    be that far ahead of the toes. The pitch puts it there, and a flat foot's ankle angle follows from the pitch.
    """
    body, angles = BODIES[dive.body], angles.copy()

    def pitch(joint: str, offset: FloatArray) -> FloatArray:
        arm = (center - joints[:, JOINT_INDEX[f"{joint}_l"]])[:, :2]
        return np.asarray(np.arcsin(offset / np.linalg.norm(arm, axis=1)) - np.arctan2(arm[:, 0], arm[:, 1]))

    joints = pose_joints(body, angles)
    center = center_of_mass(joints)
    over_ball = pitch("ankle", ahead + body.lengths["foot"] * np.sin(np.radians(_FOOT_DEG)))
    flat = angles[:, 1] - angles[:, 2] + 90.0 - (_FOOT_DEG + np.degrees(over_ball))
    angles[:, 7] = flat * (1.0 - lift) + angles[:, 7] * lift
    joints = pose_joints(body, angles)
    center = center_of_mass(joints)
    return joints, pitch("toe", ahead)


def _ready(dive: Dive) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The three poses on the board: start, crouch, leap; (9,) each."""
    attributes = DIVE_CLASSES[dive.label]
    leap = flight_script(attributes).frames[0].pose
    start, crouch, last = (posed(name, dive.offsets_deg) for name in (dive.stand, "CROUCH", leap))
    return start * _skew_sign(dive), crouch * _skew_sign(dive), last * _skew_sign(dive)


def _ahead(dive: Dive, seconds: float, pushed: FloatArray) -> FloatArray:
    """Metres of the centre of mass ahead of the toes: falling from the balance towards the water gives the run-off."""
    fall = 0.5 * dive.run_off_m_s * seconds * pushed**2
    return _BALL_M + (fall if FACES_WATER[DIVE_CLASSES[dive.label].takeoff] else -fall)


def _raised(seconds: float, pushed: FloatArray, progress: FloatArray) -> FloatArray:
    """(T, 9) how far from crouch to leap each angle is: the arms swing up evenly in time and start before the legs."""
    arms = smoothstep((pushed * seconds + _ARMS_FIRST_S) / (seconds + _ARMS_FIRST_S))
    return np.where(_ARM_COLUMNS, arms[:, None], progress[:, None])


def _push(dive: Dive) -> _Push:
    """The push-off as constant upward acceleration of the centre of mass, from rest to ``jump_m_s``."""
    _, crouch, leap = _ready(dive)
    progress = np.linspace(0.0, 1.0, 33)
    seconds, pushed = 0.18, progress
    for _ in range(3):  # time and height of the push depend on each other, weakly
        angles = crouch + (leap - crouch) * _raised(seconds, pushed, progress)
        joints, pitch = _stance(dive, angles, progress**2, _ahead(dive, seconds, pushed))
        turned = _turn(joints, pitch)
        heights = np.maximum.accumulate(center_of_mass(turned)[:, 1] - turned[:, JOINT_INDEX["toe_l"], 1])
        pushed = np.sqrt((heights - heights[0]) / (heights[-1] - heights[0]))
        seconds = float(2.0 * (heights[-1] - heights[0]) / dive.jump_m_s)
    return _Push(seconds, progress, heights)


def _contact(dive: Dive, push: _Push, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Joints in the body frame and forward pitch (T,) rad for t <= 0."""
    start, crouch, leap = _ready(dive)
    swing = smoothstep((t + push.seconds + dive.swing_s) / dive.swing_s)[:, None]
    since = t / push.seconds + 1.0  # negative while only the arms move
    pushed = np.clip(since, 0.0, 1.0)
    rise = push.heights[0] + (push.heights[-1] - push.heights[0]) * pushed**2
    progress = np.interp(rise, push.heights, push.progress)
    angles = start + (crouch - start) * swing + (leap - crouch) * _raised(push.seconds, since, progress)
    return _stance(dive, angles, progress**2, _ahead(dive, push.seconds, pushed))


def _pitch(dive: Dive, push: _Push, t: FloatArray) -> FloatArray:
    """Clockwise angle (T,) rad of the body on the board, as alpha in the air."""
    pitch = _contact(dive, push, t)[1]
    return pitch if FACES_WATER[DIVE_CLASSES[dive.label].takeoff] else -pitch


def _on_board(dive: Dive, push: _Push, t: FloatArray) -> FloatArray:
    """(T, 21, 3) in the world for t <= 0, toes where they stand."""
    faces_water = FACES_WATER[DIVE_CLASSES[dive.label].takeoff]
    joints, pitch = _contact(dive, push, t)
    if not faces_water:
        joints, pitch = joints * np.array([-1.0, 1.0, -1.0]), -pitch
    joints = _turn(joints, pitch)
    toes = joints[:, [JOINT_INDEX["toe_l"], JOINT_INDEX["toe_r"]]].mean(axis=1)
    stand = np.array([_TOE_X[faces_water], dive.board_m + BODIES[dive.body].radii["toe"], 0.0])
    moved: FloatArray = joints + (stand - toes)[:, None]
    return moved
