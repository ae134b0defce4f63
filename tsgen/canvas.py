"""What all pictures share: crisp enlargement, text, the colours of time, and the layout of cells."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tsgen.common.errors import UsageError

GAP_PX = 2
MARGIN_PX = 8
PAPER, INK, FAINT, RULE = 255, 40, 130, 200
MAX_PIXELS = 100_000_000
TIME_RAMP: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.0, (70, 110, 220)),
    (0.5, (60, 185, 160)),
    (1.0, (253, 231, 37)),
)
"""First to last frame: blue to yellow, told apart with every common colour-vision deficiency, and growing lighter."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """Cells of one size in rows and columns, with room for captions at the left and on top. All in px."""

    rows: int
    columns: int
    cell_w: int
    cell_h: int
    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @property
    def size(self) -> tuple[int, int]:
        width = 2 * MARGIN_PX + self.left + self.columns * (self.cell_w + GAP_PX) - GAP_PX + self.right
        height = 2 * MARGIN_PX + self.top + self.rows * (self.cell_h + GAP_PX) - GAP_PX + self.bottom
        if width * height > MAX_PIXELS:
            raise UsageError(
                f"a picture of {width}x{height} px is too large (allowed: {MAX_PIXELS // 10**6} megapixels); "
                "show fewer clips, or use a smaller --scale or a larger --every."
            )
        return width, height

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Upper left corner (x, y) of a cell."""
        x = MARGIN_PX + self.left + column * (self.cell_w + GAP_PX)
        y = MARGIN_PX + self.top + row * (self.cell_h + GAP_PX)
        return x, y


def blank(size: tuple[int, int], mode: str = "L") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new(mode, size, PAPER if mode == "L" else (PAPER,) * 3)
    return image, ImageDraw.Draw(image)


def enlarged(frame: NDArray[np.uint8], scale: int) -> Image.Image:
    """Every pixel a square of ``scale`` px, nothing in between. uint8 (H, W) -> a grey image."""
    return Image.fromarray(frame.repeat(scale, axis=0).repeat(scale, axis=1))


def font_px(scale: int) -> int:
    """Text grows with the cells, but more slowly."""
    return min(10 + 2 * (scale - 1), 28)


@functools.cache
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)  # the one that Pillow carries: the same on every machine


def text_width(texts: list[str], size_px: int) -> int:
    return max((int(np.ceil(font(size_px).getlength(text))) for text in texts), default=0)


def time_colour(share: float) -> Colour:
    """The colour of a moment, ``share`` 0 (first frame) .. 1 (last)."""
    places = [place for place, _ in TIME_RAMP]
    red, green, blue = (
        round(float(np.interp(share, places, [colour[channel] for _, colour in TIME_RAMP]))) for channel in range(3)
    )
    return red, green, blue


def draw_time_bar(image: Image.Image, left: int, middle: int, room: int, last_frame: int, size_px: int) -> None:
    """The legend of :func:`time_colour`: a bar with the first and the last frame's number at its ends.

    It starts at x = ``left``, is ``room`` px wide with its texts, and is centred on y = ``middle``.
    """
    pen = ImageDraw.Draw(image)
    ink = (INK,) * 3
    first, last = "frame 0", str(last_frame)
    space = size_px // 2
    x = left + text_width([first], size_px) + space
    end = left + room - text_width([last], size_px) - space
    half = max(2, size_px // 4)
    pen.text((left, middle), first, fill=ink, font=font(size_px), anchor="lm")
    for column in range(x, end):
        pen.line([(column, middle - half), (column, middle + half)], fill=time_colour((column - x) / (end - x)))
    pen.text((max(end, x) + space, middle), last, fill=ink, font=font(size_px), anchor="lm")
