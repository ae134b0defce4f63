"""What one clip shows beside the divers: a venue, its bystanders, the light of the day, the grain of the sensor.

Nothing here knows the dive. A scene is drawn from its venue's index and a stream of its own, so that where the venue is
drawn without regard to the class (rho = 0) the background carries no information on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini.palette import Look, draw_look
from diving48_domains.mini.venue import venue
from tsgen.common.errors import UsageError

FloatArray = NDArray[np.float64]

# Bystanders: joints in metres (right, up, forward of the feet's middle) in a few poses, and the capsules over them.
Pose = dict[str, tuple[float, float, float]]


def _pose(hips: tuple[float, float], chest: tuple[float, float], /, **sides: tuple[float, float, float]) -> Pose:
    """A pose from the (up, forward) of hips and chest and, for each other joint, its right-hand place; ``x_l`` sets a
    left-hand one apart, otherwise the left side is the right one's mirror image."""
    pose: Pose = {"pelvis": (0.0, *hips), "chest": (0.0, *chest), "head": (0.0, chest[0] + 0.33, chest[1] + 0.03)}
    sides = {"hip": (0.085, *hips), "shoulder": (0.165, chest[0] + 0.07, chest[1]), **sides}
    for name, (right, up, forward) in sides.items():
        if not name.endswith("_l"):
            pose[f"{name}_r"] = (right, up, forward)
            pose[f"{name}_l"] = sides.get(f"{name}_l", (-right, up, forward))
    return pose


_LEGS: Pose = {"knee": (0.10, 0.48, 0.03), "foot": (0.11, 0.05, 0.0)}
_BENT: Pose = {"knee": (0.13, 0.52, 0.44), "foot": (0.13, 0.06, 0.46)}
_UP, _DOWN = ((0.90, 0.0), (1.32, 0.0)), ((0.50, 0.0), (0.92, 0.04))
POSES: dict[str, Pose] = {
    "stand": _pose(*_UP, **_LEGS, elbow=(0.25, 1.12, -0.03), hand=(0.26, 0.84, 0.06)),
    "hips": _pose(*_UP, **_LEGS, elbow=(0.38, 1.15, -0.06), hand=(0.17, 0.95, 0.06)),
    "folded": _pose(*_UP, **_LEGS, elbow=(0.25, 1.10, 0.08), hand=(-0.10, 1.20, 0.18)),
    "wave": _pose(
        *_UP, **_LEGS, elbow=(0.36, 1.50, 0.0), hand=(0.42, 1.78, 0.02),
        elbow_l=(-0.25, 1.12, -0.03), hand_l=(-0.26, 0.84, 0.06),
    ),
    "reach": _pose(*_UP, **_LEGS, elbow=(0.18, 1.36, 0.28), hand=(0.14, 1.40, 0.55)),
    "stretch": _pose(*_UP, **_LEGS, elbow=(0.20, 1.66, 0.02), hand=(0.05, 1.92, 0.02)),
    "bend": _pose((0.86, -0.06), (1.16, 0.26), **_LEGS, elbow=(0.22, 0.98, 0.34), hand=(0.16, 0.74, 0.36)),
    "sit": _pose(*_DOWN, **_BENT, elbow=(0.24, 0.70, 0.10), hand=(0.14, 0.58, 0.36)),
    "write": _pose(*_DOWN, **_BENT, elbow=(0.24, 0.72, 0.12), hand=(0.08, 0.80, 0.34)),
}  # fmt: skip
PERSON_JOINTS = tuple(POSES["stand"])
# (joint, joint, radius, radius, part); a head is a capsule of no length.
PERSON_BONES: tuple[tuple[str, str, float, float, str], ...] = (
    ("knee_l", "foot_l", 0.058, 0.042, "shin"),
    ("knee_r", "foot_r", 0.058, 0.042, "shin"),
    ("hip_l", "knee_l", 0.088, 0.060, "thigh"),
    ("hip_r", "knee_r", 0.088, 0.060, "thigh"),
    ("pelvis", "chest", 0.115, 0.130, "trunk"),
    ("shoulder_l", "shoulder_r", 0.068, 0.068, "trunk"),
    ("shoulder_l", "pelvis", 0.068, 0.105, "trunk"),
    ("shoulder_r", "pelvis", 0.068, 0.105, "trunk"),
    ("hip_l", "hip_r", 0.100, 0.100, "suit"),
    ("shoulder_l", "elbow_l", 0.060, 0.044, "sleeve"),
    ("shoulder_r", "elbow_r", 0.060, 0.044, "sleeve"),
    ("elbow_l", "hand_l", 0.042, 0.034, "skin"),
    ("elbow_r", "hand_r", 0.042, 0.034, "skin"),
    ("chest", "head", 0.055, 0.055, "skin"),
    ("head", "head", 0.108, 0.108, "head"),
)
# What each part shows: of a swimmer, and of somebody dressed.
SWIMMER = {
    "shin": "skin",
    "thigh": "skin",
    "trunk": "skin",
    "suit": "suit",
    "sleeve": "skin",
    "skin": "skin",
    "head": "skin",
}
DRESSED = SWIMMER | {"shin": "legs", "thigh": "legs", "suit": "legs", "trunk": "suit", "sleeve": "suit"}
PLACES = ("deck", "gallery", "board")


