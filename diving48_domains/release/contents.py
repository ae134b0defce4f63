"""What every kind of release has in common: what describing a folder gives, its names, and texts without paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError

INSTANCES_FILE = "instances.h5"
MANIFEST_FOLDER, INDEX_FOLDER = "manifests", "index"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""Names of configurations and splits: they become folders, files and names on the Hub."""

CLASS_NAMES = tuple(" ".join(dive) for dive in DIVE_CLASSES)
CLASS_LABEL = {"names": list(CLASS_NAMES), "_type": "ClassLabel"}

# The folders before the last name of an absolute path; "12/30" and "frames/s" are none.
_FOLDERS = re.compile(r"(?<![\w.)/\\:])(?:~|[A-Za-z]:|file://)?(?:[/\\][^\s/\\'\":;,]+)*[/\\](?=[^\s/\\'\":;,])")


@dataclass(frozen=True)
class Contents:
    """What a folder holds, found by reading all of it.

    ``facts``: what release.json says of it; ``configs`` among them says, for each configuration and split, which
    Parquet file has its rows (``index``) and how many (``n``). ``tables``: path -> pyarrow.Table, the Parquet files as
    they ought to be. ``files``: paths of all that was read.
    """

    facts: dict[str, Any]
    tables: dict[str, Any]
    files: tuple[str, ...]


def index_file(config: str, split: str) -> str:
    return f"{INDEX_FOLDER}/{config}/{split}.parquet"


def check_name(kind: str, name: str) -> str:
    """DataError unless ``name`` can be a configuration or a split."""
    if not NAME.fullmatch(name):
        raise DataError(f"{name!a} cannot be the name of a {kind}: 1 to 64 of a-z, 0-9, '_', '.', '-', no mark first.")
    return name


def without_paths(value: Any) -> Any:
    """A JSON value whose texts name files without the folders in which they lay on the builder's machine."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {name: without_paths(one) for name, one in value.items()}
    return [without_paths(one) for one in value] if isinstance(value, list) else value


def refuse_paths(value: Any, where: str) -> None:
    """DataError when a text of a JSON value names an absolute path."""
    if value != without_paths(value):
        raise DataError(f"{where} names a path of the machine it was made on; a release must not.")


def columns_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], special: Mapping[str, Any]) -> Any:
    """A pyarrow.Table of the rows. ``columns``: name -> type, of all of them; ``special``: as in ``described``."""
    import pyarrow as pa

    from tsgen.common.tables import described

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        name: pa.array([row[name] for row in rows], type=picture if kind == "picture" else kind)
        for name, kind in columns.items()
    }
    return described(pa.table(arrays), special)


def made_with() -> dict[str, str]:
    """Versions of what the bytes of files depend on, FFmpeg's encoders among them."""
    from importlib.metadata import version

    import av
    import h5py

    libraries = {name: version(name) for name in ("numpy", "numba", "h5py", "av", "pillow", "pyarrow")}
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return dict(sorted({**libraries, "hdf5": h5py.version.hdf5_version, "libavcodec": codec}.items()))


def count_by(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, int]:
    """Value of a column -> number of rows, sorted."""
    values = [str(row[name]) for row in rows]
    return {value: values.count(value) for value in sorted(set(values))}


def check_present(folder: Path, names: Sequence[str]) -> None:
    """DataError for the first of these files that is not in ``folder``."""
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: no such file.")
