"""Pure functions that turn digit scans into the small bitmaps that move: Lanczos resize, centring in a cell.

The published generator shrank 28x28 MNIST digits to 14x14 with Pillow's Lanczos filter and kept the grey
levels (section 3.2 only says "MNIST digit"). The same bits come out here without Pillow at run time, so that
a generated file does not depend on which Pillow is installed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

PRECISION_BITS = 32 - 8 - 2
"""Fixed-point bits of a coefficient in Pillow's 8-bit path: 8 of 32 are the pixel's, 2 are for overshoot."""

LANCZOS_LOBES = 3.0
BATCH_BYTES = 1 << 18
"""Of float64 pixels at a time: stays in the cache and below the size from which OpenBLAS wakes threads, which
on a busy machine made 60 000 MNIST scans take 3-4 s instead of 0.35 s (2 cores, NumPy 2.4)."""


def resize_lanczos(images: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize grey images as ``PIL.Image.resize((size_px, size_px), LANCZOS)`` does in mode "L", bit for bit.

    The horizontal pass comes first, then the vertical, each rounded to 8 bits. For square images that is what
    every Pillow does; for tall ones Pillow 13 takes the vertical pass first, which changes some levels.

    Args:
        images: uint8 (M, H, W), M >= 0, H and W >= 1, grey levels 0..255.
        size_px: side of the output in pixels, >= 1.

    Returns:
        uint8 (M, size_px, size_px), C-contiguous, a new array.

    Raises:
        ValueError: another dtype or number of axes, an empty image or ``size_px`` below 1.
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"images must be uint8 (M, H, W), got {images.dtype} {images.shape}")
    count, height, width = images.shape
    if height < 1 or width < 1 or size_px < 1:
        raise ValueError(f"cannot resize images of {height}x{width} px to {size_px} px")
    across, down = _coefficients(width, size_px), _coefficients(height, size_px)
    resized = np.empty((count, size_px, size_px), np.uint8)
    step = max(1, BATCH_BYTES // (8 * height * width))
    for start in range(0, count, step):
        batch = images[start : start + step]  # (B, H, W)
        rows = _filter_last_axis(batch, across)  # (B, H, S)
        columns = _filter_last_axis(rows.transpose(0, 2, 1), down)  # (B, S, H) -> (B, S, S), transposed
        resized[start : start + step] = columns.transpose(0, 2, 1)
    return resized


def centre_in_cell(images: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Surround uint8 (M, S, S) images with black to uint8 (M, size_px, size_px), ``size_px`` >= S.

    An odd remainder goes to the bottom and the right. Raises ValueError when the images do not fit.
    """
    count, height, width = images.shape
    if height > size_px or width > size_px:
        raise ValueError(f"images of {height}x{width} px do not fit in a cell of {size_px} px")
    cell = np.zeros((count, size_px, size_px), np.uint8)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    cell[:, top : top + height, left : left + width] = images
    return cell


def _filter_last_axis(images: NDArray[np.uint8], coefficients: NDArray[np.float64]) -> NDArray[np.uint8]:
    # Integers below 2**53 are exact in float64 whatever the order of summation, and only float64 products
    # run in BLAS; |sum| stays below 2**31 as Pillow's own int32 accumulator requires.
    count, lines, length = images.shape
    out_size = coefficients.shape[1]
    if length == out_size:  # Pillow skips a pass that would change nothing
        return np.ascontiguousarray(images)
    flat = images.astype(np.float64, order="C").reshape(count * lines, length)  # (B, L, n) -> (B*L, n)
    sums = flat @ coefficients  # (B*L, S)
    sums += 1 << (PRECISION_BITS - 1)
    fixed = sums.astype(np.int32)
    fixed >>= PRECISION_BITS  # arithmetic shift: rounds half up, negative overshoot too
    np.clip(fixed, 0, 255, out=fixed)
    return fixed.astype(np.uint8).reshape(count, lines, out_size)


def _coefficients(in_size: int, out_size: int) -> NDArray[np.float64]:
    """Fixed-point weights, float64 (in_size, out_size), all integers; column j makes output pixel j."""
    scale = in_size / out_size
    filter_scale = max(scale, 1.0)  # enlarging interpolates, shrinking averages
    support = LANCZOS_LOBES * filter_scale
    weights = np.zeros((in_size, out_size), np.float64)
    for j in range(out_size):
        centre = (j + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), in_size)
        # math.sin and a running sum, as in C: NumPy's own differ in the last bit on some machines.
        inverse = 1.0 / filter_scale
        taps = [_lanczos((i - centre + 0.5) * inverse) for i in range(first, last)]
        total = 0.0
        for tap in taps:
            total += tap
        for i, tap in zip(range(first, last), taps, strict=True):
            fixed = tap / total * (1 << PRECISION_BITS)
            weights[i, j] = int(fixed - 0.5) if fixed < 0 else int(fixed + 0.5)
    return weights


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / LANCZOS_LOBES) if -LANCZOS_LOBES <= x < LANCZOS_LOBES else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)
