"""Philox4x32-10, the counter-based generator behind every random choice (Salmon et al., SC 2011).

A number is a pure function of (key, counter): nothing is ever "advanced", so clip ``i`` is the same whatever else is
made, in whatever order, on however many threads. :func:`philox` is the NumPy form; ``raster.py`` holds the same
rounds compiled for the noise. Both are tested against the published known-answer vectors.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

UInt32Array = NDArray[np.uint32]

MULTIPLIER_0 = 0xD2511F53
MULTIPLIER_1 = 0xCD9E8D57
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
ROUNDS = 10

# The third counter word says what a number is for, so that no two uses ever share one.
STREAM_CLIP = 0  # the drawn parameters of clip `index`
STREAM_CLASS_ORDER = 1  # the order of the classes in the run of clips number `index`
STREAM_NOISE = 2  # the gradients of the Perlin background of clip `index`


def derive_key(*parts: str | int) -> tuple[int, int]:
    """Two 32-bit key words from the identity of a stream, e.g. ``("paper", "5dot", "train", 0)``."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def philox(index: NDArray[np.int64], stream: int, block: int, key: tuple[int, int]) -> UInt32Array:
    """Four random words for each index.

    ``index`` int64 (N,), >= 0, fills the two low counter words; ``stream`` and ``block`` the other two.
    Returns uint32 (N, 4).
    """
    c0 = (index & 0xFFFFFFFF).astype(np.uint64)
    c1 = (index >> 32).astype(np.uint64)
    c2 = np.full_like(c0, stream)
    c3 = np.full_like(c0, block)
    return philox_rounds(c0, c1, c2, c3, key)


def philox_rounds(
    c0: NDArray[np.uint64],
    c1: NDArray[np.uint64],
    c2: NDArray[np.uint64],
    c3: NDArray[np.uint64],
    key: tuple[int, int],
) -> UInt32Array:
    """The ten rounds on counters given as four uint64 arrays of 32-bit words. Returns uint32 (..., 4)."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(ROUNDS):
        product_0 = c0 * np.uint64(MULTIPLIER_0)
        product_1 = c2 * np.uint64(MULTIPLIER_1)
        c0 = (product_1 >> shift) ^ c1 ^ np.uint64(k0)
        c2 = (product_0 >> shift) ^ c3 ^ np.uint64(k1)
        c1 = product_1 & low
        c3 = product_0 & low
        k0 = (k0 + WEYL_0) & 0xFFFFFFFF
        k1 = (k1 + WEYL_1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def scale_to_range(words: UInt32Array, count: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Words uint32 -> integers in [0, count): the high half of word * count. Its bias is below count / 2**32."""
    return ((words.astype(np.uint64) * np.asarray(count, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
