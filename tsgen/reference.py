"""The generator again, in plain NumPy and Python, one clip at a time: slow, obvious, and the oracle of the tests.

It starts from the drawn parameters of a clip and repeats motion, drawing and noise without the kernels and without the
vectorised motion code. Same parameters, same bytes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsgen import perlin
from tsgen.domains import Domain
from tsgen.philox import STREAM_NOISE, philox_rounds
from tsgen.sampling import ClipSpecs
from tsgen.vocabulary import CLASS_NAMES


def render_clip(
    specs: ClipSpecs, row: int, domain: Domain, key: tuple[int, int], bitmaps: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """The frames of one clip, uint8 (T, H, W)."""
    size = domain.size_px
    frames = np.zeros((domain.num_frames, size, size), dtype=np.uint8)
    path = corner_path(specs, row, domain)
    for t, (x, y) in enumerate(path):
        if domain.has_noise:
            frames[t] = noise_image(specs, row, t, domain, key)
        if domain.motion_profile.dots_vanish and not domain.has_digits and (x == 0 or y == 0):
            continue
        if bitmaps is None:
            entity = np.full((domain.width_px, domain.width_px), 255.0)
        else:
            entity = bitmaps[specs.digit_index[row]].astype(float)
        patch = frames[t, y : y + domain.width_px, x : x + domain.width_px]
        patch[...] = np.minimum(patch + np.rint(entity * domain.contrast), 255)
    return frames


def corner_path(specs: ClipSpecs, row: int, domain: Domain) -> list[tuple[int, int]]:
    """The drawn upper left corner (x, y) px in every frame, by exact integer bookkeeping.

    For the published motion; the paths of ``strict`` and ``order`` have tests of their own and are taken as they are.
    """
    if domain.motion_profile.motion != "published":
        return [(int(x), int(y)) for x, y in specs.corner_px[row]]
    transposed = domain.motion_profile.dots_are_transposed and not domain.has_digits
    steps = [(round(vx * 65536), round(vy * 65536)) for vx, vy in velocities(specs, row, domain)]
    if specs.direction[row] < 0:
        steps.reverse()
    shift = max(int(specs.rotation[row]), 0)
    steps = steps[len(steps) - shift :] + steps[: len(steps) - shift]
    limit = (domain.size_px - domain.width_px) * 65536
    place = [int(specs.start_px[row, axis]) * 65536 for axis in ((1, 0) if transposed else (0, 1))]
    sign = [1, 1]
    path = []
    for step in steps:
        path.append((place[0] // 65536, place[1] // 65536))
        for axis in (0, 1):
            if not 0 <= place[axis] + sign[axis] * step[axis] <= limit:
                sign[axis] = -sign[axis]
            place[axis] += sign[axis] * step[axis]
    return [(y, x) for x, y in path] if transposed else path


def velocities(specs: ClipSpecs, row: int, domain: Domain) -> list[tuple[float, float]]:
    """The law of motion of the clip's class, before reversal and rotation: (vx, vy) px/frame for each frame."""
    name = CLASS_NAMES[specs.label[row]]
    speed = float(specs.speed[row])
    frames = domain.num_frames
    start_heading = int(specs.heading[row]) / 65536 * 2 * math.pi - math.pi
    result = []
    for t in range(frames):
        share = t / (frames - 1) if frames > 1 else 0.0
        length = speed
        if name == "circle":
            heading = 2 * math.pi * share
        elif name == "arc":
            heading = start_heading + math.pi * share
        elif name == "line":
            heading = start_heading
        elif name == "rectangle":
            heading = math.radians((90, 180, -90, 0)[4 * t // frames])
        elif name == "spiral":
            heading = domain.spiral_reach * share
            length = speed * heading
        else:
            raise AssertionError(name)
        result.append((length * math.cos(heading), length * math.sin(heading)))
    return result


def noise_image(specs: ClipSpecs, row: int, t: int, domain: Domain, key: tuple[int, int]) -> NDArray[np.uint8]:
    """The Perlin background of frame t, uint8 (H, W)."""
    index, sigma = int(specs.index[row]), int(specs.sigma[row])
    noise_frame = t if domain.background == "flicker" else 0
    most_points = (domain.sigma_high + 1) ** 2
    blocks_per_frame = -(-most_points // 16)
    points = (sigma + 1) ** 2
    draws: list[int] = []
    for block in range(-(-points // 16)):
        counter = (index & 0xFFFFFFFF, index >> 32, STREAM_NOISE, noise_frame * blocks_per_frame + block)
        c0, c1, c2, c3 = (np.array(word, dtype=np.uint64) for word in counter)
        words = philox_rounds(c0, c1, c2, c3, key)
        draws.extend(int(word) >> (8 * byte) & 0xFF for word in words for byte in range(4))
    gradients = perlin.gradient_table()[draws[:points]].reshape(sigma + 1, sigma + 1, 2)
    if domain.background == "drift":
        gradients = np.pad(gradients[:-1, :-1], ((0, 1), (0, 1), (0, 0)), mode="wrap")
    image = perlin.grey_levels(perlin.noise_field(gradients, sigma, domain.size_px), perlin.gain_of(domain.intensity))
    if domain.background == "drift":
        image = np.roll(image, (t * int(specs.drift[row, 1]), t * int(specs.drift[row, 0])), axis=(0, 1))
    return image
