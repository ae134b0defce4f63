"""Pictures to look at: the domains of a clip side by side with boxes and the status of each frame, still or moving."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diving48_domains.build import BuildReport
from diving48_domains.build_options import BuildOptions, suffix_of
from diving48_domains.clip_build import LookedAt
from diving48_domains.domains import compose
from diving48_domains.framestore import open_store
from diving48_domains.instances import Instance
from diving48_domains.video import read_frames
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import UsageError
from tsgen.common.files import atomic_path

STATUS_RGB: dict[str, tuple[int, int, int]] = {
    "detected": (40, 160, 90),
    "interpolated": (230, 150, 20),
    "empty": (130, 130, 140),
    "leaked": (210, 40, 60),
}
PAPER, INK, FAINT = (255, 255, 255), (35, 35, 40), (120, 120, 128)
MARGIN, GAP, FRAME, TYPE = 10, 4, 3, 12
MAX_PIXELS = 60_000_000
ANIMATIONS = (".gif", ".png", ".webp")
"""Suffixes of animations; .png is an APNG, lossless as .webp is here, where GIF has 256 colours."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture uint8 (H, W, 3), the status that colours its rim ("" for none)."""

    frame: NDArray[np.uint8]
    status: str = ""


def sheet(
    rows: Sequence[tuple[str, Sequence[Cell]]], columns: Sequence[str], cell_width: int, title: str = ""
) -> Image.Image:
    """Rows of (caption, cells) under the captions of columns, with the legend of the statuses that occur."""
    height, width = rows[0][1][0].frame.shape[:2]
    cell_h = max(1, round(cell_width * height / width))
    left = MARGIN + max(_length(caption) for caption, _ in rows) + GAP
    top = MARGIN + (TYPE + 8 if title else 0) + TYPE + 8
    step_x, step_y = cell_width + 2 * FRAME + GAP, cell_h + 2 * FRAME + GAP
    used = [name for name in STATUS_RGB if any(cell.status == name for _, cells in rows for cell in cells)]
    size = (left + step_x * len(columns) + MARGIN, top + step_y * len(rows) + (TYPE + 10 if used else 0) + MARGIN)
    if size[0] * size[1] > MAX_PIXELS:
        raise UsageError(f"a picture of {size[0]}x{size[1]} px is too large; ask for fewer frames or narrower cells.")
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    if title:
        pen.text((MARGIN, MARGIN), title, fill=INK, font=_font())
    for number, caption in enumerate(columns):
        middle = left + step_x * number + FRAME + cell_width / 2
        pen.text((middle, top - 8), caption, fill=FAINT, font=_font(), anchor="ms")
    for row, (caption, cells) in enumerate(rows):
        y = top + step_y * row
        pen.text((MARGIN, y + step_y / 2), caption, fill=INK, font=_font(), anchor="lm")
        for number, cell in enumerate(cells):
            x = left + step_x * number
            if cell.status:
                corner = (x + cell_width + 2 * FRAME - 1, y + cell_h + 2 * FRAME - 1)
                pen.rectangle(((x, y), corner), fill=STATUS_RGB[cell.status])
            image = Image.fromarray(cell.frame)
            if image.size != (cell_width, cell_h):
                enlarged = cell_width % image.width == 0
                how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BILINEAR
                image = image.resize((cell_width, cell_h), how)
            page.paste(image, (x + FRAME, y + FRAME))
    _legend(pen, used, left, size[1] - MARGIN - TYPE)
    return page


def clip_sheet(clip: LookedAt, options: BuildOptions, columns: int = 8, cell_width: int = 160) -> Image.Image:
    """A row for each domain, ``columns`` frames evenly spaced over the clip; the first row shows boxes and scores."""
    chosen = np.unique(np.rint(np.linspace(0, len(clip.frames) - 1, columns)).astype(int))
    made = _versions(clip, options)
    rows = [
        (name, [Cell(frames[place], clip.status[place]) for place in chosen.tolist()]) for name, frames in made.items()
    ]
    captions = [f"frame {clip.indices[place]}" for place in chosen.tolist()]
    return sheet(rows, captions, cell_width, clip.title)


