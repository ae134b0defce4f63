"""The Perlin background in fixed point: the tables its kernels need, and the field in NumPy.

Classic gradient noise (Perlin 1985, with the quintic fade of 2002): sigma lattice cells across the frame, at each
lattice point one of 256 directions of length sqrt(2), sampled at pixel centres. With gradients of that length the
noise fills [-1, 1]. ``noise.pnoise2`` is the oracle of the tests.

All arithmetic on pixels is integer: no compiler, vector width or fused multiply-add can change a byte. The field
is separable: with a = u(1 - f), b = 1 - f, c = (u - 1)f, d = f, where u is the place within the cell and f = fade(u),
it is the sum over the four corners of the cell, gx weighted by (a or c in x) * (b or d in y), gy the other way round.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NOISE_BITS = 14  # gradients, weights and noise values are multiples of 2**-14
ONE = 1 << NOISE_BITS
GAIN_BITS = 6
NUM_DIRECTIONS = 256

Int32Array = NDArray[np.int32]


@lru_cache
def gradient_table() -> Int32Array:
    """The 256 gradients (gx, gy) of length sqrt(2), int32 (256, 2) in 2**-14."""
    angle = np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)
    gradients = np.sqrt(2.0) * ONE * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(np.rint(gradients), dtype=np.int32)


@lru_cache
def axis_weights(sigma: int, size_px: int) -> tuple[Int32Array, Int32Array]:
    """For each pixel along an axis: its lattice cell, int32 (size,), and (a, b, c, d), int32 (4, size) in 2**-14."""
    place = (np.arange(size_px) + 0.5) * sigma / size_px
    cell = np.floor(place).astype(np.int32)
    u = place - cell
    f = fade(u)
    weights = np.stack([u * (1 - f), 1 - f, (u - 1) * f, f])
    return cell, np.rint(weights * ONE).astype(np.int32)


def fade(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """6u^5 - 15u^4 + 10u^3."""
    return u * u * u * (u * (u * 6 - 15) + 10)


@lru_cache
def weight_tables(sigma_low: int, sigma_high: int, size_px: int) -> tuple[Int32Array, Int32Array]:
    """:func:`axis_weights` of every sigma: cells int32 (S, size) and weights int32 (S, 4, size)."""
    tables = [axis_weights(sigma, size_px) for sigma in range(sigma_low, sigma_high + 1)]
    return np.stack([cell for cell, _ in tables]), np.stack([weights for _, weights in tables])


def gain_of(intensity: float) -> int:
    """Grey levels for a noise value of 1, in 2**-6."""
    return round(intensity * 255 * (1 << GAIN_BITS))


def noise_field(gradients: Int32Array, sigma: int, size_px: int) -> Int32Array:
    """Noise from lattice gradients int32 (sigma + 1, sigma + 1, 2) [row, column, (gx, gy)] in 2**-14.

    Returns int32 (size, size) in 2**-14. The kernel in ``raster.py`` computes the same integers.
    """
    cell, (a, b, c, d) = axis_weights(sigma, size_px)
    gx, gy = gradients[..., 0], gradients[..., 1]
    # Along x first, at every lattice row: (sigma + 1, size).
    along_gx = (gx[:, cell] * a + gx[:, cell + 1] * c) >> NOISE_BITS
    along_gy = (gy[:, cell] * b + gy[:, cell + 1] * d) >> NOISE_BITS
    upper, lower = cell, cell + 1
    total = (
        along_gx[upper] * b[:, None]
        + along_gy[upper] * a[:, None]
        + along_gx[lower] * d[:, None]
        + along_gy[lower] * c[:, None]
    )
    return np.asarray(total >> NOISE_BITS, dtype=np.int32)


def grey_levels(field: Int32Array, gain: int) -> NDArray[np.uint8]:
    """Noise in 2**-14 -> uint8, the negative half black."""
    return np.asarray(np.clip((field * gain) >> (NOISE_BITS + GAIN_BITS), 0, 255), dtype=np.uint8)
