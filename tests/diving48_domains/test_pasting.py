"""Pasting against torchvision, the oracle, and exact masks against themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diving48_domains.instances import Instance
from diving48_domains.pasting import paste, paste_union
from tsgen.common.errors import DataError

torch = pytest.importorskip("torch")
roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
torch.set_num_threads(1)


def full(instance, height, width):
    y0, y1, x0, x1, soft = paste(instance, height, width)
    frame = np.zeros((height, width), dtype=np.uint8)
    frame[y0:y1, x0:x1] = soft
    return frame


def oracle(instance, height, width):
    """torchvision's frame of float32 0..1; it takes square masks."""
    masks = torch.from_numpy(instance.mask.astype(np.float32) / 255)[None, None]
    boxes = torch.from_numpy(instance.box)[None]
    return roi_heads.paste_masks_in_image(masks, boxes, (height, width)).numpy()[0, 0]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    side=st.sampled_from([1, 2, 7, 14, 28]),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    corners=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    whole=st.booleans(),
)
def test_soft_masks_lie_where_torchvision_puts_them(seed, side, height, width, corners, whole):
    x0, x1 = sorted((corners[0] * width, corners[1] * width))
    y0, y1 = sorted((corners[2] * height, corners[3] * height))
    if whole:
        x0, x1, y0, y1 = np.floor(x0), np.ceil(x1), np.floor(y0), np.ceil(y1)
    box = np.array([x0, y0, x1, y1], dtype=np.float32)
    if not (box[0] < box[2] and box[1] < box[3]):
        return
    mask = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
    instance = Instance(box, 1.0, mask)
    if instance.is_exact:
        return
    difference = np.abs(full(instance, height, width) / 255 - oracle(instance, height, width))
    assert difference.max() <= 1 / 255


def test_one_pixel_aside_is_noticed():
    # The bound above would let nothing pass that is off by a pixel.
    mask = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    here, there = (Instance(np.array([x, 20, x + 45.5, 90.25]), 1.0, mask) for x in (30.0, 31.0))
    assert np.abs(full(here, 120, 120) / 255 - oracle(there, 120, 120)).max() > 0.1


def test_at_threshold_0_the_mask_is_a_rectangle_larger_than_the_box():
    # Facts table: mask > 0 of a pasted 28x28 mask is a rectangle 4-5 % larger than the box on each axis.
    instance = Instance(np.array([100.0, 60.0, 300.0, 360.0]), 0.9, np.full((28, 28), 255, np.uint8))
    rows, columns = np.nonzero(full(instance, 480, 640))
    assert 1.03 < (rows.max() + 1 - rows.min()) / 300 < 1.08
    assert 1.03 < (columns.max() + 1 - columns.min()) / 200 < 1.08
    # Only at its very corners do the bilinear weights round to 0.
    assert len(rows) > 0.995 * (rows.max() + 1 - rows.min()) * (columns.max() + 1 - columns.min())


@given(st.integers(0, 1 << 32), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_exact_masks_are_copied(seed, height, width, density):
    pixels = np.random.default_rng(seed).random((height, width)) < density
    instance = Instance.of_pixels(pixels)
    if instance is None:
        assert not pixels.any()
        return
    assert np.array_equal(full(instance, height, width), pixels * np.uint8(255))
    paste(instance, height, width)[4][:] = 7
    assert np.array_equal(full(instance, height, width), pixels * np.uint8(255)), "the instance's own mask was given"


def test_an_exact_mask_outside_the_frame_is_refused():
    instance = Instance(np.array([3, 3, 6, 6]), 1.0, np.full((3, 3), 255, np.uint8))
    with pytest.raises(DataError, match="leaves the frame of 5x5"):
        paste(instance, 5, 5)


def test_soft_masks_need_not_be_square_nor_contiguous():
    wide = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None], 9, axis=0)
    instance = Instance(np.array([10.5, 10.5, 60.5, 30.5]), 1.0, np.asfortranarray(wide))
    frame = full(instance, 50, 80)
    # Inside, the ramp over 25 columns and 50 px rises by 10 every 2 px.
    assert np.abs(np.diff(frame[20, 14:58].astype(int)) - 5).max() <= 1


def test_union_is_the_pixelwise_maximum():
    rng = np.random.default_rng(3)
    instances = tuple(
        Instance(np.array([x, 4.5, x + 30, 44.25]), 1.0, rng.integers(0, 256, (28, 28)).astype(np.uint8))
        for x in (2.5, 20.25)
    )
    expected = np.maximum(full(instances[0], 50, 60), full(instances[1], 50, 60))
    scratch = np.full((50, 60), 9, np.uint8)
    assert np.array_equal(paste_union(instances, 50, 60), expected)
    assert np.array_equal(paste_union(instances, 50, 60, scratch), expected)
    assert np.array_equal(scratch, expected)
