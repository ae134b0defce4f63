"""Pictures of clips: pure functions from clips to images, and the table :data:`KINDS` of what ``tsgen show`` can draw.

Frames are enlarged by whole factors without smoothing. Nothing here opens a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tsgen.canvas import (
    FAINT,
    GAP_PX,
    INK,
    MARGIN_PX,
    MAX_PIXELS,
    RULE,
    Grid,
    blank,
    draw_time_bar,
    enlarged,
    font,
    font_px,
    text_width,
    time_colour,
)
from tsgen.clipset import ClipSet
from tsgen.common.errors import DataError, UsageError, unknown_name

STRIP_COLUMNS = 10
SUPERSAMPLING = 4  # paths are drawn larger and averaged down, for smooth edges
PATH_BACKGROUND = 0.45  # how bright the frames behind a path stay


@dataclass(frozen=True)
class Shot:
    """One clip and what a picture says about it. ``frames`` uint8 (T, H, W), ``positions`` float32 (T, 2) px."""

    frames: NDArray[np.uint8]
    positions: NDArray[np.float32]
    class_name: str
    row: int


@dataclass(frozen=True)
class Reel:
    """The shots of one file, and its title."""

    title: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Look:
    """``every`` k-th frame is shown, each pixel as a square of ``scale`` px."""

    every: int
    scale: int


@dataclass(frozen=True)
class Kind:
    """A way of drawing: the images (one, or one a frame of an animation), its default look and the file formats."""

    draw: Callable[[Sequence[Reel], Look], list[Image.Image]]
    look: Look
    suffixes: tuple[str, ...]
    meaning: str


def choose_shots(
    clip_set: ClipSet, *, clips: Sequence[int] = (), classes: Sequence[str] = (), per_class: int = 1
) -> Reel:
    """The clips at rows ``clips`` of the file; without any, the first ``per_class`` of each class in ``classes``.

    No ``classes``: all of them.
    """
    labels = clip_set.labels
    for name in classes:
        if name not in clip_set.class_names:
            raise unknown_name("class", name, clip_set.class_names)
    beyond = [row for row in clips if not 0 <= row < len(clip_set)]
    if beyond:
        raise UsageError(f"{clip_set.path} has no clip {beyond[0]}; allowed: 0..{len(clip_set) - 1}.")
    rows = list(clips) or [
        int(row)
        for class_id, name in enumerate(clip_set.class_names)
        if name in classes or not classes
        for row in np.flatnonzero(labels == class_id)[:per_class]
    ]
    if not rows:
        raise DataError(f"{clip_set.path} holds no clips of {', '.join(classes) or 'any class'} to show.")
    frames = clip_set.rows(rows)
    shots = [
        Shot(clip, clip_set.column("positions", row, row + 1)[0], clip_set.class_names[labels[row]], row)
        for row, clip in zip(rows, frames, strict=True)
    ]
    return Reel(clip_set.domain, tuple(shots))


def contact_sheet(reels: Sequence[Reel], look: Look) -> list[Image.Image]:
    """A row a clip: its frames from left to right, then the brightest value of each pixel over time (the figure that
    was drawn). The shots of several files stand below each other, grouped by class, with the domain's name."""
    if len(reels) == 1:
        return [_sheet([(shot.class_name, [(shot.class_name, shot)]) for shot in reels[0].shots], look, titled=False)]
    names = dict.fromkeys(shot.class_name for reel in reels for shot in reel.shots)
    groups = [
        (name, [(reel.title, shot) for reel in reels for shot in reel.shots if shot.class_name == name])
        for name in names
    ]
    return [_sheet(groups, look, titled=True)]


