"""The motion of the profiles ``strict`` and ``order``: no shortcut but the shape, or not even that (design/science.md).

Every class is one canonical path of T points: a circle, a spiral, a line, a square, a half circle, each normalised so
that its smallest enclosing circle is the unit circle around the origin and its first point lies on that circle. A clip
is that path mirrored or not, turned by a uniform angle, scaled by a drawn extent and moved to a drawn centre::

    position(t) = centre + extent / 2 * turn(angle) * mirror(path[t])

Extent and centre come from the same law for all classes. Hence, by construction and not by tuning:

* start position: centre + extent / 2 * (a uniform direction), the same law in every class;
* visited area: the smallest enclosing circle has diameter ``extent``, the same law in every class;
* frame count: nothing bounces, vanishes or repeats; the entity is wholly visible in all T frames.

What remains is the shape itself: the set of visited places, and how fast they are passed. In ``order`` even that is
gone: classes are *forward* and *reversed*, clips come in pairs that visit the same places in opposite order, so any
function of the unordered frames has the same distribution in both classes. Its path is the spiral moved so that the
midpoint of its ends is the origin: the first frame's position, too, has one law in both classes.

Train, val and test share no drawn path, forwards or backwards: a draw is taken only if a hash of the drawn path belongs
to the split, else the next attempt is drawn. All arithmetic after the tables is integer.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tsgen.common.errors import UsageError
from tsgen.motion import SUBPIXEL_BITS
from tsgen.philox import STREAM_CLIP, random_words, scale_to_range
from tsgen.vocabulary import SPLITS

Int64Array = NDArray[np.int64]

TABLE_BITS = 20  # paths, cosines and sines are multiples of 2**-20
ANGLE_STEPS = 65536
EXTENT_STEPS_PER_PX = 16
SPIRAL_TURNS = 1.75
SPIRAL_INNER_RADIUS = 0.15
FIRST_BLOCK = 4  # counter blocks 4, 5, ... of a clip; the ones before belong to sampling.py
MAX_ATTEMPTS = 64
FEWEST_FRAMES = 5  # a square has four corners


def extent_range(num_frames: int) -> tuple[int, int]:
    """Smallest and largest extent (diameter of the path) in 1/16 px.

    Even a straight line of the smallest extent moves by sqrt(2) px a frame or more, so that no two frames of any clip
    show the entity at the same place: the number of visited places, too, is the same in every class.
    """
    low = max(math.ceil(math.sqrt(2) * (num_frames - 1) * EXTENT_STEPS_PER_PX), 8 * EXTENT_STEPS_PER_PX)
    return low, low * 5 // 4


def check_fits(num_frames: int, size_px: int, width_px: int) -> None:
    """Refuse a frame that the largest path does not fit into."""
    if num_frames < FEWEST_FRAMES:
        raise UsageError(f"{num_frames} frames show no path of this profile; at least {FEWEST_FRAMES} are needed.")
    needed = extent_range(num_frames)[1] / EXTENT_STEPS_PER_PX + 1 + width_px
    if size_px < needed:
        raise UsageError(
            f"a frame of {size_px} px is too small for the paths of this profile with a {width_px} px entity over "
            f"{num_frames} frames; at least {math.ceil(needed)} px are needed."
        )


@lru_cache
def canonical_paths(num_frames: int) -> Int64Array:
    """The five paths in the order of the classes, int64 (5, T, 2) in 2**-20, in the unit circle, start on it."""
    s = np.linspace(0, 1, num_frames)
    turn = 2 * np.pi * s * (num_frames - 1) / num_frames  # a full turn without visiting the start twice
    corner = np.array([(1, 0), (0, 1), (-1, 0), (0, -1), (1, 0)], dtype=np.float64)
    leg, part = np.divmod(4 * s * (num_frames - 1) / num_frames, 1)
    leg = leg.astype(int)
    paths = [
        np.stack([np.cos(turn), np.sin(turn)], axis=1),
        _spiral(s),
        np.stack([1 - 2 * s, 0 * s], axis=1),
        corner[leg] + part[:, None] * (corner[leg + 1] - corner[leg]),
        np.stack([np.cos(np.pi * s), np.sin(np.pi * s)], axis=1),
    ]
    return np.stack([_to_table(_normalised(path)) for path in paths])


@lru_cache
def order_path(num_frames: int) -> Int64Array:
    """The path of the order task, int64 (T, 2) in 2**-20: the spiral with the midpoint of its ends at the origin."""
    path = _spiral(np.linspace(0, 1, num_frames))
    path = path - (path[0] + path[-1]) / 2
    return _to_table(path / np.hypot(*path.T).max())


@lru_cache
def angle_table() -> Int64Array:
    """Cosine and sine of every angle, int64 (65536, 2) in 2**-20."""
    angle = np.arange(ANGLE_STEPS) * (2 * np.pi / ANGLE_STEPS)
    return _to_table(np.stack([np.cos(angle), np.sin(angle)], axis=1))


def draw_paths(
    draw_id: Int64Array, paths: Int64Array, key: tuple[int, int], split: str, size_px: int, width_px: int
) -> tuple[NDArray[np.int32], Int64Array, Int64Array]:
    """Corner positions of N clips, each along its own canonical path.

    ``draw_id`` int64 (N,) names the draws (clips with the same id and path move alike), ``paths`` int64 (N, T, 2).
    Returns corners int32 (N, T, 2) in 1/65536 px, angles int64 (N,) in turns / 65536 and mirrors int64 (N,) of +-1.
    """
    n, num_frames, _ = paths.shape
    corner = np.zeros((n, num_frames, 2), dtype=np.int32)
    angle = np.zeros(n, dtype=np.int64)
    mirror = np.zeros(n, dtype=np.int64)
    pending = np.arange(n)
    for attempt in range(MAX_ATTEMPTS):
        ids = draw_id[pending]
        words = random_words(ids, STREAM_CLIP, FIRST_BLOCK + 2 * attempt, 2, key)
        angle[pending] = scale_to_range(words[:, 0], ANGLE_STEPS)
        mirror[pending] = 1 - 2 * scale_to_range(words[:, 1], 2)
        corner[pending] = _place(paths[pending], angle[pending], mirror[pending], words[:, 2:5], size_px, width_px)
        if attempt < MAX_ATTEMPTS - 1:  # the last is taken as it is: (2/3)**64, it never comes to that
            pending = pending[path_hash(corner[pending]) % len(SPLITS) != SPLITS.index(split)]
        if not len(pending):
            break
    return corner, angle, mirror


def path_hash(corner: NDArray[np.int32]) -> NDArray[np.uint64]:
    """A hash of each drawn path, uint64 (N,): the same for a path and its reversal."""
    drawn = (corner >> SUBPIXEL_BITS).astype(np.uint64)
    cells = drawn[..., 0] * np.uint64(1 << 16) + drawn[..., 1]
    return _fold(cells) + _fold(cells[:, ::-1])


def _fold(cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """FNV-1a over the frames with a final avalanche (the finaliser of MurmurHash3)."""
    value = np.full(len(cells), 0xCBF29CE484222325, dtype=np.uint64)
    for t in range(cells.shape[1]):
        value = (value ^ cells[:, t]) * np.uint64(0x100000001B3)
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> np.uint64(33))) * np.uint64(multiplier)
    return value ^ (value >> np.uint64(33))


def _place(
    paths: Int64Array, angle: Int64Array, mirror: Int64Array, words: NDArray[np.uint32], size_px: int, width_px: int
) -> NDArray[np.int32]:
    low, high = extent_range(paths.shape[1])
    extent = low + scale_to_range(words[:, 0], high - low + 1)
    radius = extent << (SUBPIXEL_BITS - EXTENT_STEPS_PER_PX.bit_length())  # extent / 2 in 1/65536 px
    most_radius = high << (SUBPIXEL_BITS - EXTENT_STEPS_PER_PX.bit_length())
    # The centre leaves room for the largest extent whatever was drawn, so that it tells nothing about the extent; one
    # pixel's 1/16 more on each side keeps rounding inside the frame.
    margin = most_radius + (1 << 12)
    room = ((size_px - width_px) << SUBPIXEL_BITS) - 2 * margin
    centre = margin + scale_to_range(words[:, 1:3], room + 1)
    cos, sin = angle_table()[angle].T[..., None]
    x, y = paths[..., 0], paths[..., 1] * mirror[:, None]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1) >> TABLE_BITS
    offset = (radius[:, None, None] * turned) >> TABLE_BITS
    return np.asarray(centre[:, None] + offset, dtype=np.int32)


def _spiral(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """From outside inwards at constant speed along the path (T, 2)."""
    dense = np.linspace(0, 1, 4001)
    radius = 1 - (1 - SPIRAL_INNER_RADIUS) * dense
    turn = 2 * np.pi * SPIRAL_TURNS * dense
    curve = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    return np.stack([np.interp(s * length[-1], length, curve[:, axis]) for axis in (0, 1)], axis=1)


def _normalised(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move and scale a path so that its smallest enclosing circle is the unit circle, and turn its start to (1, 0)."""
    centre, radius = smallest_enclosing_circle(path)
    path = (path - centre) / radius
    cos, sin = path[0] / np.hypot(*path[0])
    return np.asarray(path @ np.array([[cos, -sin], [sin, cos]]))


def smallest_enclosing_circle(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centre (2,) and radius of the points (T, 2): Welzl's incremental construction."""
    centre, radius = points[0], 0.0
    for i, p in enumerate(points):
        if _inside(p, centre, radius):
            continue
        centre, radius = p, 0.0
        for j, q in enumerate(points[:i]):
            if _inside(q, centre, radius):
                continue
            centre = (p + q) / 2
            radius = float(np.hypot(*(p - centre)))
            for r in points[:j]:
                if not _inside(r, centre, radius):
                    centre = _circumcentre(p, q, r)
                    radius = float(np.hypot(*(p - centre)))
    return centre, radius


def _inside(point: NDArray[np.float64], centre: NDArray[np.float64], radius: float) -> bool:
    return bool(np.hypot(*(point - centre)) <= radius + 1e-12)


def _circumcentre(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(2 * np.array([b - a, c - a]), [b @ b - a @ a, c @ c - a @ a]))


def _to_table(values: NDArray[np.float64]) -> Int64Array:
    return np.asarray(np.rint(values * (1 << TABLE_BITS)), dtype=np.int64)
