"""COCO JSON in and out: labelled frames with polygons or run lengths, and the decoding of one segmentation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diving48_domains.labels import MAX_DIVERS, MAX_PIXELS, LabelledFrame, group_of_stem
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_json_atomic

MAX_JSON_BYTES = 1 << 30
CATEGORY = {"id": 1, "name": "diver"}


def read_coco(path: Path, images: Path) -> tuple[LabelledFrame, ...]:
    """The labelled frames of a COCO instances file, sorted by stem; ``images``: the folder its file names lie in.

    All annotations count as divers, whatever their category; images without annotations are frames without divers.
    Raises DataError naming the image and what is wrong, also for a file name that leaves the folder.
    """
    pictures, segmentations = read_coco_tables(path)
    frames = []
    for key, picture in pictures.items():
        where = f"{path}: image {key}"
        name, height, width = picture
        file = images / name
        if not file.resolve().is_relative_to(images.resolve()):
            raise DataError(f"{where}: {name!r} leaves the folder {images}.")
        if not file.is_file():
            raise DataError(f"{where}: {file} does not exist; --images names the folder the file names lie in.")
        masks = [decode_segmentation(one, height, width, where) for one in segmentations.get(key, [])]
        masks = [mask for mask in masks if mask.any()]
        if len(masks) > MAX_DIVERS:
            raise DataError(f"{where}: {len(masks)} divers; at most {MAX_DIVERS}.")
        stacked = np.stack(masks) if masks else np.zeros((0, height, width), bool)
        frames.append(LabelledFrame(file.stem, file, stacked, group_of_stem(file.stem)))
    frames.sort(key=lambda frame: frame.stem)
    for former, later in itertools.pairwise(frames):
        if former.stem == later.stem:
            raise DataError(f"{path}: {former.image} and {later.image} have one stem; keep one.")
    return tuple(frames)


def read_coco_tables(path: Path) -> tuple[dict[int, tuple[str, int, int]], dict[int, list[Any]]]:
    """Image id -> (file name, height, width) and image id -> segmentations, checked but not decoded."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; allowed are {MAX_JSON_BYTES}.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is not JSON: {problem}") from problem
    if not isinstance(value, dict) or not isinstance(value.get("images"), list) or not value["images"]:
        raise DataError(f"{path}: a COCO file is an object with a non-empty list `images`.")
    if not isinstance(value.get("annotations"), list):
        raise DataError(f"{path}: a COCO file has a list `annotations`.")
    pictures: dict[int, tuple[str, int, int]] = {}
    for position, row in enumerate(value["images"]):
        where = f"{path}: images[{position}]"
        fields = row if isinstance(row, dict) else {}
        key, name = fields.get("id"), fields.get("file_name")
        height, width = fields.get("height"), fields.get("width")
        if not (_is_whole(key) and isinstance(name, str) and name and "\0" not in name):
            raise DataError(f"{where} needs a whole number id and a text file_name, got {key!r:.20} and {name!r:.60}.")
        if not (_is_whole(height) and _is_whole(width) and 0 < height * width <= MAX_PIXELS and height > 0):
            raise DataError(f"{where} ({name}): height {height!r:.20} and width {width!r:.20} are no picture's size.")
        if key in pictures:
            raise DataError(f"{where}: the id {key} appears twice.")
        pictures[key] = (name, height, width)
    segmentations: dict[int, list[Any]] = {}
    for position, row in enumerate(value["annotations"]):
        key = row.get("image_id") if isinstance(row, dict) else None
        if not _is_whole(key) or key not in pictures:
            raise DataError(f"{path}: annotations[{position}] belongs to image {key!r:.20}, which `images` lacks.")
        segmentations.setdefault(key, []).append(row.get("segmentation"))
    return pictures, segmentations


def decode_segmentation(value: Any, height: int, width: int, where: str = "segmentation") -> NDArray[np.bool_]:
    """bool (height, width) of a COCO segmentation: polygons, run lengths as numbers, or COCO's compressed text.

    Polygons are drawn pixel by pixel (a pixel belongs when its centre lies inside), so they may differ from other
    readers by the outline. Raises DataError starting with ``where``.
    """
    if isinstance(value, list) and value:
        return _draw_polygons(value, height, width, where)
    if isinstance(value, dict) and value.get("size") == [height, width]:
        counts = value.get("counts")
        if isinstance(counts, str):
            return _from_runs(_decompress(counts, where), height, width, where)
        if isinstance(counts, list) and all(_is_whole(count) for count in counts):
            return _from_runs(counts, height, width, where)
    raise DataError(
        f"{where}: a segmentation is a list of polygons or an object with size [{height}, {width}] and counts, "
        f"got {value!r:.60}."
    )


def encode_runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A bool (H, W) mask as COCO run lengths: columns one after the other, starting with the pixels outside."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": counts}


def write_coco(path: Path, frames: Iterable[LabelledFrame]) -> int:
    """Write labelled frames as a COCO instances file, atomically; returns their number.

    File names are relative to the file's own folder where the images lie below it, bare names elsewhere.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    root = path.parent.resolve()
    for frame in frames:
        key = len(images) + 1
        file = frame.image.resolve()
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        height, width = frame.masks.shape[1:]
        images.append({"id": key, "file_name": name, "height": height, "width": width})
        for mask in frame.masks:
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not rows.size:
                continue
            x0, y0 = int(columns[0]), int(rows[0])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": CATEGORY["id"],
                    "segmentation": encode_runs(mask),
                    "bbox": [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
    if not images:
        raise UsageError(f"{path}: no labelled frames to write.")
    write_json_atomic(path, {"images": images, "annotations": annotations, "categories": [CATEGORY]})
    return len(images)


def _draw_polygons(polygons: list[Any], height: int, width: int, where: str) -> NDArray[np.bool_]:
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{where}: a polygon is a list of 3 or more x, y pairs, got {polygon!r:.60}.")
        if not all(_is_coordinate(number, max(height, width)) for number in polygon):
            raise DataError(f"{where}: a polygon has coordinates that are no numbers or lie far outside the picture.")
        # Pillow counts from pixel centres, COCO from pixel corners.
        draw.polygon([number - 0.5 for number in polygon], fill=1)
    return np.asarray(canvas) > 0


def _from_runs(counts: list[int], height: int, width: int, where: str) -> NDArray[np.bool_]:
    runs = np.array(counts, dtype=object)
    # Each by itself first: a sum of endless whole numbers could not even be written into the message.
    if not all(0 <= count <= height * width for count in counts):
        raise DataError(f"{where}: a run length lies outside 0 to {height * width}, the pixels of the picture.")
    if sum(counts) != height * width:
        raise DataError(f"{where}: run lengths cover {sum(counts)} pixels of {height * width}.")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs.astype(np.int64))
    return flat.reshape((height, width), order="F")


def _decompress(text: str, where: str) -> list[int]:
    """COCO's compressed run lengths: 5 bits a character, from the fourth run on the difference to two runs before."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise DataError(f"{where}: {text!r:.40} is no compressed run-length text.")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise DataError(f"{where}: the compressed run lengths end inside a number.")
    return counts


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_coordinate(value: Any, side: int) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -side <= value <= 2 * side