def clip_animation(clip: LookedAt, options: BuildOptions, cell_width: int = 240) -> list[Image.Image]:
    """All domains side by side in two rows, one picture a frame."""
    made = list(_versions(clip, options).items())
    wide = (len(made) + 1) // 2 if len(made) > 3 else len(made)
    blank = Cell(np.full_like(clip.frames[0], 255))
    pages = []
    for place, status in enumerate(clip.status):
        cells = [Cell(_named(frames[place], name), status) for name, frames in made]
        cells += [blank] * (-len(cells) % wide)
        rows = [("", cells[start : start + wide]) for start in range(0, len(cells), wide)]
        note = f"{clip.title}   frame {clip.indices[place]}: {status}"
        pages.append(sheet(rows, [""] * wide, cell_width, note))
    tallest = max(page.height for page in pages)  # the legend names the status of the frame, where there is one
    return [page.crop((0, 0, page.width, tallest)) for page in pages]


def save_animation(pages: Sequence[Image.Image], out: Path, fps: float) -> None:
    """Write a GIF, APNG or WebP that repeats for ever. UsageError for another suffix."""
    if out.suffix.lower() not in ANIMATIONS:
        raise UsageError(f"--animation {out}: allowed are {', '.join(ANIMATIONS)}.")
    kind = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}[out.suffix.lower()]
    lossless = {"lossless": True} if kind == "WEBP" else {"disposal": 1} if kind == "GIF" else {}
    with atomic_path(out) as partial:
        pages[0].save(
            partial, kind, save_all=True, append_images=list(pages[1:]), duration=round(1000 / fps), loop=0, **lossless
        )


def save_image(image: Image.Image, out: Path) -> None:
    with atomic_path(out) as partial:
        image.save(partial, "PNG")


def contact_sheet(report: BuildReport, options: BuildOptions, clips: int = 6, cell_width: int = 160) -> Image.Image:
    """What a build wrote: a row a clip, evenly spread over the list, and its middle frame in every domain."""
    written = report.manifest.written()
    if not written:
        raise UsageError("no clip was written; the manifest says why.")
    chosen = [written[place] for place in sorted({round(x) for x in np.linspace(0, len(written) - 1, clips)})]
    names = list(report.outputs)
    rows = []
    for record in chosen:
        place = len(record.status) // 2
        cells = [Cell(_stored(report, options, name, record.clip_id, place), record.status[place]) for name in names]
        rows.append((f"{record.clip_id}\n{class_name(record.label)}", cells))
    return sheet(rows, names, cell_width, f"{report.folder.name}: the middle frame of {len(rows)} clips")


def class_name(label: int) -> str:
    """``17 Forward 15som 1Twis FREE``; the number alone for other vocabularies."""
    return f"{label} {' '.join(DIVE_CLASSES[label])}" if label < len(DIVE_CLASSES) else str(label)


def _stored(report: BuildReport, options: BuildOptions, name: str, clip_id: str, place: int) -> NDArray[np.uint8]:
    if options.form == "hdf5":
        store = _open(report.outputs[name])
        frame: NDArray[np.uint8] = store.clip(store.ids.index(clip_id))[place]
        return frame
    video = report.outputs[name] / f"{clip_id}{suffix_of(name, options)}"
    decoded: NDArray[np.uint8] = read_frames(video, [place]).frames[0]
    return decoded


_open = functools.lru_cache(maxsize=8)(open_store)


def _versions(clip: LookedAt, options: BuildOptions) -> dict[str, NDArray[np.uint8]]:
    """Domain -> frames, the original with boxes; before any resizing."""
    made = compose(clip.frames, clip.shown, options.composition, options.domains, clip.filled)
    boxed = [_boxed(*one) for one in zip(clip.frames, clip.shown, clip.status, strict=True)]
    return {"boxes": np.stack(boxed)} | made


def _boxed(frame: NDArray[np.uint8], divers: Sequence[Instance], status: str) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image)
    for one in divers:
        x0, y0, x1, y1 = one.box.tolist()
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=STATUS_RGB[status])
    return np.asarray(image)


def _named(frame: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image)
    pen.text((3, 2), name, fill=(255, 255, 255), font=_font(10), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def _legend(pen: ImageDraw.ImageDraw, used: Sequence[str], x: float, y: float) -> None:
    for name in used:
        pen.rectangle((x, y + 1, x + TYPE - 2, y + TYPE - 1), fill=STATUS_RGB[name])
        pen.text((x + TYPE + 3, y), name, fill=FAINT, font=_font())
        x += TYPE + 3 + _length(name) + 14


@functools.cache
def _font(size: int = TYPE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _length(text: str) -> int:
    return max((int(np.ceil(_font().getlength(line))) for line in text.splitlines()), default=0)
