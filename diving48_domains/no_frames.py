"""The rule that keeps frames of other people's videos out of what is published."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, UsageError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".gif")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".npy", ".npz")
ARCHIVES = (".tar", ".gz", ".zip", ".7z")  # may hold either


def refuse_frames(folder: Path) -> None:
    """UsageError when ``folder`` holds what may be frames: pictures, videos, archives, HDF5 files other than masks,
    Parquet files with bytes."""
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
    if suffix in VIDEOS + PICTURES + ARCHIVES:
        return True
    if suffix in {".h5", ".hdf5"}:
        return not _is_masks_alone(path)
    return suffix == ".parquet" and _has_bytes(path)


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
    """Whether a column holds bytes, as pictures in Parquet do; True where pyarrow is not there to see that it does not.

    A file that is no Parquet for all its name cannot be read as pictures, either.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return True
    try:
        return any(map(_is_binary, _leaves(pq.read_schema(path))))
    except (pa.ArrowException, OSError, ValueError):
        return False


def _leaves(fields: Any) -> Iterator[Any]:
    """Types of the columns, in whatever depth."""
    for field in fields:
        kind = field.type
        if getattr(kind, "num_fields", 0):
            yield from _leaves([kind.field(place) for place in range(kind.num_fields)])
        else:
            yield kind


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return any(
        test(kind)
        for test in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    )
