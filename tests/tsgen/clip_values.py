"""What is in clip files and releases, for comparisons of what different processes wrote.

Their bytes will not do: igzip packs a chunk a byte longer now and then, of equal content (docs/release.md, "Building").
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import tsgen
from tsgen.common.sums import SUMS_FILE, check_sums

OF_PACKED_BYTES = ("README.md", "croissant.json", SUMS_FILE)
"""Files of a release that name sizes and SHA-256 of others."""


def content_hash(path: Path) -> str:
    """As the file records it."""
    with tsgen.open_clips(path) as clip_set:
        return clip_set.content_hash


def values_of(path: Path) -> dict[str, Any]:
    """Every dataset of an HDF5 file with its form, and every attribute, the content hash among them."""
    with h5py.File(path) as file:
        found: dict[str, Any] = {"/": _attributes(file)}
        for name, dataset in file.items():
            form = (str(dataset.dtype), dataset.shape, dataset.chunks, dataset.compression, dataset.shuffle)
            digest = hashlib.sha256(np.ascontiguousarray(dataset[...]).tobytes()).hexdigest()
            found[name] = (*form, digest, _attributes(dataset))
        return found


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a folder of clip files alone, hidden ones too."""
    return {path.name: values_of(path) for path in folder.iterdir()}


def release_values(folder: Path) -> dict[str, Any]:
    """Of every file of a release, which must be as SHA256SUMS says."""
    assert check_sums(folder) == []
    return {path.relative_to(folder).as_posix(): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _attributes(of: h5py.Dataset | h5py.File) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in of.attrs.items() if name != "packed_hash"}


def _content(path: Path) -> Any:
    if path.name in OF_PACKED_BYTES:
        return None
    if path.suffix == ".h5":
        return values_of(path)
    if path.name != "release.json":
        return path.read_bytes()
    manifest = json.loads(path.read_text())
    for config in manifest["configs"].values():
        for split in config["splits"].values():
            del split["bytes"]
    return manifest
