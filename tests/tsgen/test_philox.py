"""Philox against the known-answer vectors of its authors' Random123 distribution (file kat_vectors)."""

from __future__ import annotations

import numpy as np
import pytest

from tsgen.philox import derive_key, philox_block, philox_rounds, random_words, scale_to_range

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


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_the_compiled_rounds(counter, key, answer):
    words = np.empty(4, dtype=np.uint32)
    index = np.uint64(counter[0] | counter[1] << 32).view(np.int64)
    philox_block(index, counter[2], counter[3], np.array(key, dtype=np.uint32), words)
    assert tuple(words) == answer


@pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32, 2**40 + 17])
def test_blocks_of_words_equal_numpy(index):
    key = derive_key("a", "stream")
    words = random_words(np.array([5, index]), 2, 151, 3, key)[1]
    counters = [np.array([word] * 3, dtype=np.uint64) for word in (index & ONES, index >> 32, 2)]
    expected = philox_rounds(*counters, np.arange(151, 154, dtype=np.uint64), key)
    np.testing.assert_array_equal(words, expected.ravel())


def test_keys_tell_streams_apart():
    keys = {
        derive_key("tsgen", "paper", domain, split, seed) for domain in "ab" for split in "cd" for seed in range(50)
    }
    assert len(keys) == 200


def test_scale_to_range_covers_its_range_evenly():
    words = random_words(np.arange(40_000), 0, 0, 1, derive_key("even")).ravel()
    counts = np.bincount(scale_to_range(words, 7), minlength=7)
    assert len(counts) == 7
    chi_square = ((counts - len(words) / 7) ** 2 / (len(words) / 7)).sum()
    assert chi_square < 22.5  # 0.1 % point with 6 degrees of freedom
