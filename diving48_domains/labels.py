"""Labelled frames for the segmenter: pictures with one mask a diver, as colour pictures or COCO JSON (section 3.3).

The published form is a folder with ``images/`` and ``masks/``; the mask of a frame is a picture of its size, black,
with one colour a diver. The authors pair the two by sorted order, so one file too many shifts all pairs; here they
are paired by name without suffix. The COCO form lies in :mod:`diving48_domains.coco`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from diving48_domains.annotations import source_id
from tsgen.common.errors import DataError, UsageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 64 << 20
MAX_DIVERS = 16

PALETTE: tuple[tuple[int, int, int], ...] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
    (255, 128, 0),
)
"""Colours masks are written in, diver by diver; far enough apart to survive JPEG."""

MIN_GROUND = 0.25
"""Share of near-black pixels a mask picture must have: less is a photograph."""

CORE_DISTANCE = 48.0
"""Colours nearer than this (Euclidean, 0..441) are one colour blurred by JPEG."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """A picture with its divers.

    ``stem``: its name without suffix; ``image``: the picture's file; ``masks`` bool (D, H, W), one a diver, D may be 0;
    ``group``: the source video it comes from, for splits that keep videos apart.
    """

    stem: str
    image: Path
    masks: NDArray[np.bool_]
    group: str

    def read_image(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises DataError when unreadable or of another size than the masks."""
        pixels = read_picture(self.image)
        if pixels.shape[:2] != self.masks.shape[1:]:
            raise DataError(f"{self.image}: {_by(pixels)} px, its masks {self.masks.shape[2]}x{self.masks.shape[1]}.")
        return pixels


def read_labels(folder: Path) -> tuple[LabelledFrame, ...]:
    """All frames of a folder with ``images/`` and ``masks/``, sorted by stem.

    A mask's colours are its divers, most pixels first; near-black is background. Raises UsageError when the folder is
    no such folder, DataError when files do not pair, sizes differ or a mask is no mask.
    """
    folder = Path(folder)
    images, masks = (_pictures(folder, name) for name in ("images", "masks"))
    alone = [f"images/{images[stem].name}" for stem in sorted(images.keys() - masks.keys())]
    alone += [f"masks/{masks[stem].name}" for stem in sorted(masks.keys() - images.keys())]
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise DataError(
            f"{folder}: {', '.join(alone[:5])}{more} without a partner; an image and its mask have the same name up to "
            "the suffix. Rename or remove them."
        )
    return tuple(_read_pair(stem, images[stem], masks[stem]) for stem in sorted(images))


def write_label(folder: Path, stem: str, pixels: NDArray[np.uint8], masks: NDArray[np.bool_]) -> None:
    """Write ``images/<stem>.png`` (uint8 (H, W, 3)) and ``masks/<stem>.png`` (from bool (D, H, W), disjoint).

    Raises UsageError for shapes that differ, more divers than PALETTE has colours, or masks that overlap.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or masks.shape[1:] != pixels.shape[:2]:
        raise UsageError(f"{stem}: an image {pixels.dtype} {pixels.shape} does not fit masks {masks.shape}.")
    if len(masks) > len(PALETTE):
        raise UsageError(f"{stem}: {len(masks)} divers; the colour form holds at most {len(PALETTE)}.")
    if (masks.sum(axis=0) > 1).any():
        raise UsageError(f"{stem}: masks overlap; the colour form holds one diver a pixel. Use the COCO form.")
    painted = np.zeros_like(pixels)
    for colour, mask in zip(PALETTE, masks, strict=False):
        painted[mask] = colour
    for name, picture in (("images", pixels), ("masks", painted)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name / f"{stem}.png")


def write_labels(folder: Path, frames: Iterable[LabelledFrame]) -> int:
    """Copy frames into the published form; returns their number."""
    count = 0
    for frame in frames:
        write_label(folder, frame.stem, frame.read_image(), frame.masks)
        count += 1
    return count


def group_of_stem(stem: str) -> str:
    """The source video of a frame ``<source id>_<clip>_<frame>`` or clip ``<source id>_<clip>``; else the stem itself.

    Source ids have 11 characters, underscores and digits among them, so the length decides before the underscores do.
    """
    known = re.fullmatch(r"(.{11})_\d+(_\d+)?", stem)
    if known:
        return known[1]
    framed = re.fullmatch(r"(.+_\d+)_\d+", stem)
    return source_id(framed[1]) if framed else stem


def masks_of_colours(painted: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool (D, H, W) from a mask picture uint8 (H, W, 3): one mask a colour, most pixels first; D may be 0.

    A picture of few colours is taken at its word. Among many (JPEG, smooth edges) a colour counts as a diver when it
    fills a 3x3 square somewhere, which the mixed colours along an edge do not; every pixel then goes to the nearest of
    those colours. Raises DataError for a picture without black ground, of more than MAX_DIVERS colours, or of none.
    """
    height, width = painted.shape[:2]
    ground = float((painted.max(axis=2) < CORE_DISTANCE).mean())
    if ground < MIN_GROUND:
        raise DataError(f"black fills {ground:.0%} of it; a mask shows its divers on black.")
    packed = painted.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, where = np.unique(packed, return_inverse=True)
    colours = np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=1).astype(np.float32)
    if len(values) <= len(PALETTE) + 1:
        is_diver = colours.max(axis=1) >= CORE_DISTANCE
        count, nearest = int(is_diver.sum()), np.where(is_diver, np.cumsum(is_diver), 0)
    else:
        centres = np.concatenate([np.zeros((1, 3), np.float32), _solid_colours(painted)])
        distances = np.linalg.norm(colours[:, None] - centres[None], axis=2)
        count, nearest = len(centres) - 1, np.argmin(distances, axis=1)
        stray = float((distances.min(axis=1) > 2 * CORE_DISTANCE)[where].mean())
        if stray > (1 - ground) / 2:
            raise DataError(f"{stray:.0%} of its pixels have a colour of their own; a mask has one colour a diver.")
    labels = nearest[where].reshape(height, width)
    masks = np.array([labels == index for index in range(1, count + 1)], dtype=bool).reshape(count, height, width)
    masks = masks[masks.any(axis=(1, 2))]
    return masks[np.argsort(-masks.sum(axis=(1, 2)), kind="stable")]


