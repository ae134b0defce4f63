"""The solid things around a dive, as shapes and faces in the world: board, tower, rails, flags, bystanders, splash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini.scene import DRESSED, PERSON_BONES, PERSON_JOINTS, SWIMMER, Person, Scene
from diving48_domains.mini.venue import Colour, Venue, venue

FloatArray = NDArray[np.float64]

SPRINGBOARD_M = 3.5  # boards lower than this bend, higher ones are platforms
BOARD_LENGTH_M = 4.8
DROPS = 110  # of one diver's splash
GRAVITY = 9.81


@dataclass(frozen=True, slots=True)
class Rods:
    """Capsules at rest: ``ends`` float64 (n, 2, 3) m, ``radii`` (n, 2) m, ``colours`` (n, 3), ``heads`` bool (n,),
    ``hair`` (n, 6): the way hair faces in the world, and its colour; used where ``heads``."""

    ends: FloatArray
    radii: FloatArray
    colours: FloatArray
    heads: NDArray[np.bool_]
    hair: FloatArray


@dataclass(frozen=True, slots=True)
class Drops:
    """The splash: ``start`` (n, 3) m, ``speed`` (n, 3) m/s, ``born`` (n,) s, ``radius`` (n,) m."""

    start: FloatArray
    speed: FloatArray
    born: FloatArray
    radius: FloatArray

    def at(self, times: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Places (S, n, 3) m at ``times`` (S,) s, and (S, n) which drops are in the air then."""
        age = times[:, None] - self.born
        places = self.start + self.speed * age[:, :, None]
        places[..., 1] -= 0.5 * GRAVITY * age * age
        return places, (age > 0) & (places[..., 1] > -0.02)


Rod = tuple[FloatArray, tuple[float, float], Colour, bool, FloatArray, Colour]
RAIL: Colour = (0.75, 0.77, 0.80)


def _rod(a: Sequence[float], b: Sequence[float], radius: float, colour: Colour) -> Rod:
    return np.array([a, b], dtype=np.float64), (radius, radius), colour, False, np.zeros(3), colour


def people_rods(scene: Scene) -> Rods:
    """The bystanders on deck and galleries, the far ones first, each gallery under and before who stands on it."""
    rods: list[Rod] = []
    frame = venue(scene.venue_index).tower
    for person in sorted(scene.people, key=lambda one: one.place[2]):
        if person.where == "board":
            continue
        x, y, z = person.place
        if person.where == "gallery":
            for side in (-0.6, 0.6):
                rods.append(_rod((x + side, 0, z), (x + side, y, z), 0.045, frame))
            rods.append(_rod((x - 0.75, y - 0.07, z), (x + 0.75, y - 0.07, z), 0.07, frame))
        rods.extend(_person(person, np.zeros(3)))
        if person.where == "gallery":
            for level in (0.42, 0.80):
                rods.append(_rod((x - 0.75, y + level, z + 0.3), (x + 0.75, y + level, z + 0.3), 0.018, RAIL))
            for side in (-0.75, 0.0, 0.75):
                rods.append(_rod((x + side, y, z + 0.3), (x + side, y + 0.80, z + 0.3), 0.018, RAIL))
    return _rods(rods)


def waiting_rods(scene: Scene, board_m: float, lane: float) -> Rods:
    """Who waits at the back of the board in z = ``lane``."""
    waiting = [person for person in scene.people if person.where == "board"][:1]
    return _rods([rod for person in waiting for rod in _person(person, np.array([0.0, board_m, lane]))])


def _person(person: Person, shift: FloatArray) -> list[Rod]:
    joints = dict(zip(PERSON_JOINTS, person.joints() + shift, strict=True))
    hair = np.array([0.0, 0.75, 0.0]) - 0.66 * np.array([np.sin(person.heading), 0.0, np.cos(person.heading)])
    shown = DRESSED if person.dressed else SWIMMER
    return [
        (
            np.stack([joints[first], joints[second]]),
            (wide * person.height, narrow * person.height),
            getattr(person.look, shown[part]),
            part == "head",
            hair,
            person.look.hair,
        )
        for first, second, wide, narrow, part in PERSON_BONES
    ]


def tower_rods(place: Venue, board_m: float, lanes: Sequence[float]) -> Rods:
    """Rails, ladder and lattice of the tower, and the venue's line of flags."""
    rods: list[Rod] = []

    def rod(a: Sequence[float], b: Sequence[float], radius: float, colour: Colour) -> None:
        rods.append(_rod(a, b, radius, colour))

    low, high = min(lanes) - 0.5, max(lanes) + 0.5
    start, end = -BOARD_LENGTH_M, -2.2
    for side in (low, high):
        for level in (0.45, 0.95):
            rod((start, board_m + level, side), (end, board_m + level, side), 0.022, RAIL)
        for x in np.linspace(start, end, 4):
            rod((float(x), board_m, side), (float(x), board_m + 0.95, side), 0.022, RAIL)
    if place.tower_style == "lattice":
        for x in (-4.6, -3.4):
            rod((x, 0.0, low), (x, board_m - 0.1, low), 0.06, place.tower)
            rod((x, 0.0, high), (x, board_m - 0.1, high), 0.06, place.tower)
        for k in range(int(board_m / 0.9)):
            x = (-4.6, -3.4) if k % 2 else (-3.4, -4.6)
            rod((x[0], 0.9 * k, high), (x[1], 0.9 * (k + 1), high), 0.035, place.tower)
    for k in range(int(board_m / 0.3)):  # the ladder's rungs
        rod((-5.25, 0.3 * k, high), (-4.85, 0.3 * k, high), 0.016, RAIL)
    for x in (-5.25, -4.85):
        rod((x, 0.0, high), (x, board_m + 0.9, high), 0.022, RAIL)
    if place.flags:
        colours = place.wall_colours[2], place.board
        for k in range(34):
            x, y = -7.0 + 0.6 * k, 2.6 - 0.12 * np.sin(0.6 * k * 0.5)
            rod((x, y, -4.0), (x + 0.6, y, -4.0), 0.012, (0.85, 0.85, 0.85))
            rod((x, y - 0.08, -4.0), (x + 0.1, y - 0.30, -4.0), 0.07, colours[k % 2])
    return _rods(rods)