def film_strip(reels: Sequence[Reel], look: Look) -> list[Image.Image]:
    """All frames of each clip in reading order, numbered."""
    shots = _all_shots(reels)
    height, width = _common_size(shots)
    size_px = font_px(look.scale)
    blocks = [list(range(0, len(shot.frames), look.every)) for shot in shots]
    columns = min(STRIP_COLUMNS, max(map(len, blocks)))
    line_h = height * look.scale + size_px + 4
    rows_of = [-(-len(block) // columns) for block in blocks]
    title_h, apart = size_px + 8, size_px
    grid = Grid(
        sum(rows_of), columns, width * look.scale, line_h, bottom=title_h * len(shots) + apart * (len(shots) - 1)
    )
    image, pen = blank(grid.size)
    row = 0
    for number, (shot, (title, block, rows)) in enumerate(
        zip(shots, zip(_titles(reels), blocks, rows_of, strict=True), strict=True)
    ):
        down = number * (title_h + apart)
        x, y = grid.corner(row, 0)
        pen.text((x, y + down), title, fill=INK, font=font(size_px), anchor="lt")
        for place, t in enumerate(block):
            x, y = grid.corner(row + place // columns, place % columns)
            y += down + title_h
            image.paste(enlarged(shot.frames[t], look.scale), (x, y))
            below = (x + grid.cell_w / 2, y + height * look.scale + 2)
            pen.text(below, str(t), fill=FAINT, font=font(size_px - 1), anchor="mt")
        row += rows
    return [image]


def path_picture(reels: Sequence[Reel], look: Look) -> list[Image.Image]:
    """Each clip as its path, coloured by time, over the dimmed time-max image: a ring where it starts, an arrow where
    it ends. A row a file."""
    for reel in reels:
        for shot in reel.shots:
            if not np.isfinite(shot.positions).all():
                raise UsageError(
                    f"clip {shot.row} of {reel.title} has no recorded positions (imported files have none), so its "
                    "path cannot be drawn; use --kind sheet or strip."
                )
    height, width = _common_size(_all_shots(reels))
    size_px = font_px(look.scale)
    grid, titled = _clip_grid(reels, height, width, look.scale, bottom=size_px + 10)
    image, pen = blank(grid.size, "RGB")
    _write_titles(pen, reels, grid, size_px, titled)
    for row, reel in enumerate(reels):
        for column, shot in enumerate(reel.shots):
            image.paste(_path_cell(shot, look), grid.corner(row, column))
    last = max(len(shot.frames) for shot in _all_shots(reels)) - 1
    left = grid.corner(0, 0)[0]
    room = min(grid.size[0] - left - MARGIN_PX, 2 * grid.cell_w)
    draw_time_bar(image, left, grid.size[1] - MARGIN_PX - size_px // 2, room, last, size_px)
    return [image]


def animation(reels: Sequence[Reel], look: Look) -> list[Image.Image]:
    """The clips side by side in time, a row a file. One clip of one file fills the picture, without a caption."""
    shots = _all_shots(reels)
    height, width = _common_size(shots)
    num_frames = {len(shot.frames) for shot in shots}
    if len(num_frames) > 1:
        raise UsageError(f"clips of {sorted(num_frames)} frames cannot be played together; show them one by one.")
    times = range(0, num_frames.pop(), look.every)
    if len(shots) == 1:
        return [enlarged(shots[0].frames[t], look.scale) for t in times]
    grid, titled = _clip_grid(reels, height, width, look.scale)
    size = grid.size
    if size[0] * size[1] * len(times) > 4 * MAX_PIXELS:
        raise UsageError(f"{len(times)} pictures of {size[0]}x{size[1]} px are too many; use a smaller --scale.")
    page, pen = blank(size)
    _write_titles(pen, reels, grid, font_px(look.scale), titled)
    images = []
    for t in times:
        image = page.copy()
        for row, reel in enumerate(reels):
            for column, shot in enumerate(reel.shots):
                image.paste(enlarged(shot.frames[t], look.scale), grid.corner(row, column))
        images.append(image)
    return images


KINDS: dict[str, Kind] = {
    "sheet": Kind(contact_sheet, Look(every=2, scale=1), (".png",), "a row a clip: frames, then its time-max image"),
    "strip": Kind(film_strip, Look(every=1, scale=2), (".png",), "all frames of each clip, numbered"),
    "path": Kind(path_picture, Look(every=1, scale=4), (".png",), "paths coloured by time, a row a file"),
    "animation": Kind(animation, Look(every=1, scale=4), (".gif", ".webp"), "clips playing side by side"),
}
"""What ``tsgen show --kind`` accepts. The first that fits the output's suffix is the default."""


def kind_for(name: str | None, suffix: str) -> Kind:
    """The kind of that name, or the default for a suffix (".png")."""
    if name is not None and name not in KINDS:
        raise unknown_name("kind", name, KINDS)
    fitting = [kind for known, kind in KINDS.items() if suffix in kind.suffixes and name in (None, known)]
    if fitting:
        return fitting[0]
    suffixes = KINDS[name].suffixes if name else sorted({s for kind in KINDS.values() for s in kind.suffixes})
    what = f"kind {name!r} is written as" if name else "allowed:"
    raise UsageError(f"--out ends in {suffix or 'nothing'!r}; {what} {', '.join(suffixes)}.")


def _sheet(groups: list[tuple[str, list[tuple[str, Shot]]]], look: Look, *, titled: bool) -> Image.Image:
    """Rows of (caption, shot), in groups with a name on top of each where ``titled``."""
    lines = [line for _, group in groups for line in group]
    height, width = _common_size([shot for _, shot in lines])
    size_px = font_px(look.scale)
    shown = range(0, max(len(shot.frames) for _, shot in lines), look.every)
    title_h = size_px + 14 if titled else 0
    captions = text_width([caption for caption, _ in lines], size_px) + 2 * MARGIN_PX
    left = max(captions, 62) if not titled else captions
    cell_w, cell_h = width * look.scale, height * look.scale
    grid = Grid(len(lines), len(shown) + 1, cell_w, cell_h, left, right=MARGIN_PX, bottom=title_h * len(groups))
    image, pen = blank(grid.size)
    row = 0
    for number, (name, group) in enumerate(groups):
        down = title_h * (number + 1)
        if titled:
            x, y = grid.corner(row, 0)
            pen.text((x, y + down - title_h + 8), name, fill=INK, font=font(size_px), anchor="lt")
        for caption, shot in group:
            left_end, y = MARGIN_PX, grid.corner(row, 0)[1] + down
            pen.text((left_end, y + cell_h // 2), caption, fill=INK, font=font(size_px), anchor="lm")
            for column, t in enumerate(shown):
                if t < len(shot.frames):
                    image.paste(enlarged(shot.frames[t], look.scale), (grid.corner(row, column)[0], y))
            x = grid.corner(row, len(shown))[0] + MARGIN_PX
            ruler = x - MARGIN_PX // 2 - GAP_PX // 2
            pen.line([(ruler, y), (ruler, y + cell_h - 1)], fill=RULE)
            image.paste(enlarged(shot.frames.max(axis=0), look.scale), (x, y))
            row += 1
    return image


def _path_cell(shot: Shot, look: Look) -> Image.Image:
    """The path over the time-max image, RGB."""
    dimmed = (shot.frames.max(axis=0) * PATH_BACKGROUND).astype(np.uint8)
    factor = look.scale * SUPERSAMPLING
    cell = enlarged(dimmed, factor).convert("RGB")
    pen = ImageDraw.Draw(cell)
    points = [(float(x) * factor, float(y) * factor) for x, y in shot.positions]
    last = len(points) - 1
    thick = max(1, round(0.65 * factor))
    for t in range(0, last, look.every):
        until = min(t + look.every, last)
        pen.line([points[t], points[until]], fill=time_colour(t / last), width=thick)
    for t in range(0, last + 1, look.every):
        _disc(pen, points[t], 0.75 * factor, time_colour(t / max(last, 1)))
    _disc(pen, points[0], 1.9 * factor, (255, 255, 255))
    _disc(pen, points[0], 1.15 * factor, time_colour(0.0))
    _arrow_head(pen, points, 3.4 * factor)
    width, height = cell.size
    return cell.resize((width // SUPERSAMPLING, height // SUPERSAMPLING), Image.Resampling.BOX)


def _disc(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: tuple[int, int, int]) -> None:
    x, y = centre
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _arrow_head(pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], length: float) -> None:
    """At the last point, in the direction of the last movement; nothing for an entity at rest."""
    path = np.array(points)
    steps = np.diff(path, axis=0)
    moving = np.flatnonzero(np.hypot(steps[:, 0], steps[:, 1]) > 0)
    if not len(moving):
        return
    ahead = steps[moving[-1]] / np.hypot(*steps[moving[-1]])
    aside = np.array([-ahead[1], ahead[0]])
    tip = path[-1] + ahead * length * 0.6
    back = path[-1] - ahead * length * 0.4
    corners = [tip, back + aside * length * 0.5, back - aside * length * 0.5]
    pen.polygon([(float(x), float(y)) for x, y in corners], fill=time_colour(1.0))


def _all_shots(reels: Sequence[Reel]) -> list[Shot]:
    return [shot for reel in reels for shot in reel.shots]


def _titles(reels: Sequence[Reel]) -> list[str]:
    return [f"{shot.class_name}  ({reel.title}, clip {shot.row})" for reel in reels for shot in reel.shots]


def _common_size(shots: Sequence[Shot]) -> tuple[int, int]:
    """(H, W), the same for all."""
    sizes = {shot.frames.shape[1:] for shot in shots}
    if len(sizes) > 1:
        text = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise UsageError(f"frames of {text} px do not fit into one picture; show the files one by one.")
    height, width = sizes.pop()
    return height, width


def _clip_grid(reels: Sequence[Reel], height: int, width: int, scale: int, bottom: int = 0) -> tuple[Grid, bool]:
    """A cell a clip, a row a file, with captions; whether rows carry the files' titles."""
    size_px = font_px(scale)
    titled = len(reels) > 1
    left = text_width([reel.title for reel in reels], size_px) + MARGIN_PX if titled else 0
    columns = max(len(reel.shots) for reel in reels)
    grid = Grid(len(reels), columns, width * scale, height * scale, left, top=size_px + 6, bottom=bottom)
    return grid, titled


def _write_titles(pen: ImageDraw.ImageDraw, reels: Sequence[Reel], grid: Grid, size_px: int, titled: bool) -> None:
    ink: int | tuple[int, int, int] = INK if pen.mode == "L" else (INK,) * 3
    longest = max(reels, key=lambda reel: len(reel.shots))
    for column, shot in enumerate(longest.shots):
        x, y = grid.corner(0, column)
        pen.text((x + grid.cell_w / 2, y - 5), shot.class_name, fill=ink, font=font(size_px), anchor="md")
    if titled:
        for row, reel in enumerate(reels):
            middle = grid.corner(row, 0)[1] + grid.cell_h / 2
            pen.text((MARGIN_PX, middle), reel.title, fill=ink, font=font(size_px), anchor="lm")


def with_look(kind: Kind, every: int | None, scale: int | None) -> Look:
    """The kind's own look where nothing else is asked for."""
    given = {name: value for name, value in (("every", every), ("scale", scale)) if value is not None}
    return dataclasses.replace(kind.look, **given)
