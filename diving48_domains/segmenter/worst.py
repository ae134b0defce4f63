"""A picture of the frames a segmenter does worst on: truth and detections outlined on each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diving48_domains.instances import Instance
from diving48_domains.labels import LabelledFrame
from diving48_domains.metrics import FrameScore, ScoreOptions, instance_pixels
from tsgen.common.files import atomic_path

COLUMNS = 4
TILE_WIDTH = 320  # px
CAPTION_HEIGHT = 16  # px
TRUTH_RGB = (64, 255, 64)
KEPT_RGB = (255, 64, 255)
DROPPED_RGB = (255, 208, 64)


def worst_first(scores: Sequence[FrameScore]) -> list[int]:
    """Indices of frames, the worst first; equals in order."""
    return sorted(range(len(scores)), key=lambda index: -scores[index].badness)


def draw_worst(
    path: Path,
    frames: Sequence[LabelledFrame],
    detections: Sequence[Sequence[Instance]],
    scores: Sequence[FrameScore],
    options: ScoreOptions,
    count: int = 16,
) -> None:
    """Write a PNG of the ``count`` worst frames.

    Green: the labelled outline; magenta: a kept detection's; yellow: the box of the best one under the score threshold,
    where none was kept.
    """
    chosen = worst_first(scores)[:count]
    tiles = [_tile(frames[i], detections[i], scores[i], options) for i in chosen]
    height = max(tile.height for tile in tiles)
    columns = min(COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * TILE_WIDTH, -(-len(tiles) // columns) * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * TILE_WIDTH, number // columns * height))
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG")


def _tile(frame: LabelledFrame, instances: Sequence[Instance], score: FrameScore, options: ScoreOptions) -> Image.Image:
    height, width = frame.masks.shape[1:]
    zoom = TILE_WIDTH / width
    size = (TILE_WIDTH, round(height * zoom))
    picture = np.asarray(Image.fromarray(frame.read_image()).resize(size, Image.Resampling.BICUBIC)).copy()
    kept = [one for one in instances if one.score >= options.score_threshold]
    for masks, colour in (
        (frame.masks, TRUTH_RGB),
        (instance_pixels(kept, height, width, options.mask_threshold), KEPT_RGB),
    ):
        for mask in masks:
            large = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
            picture[_edge(np.asarray(large))] = colour
    tile = Image.new("RGB", (size[0], size[1] + CAPTION_HEIGHT))
    tile.paste(Image.fromarray(picture), (0, CAPTION_HEIGHT))
    draw = ImageDraw.Draw(tile)
    for one in instances[: 0 if kept else 1]:
        x0, y0, x1, y1 = (value * zoom for value in one.box.tolist())
        draw.rectangle((x0, y0 + CAPTION_HEIGHT, x1 - 1, y1 + CAPTION_HEIGHT - 1), outline=DROPPED_RGB)
    ious = " ".join(f"{iou:.2f}" for iou in score.diver_ious) or "no diver"
    extra = f"  false {score.false_keeps}" if score.false_keeps else ""
    draw.text((2, 2), f"{frame.stem[-36:]}  {ious}{extra}", fill=(255, 255, 255))
    return tile


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that touch a pixel outside it."""
    inside = np.pad(mask, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return mask & ~core
