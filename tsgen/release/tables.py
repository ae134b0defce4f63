"""The Parquet files of a release: an index of the clips without their pixels, and a preview with film strips.

Values depend on the clips alone. Bytes also depend on the versions of pyarrow and Pillow, which the manifest names.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgen.clipset import ClipSet
from tsgen.common import tables
from tsgen.common.tables import described
from tsgen.release.strips import Strip

INDEX_COLUMNS: dict[str, tuple[str, Callable[[ClipSet], NDArray[Any]], str]] = {
    "clip_id": ("int64", lambda c: c.clip_id, "place in the stream of (seed, domain, split)"),
    "label": ("int64", lambda c: c.labels, "class id"),
    "class_name": ("string", lambda c: np.array(c.class_names, dtype=object)[c.labels], "name of the class"),
    "start_x": ("int16", lambda c: c.column("start")[:, 0], "left edge of the entity in the first frame, px"),
    "start_y": ("int16", lambda c: c.column("start")[:, 1], "upper edge of the entity in the first frame, px"),
    "speed": ("float32", lambda c: c.column("speed"), "px/frame; the paper's spiral: px/frame per radian turned"),
    "heading": ("float32", lambda c: c.column("heading"), "drawn angle, rad; null: the class has none"),
    "direction": ("int16", lambda c: c.column("direction"), "+1, or -1: reversed or mirrored; 0: the class has none"),
    "rotation": ("int16", lambda c: c.column("rotation"), "cyclic shift, frames; -1: the class has none"),
    "sigma": ("int16", lambda c: c.column("sigma"), "noise cells across the frame; -1: no noise"),
    "digit_index": ("int32", lambda c: c.column("digit_index"), "row of the digit source; -1: no digit"),
    "digit_label": ("int16", lambda c: c.column("digit_label"), "0..9; -1: no digit"),
}
"""Name -> (type, values of a clip file, meaning). Values are those of the clip file; its NaN is null here."""

PREVIEW_COLUMNS: dict[str, str] = {
    "clip_id": "place in the stream of (seed, domain, split)",
    "label": "class id",
    "class_name": "name of the class",
    "strip": "all frames of the clip in reading order, PNG",
}


def index_table(clip_set: ClipSet) -> Any:
    """A row a clip, in the order of the file: the columns of INDEX_COLUMNS, as a pyarrow.Table."""
    import pyarrow as pa

    columns = {}
    for name, (kind, values, _) in INDEX_COLUMNS.items():
        array = values(clip_set)
        columns[name] = pa.array(array, type=kind, mask=np.isnan(array) if array.dtype.kind == "f" else None)
    return _described(pa.table(columns), clip_set.class_names)


def preview_table(strips: Sequence[Strip], clip_set: ClipSet, config: str) -> Any:
    """A row a strip, with its picture as PNG, as a pyarrow.Table."""
    import pyarrow as pa

    rows = [strip.row for strip in strips]
    clip_id = clip_set.clip_id[rows]
    pictures = [
        {"bytes": _png(strip.image), "path": f"{config}-{clip_set.split}-{number:08d}.png"}
        for strip, number in zip(strips, clip_id, strict=True)
    ]
    columns = {
        "clip_id": pa.array(clip_id, type="int64"),
        "label": pa.array(clip_set.labels[rows], type="int64"),
        "class_name": pa.array([strip.class_name for strip in strips], type="string"),
        "strip": pa.array(pictures, type=pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    }
    return _described(pa.table(columns), clip_set.class_names)


def table_problems(path: Path, expected: Any) -> list[str]:
    """As :func:`tsgen.common.tables.table_problems`; film strips are compared by their pixels, so that another version
    of Pillow changes nothing."""
    return tables.table_problems(path, expected, {"strip": _same_strip})


def _same_strip(mine: Any, theirs: Any) -> bool:
    if mine is None or mine["path"] != theirs["path"] or mine["bytes"] is None:
        return False
    if mine["bytes"] == theirs["bytes"]:
        return True
    with Image.open(io.BytesIO(theirs["bytes"])) as picture:
        expected = np.asarray(picture)
    try:
        with Image.open(io.BytesIO(mine["bytes"]), formats=["PNG"]) as picture:
            is_alike = picture.size == expected.shape[::-1] and picture.mode == "L"  # before anything is decoded
            return is_alike and bool((np.asarray(picture) == expected).all())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _described(table: Any, class_names: Sequence[str]) -> Any:
    """With what ``datasets`` reads from a schema: class names of the label, a picture where there are bytes of one."""
    return described(table, {"label": {"names": list(class_names), "_type": "ClassLabel"}, "strip": {"_type": "Image"}})
