"""Mask sources that stand in for a segmenter: an instances file, COCO JSON, a folder of colour pictures per clip.

Whatever made the masks, the rest of the pipeline sees clips of instances. COCO and colour pictures need not cover all
frames of a clip: the frames that are there are the ones that were looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from diving48_domains.coco import decode_segmentation, read_coco_tables
from diving48_domains.instance_file import InstanceFile, check_clip_id
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.labels import IMAGE_SUFFIXES, masks_of_colours, read_picture
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import sha256_file
from tsgen.common.h5guard import SIGNATURE

Value = TypeVar("Value")

MAX_FRAME_NUMBER = 10_000_000
FRAME_NAME = re.compile(r"(?:(?P<clip>.+)_)?(?P<number>[0-9]{1,8})")
DIM = 48  # a label picture whose brightest value is below holds class numbers, not colours


@dataclass(frozen=True, slots=True)
class MaskSource:
    """Clips of instances by id. ``facts``: where they come from, as kept in an instances file; ``close`` when done."""

    clip_ids: tuple[str, ...]
    read: Callable[[str], ClipInstances]
    facts: dict[str, Any]
    close: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[ClipInstances]:
        return map(self.read, self.clip_ids)


def open_masks(path: Path, kind: str = "auto") -> MaskSource:
    """The mask source at ``path``; ``kind``: a key of :data:`SOURCES`, or "auto" to go by what lies there.

    Raises UsageError when nothing of that kind lies there, DataError for damaged content.
    """
    path = Path(path)
    if kind != "auto" and kind not in SOURCES:
        raise unknown_name("mask source", kind, ("auto", *SOURCES))
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; a mask source is {_allowed()}.")
    found = _kind_of(path)
    if found is None or kind not in ("auto", found):
        wanted = _allowed() if kind == "auto" else SOURCES[kind][0]
        raise UsageError(f"{path} is not {wanted}.")
    return SOURCES[found][1](path)


def _allowed() -> str:
    return ", or ".join(title for title, _ in SOURCES.values())


def _kind_of(path: Path) -> str | None:
    if path.is_dir():
        return "png"
    if path.suffix.lower() == ".json":
        return "coco"
    with path.open("rb") as handle:
        return "instances" if handle.read(len(SIGNATURE)) == SIGNATURE else None


def _open_file(path: Path) -> MaskSource:
    file = InstanceFile(path)
    return MaskSource(file.clip_ids, file.read, file.facts, file.close)


def _open_coco(path: Path) -> MaskSource:
    """Images named ``<clip_id>/<frame>.png``, ``<clip_id>/<anything>_<frame>.png`` or ``<clip_id>_<frame>.png``."""
    pictures, segmentations = read_coco_tables(path)
    scores: dict[int, list[float]] = {}
    for row in json.loads(path.read_bytes())["annotations"]:  # its structure was checked just now
        score = row.get("score", 1.0)
        # Compared, not converted: JSON's whole numbers have no end, and most do not fit a float.
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            where = f"{path}: the score of an annotation of image {row['image_id']}"
            raise DataError(f"{where} is a number in 0..1, got {score!r:.20}.")
        scores.setdefault(row["image_id"], []).append(float(score))
    clips: dict[str, dict[int, int]] = {}
    for key, (name, _, _) in pictures.items():
        clip_id, number = _clip_and_frame(PurePosixPath(name), f"{path}: image {key}")
        if clips.setdefault(clip_id, {}).setdefault(number, key) != key:
            raise DataError(f"{path}: frame {number} of clip {clip_id!r} appears twice ({name!r:.80}).")

    def read(clip_id: str) -> ClipInstances:
        keys = [key for _, key in sorted(_known(clips, clip_id, path).items())]
        height, width = pictures[keys[0]][1:]
        frames = []
        for key in keys:
            name, *size = pictures[key]
            _check_size(f"{path}: {name}", clip_id, (size[0], size[1]), (height, width))
            found = []
            for value, score in zip(segmentations.get(key, []), scores.get(key, []), strict=True):
                pixels = decode_segmentation(value, height, width, f"{path}: image {key}")
                found.append(Instance.of_pixels(pixels, score))
            frames.append(_best_first(found))
        return ClipInstances(clip_id, height, width, _frame_numbers(clips[clip_id]), tuple(frames))

    return MaskSource(tuple(sorted(clips)), read, {"source": "coco", "sha256": sha256_file(path)})


def _open_pictures(folder: Path) -> MaskSource:
    """Folders ``<clip_id>/`` of pictures ``<frame>.png``, black with one colour a diver."""
    clips: dict[str, dict[int, Path]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES):
            clip_id, number = _clip_and_frame(PurePosixPath(place.name, file.name), str(file))
            if clips.setdefault(clip_id, {}).setdefault(number, file) != file:
                raise DataError(f"{file}: frame {number} of clip {clip_id!r} appears twice.")
    if not clips:
        raise UsageError(f"{folder} holds no folders <clip_id>/ with pictures <frame>.png.")

    def read(clip_id: str) -> ClipInstances:
        frames: list[tuple[Instance, ...]] = []
        size = (0, 0)
        for _, file in sorted(_known(clips, clip_id, folder).items()):
            painted = read_picture(file)
            size = size if frames else (painted.shape[0], painted.shape[1])
            _check_size(str(file), clip_id, painted.shape[:2], size)
            if 0 < painted.max() < DIM:
                raise DataError(f"{file}: its brightest value is {painted.max()}; paint divers in colours on black.")
            try:
                masks = masks_of_colours(painted)
            except DataError as problem:
                raise DataError(f"{file}: {problem}") from None
            frames.append(_best_first([Instance.of_pixels(mask) for mask in masks]))
        return ClipInstances(clip_id, *size, _frame_numbers(clips[clip_id]), tuple(frames))

    return MaskSource(tuple(sorted(clips)), read, {"source": "png"})


def _clip_and_frame(name: PurePosixPath, where: str) -> tuple[str, int]:
    """The folder is the clip where there is one; else all of the name before the frame's number."""
    match = FRAME_NAME.fullmatch(name.stem)
    clip_id = name.parent.name or (match["clip"] if match else None)
    if match is None or not clip_id or int(match["number"]) > MAX_FRAME_NUMBER:
        raise DataError(
            f"{where}: {str(name)!r:.80} names no frame; call it <clip_id>/<frame>.png, like x_00001/000017.png."
        )
    check_clip_id(clip_id)
    return clip_id, int(match["number"])


def _known(clips: dict[str, dict[int, Value]], clip_id: str, path: Path) -> dict[int, Value]:
    if clip_id not in clips:
        raise DataError(f"{path} holds no clip {clip_id!r}; it holds {len(clips)} clips.")
    return clips[clip_id]


def _check_size(where: str, clip_id: str, size: tuple[int, ...], first: tuple[int, int]) -> None:
    if tuple(size) != first:
        raise DataError(
            f"{where} has {size[1]}x{size[0]} px, the first frame of {clip_id!r} has {first[1]}x{first[0]}; all frames "
            "of a clip have one size."
        )


def _best_first(found: list[Instance | None]) -> tuple[Instance, ...]:
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.score))


def _frame_numbers(frames: dict[int, Any]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(sorted(frames), dtype=np.int64)


# kind -> (what it is, how it is opened)
SOURCES: dict[str, tuple[str, Callable[[Path], MaskSource]]] = {
    "instances": ("an instances file (d48dom segment)", _open_file),
    "coco": ("a COCO file (.json) whose images are named <clip_id>/<frame>.png", _open_coco),
    "png": ("a folder of folders <clip_id>/ of colour pictures <frame>.png", _open_pictures),
}
