"""Numba kernels: drawn parameters -> frames.

The coordinate convention, stated once: frames are (N, T, H, W); x counts columns to the right, y rows downwards,
and pixel (x, y) covers the square [x, x + 1) x [y, y + 1), so the frame is [0, W) x [0, H). An entity of width w whose
corner is at (x, y) covers pixels x..x+w-1, y..y+w-1, and its centre is (x + w/2, y + w/2).

Kernels are compiled with ``nogil`` and called for different blocks from several threads (``generate.py``), so that
drawing overlaps compression and writing; everything in them is integer arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsgen import perlin
from tsgen.domains import Domain
from tsgen.perlin import GAIN_BITS, NOISE_BITS
from tsgen.philox import STREAM_NOISE, kernel, philox_block
from tsgen.sampling import ClipSpecs

UInt8Array = NDArray[np.uint8]


class Rasterizer:
    """Draws clips of one domain: ``rasterizer(specs, out)``.

    ``bitmaps`` uint8 (M, w, w) for digit domains, else None; ``key`` the Philox key of the stream.
    """

    def __init__(self, domain: Domain, key: tuple[int, int], bitmaps: UInt8Array | None) -> None:
        self._domain = domain
        self._key = np.array(key, dtype=np.uint32)
        entity = np.full((1, domain.width_px, domain.width_px), 255) if bitmaps is None else bitmaps
        assert entity.shape[1:] == (domain.width_px, domain.width_px)
        self._bitmaps = np.rint(entity * domain.contrast).astype(np.uint8)
        self._gain = perlin.gain_of(domain.intensity)
        self._tables = perlin.weight_tables(domain.sigma_low, domain.sigma_high, domain.size_px)

    def __call__(self, specs: ClipSpecs, out: UInt8Array) -> None:
        """Fill ``out`` uint8 (N, T, H, W)."""
        domain = self._domain
        if domain.has_noise:
            cells, weights = self._tables
            _fill_noise(
                specs.index,
                specs.sigma,
                domain.sigma_low,
                self._key,
                specs.drift,
                domain.background == "flicker",
                self._gain,
                perlin.gradient_table(),
                cells,
                weights,
                out,
            )
        else:
            out.fill(0)
        _add_entities(specs.corner_px, specs.visible, specs.digit_index, self._bitmaps, out)


@kernel
def _add_entities(corner_px, visible, digit_index, bitmaps, out):  # type: ignore[no-untyped-def]
    """Add each clip's bitmap to its frames, saturating. Dots have one bitmap, and digit_index -1 means that one."""
    width = bitmaps.shape[1]
    for n in range(out.shape[0]):
        bitmap = bitmaps[max(digit_index[n], 0)]
        for t in range(out.shape[1]):
            if not visible[n, t]:
                continue
            x0, y0 = corner_px[n, t, 0], corner_px[n, t, 1]
            for y in range(width):
                for x in range(width):
                    total = np.int32(out[n, t, y0 + y, x0 + x]) + np.int32(bitmap[y, x])
                    out[n, t, y0 + y, x0 + x] = min(total, 255)


@kernel
def _noise_frame(gradients, cell, weights, gain, along, frame):  # type: ignore[no-untyped-def]
    """One frame of noise from lattice gradients (cells + 1, cells + 1, 2); ``along`` is scratch (cells + 1, 2, W).

    First along x at every lattice row, which is little work; then every pixel row is a combination of four of those
    rows with constant factors, which compiles to vector code.
    """
    height, width = frame.shape
    last = gradients.shape[0]
    for row in range(last):
        for x in range(width):
            left = cell[x]
            along[row, 0, x] = (
                gradients[row, left, 0] * weights[0, x] + gradients[row, left + 1, 0] * weights[2, x]
            ) >> NOISE_BITS
            along[row, 1, x] = (
                gradients[row, left, 1] * weights[1, x] + gradients[row, left + 1, 1] * weights[3, x]
            ) >> NOISE_BITS
    # Each product is cast back because numba widens int32 * int32 to 64 bits, which halves the vector width.
    for y in range(height):
        upper_gx, upper_gy = along[cell[y], 0], along[cell[y], 1]
        lower_gx, lower_gy = along[cell[y] + 1, 0], along[cell[y] + 1, 1]
        a, b, c, d = weights[0, y], weights[1, y], weights[2, y], weights[3, y]
        line = frame[y]
        for x in range(width):
            total = np.int32(
                np.int32(upper_gx[x] * b)
                + np.int32(upper_gy[x] * a)
                + np.int32(lower_gx[x] * d)
                + np.int32(lower_gy[x] * c)
            )
            value = np.int32(total >> np.int32(NOISE_BITS))
            level = np.int32(np.int32(value * gain) >> np.int32(NOISE_BITS + GAIN_BITS))
            line[x] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))


@kernel
def _fill_noise(index, sigma, sigma_low, key, drift, flicker, gain, directions, cells, weights, out):  # type: ignore[no-untyped-def]
    most = cells[-1, -1] + 2
    along = np.empty((most, 2, out.shape[3]), dtype=np.int32)
    lattice = np.empty(most * most * 2, dtype=np.int32)
    words = np.empty(4, dtype=np.uint32)
    blocks_per_frame = np.int64(most * most + 15) // 16
    for n in range(out.shape[0]):
        row = sigma[n] - sigma_low
        points = sigma[n] + 1
        gradients = lattice[: points * points * 2].reshape(points, points, 2)
        for t in range(out.shape[1] if flicker else 1):
            for point in range(points * points):
                if point % 16 == 0:
                    philox_block(index[n], STREAM_NOISE, t * blocks_per_frame + point // 16, key, words)
                byte = (words[(point % 16) // 4] >> np.uint32(8 * (point % 4))) & np.uint32(0xFF)
                lattice[2 * point] = directions[byte, 0]
                lattice[2 * point + 1] = directions[byte, 1]
            if drift[n, 0] != 0 or drift[n, 1] != 0:  # what drifts out on one side comes in on the other: no seam
                gradients[-1] = gradients[0]
                gradients[:, -1] = gradients[:, 0]
            _noise_frame(gradients, cells[row], weights[row], np.int32(gain), along, out[n, t])
        if not flicker:
            for t in range(1, out.shape[1]):
                _shift(out[n, 0], t * drift[n, 0], t * drift[n, 1], out[n, t])


@kernel
def _shift(source, dx, dy, target):  # type: ignore[no-untyped-def]
    """Move an image by whole pixels, cyclically."""
    height, width = source.shape
    for y in range(height):
        for x in range(width):
            target[y, x] = source[(y - dy) % height, (x - dx) % width]
