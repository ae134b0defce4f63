"""Philox against the known-answer vectors of its authors' Random123 distribution (file kat_vectors)."""

from __future__ import annotations

import numpy as np
import pytest

from tsgen.philox import derive_key, philox, philox_rounds, scale_to_range
from tsgen.raster import _philox_block

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    words = philox_rounds(*(np.array([word], dtype=np.uint64) for word in counter), key)
    assert tuple(words[0]) == answer


@pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32, 2**40 + 17])
@pytest.mark.parametrize("block", [0, 151, 20 * 76])
def test_compiled_rounds_equal_numpy(index, block):
    key = derive_key("a", "stream")
    words = np.empty(4, dtype=np.uint32)
    _philox_block(np.int64(index), np.int64(block), np.array(key, dtype=np.uint32), words)
    np.testing.assert_array_equal(words, philox(np.array([index]), 2, block, key)[0])


def test_keys_tell_streams_apart():
    keys = {
        derive_key("tsgen", "paper", domain, split, seed) for domain in "ab" for split in "cd" for seed in range(50)
    }
    assert len(keys) == 200


def test_scale_to_range_covers_its_range_evenly():
    words = philox(np.arange(40_000), 0, 0, derive_key("even")).ravel()
    counts = np.bincount(scale_to_range(words, 7), minlength=7)
    assert len(counts) == 7
    chi_square = ((counts - len(words) / 7) ** 2 / (len(words) / 7)).sum()
    assert chi_square < 22.5  # 0.1 % point with 6 degrees of freedom
