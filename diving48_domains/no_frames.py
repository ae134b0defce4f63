"""The rule that keeps frames of other people's videos out of what is published."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, UsageError

TEXTS = (".md", ".txt", ".json", ".jsonl", ".csv")
TEXT_NAMES = ("LICENSE", "SHA256SUMS", ".gitattributes")


def refuse_frames(folder: Path) -> None:
    """UsageError when ``folder`` holds what may be frames: all but texts, masks, and Parquet files without bytes."""
    found = frames_in(folder)
    if found:
        names = ", ".join(ascii(name)[1:-1] for name in found[:3])
        raise UsageError(
            f"{folder} has {len(found)} files that may hold frames, as {names}. The videos of Diving48 are not ours to "
            "publish; add --with-frames where all of them are procedural (mini-Diving48) or your own."
        )


def frames_in(folder: Path) -> list[str]:
    """Paths below ``folder``, with '/' between the parts, of all files that may hold frames."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files if _may_hold_frames(path)]


def strangers_in(path: Path, known: Container[str]) -> list[str]:
    """Groups and datasets of an HDF5 file of unknown origin that are not among ``known``. DataError when damaged."""
    from tsgen.common.h5guard import open_guarded, reading

    with open_guarded(path) as file, reading(path):
        names: list[str] = []
        file.visit(names.append)
    return [ascii(name)[1:-1] for name in names if name not in known]


def _may_hold_frames(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in {".h5", ".hdf5"}:
        return not _is_masks_alone(path)
    if suffix == ".parquet":
        return _has_bytes(path)
    return not (suffix in TEXTS or path.name in TEXT_NAMES)


def _is_masks_alone(path: Path) -> bool:
    """An instances file, and nothing in it that no such file has."""
    from diving48_domains.instance_file import FORMAT, table_names
    from tsgen.common.h5guard import open_guarded

    try:
        with open_guarded(path) as file:
            has_format = file.attrs.get("format") == FORMAT
        return has_format and not strangers_in(path, table_names())
    except DataError:
        return False


def _has_bytes(path: Path) -> bool:
    """Whether a column holds bytes or lists of numbers, as pictures in Parquet do; True where that cannot be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return True
    try:
        return any(_is_picture(field.type) for field in pq.read_schema(path))
    except (pa.ArrowException, OSError, ValueError):
        return True


def _is_picture(kind: Any, *, nested: bool = False) -> bool:
    from pyarrow import types

    parts = [kind.field(place).type for place in range(kind.num_fields)] if getattr(kind, "num_fields", 0) else []
    if parts:
        return any(_is_picture(part, nested=True) for part in parts)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    is_number = types.is_integer(kind) or types.is_floating(kind)
    return not (is_text or types.is_boolean(kind) or (is_number and not nested))
