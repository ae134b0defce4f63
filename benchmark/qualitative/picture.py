"""The clips of a class to look at: a row for each, a block of frames for each domain, the answers below. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmark.attributes import MATCHES, N_ATTRIBUTES
from benchmark.qualitative.frames import ClipFrames
from benchmark.qualitative.tables import NEAR, RIGHT, WRONG, ClassTables, ModelRow
from tsgen.common.errors import UsageError

PAPER, INK, FAINT, RULE = (255, 255, 255), (29, 35, 41), (96, 105, 114), (213, 217, 221)
COLOURS = {RIGHT: (0, 122, 89), NEAR: (0, 114, 178), WRONG: (194, 78, 0)}
"""Of the answers; each also has a sign of its own, so that colour is never needed."""
MARGIN, FRAME_GAP, BLOCK_GAP, ROW_GAP = 16, 2, 18, 16
TYPE, HEAD, LINE = 17, 22, 23
SIGN = 11
CELL = 112
"""Width of a frame: smaller ones are enlarged by a whole number, larger ones reduced."""
MAX_PIXELS = 80_000_000
WORDS = {"O": "the clip itself", "S1": "the diver's pixels", "S2": "the diver's box", "T": "the box filled"}


@dataclass(frozen=True)
class _Layout:
    """Where things are, in px; ``size`` of a frame."""

    size: tuple[int, int]
    frames: int
    blocks: int
    models: int
    clips: int
    top: int

    @property
    def block_w(self) -> int:
        return self.frames * (self.size[0] + FRAME_GAP) - FRAME_GAP

    @property
    def row_h(self) -> int:
        return LINE + self.size[1] + 6 + self.models * LINE + ROW_GAP

    @property
    def page(self) -> tuple[int, int]:
        width = 2 * MARGIN + self.blocks * (self.block_w + BLOCK_GAP) - BLOCK_GAP
        return width, self.top + self.clips * self.row_h + LINE + MARGIN

    def x(self, block: int) -> int:
        return MARGIN + block * (self.block_w + BLOCK_GAP)

    def y(self, clip: int) -> int:
        return self.top + clip * self.row_h


def class_picture(tables: ClassTables, clips: Sequence[ClipFrames]) -> Image.Image:
    """RGB. ``clips``: those of ``tables`` in their order, all of one shape. UsageError for a picture too large."""
    domains = list(clips[0].frames)
    F, height, width = clips[0].frames[domains[0]].shape[:3]
    scale = max(1, round(CELL / width)) if width <= CELL else CELL / width
    size = (round(width * scale), max(1, round(height * scale)))
    layout = _Layout(size, F, len(domains), len(tables.rows), len(clips), MARGIN + 2 * HEAD + 3 * LINE)
    if layout.page[0] * layout.page[1] > MAX_PIXELS:
        raise UsageError(f"a picture of {layout.page[0]}x{layout.page[1]} px is too large; ask for fewer clips.")
    page = Image.new("RGB", layout.page, PAPER)
    pen = ImageDraw.Draw(page)
    _head(pen, tables, domains, layout)
    for number, clip in enumerate(clips):
        y = layout.y(number)
        pen.line((MARGIN, y - ROW_GAP // 2, layout.page[0] - MARGIN, y - ROW_GAP // 2), fill=RULE)
        at = f"clip {number + 1}:  {clip.name}   frames {', '.join(map(str, clip.indices))}"
        pen.text((MARGIN, y + LINE // 2), _fitted(at, layout.page[0] - 2 * MARGIN, TYPE), INK, _font(TYPE), "lm")
        for block, domain in enumerate(domains):
            for place, frame in enumerate(clip.frames[domain]):
                x = layout.x(block) + place * (size[0] + FRAME_GAP)
                page.paste(_sized(frame, size), (x, y + LINE))
            for line, row in enumerate(tables.rows):
                middle = y + LINE + size[1] + 6 + line * LINE + LINE // 2
                _answer(pen, tables, row, domain, number, (layout.x(block), middle), layout.block_w)
    _legend(pen, tables, layout)
    return page


def _head(pen: ImageDraw.ImageDraw, tables: ClassTables, domains: Sequence[str], layout: _Layout) -> None:
    room = layout.page[0] - 2 * MARGIN
    title = f"Class {tables.label}: {tables.name}"
    pen.text((MARGIN, MARGIN), _fitted(title, room, HEAD), INK, _font(HEAD))
    n = len(tables.clip_ids)
    about = f"{n} of {tables.clips_of_class} test clips, drawn at random (seed {tables.seed})"
    pen.text((MARGIN, MARGIN + HEAD + 8), _fitted(about, room, TYPE), FAINT, _font(TYPE))
    for block, domain in enumerate(domains):
        x, y = layout.x(block), layout.top - ROW_GAP // 2 - 3
        pen.text((x, y), domain, INK, _font(HEAD), "ls")
        after = x + _font(HEAD).getlength(domain) + 8
        pen.text((after, y), WORDS.get(domain, ""), FAINT, _font(TYPE), "ls")


def _answer(
    pen: ImageDraw.ImageDraw, tables: ClassTables, row: ModelRow, domain: str, clip: int, at: tuple[int, int], room: int
) -> None:
    """Sign, model, class given, and how many attributes it shares: as much of it as there is room for."""
    x, y = at
    best = row.top[domain][clip]
    given = best[0]
    verdict = tables.verdict(best)
    _draw_sign(pen, verdict, x, y)
    x += SIGN + 6
    shared = ""
    if tables.dives is not None and given != tables.label:
        shared = f"{int(MATCHES[tables.dives[tables.label], tables.dives[given]].sum())}/{N_ATTRIBUTES}"
    space = room - SIGN - 6
    column = min(max(_length(each.title) for each in tables.rows), int(space * 0.45))
    pen.text((x, y), _fitted(row.title, column, TYPE), INK, _font(TYPE), "lm")
    x += column + 8
    end = at[0] + room
    if shared:
        pen.text((end, y), shared, FAINT, _font(TYPE), "rm")
        end -= _length("4/4") + 8
    pen.text((x, y), str(given), COLOURS[verdict], _font(TYPE), "lm")
    x += max(_length("00"), _length(str(given))) + 6
    pen.text((x, y), _fitted(_spaced(tables.class_names[given]), end - x, TYPE), FAINT, _font(TYPE), "lm")


def _draw_sign(pen: ImageDraw.ImageDraw, verdict: str, x: int, y: int) -> None:
    """A disc for right, a ring for among the best five, a cross for wrong."""
    box = (x, y - SIGN // 2, x + SIGN - 1, y - SIGN // 2 + SIGN - 1)
    colour = COLOURS[verdict]
    if verdict == RIGHT:
        pen.ellipse(box, fill=colour)
    elif verdict == NEAR:
        pen.ellipse(box, outline=colour, width=2)
    else:
        pen.line((box[0], box[1], box[2], box[3]), fill=colour, width=2)
        pen.line((box[0], box[3], box[2], box[1]), fill=colour, width=2)


def _legend(pen: ImageDraw.ImageDraw, tables: ClassTables, layout: _Layout) -> None:
    x, y = MARGIN, layout.page[1] - MARGIN - 2
    for verdict in tables.verdicts:
        _draw_sign(pen, verdict, x, y - TYPE // 2)
        x += SIGN + 6
        pen.text((x, y - TYPE // 2), verdict, FAINT, _font(TYPE), "lm")
        x += _length(verdict) + 22
    if tables.dives is not None:
        pen.text((x, y - TYPE // 2), "3/4: attributes shared with the class", FAINT, _font(TYPE), "lm")


def _sized(frame: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(frame)
    if image.size == size:
        return image
    how = Image.Resampling.NEAREST if size[0] % image.width == 0 else Image.Resampling.LANCZOS
    return image.resize(size, how)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _fitted(text: str, room: float, size_px: int) -> str:
    """One line of printable characters, cut at its end where it is too long."""
    clean = "".join(char if char.isprintable() else "?" for char in text[:400])
    if _length(clean, size_px) <= room:
        return clean
    while clean and _length(clean + "...", size_px) > room:
        clean = clean[:-1]
    return clean.rstrip() + "..." if clean else ""


def _length(text: str, size_px: int = TYPE) -> int:
    return int(np.ceil(_font(size_px).getlength(text)))


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)  # the one that Pillow carries: the same on every machine
