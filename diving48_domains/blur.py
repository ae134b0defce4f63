"""The Gaussian blur of the backgrounds of S1 and S2 (section 3.3), separable: two passes of 55 taps for one of 3025.

Equal to torchvision's ``gaussian_blur`` (kernel 55, sigma 15, reflected borders) within one grey level. Sums are taken
in a fixed order and without fused or reordered arithmetic, so that every machine writes the same bytes.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsgen.common.errors import UsageError

MAX_SIZE_PX = 999
BLOCK = 96  # columns taken together along the second axis, so that all their rows stay in the nearest cache
TAPS_PER_SIGMA = 55 / 15  # of the published blur, kept when only sigma is chosen


def size_for_sigma(sigma_px: float) -> int:
    """The odd kernel size in px that cuts the Gaussian where the published one (55 for sigma 15) is cut.

    UsageError unless sigma lies in 0 < sigma <= 999.
    """
    _check_sigma(sigma_px)
    return max(3, 2 * round((sigma_px * TAPS_PER_SIGMA - 1) / 2) + 1)


def check_blur(sigma_px: float, size_px: int) -> None:
    """UsageError unless sigma lies in 0 < sigma <= 999 and the kernel size odd and in 3..999."""
    _check_sigma(sigma_px)
    if size_px % 2 == 0 or not 3 <= size_px <= MAX_SIZE_PX:
        raise UsageError(f"the blur's kernel size is an odd number of pixels from 3 to {MAX_SIZE_PX}, got {size_px}.")


def _check_sigma(sigma_px: float) -> None:
    if not 0 < sigma_px <= MAX_SIZE_PX:  # false for nan too
        raise UsageError(f"the blur's sigma is a number of pixels above 0, at most {MAX_SIZE_PX}, got {sigma_px}.")


@functools.lru_cache(maxsize=8)
def half_kernel(sigma_px: float, size_px: int) -> NDArray[np.float32]:
    """float32 (size // 2 + 1,): the weights from the centre outwards; the whole kernel sums to 1."""
    check_blur(sigma_px, size_px)
    x = np.arange(size_px // 2 + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (x / sigma_px) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    return weights.astype(np.float32)


def blurred(frame: NDArray[np.uint8], sigma_px: float, size_px: int) -> NDArray[np.uint8]:
    """uint8 (H, W, C) -> uint8 (H, W, C), rounded half to even. Borders are reflected without repeating the edge."""
    planes = _blurred_planes(frame.astype(np.float32), half_kernel(sigma_px, size_px))
    return np.rint(planes, out=planes).astype(np.uint8)


def blurred_where(
    frame: NDArray[np.uint8], keep: NDArray[np.bool_], sigma_px: float, size_px: int
) -> NDArray[np.uint8]:
    """As :func:`blurred`, of the pixels in ``keep`` (bool (H, W)) alone: no halo of what is left out.

    A pixel without any kept one within the kernel's reach keeps its own value.
    """
    height, width, channels = frame.shape
    planes = np.empty((height, width, channels + 1), dtype=np.float32)
    planes[:, :, :channels] = frame * keep[:, :, None]
    planes[:, :, channels] = keep
    planes = _blurred_planes(planes, half_kernel(sigma_px, size_px))
    weight = planes[:, :, channels:]
    reached = weight > np.float32(1e-6)
    values = np.where(reached, planes[:, :, :channels] / np.where(reached, weight, 1), frame)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blurred_planes(planes: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width, channels = planes.shape
    reach = len(half) - 1
    columns, rows = _reflected(width, reach), _reflected(height, reach)
    out = np.empty((height, width * channels), dtype=np.float32)
    _passes(planes.reshape(height, width * channels), half, columns, rows, channels, out)
    return out.reshape(height, width, channels)


@functools.lru_cache(maxsize=16)
def _reflected(extent: int, reach: int) -> NDArray[np.int64]:
    """int64 (extent + 2 * reach,): which of 0..extent-1 stands at each place of the padded axis, however far out."""
    places = np.arange(-reach, extent + reach)
    if extent == 1:
        return np.zeros_like(places)
    period = 2 * (extent - 1)
    places = np.abs(places) % period
    return np.minimum(places, period - places)


@njit(cache=True)
def _sum_of_taps(
    total: NDArray[np.float32], values: NDArray[np.float32], half: NDArray[np.float32], centre: int, step: int
) -> None:
    """``total[i]`` = the weighted sum of ``values[centre + i + k * step]``, k from -reach to reach.

    Three taps a sweep, as fewer sweeps over ``total`` are faster; the additions keep the order of one tap a sweep.
    """
    reach, n = half.shape[0] - 1, total.shape[0]
    middle = values[centre : centre + n]
    for i in range(n):
        total[i] = half[0] * middle[i]
    for k in range(1, reach - 1, 3):
        w0, w1, w2 = half[k], half[k + 1], half[k + 2]
        left, right = centre - k * step, centre + k * step
        a0, b0 = values[left : left + n], values[right : right + n]
        a1, b1 = values[left - step : left - step + n], values[right + step : right + step + n]
        a2, b2 = values[left - 2 * step : left - 2 * step + n], values[right + 2 * step : right + 2 * step + n]
        for i in range(n):
            total[i] = ((total[i] + w0 * (a0[i] + b0[i])) + w1 * (a1[i] + b1[i])) + w2 * (a2[i] + b2[i])
    for k in range(reach - reach % 3 + 1, reach + 1):
        a0 = values[centre - k * step : centre - k * step + n]
        b0 = values[centre + k * step : centre + k * step + n]
        for i in range(n):
            total[i] += half[k] * (a0[i] + b0[i])


@njit(cache=True)
def _passes(
    planes: NDArray[np.float32],
    half: NDArray[np.float32],
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    channels: int,
    out: NDArray[np.float32],
) -> None:
    """Along rows, then along columns. Inner loops run over neighbouring places, each with its own sum: they vectorize
    without reordering any addition. ``planes`` and ``out`` (H, W * C)."""
    height, length = planes.shape
    reach = half.shape[0] - 1
    padded = np.empty(columns.shape[0] * channels, dtype=np.float32)
    across = np.empty((height, length), dtype=np.float32)
    ends = reach * channels
    for y in range(height):
        for place in range(columns.shape[0]):
            for c in range(channels):
                padded[place * channels + c] = planes[y, columns[place] * channels + c]
        _sum_of_taps(across[y], padded, half, ends, channels)
    block = np.empty((rows.shape[0], BLOCK), dtype=np.float32)
    for first in range(0, length, BLOCK):
        wide = min(BLOCK, length - first)
        for place in range(rows.shape[0]):
            block[place, :wide] = across[rows[place], first : first + wide]
        flat = block.reshape(-1)
        for y in range(height):
            _sum_of_taps(out[y, first : first + wide], flat[y * BLOCK :], half, reach * BLOCK, BLOCK)
