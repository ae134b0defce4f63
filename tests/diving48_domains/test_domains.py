"""The blur against torchvision's, and each domain against its definition, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diving48_domains.blur import blurred, blurred_where, half_kernel, size_for_sigma
from diving48_domains.domains import (
    DOMAINS,
    FAITHFUL,
    IMAGENET_MEAN,
    DomainOptions,
    box_bounds,
    box_pixels,
    compose,
    compose_frames,
    shape_pixels,
    union_bounds,
)
from diving48_domains.instances import Instance
from diving48_domains.pasting import paste
from tsgen.common.errors import DataError, UsageError

torch.set_num_threads(1)
rng = np.random.default_rng(5)


def noise(*shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def soft(box, score=0.9):
    y, x = np.mgrid[:28, :28]
    mask = 255 * np.clip(1.4 - np.hypot(y - 13.5, x - 13.5) / 12, 0, 1)
    return Instance(np.array(box, dtype=np.float32), score, mask.astype(np.uint8))


@pytest.mark.parametrize(
    ("shape", "sigma", "size"),
    [((60, 83, 3), 15.0, 55), ((120, 160, 3), 15.0, 55), ((33, 40, 3), 2.5, 9), ((9, 9, 1), 1, 3)],
)
def test_the_blur_is_torchvisions_within_one_grey_level(shape, sigma, size):
    from torchvision.transforms.functional import gaussian_blur

    for frame in (noise(*shape), np.where(noise(*shape) > 127, 255, 0).astype(np.uint8)):
        planes = torch.from_numpy(frame).permute(2, 0, 1)
        oracle = gaussian_blur(planes, [size, size], [sigma, sigma]).permute(1, 2, 0).numpy()
        ours = blurred(frame, sigma, size)
        assert np.abs(ours.astype(int) - oracle).max() <= 1
        assert (ours != oracle).mean() < 0.01


def test_the_blur_is_scipys_where_torchvision_refuses():
    """Frames smaller than half the kernel, whose border is reflected more than once."""
    from scipy.ndimage import correlate1d

    frame = noise(8, 11, 3)
    half = half_kernel(15.0, 55).astype(np.float64)
    kernel = np.concatenate([half[:0:-1], half])
    oracle = correlate1d(correlate1d(frame.astype(np.float64), kernel, 0, mode="mirror"), kernel, 1, mode="mirror")
    assert np.abs(blurred(frame, 15.0, 55) - oracle).max() <= 0.51
    assert (blurred(np.full((1, 1, 3), 77, np.uint8), 15.0, 55) == 77).all()


def test_a_flat_frame_stays_flat():
    for level in (0, 1, 128, 255):
        assert (blurred(np.full((40, 50, 3), level, np.uint8), 15.0, 55) == level).all()


def test_what_is_left_out_of_the_blur_leaves_no_halo():
    frame = np.full((60, 80, 3), 50, np.uint8)
    keep = np.ones((60, 80), bool)
    keep[20:40, 30:50] = False
    frame[~keep] = 255
    assert (blurred_where(frame, keep, 15.0, 55)[keep] == 50).all()
    assert blurred(frame, 15.0, 55)[10, 40].min() > 60
    np.testing.assert_array_equal(blurred_where(frame, np.zeros_like(keep), 15.0, 55), frame)


def test_everything_kept_is_the_plain_blur():
    frame = noise(40, 60, 3)
    everything = blurred_where(frame, np.ones((40, 60), bool), 5.0, 19)
    assert np.abs(everything.astype(int) - blurred(frame, 5.0, 19)).max() <= 1


def test_kernels_are_cut_where_the_published_one_is():
    assert size_for_sigma(15) == 55
    assert size_for_sigma(0.1) == 3
    for sigma in (math.nan, math.inf, 1e308, 0.0, -1.0):
        with pytest.raises(UsageError, match="sigma is a number of pixels above 0"):
            size_for_sigma(sigma)
    assert all(size_for_sigma(sigma) % 2 for sigma in np.linspace(0.5, 40, 80))


SIZE = (70, 90)
BOX = (20.4, 10.2, 60.9, 50.7)


def test_boxes_grow_by_a_28th_of_their_size_and_stay_inside():
    assert box_bounds(soft(BOX), DomainOptions(), *SIZE) == (8, 53, 18, 63)
    assert box_bounds(soft(BOX), DomainOptions(box_expand=0), *SIZE) == (10, 51, 20, 61)
    assert box_bounds(soft((0, 0, 90, 70)), DomainOptions(), *SIZE) == (0, 70, 0, 90)


def test_grown_boxes_hold_all_that_masks_can_show():
    for _ in range(50):
        corner = rng.uniform(0, 40, 2)
        one = soft((*corner, *(corner + rng.uniform(3, 30, 2))))
        shown = shape_pixels([one], DomainOptions(mask_threshold=0.004), *SIZE)
        assert not (shown & ~box_pixels([one], DomainOptions(), *SIZE)).any()


@pytest.mark.parametrize("t", [0.2, 0.4, 0.77])
def test_the_threshold_is_on_the_pasted_mask(t):
    one = soft(BOX)
    y0, y1, x0, x1, values = paste(one, *SIZE)
    expected = np.zeros(SIZE, bool)
    expected[y0:y1, x0:x1] = values / 255 > t
    np.testing.assert_array_equal(shape_pixels([one], DomainOptions(mask_threshold=t), *SIZE), expected)


def test_threshold_zero_is_the_box_and_published_boxes_are_mask_supports():
    one = soft(BOX)
    zero = DomainOptions(mask_threshold=0)
    np.testing.assert_array_equal(shape_pixels([one], zero, *SIZE), box_pixels([one], zero, *SIZE))
    y0, y1, x0, x1, values = paste(one, *SIZE)
    support = np.zeros(SIZE, bool)
    support[y0:y1, x0:x1] = values > 0
    np.testing.assert_array_equal(box_pixels([one], FAITHFUL, *SIZE), support)


def test_each_domain_is_what_it_says():
    frames, options = noise(2, *SIZE, 3), DomainOptions(blur_sigma_px=4, blur_size_px=15)
    divers = [[soft(BOX), soft((5, 5, 15, 15))], []]
    made = compose(frames, divers, options, list(DOMAINS))
    boxes, masks = box_pixels(divers[0], options, *SIZE), shape_pixels(divers[0], options, *SIZE)
    background = blurred(frames[0], 4, 15)
    for domain, expected in {
        "O": frames[0],
        "C": frames[0],
        "S1": np.where(masks[..., None], frames[0], background),
        "S2": np.where(boxes[..., None], frames[0], background),
        "T": np.where(boxes[..., None], IMAGENET_MEAN, frames[0]),
        "B": np.where(boxes[..., None], IMAGENET_MEAN, (0, 0, 0)),
    }.items():
        np.testing.assert_array_equal(made[domain][0], expected)
    y0, y1, x0, x1 = union_bounds(divers, options, *SIZE)
    for t in range(2):
        union = frames[t].copy()
        union[y0:y1, x0:x1] = IMAGENET_MEAN
        np.testing.assert_array_equal(made["T_union"][t], union)
    np.testing.assert_array_equal(made["S1"][1], blurred(frames[1], 4, 15))
    np.testing.assert_array_equal(made["T"][1], frames[1])
    assert not made["B"][1].any()


def test_shape_and_texture_complement_each_other_at_threshold_zero():
    frames = noise(1, *SIZE, 3)
    made = compose(frames, [[soft(BOX)]], DomainOptions(mask_threshold=0), ["S1", "T"])
    shown = (made["S1"] == frames).all(axis=3)
    hidden = (made["T"] == IMAGENET_MEAN).all(axis=3)
    assert (shown | ~hidden).all()


def test_published_fills_may_differ_from_what_is_shown():
    frames, one, other = noise(1, *SIZE, 3), soft((5, 5, 20, 20)), soft((40, 30, 60, 50))
    made = compose(frames, [[one]], DomainOptions(), ["S2", "T"], filled=[[one, other]])
    assert (made["T"][0, 40, 50] == IMAGENET_MEAN).all()
    assert (made["S2"][0, 40, 50] != frames[0, 40, 50]).any()


def test_frames_are_never_changed_nor_shared():
    frames = noise(1, *SIZE, 3)
    before = frames.copy()
    for versions in compose_frames(frames, [[soft(BOX)]], DomainOptions(), list(DOMAINS)):
        for frame in versions.values():
            assert not np.shares_memory(frame, frames)
            frame[:] = 0
    np.testing.assert_array_equal(frames, before)


def test_without_foreground_in_the_blur_the_surroundings_lose_the_divers_colour():
    frames = np.full((1, *SIZE, 3), 40, np.uint8)
    one = soft(BOX)
    frames[0, 5:56, 15:66] = 240
    frames[0][~box_pixels([one], DomainOptions(), *SIZE)] = 40
    options = DomainOptions(blur_excludes_foreground=True)
    outside = ~box_pixels([one], options, *SIZE)
    assert (compose(frames, [[one]], options, ["S2"])["S2"][0][outside] == 40).all()
    assert (compose(frames, [[one]], DomainOptions(), ["S2"])["S2"][0][outside] > 60).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_threshold": 1.0}, r"lies in \[0, 1\).*got 1.0"),
        ({"mask_threshold": -0.1}, r"lies in \[0, 1\)"),
        ({"mask_threshold": float("nan")}, r"lies in \[0, 1\)"),
        ({"box_shape": "round"}, "unknown box shape"),
        ({"box_expand": -1}, "box_expand"),
        ({"blur_sigma_px": 0}, "sigma"),
        ({"blur_size_px": 54}, "odd"),
        ({"fill_rgb": (1, 2)}, "three whole numbers"),
        ({"flat_rgb": (1, 2, 256)}, "three whole numbers"),
    ],
)
def test_options_check_themselves(changes, message):
    with pytest.raises(UsageError, match=message):
        DomainOptions(**changes)


def test_wrong_requests_are_named():
    frames, divers = noise(1, *SIZE, 3), [[soft(BOX)]]
    with pytest.raises(UsageError, match=r"unknown domain 'T_unoin'\. Did you mean 'T_union'"):
        compose(frames, divers, DomainOptions(), ["T_unoin"])
    with pytest.raises(UsageError, match="no domain"):
        compose(frames, divers, DomainOptions(), [])
    with pytest.raises(DataError, match="1 frames, divers of 0"):
        compose(frames, [], DomainOptions(), ["T"])
    with pytest.raises(DataError, match="uint8"):
        compose(frames.astype(np.float32), divers, DomainOptions(), ["T"])