def _rods(rods: list[Rod]) -> Rods:
    count = len(rods)
    return Rods(
        ends=np.array([one[0] for one in rods]).reshape(count, 2, 3),
        radii=np.array([one[1] for one in rods]).reshape(count, 2),
        colours=np.array([one[2] for one in rods]).reshape(count, 3),
        heads=np.array([one[3] for one in rods], dtype=np.bool_),
        hair=np.array([[*one[4], *one[5]] for one in rods]).reshape(count, 6),
    )


def faces(scene: Scene, board_m: float, lanes: Sequence[float], near: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Board and tower as quadrilaterals (q, 4, 3) m in painter's order with flat colours (q, 3).

    ``lanes``: z of each diver; ``near`` (3,) points to the camera; faces turned away are left out.
    """
    place = venue(scene.venue_index)
    boxes: list[tuple[FloatArray, FloatArray, Colour]] = []  # lowest corner, highest corner, colour
    low, high = min(lanes), max(lanes)
    if place.tower_style == "slab":
        boxes.append((np.array([-4.7, -1.0, low - 0.4]), np.array([-3.3, board_m - 0.15, high + 0.4]), place.tower))
    elif place.tower_style == "columns":
        for x in (-4.6, -2.9):
            boxes.append(
                (np.array([x, -1.0, low - 0.3]), np.array([x + 0.32, board_m - 0.12, high + 0.3]), place.tower)
            )
    if board_m < SPRINGBOARD_M:
        for lane in sorted(lanes):
            boxes.append(
                (
                    np.array([-2.9, board_m - 0.35, lane - 0.3]),
                    np.array([-2.5, board_m - 0.06, lane + 0.3]),
                    place.tower,
                )
            )
            boxes.append(
                (
                    np.array([-BOARD_LENGTH_M, board_m - 0.06, lane - 0.25]),
                    np.array([0.0, board_m, lane + 0.25]),
                    place.board,
                )
            )
    else:
        grey = tuple(0.5 * one + 0.3 for one in place.tower)
        boxes.append((np.array([-6.0, board_m - 0.28, low - 0.8]), np.array([-0.02, board_m - 0.03, high + 0.8]), grey))  # type: ignore[arg-type]
        boxes.append((np.array([-6.0, board_m - 0.03, low - 0.8]), np.array([0.0, board_m, high + 0.8]), place.board))
    quads, colours = [], []
    for lowest, highest, colour in boxes:
        for axis, sign, level in ((0, -1, 0.62), (0, 1, 0.80), (1, -1, 0.45), (1, 1, 1.05), (2, 1, 0.86), (2, -1, 0.5)):
            if sign * near[axis] <= 0:
                continue
            others = [k for k in range(3) if k != axis]
            quad = np.empty((4, 3))
            quad[:, axis] = highest[axis] if sign > 0 else lowest[axis]
            for corner, (a, b) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
                quad[corner, others[0]] = (lowest, highest)[a][others[0]]
                quad[corner, others[1]] = (lowest, highest)[b][others[1]]
            quads.append(quad)
            colours.append(np.minimum(np.array(colour) * level, 1.0))
    return np.array(quads), np.array(colours)


def draw_drops(x: float, z: float, time: float, strength: float, rng: np.random.Generator) -> Drops:
    """The drops that one entry at (x, z) m throws up from ``time`` s on: a narrow jet and a wider crown."""
    draws = rng.random((DROPS, 6))
    angle = 2 * np.pi * draws[:, 0]
    jet = draws[:, 1] < 0.45
    out = np.where(jet, 0.1 + 0.5 * draws[:, 2], 0.5 + 1.4 * draws[:, 2]) * (0.6 + 0.6 * strength)
    rise = np.where(jet, 2.2 + 3.2 * draws[:, 3], 1.2 + 2.2 * draws[:, 3]) * (0.6 + 0.6 * strength)
    radial = np.stack([np.cos(angle), np.zeros(DROPS), np.sin(angle)], axis=1)
    start = np.array([x, 0.0, z]) + (0.08 + 0.15 * draws[:, 4])[:, None] * radial
    speed = out[:, None] * radial + np.array([0.0, 1.0, 0.0]) * rise[:, None]
    born = time + np.where(jet, 0.06 + 0.32 * draws[:, 5], 0.22 * draws[:, 5])
    return Drops(start, speed, born, 0.014 + 0.030 * draws[:, 4] ** 2)