@dataclass(frozen=True, slots=True)
class Person:
    """A bystander, feet at ``place`` (x, y, z) m, in a :data:`POSES` pose, ``heading`` rad from facing the camera.

    ``where`` is one of :data:`PLACES`: the deck, a gallery of ``place``'s height, or the back of the divers' board,
    whose height ``place`` counts from then. ``height`` 1 is 1.76 m.
    """

    where: str
    place: tuple[float, float, float]
    heading: float
    pose: str
    look: Look
    dressed: bool
    height: float

    def joints(self) -> FloatArray:
        """World places of :data:`PERSON_JOINTS`, float64 (15, 3) m."""
        local = np.array([POSES[self.pose][name] for name in PERSON_JOINTS]) * self.height
        sin, cos = np.sin(self.heading), np.cos(self.heading)
        x = local[:, 0] * cos + local[:, 2] * sin
        z = -local[:, 0] * sin + local[:, 2] * cos
        places: FloatArray = np.stack([x, local[:, 1], z], axis=1) + np.array(self.place)
        return places


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip's surroundings.

    ``looks``: the first and the second diver's colours; ``people``: bystanders, still for the whole clip. ``shift_m``
    slides the wall along x; ``wall_seed`` seats the crowd; ``gain`` (3,) multiplies the picture; ``noise`` is the
    sensor's standard deviation in 8-bit levels; ``water_s`` is where the water's motion starts.
    """

    venue_index: int
    looks: tuple[Look, Look]
    people: tuple[Person, ...]
    shift_m: float
    wall_seed: int
    gain: tuple[float, float, float]
    noise: float
    vignette: float
    water_s: float

    def __post_init__(self) -> None:
        venue(self.venue_index)
        if not 0 <= self.noise <= 50:
            raise UsageError(f"a scene's noise lies in 0..50 levels, got {self.noise}.")


def draw_scene(venue_index: int, rng: np.random.Generator, *, people: int | None = None) -> Scene:
    """A scene at that venue with ``people`` bystanders, or with 2 to 7 (drawn) if None.

    Call it with a stream that nothing of the dive is drawn from.
    """
    place = venue(venue_index)
    drawn = int(rng.integers(2, 8))
    count = drawn if people is None else people
    if count < 0:
        raise UsageError(f"a scene has 0 or more bystanders, got {count}.")
    first = draw_look(rng)
    second = draw_look(rng)
    same_suit = Look(second.skin, second.hair, first.suit, second.legs)  # a synchronized pair wears one suit
    shift, seed, noise, vignette, start, level = rng.random(6).tolist()
    tint = 1 + rng.normal(0, 0.025, 3)
    red, green, blue = ((0.9 + 0.2 * level) * tint).tolist()
    return Scene(
        venue_index=venue_index,
        looks=(first, same_suit),
        people=tuple(_draw_person(place.wall_m, place.pool_m, rng) for _ in range(count)),
        shift_m=3 * shift - 1.5,
        wall_seed=1000 * venue_index + int(1000 * seed),
        gain=(red, green, blue),
        noise=1.5 + 3.0 * noise,
        vignette=0.25 * vignette,
        water_s=100 * start,
    )


def _draw_person(wall_m: float, pool_m: float, rng: np.random.Generator) -> Person:
    """Somebody on the deck behind the pool, on a gallery before the wall, or waiting at the back of the board."""
    choice, along, depth, turn, high, size = rng.random(6).tolist()
    pose = list(POSES)[int(rng.integers(len(POSES)))]
    dressed = bool(rng.random() < 0.4)
    swimmer, spectator = draw_look(rng), draw_look(rng, dressed=True)
    heading = (turn - 0.5) * 2.4
    if choice < 0.55:
        where, place = "deck", (16 * along - 7, 0.0, -(pool_m + 0.6 + (wall_m - pool_m - 1.2) * 0.7 * depth))
    elif choice < 0.93:
        where, place = "gallery", (16 * along - 7, 1.5 + 9.5 * high, -(wall_m - 0.7))
    else:
        where, place, dressed = "board", (-2.6 - 1.6 * along, 0.0, 0.0), False
        pose, heading = ("stand", "hips", "folded", "stretch")[int(4 * depth)], 1.5708 + heading / 2
    return Person(where, place, heading, pose, spectator if dressed else swimmer, dressed, 0.92 + 0.16 * size)
