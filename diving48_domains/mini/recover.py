"""What class is this motion? The four attributes read off joint positions alone.

An independent check of the choreography: it shares no angle, table or parameter with it, only the names of the joints,
the world's axes (the pool at x > 0, y up, the surface at y = 0) and the vocabulary. Everything is measured on vectors
between joints: which way the body faces when it stands, which way and how far the trunk goes round, how far the line
of shoulders and hips goes round the trunk, how hips and knees bend.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from diving48_domains.vocabulary import DiveClass
from tsgen.common.errors import DataError

from .skeleton import JOINT_INDEX, JOINTS

FloatArray = NDArray[np.float64]

TAKEOFF_OF: Mapping[tuple[bool, bool], str] = {
    (True, True): "Forward",
    (False, True): "Back",
    (True, False): "Reverse",
    (False, False): "Inward",
}
"""(faces the water, the head goes over towards the water) -> takeoff."""
SOMERSAULT_OF = ("", "Dive", "1som", "15som", "2som", "25som", "3som", "35som", "", "45som")
TWIST_OF = ("NoTwis", "05Twis", "1Twis", "15Twis", "2Twis", "25Twis", "3Twis", "35Twis")
"""Names by the number of half turns; an empty one is in no class."""

_LEFT_BOARD_M = 0.05  # the toes have moved this far: the diver is off the board
_FOLDED_DEG = 80.0  # hips bent more than this: a pike or a tuck, which the vocabulary tells apart at the knees
_FOLDED_SHARE = 0.1  # of the flight, at least
_BENT_KNEE_DEG = 60.0
_LARGEST_STEP = 0.8 * np.pi  # rad between two samples; more cannot be unwrapped with certainty
_SETTLED_S = 0.25  # after the first touch the body is still turning upright


def attributes_from_motion(joints: FloatArray, t: FloatArray) -> DiveClass:
    """The class whose motion this is, from lead-in to after the entry.

    ``joints`` float64 (T, 21, 3) m in the world, ``t`` float64 (T,) s, rising, 25 samples a second or more (a fast
    twist does five turns a second). FREE is the vocabulary's: a twist without pike or tuck. Raises DataError for a
    motion that is no dive: one that starts in the water or ends out of it, goes away from the pool, has feet that point
    backwards, an angle between two half turns, or too few samples.
    """
    joints, t = np.asarray(joints, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINTS), 3) or t.shape != joints.shape[:1] or len(t) < 8:
        raise DataError(f"joints are (T, {len(JOINTS)}, 3) and t (T,), T >= 8, got {joints.shape} and {t.shape}.")
    if not np.isfinite(joints).all() or (np.diff(t) <= 0).any():
        raise DataError("joints must be finite and times must rise.")
    point = {name: joints[:, index] for name, index in JOINT_INDEX.items()}
    first, touch = _span(point)
    last = int(np.searchsorted(t, t[touch] + _SETTLED_S, side="right")) - 1
    trunk = _unit(point["neck"] - point["pelvis"])
    right = (point["shoulder_r"] - point["shoulder_l"]) + (point["hip_r"] - point["hip_l"])
    faces_water = _faces_water(point, right, first)
    clockwise = np.arctan2(trunk[:, 0], trunk[:, 1])
    somersaults = _half_turns("somersault", clockwise[first : last + 1], SOMERSAULT_OF)
    twists = _half_turns("twist", _about(trunk, right)[first : last + 1], TWIST_OF)
    return DiveClass(
        TAKEOFF_OF[faces_water, somersaults > 0],
        SOMERSAULT_OF[abs(somersaults)],
        TWIST_OF[abs(twists)],
        _position(point, slice(first, touch + 1), twists != 0),
    )


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _span(point: Mapping[str, FloatArray]) -> tuple[int, int]:
    """The last sample with the toes on the board and the first with a fingertip or toe in the water."""
    ends = np.stack([point[name] for name in ("hand_l", "hand_r", "toe_l", "toe_r", "head")])
    heights = ends[..., 1].min(axis=0)
    if heights[0] <= 0:
        raise DataError("the motion starts in the water, so it is no dive.")
    if heights[-1] > 0:
        raise DataError("the motion ends above the water, so it is no dive.")
    if ends[:, -1, 0].mean() <= max(0.0, ends[2:4, 0, 0].mean()):
        raise DataError("the motion goes away from the pool, so it is no dive; the water lies at x > 0.")
    toes = 0.5 * (point["toe_l"] + point["toe_r"])
    away = np.linalg.norm(toes - toes[0], axis=1) > _LEFT_BOARD_M
    return max(int(np.argmax(away)) - 1, 0), int(np.argmax(heights <= 0))


def _faces_water(point: Mapping[str, FloatArray], right: FloatArray, first: int) -> bool:
    """Chest and feet must agree: ahead is up x right, and toes lie ahead of ankles."""
    ahead = np.cross([0.0, 1.0, 0.0], right[: first + 1]).mean(axis=0)[0]
    toes, ankles = (point[f"{name}_l"] + point[f"{name}_r"] for name in ("toe", "ankle"))
    feet = (toes - ankles)[: first + 1].mean(axis=0)[0]
    if ahead * feet <= 0:
        raise DataError("the feet point away from where the chest faces: left and right are swapped.")
    return bool(ahead > 0)


def _about(trunk: FloatArray, right: FloatArray) -> FloatArray:
    """(T,) rad: how far ``right`` is turned about the trunk from the world's lateral axis, not unwrapped."""
    lateral = np.array([0.0, 0.0, 1.0])
    zero = _unit(lateral - (trunk @ lateral)[:, None] * trunk)
    quarter = np.cross(trunk, zero)
    return np.asarray(np.arctan2((right * quarter).sum(axis=1), (right * zero).sum(axis=1)))


def _half_turns(name: str, angle: FloatArray, names: tuple[str, ...]) -> int:
    """Signed number of half turns that ``angle`` (T,) rad makes from first to last sample."""
    steps = (np.diff(angle) + np.pi) % (2.0 * np.pi) - np.pi
    if steps.size and np.abs(steps).max() > _LARGEST_STEP:
        raise DataError(
            f"too few samples to follow the {name}: it turns {np.degrees(np.abs(steps).max()):.0f} deg a step."
        )
    turns = float(steps.sum() / np.pi)
    count = round(turns)
    if abs(turns - count) > 0.3 or abs(count) >= len(names) or not names[abs(count)]:
        raise DataError(f"a {name} of {turns / 2:.2f} turns is in no class.")
    return count


def _bend_deg(first: FloatArray, second: FloatArray) -> FloatArray:
    """(T,) deg between two directions."""
    cosine = (_unit(first) * _unit(second)).sum(axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _position(point: Mapping[str, FloatArray], flight: slice, twisting: bool) -> str:
    hips, knees = [], []
    for side in "lr":
        hip, knee, ankle = (point[f"{name}_{side}"][flight] for name in ("hip", "knee", "ankle"))
        hips.append(_bend_deg((point["pelvis"] - point["chest"])[flight], knee - hip))
        knees.append(_bend_deg(knee - hip, ankle - knee))
    bend = np.mean(hips, axis=0)
    folded = bend > _FOLDED_DEG
    if folded.mean() < _FOLDED_SHARE:
        return "FREE" if twisting else "STR"
    tightest = bend >= np.median(bend[folded])
    return "TUCK" if np.median(np.mean(knees, axis=0)[tightest]) > _BENT_KNEE_DEG else "PIKE"