def _solid_colours(painted: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (D, 3): colours that fill a 3x3 square, commonest first, far from black and from each other."""
    spread = ndimage.maximum_filter(painted, (3, 3, 1)) - ndimage.minimum_filter(painted, (3, 3, 1))
    cores = painted[spread.max(axis=2) < CORE_DISTANCE].astype(np.float32)
    cores = cores[np.linalg.norm(cores, axis=1) > 2 * CORE_DISTANCE]
    centres: list[NDArray[np.float32]] = []
    while len(cores):
        if len(centres) == MAX_DIVERS:
            raise DataError(f"it has more than {MAX_DIVERS} colours; a mask has one colour a diver.")
        coarse, counts = np.unique(cores // 16, axis=0, return_counts=True)
        commonest = coarse[np.argmax(counts)] * 16 + 8
        near = np.linalg.norm(cores - commonest, axis=1) < CORE_DISTANCE
        centres.append(np.median(cores[near], axis=0))
        cores = cores[np.linalg.norm(cores - centres[-1], axis=1) > 2 * CORE_DISTANCE]
    return np.array(centres, np.float32).reshape(-1, 3)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of a PNG or JPEG. Raises DataError when it is neither, damaged or too large."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{path}: {picture.width}x{picture.height} px; allowed are {MAX_PIXELS} pixels.")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise DataError(f"{path} is no readable PNG or JPEG: {problem}") from problem


def _pictures(folder: Path, name: str) -> dict[str, Path]:
    """Stem -> file. Raises where there is no such folder, nothing in it, or two files of one stem."""
    place = folder / name
    if not place.is_dir():
        raise UsageError(f"{folder} has no {name}/; labelled frames lie in images/ and masks/ (docs/diving48_data.md).")
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"{place}: {found[path.stem].name} and {path.name} have one stem; keep one.")
        found[path.stem] = path
    if not found:
        raise UsageError(f"{place} holds no picture ({' '.join(IMAGE_SUFFIXES)}).")
    return found


def _read_pair(stem: str, image: Path, mask: Path) -> LabelledFrame:
    painted = read_picture(mask)
    try:
        with Image.open(image, formats=("PNG", "JPEG")) as picture:
            size = (picture.height, picture.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise DataError(f"{image} is no readable PNG or JPEG: {problem}") from problem
    if size != painted.shape[:2]:
        raise DataError(f"{image} has {size[1]}x{size[0]} px, {mask} {_by(painted)}; a mask has its image's size.")
    try:
        masks = masks_of_colours(painted)
    except DataError as problem:
        raise DataError(f"{mask}: {problem} Are images/ and masks/ swapped?") from None
    return LabelledFrame(stem, image, masks, group_of_stem(stem))


def _by(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
