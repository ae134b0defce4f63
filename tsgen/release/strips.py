"""Film strips of a few clips of each class, and the clip file's sister that a viewer shows pictures from.

``datasets`` reads every configuration of a repository with one reader, here that of HDF5, so the pictures that the
Hub's viewer is to show must come out of HDF5 too. Of what that reader makes a picture from, arrays become lists of
Python's numbers: seconds and hundreds of MB for a screenful. Bytes of a picture take neither, but the reader ends them
at the first zero. So a strip is a binary PGM, whose pixels are raw, and its black is grey level 1.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgen.canvas import Grid, blank, enlarged
from tsgen.clipset import ClipSet
from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path
from tsgen.common.h5guard import open_guarded, reading
from tsgen.preview import STRIP_COLUMNS, choose_shots
from tsgen.release.plan import PREVIEW_CLIPS_PER_CLASS

STRIP_SCALE = 2
DARKEST = 1
PACKED = {"chunks": (1,), "compression": "gzip", "compression_opts": 1}

VIEWER_COLUMNS: dict[str, tuple[str, str]] = {
    "config": ("string", "configuration that the clip is of"),
    "class_name": ("string", "name of the class"),
    "clip_id": ("int64", "place in the stream of (seed, domain, split)"),
    "strip": ("image", f"all frames of the clip in reading order, PGM; black is grey level {DARKEST}"),
}
"""Datasets of a strip file -> (type in the card, meaning). No class ids: those of the profiles differ."""


@dataclass(frozen=True)
class Strip:
    """A clip of the preview. ``row``: of the clip file; ``image``: grey, its size that of :func:`strip_grid`."""

    row: int
    class_name: str
    image: Image.Image


def strips_of(clip_set: ClipSet) -> list[Strip]:
    """The first clips of every class, class by class."""
    reel = choose_shots(clip_set, per_class=PREVIEW_CLIPS_PER_CLASS)
    return [Strip(shot.row, shot.class_name, draw_strip(shot.frames)) for shot in reel.shots]


def strip_grid(num_frames: int, height: int, width: int) -> Grid:
    """The layout of a strip of so many frames of ``height`` x ``width`` px."""
    columns = min(STRIP_COLUMNS, num_frames)
    return Grid(-(-num_frames // columns), columns, width * STRIP_SCALE, height * STRIP_SCALE)


def draw_strip(frames: NDArray[np.uint8]) -> Image.Image:
    """All frames of a clip uint8 (T, H, W) in reading order. Without text: its pixels depend on no font."""
    grid = strip_grid(*frames.shape)
    image, _ = blank(grid.size)
    for t, frame in enumerate(frames):
        image.paste(enlarged(frame, STRIP_SCALE), grid.corner(t // grid.columns, t % grid.columns))
    return image


def pgm(image: Image.Image) -> bytes:
    """A grey picture as binary PGM without a zero byte: pixels below DARKEST become it."""
    buffer = io.BytesIO()
    Image.fromarray(np.maximum(np.asarray(image), DARKEST)).save(buffer, "PPM")
    return buffer.getvalue()


def pgm_bytes(num_frames: int, height: int, width: int) -> int:
    """Size of the picture of such a clip, the same for all."""
    return len(pgm(blank(strip_grid(num_frames, height, width).size)[0]))


def viewer_columns(strips: list[Strip], clip_set: ClipSet, config: str) -> dict[str, NDArray[Any]]:
    """The columns of VIEWER_COLUMNS, a row a strip: fixed-length bytes where the card says string or image."""
    return {
        "config": np.array([config.encode()] * len(strips)),
        "class_name": np.array([strip.class_name.encode() for strip in strips]),
        "clip_id": clip_set.clip_id[[strip.row for strip in strips]],
        "strip": np.array([pgm(strip.image) for strip in strips]),
    }


def write_strips(columns: dict[str, NDArray[Any]], path: Path) -> None:
    """Write a strip file, at once. The same columns give the same bytes with the same HDF5 and zlib."""
    import h5py

    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        for name, values in columns.items():
            options = PACKED if VIEWER_COLUMNS[name][0] == "image" else {}
            file.create_dataset(name, data=values, **options)
            file[name].attrs["meaning"] = VIEWER_COLUMNS[name][1]


def strips_problems(path: Path, expected: dict[str, NDArray[Any]]) -> list[str]:
    """How the strip file at ``path``, of unknown origin, differs from these columns: in names, types or values."""
    try:
        with open_guarded(path) as file, reading(path):
            if set(file) != set(expected):
                return [f"has the columns {', '.join(map(ascii, sorted(file)))}; expected {', '.join(expected)}."]
            for name, values in expected.items():
                kind, shape = (getattr(file[name], what, None) for what in ("dtype", "shape"))
                if (kind, shape) != (values.dtype, values.shape):
                    return [f"{name} is {kind} {shape}; expected {values.dtype} {values.shape}."]
            wrong = {name: np.flatnonzero(file[name][:] != values) for name, values in expected.items()}
    except DataError as problem:
        return [str(problem)]
    return [
        f"{name} differs in {len(rows)} of {len(expected[name])} rows, first in row {rows[0]}."
        for name, rows in wrong.items()
        if len(rows)
    ]
