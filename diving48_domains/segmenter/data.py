"""Labelled frames on their way into the network: reading folders, splits, augmentation, targets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diving48_domains.coco import read_coco
from diving48_domains.labels import LabelledFrame, read_labels
from tsgen.common.errors import DataError, UsageError, unknown_name

SPLITS = ("random", "source")
PUBLISHED_VAL_SHARE = 13 / 303  # Section 3.3 of the paper: 290 frames to train on, 13 to validate
FEWEST_PIXELS = 12  # of a diver that augmentation has moved out of the frame, below which it is none


@dataclass(frozen=True)
class Augment:
    """Random changes of a training frame; the defaults make none.

    ``flip``: probability of mirroring; ``scale``: factor between 1/(1 + scale) and 1 + scale; ``rotate_degrees`` and
    ``shift`` (share of the side): at most so much either way; ``colour``: brightness, contrast and each channel times
    1 - colour .. 1 + colour; ``noise``: standard deviation of added noise, drawn between 0 and this (of 0..1).
    """

    flip: float = 0.0
    scale: float = 0.0
    rotate_degrees: float = 0.0
    shift: float = 0.0
    colour: float = 0.0
    noise: float = 0.0


def read_labelled(
    path: Path, images: Path | None = None
) -> tuple[tuple[LabelledFrame, ...], tuple[LabelledFrame, ...]]:
    """Labelled frames in any of their forms, as (train, val); val is empty when the form does not divide them.

    ``path``: a folder with ``images/`` and ``masks/``; a folder with such folders ``train`` and ``val``; or a COCO JSON
    whose pictures lie in ``images`` (its own folder by default).
    """
    if path.is_dir():
        if images is not None:
            raise UsageError(f"--images goes with a COCO JSON; {path} is a folder.")
        if (path / "train").is_dir() and (path / "val").is_dir():
            return read_labels(path / "train"), read_labels(path / "val")
        return read_labels(path), ()
    if not path.is_file():
        raise UsageError(f"--labels {path} does not exist; give a folder with images/ and masks/, or a COCO JSON.")
    return read_coco(path, images or path.parent), ()


def check_split(how: str, val_share: float) -> None:
    """UsageError unless ``how`` is one of SPLITS and 0 < ``val_share`` < 1."""
    if how not in SPLITS:
        raise unknown_name("split", how, SPLITS)
    if not 0 < val_share < 1:
        raise UsageError(f"the share of validation frames lies in 0 < share < 1, got {val_share}.")


def split_frames(
    frames: Sequence[LabelledFrame], how: str, val_share: float, seed: int
) -> tuple[tuple[LabelledFrame, ...], tuple[LabelledFrame, ...]]:
    """(train, val): ``val_share`` of the frames (0 < share < 1), at least one of each, drawn by ``seed``.

    ``how``: "random" draws frames (the paper's way: neighbours of a validation frame may be trained on), "source" draws
    whole source videos until the share is reached.
    """
    check_split(how, val_share)
    if len(frames) < 2:
        raise DataError(f"{len(frames)} labelled frames cannot be divided; at least 2 are needed.")
    wanted = min(max(1, round(val_share * len(frames))), len(frames) - 1)
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    ordered = sorted(frames, key=lambda frame: frame.stem)
    if how == "random":
        chosen = set(rng.permutation(len(ordered))[:wanted].tolist())
    else:
        groups = sorted({frame.group for frame in ordered})
        if len(groups) < 2:
            raise DataError(f"all {len(frames)} frames come from one source video ({groups[0]}); use --split random.")
        chosen = set()
        for number in rng.permutation(len(groups))[:-1].tolist():  # one group is left for training
            chosen |= {index for index, frame in enumerate(ordered) if frame.group == groups[number]}
            if len(chosen) >= wanted:
                break
    val = tuple(frame for index, frame in enumerate(ordered) if index in chosen)
    return tuple(frame for index, frame in enumerate(ordered) if index not in chosen), val


def content_hash(frames: Sequence[LabelledFrame]) -> str:
    """SHA-256 of all stems, pictures (their decoded pixels) and masks, in order of stem."""
    digest = hashlib.sha256()
    for frame in sorted(frames, key=lambda one: one.stem):
        digest.update(f"{frame.stem}\0{frame.masks.shape}\0".encode())
        digest.update(frame.read_image().tobytes())
        digest.update(np.packbits(frame.masks).tobytes())
    return digest.hexdigest()


def example(frame: LabelledFrame, augment: Augment, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """A training frame and its target, changed at random: image float32 (3, H, W) in 0..1, and torchvision's target.

    The target: boxes float32 (D, 4) half open px, labels int64 (D,) all 1, masks uint8 (D, H, W).
    """
    image = torch.from_numpy(frame.read_image().copy()).permute(2, 0, 1).to(torch.float32).div_(255.0)
    masks = torch.from_numpy(frame.masks.astype(np.uint8))
    if augment.scale or augment.rotate_degrees or augment.shift:
        image, masks = _move(image, masks, augment, rng)
    if augment.flip and rng.random() < augment.flip:
        image, masks = image.flip(-1), masks.flip(-1)
    if augment.colour:
        image = _recolour(image, augment.colour, rng)
    if augment.noise:
        sigma = rng.uniform(0, augment.noise)
        drawn = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = image + torch.from_numpy(drawn) * sigma
    return image.clamp(0, 1).contiguous(), target_of(masks.numpy())


def target_of(masks: NDArray[np.uint8]) -> dict[str, Tensor]:
    """torchvision's target of masks (D, H, W) 0 or 1; those of fewer than FEWEST_PIXELS pixels are left out."""
    kept = masks[masks.sum(axis=(1, 2), dtype=np.int64) >= FEWEST_PIXELS]
    boxes = np.zeros((len(kept), 4), dtype=np.float32)
    for box, mask in zip(boxes, kept, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.ones(len(kept), dtype=torch.int64),
        "masks": torch.from_numpy(np.ascontiguousarray(kept)),
    }


def _move(image: Tensor, masks: Tensor, augment: Augment, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Scale, turn and shift about the frame's centre; the picture is mirrored beyond its edge, divers end there."""
    height, width = image.shape[-2:]
    factor = math.exp(rng.uniform(-1, 1) * math.log1p(augment.scale))
    angle = math.radians(rng.uniform(-1, 1) * augment.rotate_degrees)
    shift = rng.uniform(-1, 1, 2) * augment.shift * 2
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    # Output to input, in -1..1 on both axes, hence the aspect ratio.
    theta = torch.tensor(
        [[cos, -sin * height / width, shift[0]], [sin * width / height, cos, shift[1]]], dtype=torch.float32
    )
    grid = torch.nn.functional.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    moved = torch.nn.functional.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )[0]
    if not len(masks):
        return moved, masks
    soft = torch.nn.functional.grid_sample(
        masks[None].to(torch.float32), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
    return moved, (soft > 0.5).to(torch.uint8)


def _recolour(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    brightness, contrast = (float(value) for value in 1 + rng.uniform(-strength, strength, 2))
    channels = torch.from_numpy(1 + rng.uniform(-strength, strength, 3) / 2).to(torch.float32)
    mean = image.mean()
    return ((image - mean) * contrast + mean) * brightness * channels[:, None, None]
