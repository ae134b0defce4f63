"""Compiled painters of a venue's far wall: a colour for every point (x, y) in metres, the same at any resolution.

Every pattern is a function of place and a seed, so the wall is the same however the camera moves and however large the
frames are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


def kernel(function: Any) -> Any:
    """Compile for use from several threads at once; kept on disk for the next process."""
    return njit(nogil=True, cache=True, boundscheck=False)(function)


@kernel
def hash01(i, j, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) of two whole numbers and a seed."""
    h = (i * 374761393 + j * 668265263 + seed * 1442695041) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 668265263) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@kernel
def smooth_noise(x, y, seed):  # type: ignore[no-untyped-def]
    """Value noise in [0, 1) with a grid of 1."""
    i, j = int(np.floor(x)), int(np.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = hash01(i, j, seed) * (1 - u) + hash01(i + 1, j, seed) * u
    high = hash01(i, j + 1, seed) * (1 - u) + hash01(i + 1, j + 1, seed) * u
    return low * (1 - v) + high * v


@kernel
def _built(kind, x, y, seed):  # type: ignore[no-untyped-def]
    """Panels, brick, tiles and concrete; see :func:`_pattern`."""
    second, accent, shade = 0.0, 0.0, 1.0
    if kind == 0:  # panels: upright boards of varying tone, dark joints
        cell = int(np.floor(x / 1.2))
        second = hash01(cell, 0, seed)
        accent = 0.8 if hash01(cell, 1, seed) > 0.85 else 0.0
        shade = 0.8 if x / 1.2 - cell < 0.03 else 1.0
    elif kind == 1:  # brick
        row = int(np.floor(y / 0.24))
        along = x / 0.62 + 0.5 * (row & 1)
        brick = int(np.floor(along))
        second = hash01(brick, row, seed)
        if along - brick < 0.06 or y / 0.24 - row < 0.13:
            accent = 0.8
    elif kind == 2:  # tiles, with two bands in the second colour
        row, column = int(np.floor(y / 0.42)), int(np.floor(x / 0.42))
        shade = 0.96 + 0.06 * hash01(column, row, seed)
        if row in (2, 3) or row in (11, 12, 13) or row in (22, 23):
            second = 1.0 if hash01(column, row, seed + 1) > 0.25 else 0.35
        if y / 0.42 - row < 0.1 or x / 0.42 - column < 0.1:
            accent, shade = 0.5, 0.86
    else:  # concrete: shuttering marks, stains
        u, v = x / 2.4 - np.floor(x / 2.4), y / 1.2 - np.floor(y / 1.2)
        second = smooth_noise(x * 0.7, y * 0.5, seed) * 0.8 + 0.4 * smooth_noise(x * 6, y * 1.1, seed + 1)
        shade = 0.8 if u < 0.02 or v < 0.03 else 1.0
        if (u - 0.2) ** 2 * 4 + (v - 0.5) ** 2 < 0.004 or (u - 0.8) ** 2 * 4 + (v - 0.5) ** 2 < 0.004:
            shade = 0.6
    return second, accent, shade


@kernel
def _pattern(kind, x, y, seed):  # type: ignore[no-untyped-def]
    """How much of the second and of the accent colour a point of the wall has, and its brightness."""
    if kind in (0, 1, 2, 4):
        return _built(kind, x, y, seed)
    second, accent, shade = 0.0, 0.0, 1.0
    if kind == 3:  # glass: mullions, sky above, trees below
        height = smooth_noise(x * 0.45, 3.0, seed) * 3.2 + smooth_noise(x * 2.1, 7.0, seed) * 0.9 + 0.8
        second = 1.0 if y < height else 0.12 * smooth_noise(x * 0.3, y * 0.5, seed)
        shade = 0.86 + 0.02 * y + 0.25 * (smooth_noise(x * 2.0, y * 2.0, seed + 1) - 0.5) * second
        u, v = x / 1.7 - np.floor(x / 1.7), y / 2.6 - np.floor(y / 2.6)
        if u < 0.07 or v < 0.05:
            second, accent, shade = 0.0, 1.0, 1.0
    elif kind == 5:  # wood: slats
        row = int(np.floor(y / 0.22))
        plank = int(np.floor(x / 3.1 + hash01(row, 2, seed)))
        second = 0.6 * hash01(row, plank, seed) + 0.5 * smooth_noise(x * 0.9, y * 14, seed)
        shade = 0.7 if y / 0.22 - row < 0.14 else 1.0
    elif kind == 6:  # outdoor: sky, clouds, hills
        hills = 1.7 + 2.3 * smooth_noise(x * 0.16, 1.0, seed) + 0.7 * smooth_noise(x * 1.3, 5.0, seed)
        clouds = smooth_noise(x * 0.22, y * 0.6, seed) + 0.5 * smooth_noise(x * 0.6, y * 1.5, seed + 1)
        accent = min(max(2.2 * (clouds - 0.85), 0.0), 0.9) + max(0.0, 0.5 - 0.07 * y)
        if y < hills:
            second, accent = 1.0, 0.0
            leaves = smooth_noise(x * 2 + y, y * 2 - x, seed + 2) + 0.6 * smooth_noise(
                x * 5 - y * 3, y * 5 + x * 3, seed + 3
            )
            shade = 0.65 + 0.4 * leaves
    elif kind == 7:  # drapes: folds, spots of light
        second = 0.5 + 0.5 * np.sin(7.0 * x + 2.0 * smooth_noise(x, y * 0.2, seed))
        accent = 0.7 * smooth_noise(x * 0.25, y * 0.15, seed + 1) ** 3
    elif kind == 8:  # metal: corrugated, with a row of roof lights
        second = 0.5 + 0.5 * np.sin(20.0 * x)
        shade = 0.94 + 0.1 * smooth_noise(x * 0.5, y * 0.5, seed)
        if y / 3.3 - np.floor(y / 3.3) < 0.03:
            shade = 0.6
        elif 0.35 < y / 6.6 - np.floor(y / 6.6) < 0.55 and x / 2.8 - np.floor(x / 2.8) < 0.62:
            second, accent, shade = 0.0, 1.0, 1.05
    else:  # mural: broad slanted bands and waves
        band = x * 0.33 + y * 0.22 + 0.5 * np.sin(0.5 * x - 0.6 * y)
        second = 1.0 if band - np.floor(band) < 0.45 else 0.0
        wave = y - 4.5 - 1.6 * np.sin(0.45 * x + 1.0) + 0.5 * np.sin(1.3 * x)
        accent = 1.0 if 0 < wave < 0.5 or 0.9 < wave < 1.1 else 0.0
    return second, accent, shade


@kernel
def _crowd(x, up, share, seat, team, seed, colour):  # type: ignore[no-untyped-def]
    """Write a stand's colour at x and ``up`` m above the stand's foot: rows of seats, many of them taken."""
    row = int(np.floor(up / 0.78))
    along = (x + 0.27 * (row & 1)) / 0.56
    place = int(np.floor(along))
    u, v = (along - place - 0.5) * 0.56, up - 0.78 * row
    taken = hash01(place, row, seed) < share
    u += 0.08 * (hash01(place, row, seed + 1) - 0.5)
    v += 0.10 * (hash01(place, row, seed + 2) - 0.5)
    light = 0.55 + 0.25 * hash01(place, row, seed + 3)  # in the shade of the roof
    if taken and u * u + (v - 0.60) ** 2 < 0.0144:
        tone = hash01(place, row, seed + 4)
        if v > 0.63 + 0.05 * hash01(place, row, seed + 5):  # hair
            tone = 0.05 + 0.35 * tone * tone
            colour[0], colour[1], colour[2] = tone * light, 0.75 * tone * light, 0.55 * tone * light
        else:
            tone = (0.35 + 0.6 * tone) * light
            colour[0], colour[1], colour[2] = tone, 0.74 * tone, 0.58 * tone
    elif taken and abs(u) < 0.20 - 0.3 * max(0.0, v - 0.36) and v < 0.48:
        fan = hash01(place, row, seed + 6) < 0.45
        for c in range(3):
            shirt = 0.45 * hash01(place, row, seed + 10) + 0.12 + 0.4 * hash01(place, row, seed + 7 + c)
            colour[c] = light * (0.25 * shirt + 0.75 * team[c] if fan else shirt)
    elif abs(u) < 0.23 and v < 0.42:
        for c in range(3):
            colour[c] = seat[c] * (0.65 if v < 0.36 else 0.8)
    else:
        for c in range(3):
            colour[c] = 0.34 * seat[c] + 0.10


@kernel
def _banners(x, y, banners, seed, colour):  # type: ignore[no-untyped-def]
    """Write the colour of the banner at (x, y) m, if there is one: a field with something like a name on it."""
    length = 4.4
    for k in range(len(banners)):
        low, tall = banners[k, 0], banners[k, 1]
        if y < low or y >= low + tall:
            continue
        part = int(np.floor((x + 1.3 * k) / length))
        u, v = (x + 1.3 * k - part * length) / length, (y - low) / tall
        if u < 0.04 or u > 0.90 or hash01(part, k, seed + 77) > 0.8:
            continue
        letter = int(np.floor(u * 16))
        stroke = hash01(int(np.floor(u * 64)), int(np.floor(v * 6)) + 9 * letter, part + 13 * k) < 0.55
        ink = stroke and 0.25 < v < 0.75 and 0.14 < u < 0.80 and u * 16 - letter < 0.78
        swap = hash01(part, k, seed + 78) < 0.35
        first = 5 if ink != swap else 2
        for c in range(3):
            colour[c] = banners[k, first + c]


@kernel
def paint_wall(kind, colours, tiers, share, banners, pillars, x0, y0, per_metre, seed, crowd_seed, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` uint8 (h, w, 3), row 0 at height ``y0`` + h / per_metre, with the wall from x0, y0 upwards.

    ``seed`` lays the bricks, ``crowd_seed`` seats the crowd. ``colours`` (3, 3); ``tiers`` (n, 2); ``banners`` (m, 8):
    lower edge, height, colour, second colour.
    """
    height, width = out.shape[0], out.shape[1]
    colour = np.empty(3)
    for i in range(height):
        y = y0 + (height - i - 0.5) / per_metre
        for j in range(width):
            x = x0 + (j + 0.5) / per_metre
            second, accent, shade = _pattern(kind, x, y, seed)
            for c in range(3):
                value = colours[0, c] + (colours[1, c] - colours[0, c]) * second
                colour[c] = shade * (value + (colours[2, c] - value) * accent)
            for k in range(len(tiers)):
                if tiers[k, 0] <= y < tiers[k, 1]:
                    _crowd(x, y - tiers[k, 0], share, colours[1], colours[2], crowd_seed + 31 * k, colour)
                elif tiers[k, 0] - 0.35 <= y < tiers[k, 0]:  # the parapet
                    for c in range(3):
                        colour[c] = 0.5 * colours[2, c] + 0.35
            if pillars > 0 and x / pillars - np.floor(x / pillars) < 0.55 / pillars:
                across = (x / pillars - np.floor(x / pillars)) * pillars / 0.55
                for c in range(3):
                    colour[c] = colours[2, c] * (0.6 + 0.45 * np.sin(3.14 * across))
            _banners(x, y, banners, seed, colour)
            haze = 0.92 + 0.05 * smooth_noise(x * 0.2, y * 0.2, seed + 99) + 0.006 * y
            for c in range(3):
                out[i, j, c] = np.uint8(min(max(255.0 * colour[c] * haze, 0.0), 255.0))
