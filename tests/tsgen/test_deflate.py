"""Whatever the bytes, any zlib decodes the streams to them; moving entities on black cost little."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsgen.deflate import DISTANCES, LITERALS_AND_LENGTHS, _deflate_rows, deflate
from tsgen.generate import Generator
from tsgen.recipe import make_recipe

SIZE = 81920  # of a clip of 20 frames, 64 x 64


def check(clips):
    streams = deflate(clips, 1)
    assert [zlib.decompress(stream) for stream in streams] == [clip.tobytes() for clip in clips]
    return streams


def is_sparse_coded(stream) -> bool:
    return stream[:20] == deflate(np.zeros((1, 256), np.uint8), 1)[0][:20]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_bytes_come_back(data):
    """Patches of many lengths and values, some of them repeated elsewhere, on black."""
    clip = np.zeros(256 * data.draw(st.integers(1, 400), label="blocks"), np.uint8)
    seed = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    patches = [seed.integers(0, 256, seed.choice([1, 2, 3, 4, 9, 60, 300]), dtype=np.uint8) for _ in range(3)]
    for _ in range(data.draw(st.integers(0, 300), label="patches")):
        patch = patches[seed.integers(3)]
        at = seed.integers(len(clip))
        clip[at : at + len(patch)] = patch[: len(clip) - at]
    if data.draw(st.booleans(), label="periodic"):
        period = 64 * data.draw(st.integers(1, 600), label="period")
        clip = np.resize(clip[:period], len(clip))
    check(np.stack([clip, clip[::-1]]))


@pytest.mark.parametrize("gap", [*range(1, 70), *range(255, 265), *range(300, 320), *range(511, 520), 40_000])
def test_zeros_of_any_number(gap):
    clips = np.zeros((3, SIZE), np.uint8)
    clips[0, [100, 101 + gap]] = 7, 8  # a gap inside
    clips[1, gap] = 255  # at the beginning
    clips[2, SIZE - 1 - gap] = 255  # at the end
    assert all(is_sparse_coded(stream) for stream in check(clips))


@pytest.mark.parametrize("distance", [*range(1, 40), 64, 258, 4095, 4096, 4097, 32767, 32768, 32769, 40_000])
def test_repetitions_at_any_distance(distance):
    rng = np.random.default_rng(distance)
    clip = np.zeros(SIZE, np.uint8)
    rows = rng.integers(1, 256, (6, 10), dtype=np.uint8)
    for start in (0, distance):
        for row in range(6):
            clip[start + 700 * row : start + 700 * row + 10] = rows[row]
    check(clip[None])


def test_every_value_and_every_length_has_a_code():
    clips = np.zeros((2, SIZE), np.uint8)
    clips[0, 1000:1256] = np.arange(256)
    clips[1, np.cumsum(np.arange(280))] = 9  # gaps of 0..278 zeros
    assert all(is_sparse_coded(stream) for stream in check(clips))
    for codes in (LITERALS_AND_LENGTHS, DISTANCES):
        assert sum(count * 2.0**-size for size, count in codes) == 1


def test_what_is_dense_goes_to_igzip():
    rng = np.random.default_rng(0)
    clips = np.zeros((6, SIZE), np.uint8)
    clips[0] = rng.integers(0, 256, SIZE)
    clips[1] = 255
    clips[2, -9000:] = 3
    clips[3, ::13] = 1
    clips[4, ::17] = rng.integers(1, 256, len(clips[4, ::17]))
    assert [is_sparse_coded(stream) for stream in check(clips)] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    "shape", [(2, 1), (3, 255), (2, 257), (2, 27, 100, 100), (1, 1, 16, 16), (2, 0), (0, 20, 64, 64)]
)
def test_any_shape(shape):
    clips = np.zeros(shape, np.uint8)
    clips.reshape(-1)[::1000] = 5
    check(clips)


def test_the_largest_sparse_clips_fit_their_buffers():
    """As many runs as are let through, placed so that they take the most tokens and bits."""
    for step in (3, 4, 5, 16, 50, 53):
        clips = np.zeros((1, SIZE), np.uint8)
        allowed = np.arange(0, SIZE, step)
        allowed = allowed[np.arange(len(allowed)) < 200 + allowed // 16]
        clips[0, allowed] = 1 + np.arange(len(allowed)) % 61  # 11 bits each
        most = SIZE // 16 + 512
        out = np.zeros(2 * most + SIZE // 128 + 128 + 5, np.uint32)
        ends = np.zeros((1, 2), np.int64)
        _deflate_rows(clips, clips.view(np.uint64), most, out, ends)
        check(clips)
        assert 40 < ends[0, 1] < 4 * (len(out) - 10)
        assert (out[-5:] == 0).all()


@pytest.mark.parametrize(("domain", "most_bytes"), [("2dot", 600), ("5dot", 600), ("mnist", 850)])
def test_clips_of_the_domains_are_small(domain, most_bytes):
    recipe, digits = make_recipe(domain, 100, digits="embedded")
    frames, _ = Generator(recipe, digits and digits.bitmaps, digits and digits.labels).clips(np.arange(100))
    streams = check(frames)
    assert all(is_sparse_coded(stream) for stream in streams)
    assert np.mean([len(stream) for stream in streams]) < most_bytes
