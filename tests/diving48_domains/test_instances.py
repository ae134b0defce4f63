"""The record every mask source is brought to."""

from __future__ import annotations

import numpy as np
import pytest

from diving48_domains.instances import ClipInstances, Instance
from tsgen.common.errors import DataError

SOFT = np.full((28, 28), 255, np.uint8)


@pytest.mark.parametrize(
    ("box", "score", "mask", "message"),
    [
        ([3, 0, 3, 4], 0.5, SOFT, "x0 < x1"),
        ([0, 5, 3, 4], 0.5, SOFT, "x0 < x1"),
        ([0, 0, np.nan, 4], 0.5, SOFT, "x0 < x1"),
        ([0, 0, np.inf, 4], 0.5, SOFT, "x0 < x1"),
        ([0, 0, 3], 0.5, SOFT, "x0 < x1"),
        ([0, 0, 3, 4], 1.01, SOFT, "0..1, got 1.01"),
        ([0, 0, 3, 4], float("nan"), SOFT, "0..1, got nan"),
        ([0, 0, 3, 4], 0.5, SOFT.astype(float), "uint8"),
        ([0, 0, 3, 4], 0.5, SOFT[0], "uint8"),
        ([0, 0, 3, 4], 0.5, SOFT[:0], "uint8"),
    ],
)
def test_an_instance_checks_itself(box, score, mask, message):
    with pytest.raises(DataError, match=message):
        Instance(np.array(box), score, mask)


def test_pixels_give_the_exact_instance():
    pixels = np.zeros((7, 9), bool)
    pixels[2, 3] = pixels[4, 8] = True
    instance = Instance.of_pixels(pixels, 0.25)
    assert instance.box.tolist() == [3, 2, 9, 5]
    assert (instance.box.dtype, instance.score, instance.mask.dtype) == (np.float32, 0.25, np.uint8)
    assert instance.is_exact
    assert np.array_equal(instance.mask > 0, pixels[2:5, 3:9])
    assert Instance.of_pixels(np.zeros((7, 9), bool)) is None


@pytest.mark.parametrize(
    ("box", "exact"),
    [([4, 5, 32, 33], True), ([4.5, 5, 32.5, 33], False), ([4, 5, 32, 34], False), ([4, 5.25, 32, 33.25], False)],
)
def test_only_a_whole_pixel_box_of_the_masks_size_is_exact(box, exact):
    assert Instance(np.array(box), 1.0, SOFT).is_exact is exact


@pytest.mark.parametrize(
    ("indices", "boxes", "message"),
    [
        ([0, 1], [[0, 0, 4, 4]], "1 frames of instances for 2"),
        ([1, 1], [[0, 0, 4, 4]] * 2, "must rise"),
        ([2, 1], [[0, 0, 4, 4]] * 2, "must rise"),
        ([0], [[0, 0, 4.5, 4]], "leaves the frame of 4x5"),
        ([0], [[-0.5, 0, 4, 4]], "leaves the frame of 4x5"),
    ],
)
def test_a_clip_checks_itself(indices, boxes, message):
    frames = tuple((Instance(np.array(box), 0.5, SOFT),) for box in boxes)
    with pytest.raises(DataError, match=message):
        ClipInstances("c_00001", 5, 4, np.array(indices), frames)
