"""The noise field against ``noise.pnoise2``, and its fixed-point tables."""

from __future__ import annotations

import noise
import numpy as np
import pytest

from tsgen import perlin
from tsgen.perlin import ONE
from tsgen.raster import _noise_frame

SIZE = 64


def lattice_gradients(points: int, base: int) -> np.ndarray:
    """The gradients pnoise2 uses, read off the oracle itself: at a lattice point the fade is flat and the noise rises
    along the gradient."""
    step = 1e-3
    gradients = np.empty((points, points, 2))
    for j in range(points):
        for i in range(points):
            gradients[j, i, 0] = noise.pnoise2(i + step, j, base=base) / step
            gradients[j, i, 1] = noise.pnoise2(i, j + step, base=base) / step
    assert np.abs(gradients - np.rint(gradients)).max() < 0.02
    return np.rint(gradients)


@pytest.mark.parametrize("sigma", [1, 2, 3, 5, 7, 10, 32])
@pytest.mark.parametrize("base", [0, 11])
def test_field_agrees_with_pnoise2(sigma, base):
    gradients = (lattice_gradients(sigma + 1, base) * ONE).astype(np.int32)
    field = perlin.noise_field(gradients, sigma, SIZE) / ONE
    centre = (np.arange(SIZE) + 0.5) * sigma / SIZE
    oracle = np.array([[noise.pnoise2(x, y, base=base) for x in centre] for y in centre])
    assert np.abs(oracle).max() > 0.3
    np.testing.assert_allclose(field, oracle, atol=8 / ONE)

    cell, weights = perlin.axis_weights(sigma, SIZE)
    frame = np.empty((SIZE, SIZE), dtype=np.uint8)
    scratch = np.empty((sigma + 1, 2, SIZE), dtype=np.int32)
    gain = perlin.gain_of(0.5)
    _noise_frame(gradients, cell, weights, np.int32(gain), scratch, frame)
    np.testing.assert_array_equal(frame, perlin.grey_levels(perlin.noise_field(gradients, sigma, SIZE), gain))
    np.testing.assert_allclose(frame, np.clip(oracle * 0.5 * 255, 0, 255), atol=1.1)


def test_gradients_have_length_sqrt_two_and_balance():
    table = perlin.gradient_table()
    np.testing.assert_allclose(np.hypot(*table.T) / ONE, np.sqrt(2), atol=1e-4)
    np.testing.assert_allclose(table.sum(axis=0), 0, atol=4)


def test_table_entries_lie_away_from_rounding_ties():
    """So that a last-bit difference of cos between C libraries cannot change a gradient."""
    angle = np.arange(256) * (2 * np.pi / 256)
    exact = np.sqrt(2.0) * ONE * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6


def test_integers_stay_within_32_bits():
    """The worst case of every sum in the kernel: |gradient| <= sqrt(2) * 2**14 against each sign of the weights."""
    largest = int(np.abs(perlin.gradient_table()).max())
    for sigma in range(1, 33):
        _, weights = perlin.axis_weights(sigma, SIZE)
        a, b, c, d = np.abs(weights.astype(np.int64))
        along_gx = (largest * (a + c)).max() >> 14
        along_gy = (largest * (b + d)).max() >> 14
        total = (along_gx * (b + d) + along_gy * (a + c)).max()
        assert max(largest * (b + d).max(), total) < 2**31
        assert (total >> 14) * perlin.gain_of(1.0) < 2**31
