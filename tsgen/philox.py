"""Philox4x32-10, the counter-based generator behind every random choice (Salmon et al., SC 2011).

A number is a pure function of (key, counter): nothing is ever "advanced", so clip ``i`` is the same whatever else is
made, in whatever order, on however many threads. The rounds stand here twice: compiled (:func:`philox_block`, what
runs) and in NumPy (:func:`philox_rounds`, what the reference uses); both are tested against the published vectors.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numba import njit
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


def kernel(function: Any) -> Any:
    """Compile for use from several threads at once; kept on disk for the next process."""
    return njit(nogil=True, cache=True, boundscheck=False)(function)


_M0, _M1, _W0, _W1 = (np.uint32(c) for c in (MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1))
_SHIFT_32 = np.uint64(32)


def random_words(
    index: NDArray[np.int64], stream: int, first_block: int, blocks: int, key: tuple[int, int]
) -> UInt32Array:
    """Random words for each index, uint32 (N, 4 * blocks): counter blocks first_block, first_block + 1, ...

    ``index`` int64 (N,), >= 0, fills the two low counter words, ``stream`` and the block the other two.
    """
    words = np.empty((len(index), 4 * blocks), dtype=np.uint32)
    _fill_words(index, stream, first_block, np.array(key, dtype=np.uint32), words)
    return words


@kernel
def _fill_words(index, stream, first_block, key, words):  # type: ignore[no-untyped-def]
    for n in range(len(index)):
        for block in range(words.shape[1] // 4):
            philox_block(index[n], stream, first_block + block, key, words[n, 4 * block : 4 * block + 4])


@kernel
def philox_block(index, stream, block, key, words):  # type: ignore[no-untyped-def]
    """The ten rounds for one counter: four words."""
    c0, c1 = np.uint32(index & 0xFFFFFFFF), np.uint32(index >> 32)
    c2, c3 = np.uint32(stream), np.uint32(block)
    k0, k1 = key[0], key[1]
    for _ in range(ROUNDS):
        product_0 = np.uint64(c0) * np.uint64(_M0)
        product_1 = np.uint64(c2) * np.uint64(_M1)
        c0 = np.uint32(product_1 >> _SHIFT_32) ^ c1 ^ k0
        c2 = np.uint32(product_0 >> _SHIFT_32) ^ c3 ^ k1
        c1 = np.uint32(product_1)
        c3 = np.uint32(product_0)
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


def philox_rounds(
    c0: NDArray[np.uint64],
    c1: NDArray[np.uint64],
    c2: NDArray[np.uint64],
    c3: NDArray[np.uint64],
    key: tuple[int, int],
) -> UInt32Array:
    """The same in NumPy, on counters given as four uint64 arrays of 32-bit words. Returns uint32 (..., 4)."""
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
