"""Labelled frames: forms, splits, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diving48_domains.coco import write_coco
from diving48_domains.segmenter.data import (
    Augment,
    content_hash,
    example,
    read_labelled,
    split_frames,
    target_of,
)
from tsgen.common.errors import DataError, UsageError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_an_example_without_augmentation_is_the_frame(frames):
    image, target = example(frames[0], Augment(), rng())
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, frames[0].read_image())
    mask = frames[0].masks[0]
    rows, columns = np.nonzero(mask)
    assert target["boxes"].tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    assert np.array_equal(target["masks"][0].numpy(), mask)


def test_mirroring_mirrors_all_three(frames):
    image, target = example(frames[0], Augment(), rng())
    flipped, turned = example(frames[0], Augment(flip=1.0), rng())
    assert torch.equal(flipped, image.flip(-1))
    assert torch.equal(turned["masks"], target["masks"].flip(-1))
    x0, y0, x1, y1 = target["boxes"][0].tolist()
    assert turned["boxes"][0].tolist() == [96 - x1, y0, 96 - x0, y1]


@pytest.mark.parametrize("augment", [Augment(scale=0.5), Augment(rotate_degrees=40), Augment(shift=0.2)])
def test_picture_and_mask_move_together(frames, augment):
    """The figure is much redder than the grey around it, so its pixels can be found in the moved picture."""
    moved_any = False
    for seed in range(6):
        image, target = example(frames[seed], augment, rng(seed))
        if not len(target["masks"]):
            continue
        orange = ((image[0] - image[2]) > 0.33).numpy()
        mask = target["masks"][0].numpy().astype(bool)
        near = np.zeros_like(mask)
        for dy in (-2, -1, 0, 1, 2):
            for dx in (-2, -1, 0, 1, 2):
                near |= np.roll(mask, (dy, dx), (0, 1))
        assert (orange & mask).sum() > 0.85 * mask.sum()
        moved_any |= not np.array_equal(mask, frames[seed].masks[0])
        x0, y0, x1, y1 = (int(value) for value in target["boxes"][0])
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert moved_any


def test_colour_and_noise_stay_in_range_and_repeat(frames):
    augment = Augment(flip=0.5, scale=0.3, rotate_degrees=20, shift=0.1, colour=0.5, noise=0.2)
    first, again, other = (example(frames[0], augment, rng(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_slivers_are_no_divers():
    masks = np.zeros((2, 10, 10), np.uint8)
    masks[0, 0, :5] = 1
    masks[1, 2:6, 3:9] = 1
    target = target_of(masks)
    assert target["boxes"].tolist() == [[3, 2, 9, 6]]
    assert target_of(masks[:1])["boxes"].shape == (0, 4)


def test_splits(frames):
    train, val = split_frames(frames, "random", 0.25, seed=1)
    assert len(val) == 3 and {f.stem for f in train} | {f.stem for f in val} == {f.stem for f in frames}
    assert not {f.stem for f in train} & {f.stem for f in val}
    assert [f.stem for f in split_frames(frames[::-1], "random", 0.25, seed=1)[1]] == [f.stem for f in val]
    assert [f.stem for f in split_frames(frames, "random", 0.25, seed=2)[1]] != [f.stem for f in val]
    train, val = split_frames(frames, "source", 0.4, seed=1)
    assert not {f.group for f in train} & {f.group for f in val}
    assert len(val) == 6  # two whole videos of three frames for the five wanted
    assert len(split_frames(frames[:3], "random", 0.001, seed=0)[1]) == 1


def test_splits_that_cannot_be(frames):
    with pytest.raises(DataError, match="use --split random"):
        split_frames(frames[:3], "source", 0.5, 0)
    with pytest.raises(DataError, match="cannot be divided"):
        split_frames(frames[:1], "random", 0.5, 0)
    with pytest.raises(UsageError, match="Did you mean 'source'"):
        split_frames(frames, "sourc", 0.5, 0)
    with pytest.raises(UsageError, match="0 < share < 1"):
        split_frames(frames, "random", 1.0, 0)


def test_the_forms_of_labels(frames, labels, tmp_path):
    write_coco(tmp_path / "coco.json", frames)
    again, val = read_labelled(tmp_path / "coco.json", labels / "images")
    assert val == () and content_hash(again) == content_hash(frames)
    for name in ("train", "val"):
        (tmp_path / name).symlink_to(labels)
    train, val = read_labelled(tmp_path)
    assert len(train) == len(val) == 12
    with pytest.raises(UsageError, match="does not exist"):
        read_labelled(tmp_path / "absent")
    with pytest.raises(UsageError, match="--images goes with a COCO JSON"):
        read_labelled(labels, labels)


def test_the_hash_sees_pictures_and_masks(frames):
    assert content_hash(frames) == content_hash(frames[::-1])
    assert content_hash(frames) != content_hash(frames[1:])
