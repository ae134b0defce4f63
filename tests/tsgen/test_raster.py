"""Kernels and vectorised motion against the plain reference: the same bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tsgen.domains import DOMAINS, get_domain
from tsgen.raster import Rasterizer
from tsgen.reference import render_clip
from tsgen.sampling import sample_clips, stream_key

BITMAPS = np.random.default_rng(0).integers(0, 256, (50, 14, 14)).astype(np.uint8)

VARIANTS = {
    **DOMAINS,
    "static": DOMAINS["mnist-bg"].with_dials(background="static"),
    "long": DOMAINS["2dot"].with_dials(num_frames=31, size_px=96),
    "one frame": DOMAINS["mnist-bg"].with_dials(num_frames=1),
    "coarse and strong": DOMAINS["mnist-bg"].with_dials(sigma_low=1, sigma_high=1, intensity=1.0),
    "fine and large": DOMAINS["mnist-bg"].with_dials(sigma_low=9, sigma_high=32, size_px=100),
    "noise behind a dot": DOMAINS["2dot"].with_dials(background="flicker"),
    "drift": DOMAINS["mnist-bg"].with_dials(background="drift"),
    "faint and fast": DOMAINS["mnist"].with_dials(contrast=0.3, speed_factor=1.5, width_px=14, size_px=80),
    **{f"dataverse {name}": get_domain(name, "dataverse") for name in DOMAINS},
    **{f"strict {name}": get_domain(name, "strict") for name in DOMAINS},
    **{f"order {name}": get_domain(name, "order") for name in DOMAINS},
}


def draw(domain, specs, split="test", seed=5):
    bitmaps = BITMAPS if domain.has_digits else None
    key = stream_key(domain, split, seed)
    frames = np.full((len(specs), domain.num_frames, domain.size_px, domain.size_px), 77, dtype=np.uint8)
    Rasterizer(domain, key, bitmaps)(specs, frames)
    return frames, key, bitmaps


@pytest.mark.parametrize("name", VARIANTS)
def test_kernels_equal_the_reference(name):
    domain = VARIANTS[name]
    index = np.random.default_rng(2).integers(0, 10**7, 200 if name in DOMAINS else 25)
    specs = sample_clips(domain, "test", 5, index, len(BITMAPS))
    frames, key, bitmaps = draw(domain, specs)
    for row in range(len(specs)):
        np.testing.assert_array_equal(frames[row], render_clip(specs, row, domain, key, bitmaps), err_msg=str(row))


@pytest.mark.parametrize("name", DOMAINS)
def test_entities_at_the_border_are_whole(name):
    """A clip moved into each corner of the frame, by hand."""
    domain = DOMAINS[name]
    limit = 64 - domain.width_px
    specs = sample_clips(domain, "test", 5, np.arange(4), len(BITMAPS))
    corners = np.array([[0, 0], [limit, 0], [0, limit], [limit, limit]], dtype=np.int32)
    specs = dataclasses.replace(specs, corner=np.repeat(corners[:, None] << 16, 20, axis=1))
    frames, _, bitmaps = draw(domain, specs)
    w = domain.width_px
    for row, (x, y) in enumerate(corners):
        patch = frames[row, :, y : y + w, x : x + w]
        entity = np.full((w, w), 255) if bitmaps is None else bitmaps[specs.digit_index[row]]
        if domain.has_noise:
            assert (patch >= entity).all()
        else:
            assert (patch == entity).all()
            assert (frames[row].sum(axis=(1, 2)) == entity.sum()).all(), "nothing else is drawn"


@pytest.mark.parametrize("width", [2, 5])
def test_a_dot_is_exactly_its_square_in_every_frame(width):
    domain = DOMAINS[f"{width}dot"]
    specs = sample_clips(domain, "test", 5, np.arange(3000), 0)
    frames, _, _ = draw(domain, specs)
    assert ((frames == 255).sum(axis=(2, 3)) == width * width).all()
    assert np.isin(frames, [0, 255]).all()


def test_flicker_is_fresh_every_frame_and_static_is_not():
    for background, differs in (("flicker", True), ("static", False)):
        domain = DOMAINS["mnist-bg"].with_dials(background=background)
        specs = sample_clips(domain, "test", 5, np.arange(20), len(BITMAPS))
        dark = dataclasses.replace(specs, digit_index=np.zeros(20, dtype=np.int64))
        frames = np.empty((20, 20, 64, 64), dtype=np.uint8)
        Rasterizer(domain, stream_key(domain, "test", 5), np.zeros((1, 14, 14), dtype=np.uint8))(dark, frames)
        changed = (frames[:, 1:] != frames[:, :-1]).any(axis=(2, 3))
        assert changed.all() if differs else not changed.any()
