"""Pictures of clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tsgen.clipfile import ClipSet
from tsgen.common.errors import DataError

GAP_PX = 2
MARGIN_PX = 8
CAPTION_WIDTH_PX = 62
PAPER, INK, RULE = 255, 40, 200


def contact_sheet(clip_set: ClipSet, *, per_class: int = 1, every: int = 2, scale: int = 1) -> Image.Image:
    """The first ``per_class`` clips of each class, a row each: every k-th frame, then the brightest value of each pixel
    over time (the figure that was drawn). Grey image."""
    labels = clip_set.labels
    rows = [
        row for class_id in range(len(clip_set.class_names)) for row in np.flatnonzero(labels == class_id)[:per_class]
    ]
    if not rows:
        raise DataError(f"{clip_set.path} holds no clips to show.")
    num_frames, height, width = clip_set.clip_shape
    shown = range(0, num_frames, every)
    cell_w, cell_h = width * scale, height * scale
    sheet_width = 2 * MARGIN_PX + CAPTION_WIDTH_PX + (len(shown) + 1) * (cell_w + GAP_PX) + 2 * MARGIN_PX
    sheet = Image.new("L", (sheet_width, 2 * MARGIN_PX + len(rows) * (cell_h + GAP_PX) - GAP_PX), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        y = MARGIN_PX + place * (cell_h + GAP_PX)
        pen.text((MARGIN_PX, y + cell_h // 2), clip_set.class_names[labels[row]], fill=INK, anchor="lm")
        clip = clip_set.clips(row, row + 1)[0]
        x = MARGIN_PX + CAPTION_WIDTH_PX
        for t in shown:
            sheet.paste(_enlarged(clip[t], scale), (x, y))
            x += cell_w + GAP_PX
        x += MARGIN_PX
        pen.line(
            [(x - MARGIN_PX // 2 - GAP_PX // 2, y), (x - MARGIN_PX // 2 - GAP_PX // 2, y + cell_h - 1)],
            fill=RULE,
        )
        sheet.paste(_enlarged(clip.max(axis=0), scale), (x, y))
    return sheet


def _enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    return Image.fromarray(np.kron(frame, np.ones((scale, scale), dtype=np.uint8)))
