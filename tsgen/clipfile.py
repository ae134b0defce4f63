"""CONTRACT 1: the clip file, both directions.

An HDF5 file whose datasets all have the clip as their first axis and one length, so that h5py,
``datasets.load_dataset("hdf5", ...)`` and MATLAB read it alike; one file per domain and split. Clips are stored one a
chunk with standard deflate. :data:`COLUMNS` lists the datasets; facts about the whole file are its attributes.

The content hash covers the recipe and every value, and nothing else: it does not change with compression, chunking
or library versions. It tells versions of data apart; it is no defence against forgery (use the SHA-256 of a file).

A slice of a larger file also keeps the leaves of its content hash (:data:`LEAVES`) and a hash over its clips as they
are stored. A clip's leaf and its stream were made of the same frames, so the two tell that a slice is undamaged without
inflating it: again against accident, not forgery, and not against a fault of the packing itself. ``tsgen info``
inflates every clip of the result, ``tsgen verify`` makes it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import xxhash
from isal import isal_zlib
from numpy.typing import NDArray

import tsgen
from tsgen.common.shards import WHOLE, Shard
from tsgen.domains import Domain
from tsgen.motion import SUBPIXELS
from tsgen.recipe import Recipe
from tsgen.sampling import ClipSpecs

FORMAT = "tsgen-clips"
FORMAT_VERSION = 1
COLUMN_CHUNK_ROWS = 1024
COMPRESSION_LEVEL = 1  # of igzip; higher ones cost time and save nothing on sparse frames


@dataclass(frozen=True)
class Column:
    """A dataset beside the clips: its type, its shape after the clip axis, its values, and what it means."""

    dtype: str
    shape: Callable[[int], tuple[int, ...]]  # of the number of frames
    values: Callable[[ClipSpecs, Domain, NDArray[np.int64]], NDArray[Any]]
    meaning: str


def _scalar(num_frames: int) -> tuple[int, ...]:
    return ()


COLUMNS: dict[str, Column] = {
    "labels": Column("<i8", _scalar, lambda s, d, g: s.label, "class id, see the attribute class_names"),
    "clip_id": Column("<i8", _scalar, lambda s, d, g: s.index, "place in the stream of (seed, domain, split)"),
    "positions": Column(
        "<f4",
        lambda t: (t, 2),
        lambda s, d, g: s.corner / SUBPIXELS + d.width_px / 2,
        "exact centre (x, y) of the entity, px, before truncation to whole pixels",
    ),
    "boxes": Column(
        "<f4",
        lambda t: (t, 4),
        lambda s, d, g: np.where(
            s.visible[..., None], np.concatenate([s.corner_px, s.corner_px + d.width_px], axis=-1), np.nan
        ),
        "drawn box (x0, y0, x1, y1) of the entity, px, [x0, x1) x [y0, y1); NaN: not drawn in this frame",
    ),
    "start": Column("<i2", lambda t: (2,), lambda s, d, g: s.start_px, "corner (x, y) in the first frame, px"),
    "speed": Column(
        "<f4", _scalar, lambda s, d, g: s.speed, "px/frame; the paper's spiral: px/frame per radian turned"
    ),
    "heading": Column(
        "<f4",
        _scalar,
        lambda s, d, g: s.heading_rad,
        "drawn angle, rad: of line and arc before reversal; strict, order: turn of the path; NaN: none",
    ),
    "direction": Column(
        "<i2",
        _scalar,
        lambda s, d, g: s.direction,
        "+1, or -1: velocities reversed (strict, order: path mirrored); 0: the class has none",
    ),
    "rotation": Column("<i2", _scalar, lambda s, d, g: s.rotation, "cyclic shift, frames; -1: the class has none"),
    "sigma": Column("<i2", _scalar, lambda s, d, g: s.sigma, "grain: noise cells across the frame; -1: no noise"),
    "digit_index": Column("<i4", _scalar, lambda s, d, g: s.digit_index, "row of the digit source; -1: no digit"),
    "digit_label": Column(
        "<i2",
        _scalar,
        lambda s, d, g: g[s.digit_index] if len(g) else np.full(len(s), -1),
        "0..9; -1: no digit",
    ),
}
CLIPS = "clips"
LEAVES = "leaves"  # of slices alone: uint8 (N, LEAF_BYTES)
LEAF_BYTES = 16


@dataclass(frozen=True)
class FileFacts:
    """What a clip file says about itself as a whole: its attributes and the extent of its datasets.

    ``clip_shape`` (T, H, W). ``recipe`` the JSON form of :class:`Recipe`; for clips that were not made here it is
    ``{"imported": {...}}``, the profile is "imported" and ``seed`` -1. ``shard``: which slice of a larger file this is.
    """

    n: int
    clip_shape: tuple[int, int, int]
    domain: str
    profile: str
    split: str
    seed: int
    class_names: tuple[str, ...]
    recipe: dict[str, Any]
    digits_source: str | None = None
    digits_sha256: str | None = None
    shard: Shard = WHOLE
    generator_version: str = tsgen.__version__

    @classmethod
    def of_recipe(cls, recipe: Recipe, shard: Shard = WHOLE) -> FileFacts:
        domain, recipe_json = recipe.domain, recipe.to_json()
        return cls(
            recipe.n,
            (domain.num_frames, domain.size_px, domain.size_px),
            domain.name,
            domain.profile,
            recipe.split,
            recipe.seed,
            tuple(recipe_json["class_names"]),
            recipe_json,
            recipe.digits_source,
            recipe.digits_sha256,
            shard,
        )


class ContentHash:
    """The content hash, fed block by block. Leaves are per clip, so that workers can compute them in parallel."""

    def __init__(self, recipe_json: dict[str, Any]) -> None:
        self._recipe = json.dumps(recipe_json, sort_keys=True, separators=(",", ":"))
        self._streams = {name: xxhash.xxh3_128() for name in (CLIPS, *COLUMNS)}

    @staticmethod
    def leaf(clip: NDArray[np.uint8]) -> bytes:
        return xxhash.xxh3_128_digest(clip.data)

    def update(self, leaves: list[bytes], columns: dict[str, NDArray[Any]]) -> None:
        self._streams[CLIPS].update(b"".join(leaves))
        for name, values in columns.items():
            self._streams[name].update(np.ascontiguousarray(values, dtype=COLUMNS[name].dtype).data)

    def hexdigest(self) -> str:
        lines = [self._recipe] + [f"{name}:{stream.hexdigest()}" for name, stream in sorted(self._streams.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class PackedHash:
    """XXH3-128 over clips as they are stored, each with its length; where blocks are cut does not matter."""

    def __init__(self) -> None:
        self._stream = xxhash.xxh3_128()

    def update(self, packed: list[bytes]) -> None:
        for stream in packed:
            self._stream.update(len(stream).to_bytes(8, "little"))
            self._stream.update(stream)

    def hexdigest(self) -> str:
        return self._stream.hexdigest()


class ClipWriter:
    """Writes a clip file in order, block by block, from clips that are already compressed."""

    def __init__(self, file: h5py.File, facts: FileFacts) -> None:
        self._file = file
        self._hash = ContentHash(facts.recipe)
        self._packed_hash = None if facts.shard.is_whole else PackedHash()
        self._written = 0
        self._waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}  # rows of the next column chunk
        self._column_rows = 0  # written
        n, clip_shape = facts.n, facts.clip_shape
        file.create_dataset(
            CLIPS,
            (n, *clip_shape),
            "u1",
            chunks=(1, *clip_shape),
            compression="gzip",
            compression_opts=COMPRESSION_LEVEL,
        ).attrs["meaning"] = "frames, grey levels 0..255, (clip, frame, row, column)"
        for name, column in COLUMNS.items():
            shape = column.shape(clip_shape[0])
            file.create_dataset(
                name,
                (n, *shape),
                column.dtype,
                chunks=(min(n, COLUMN_CHUNK_ROWS), *shape),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            ).attrs["meaning"] = column.meaning
        if self._packed_hash is not None:
            meaning = "XXH3-128 of each clip's frames, of which the content hash is made"
            file.create_dataset(LEAVES, (n, LEAF_BYTES), "u1").attrs["meaning"] = meaning
        attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "generator_version": facts.generator_version,
            "domain": facts.domain,
            "profile": facts.profile,
            "split": facts.split,
            "seed": facts.seed,
            "class_names": list(facts.class_names),
            "digits_source": facts.digits_source or "",
            "digits_sha256": facts.digits_sha256 or "",
            "recipe": json.dumps(facts.recipe, sort_keys=True),
            **({} if facts.shard.is_whole else {"shard": str(facts.shard)}),
        }
        for name, value in attributes.items():
            file.attrs[name] = value

    def write(self, compressed: list[bytes], leaves: list[bytes], columns: dict[str, NDArray[Any]]) -> None:
        """The next clips, any number of them: no byte of the file tells how many came at a time."""
        self._hash.update(leaves, columns)
        if self._packed_hash is not None:
            self._packed_hash.update(compressed)
            rows = np.frombuffer(b"".join(leaves), dtype=np.uint8).reshape(-1, LEAF_BYTES)
            self._file[LEAVES][self._written : self._written + len(rows)] = rows
        for name, values in columns.items():
            self._waiting[name].append(np.asarray(values, dtype=COLUMNS[name].dtype))
        clips = self._file[CLIPS].id
        for chunk in compressed:
            clips.write_direct_chunk((self._written, 0, 0, 0), chunk)
            self._written += 1
            if self._written % COLUMN_CHUNK_ROWS == 0:
                self._write_columns(self._written)

    def _write_columns(self, stop: int) -> None:
        """Write the rows up to ``stop`` that wait, chunk by chunk: compressed here, in a fifth of HDF5's time."""
        start, self._column_rows = self._column_rows, max(stop, self._column_rows)
        if start >= stop:
            return
        for name, waiting in self._waiting.items():
            rows = np.concatenate(waiting)
            self._waiting[name] = [rows[stop - start :]]
            dataset = self._file[name]
            chunk = np.zeros(dataset.chunks, dtype=rows.dtype)
            for first in range(start, stop, len(chunk)):
                some = rows[first - start : min(first + len(chunk), stop) - start]
                chunk[: len(some)] = some
                chunk[len(some) :] = 0
                shuffled = np.ascontiguousarray(chunk.view(np.uint8).reshape(-1, chunk.itemsize).T)
                dataset.id.write_direct_chunk(
                    (first,) + (0,) * (chunk.ndim - 1), isal_zlib.compress(shuffled, COMPRESSION_LEVEL)
                )

    def finish(self) -> str:
        """Write the content hash, without which a file is not accepted. Returns it, hex."""
        self._write_columns(self._written)
        content_hash = self._hash.hexdigest()
        if self._packed_hash is not None:
            self._file.attrs["packed_hash"] = self._packed_hash.hexdigest()
        self._file.attrs["content_hash"] = content_hash
        return content_hash


def column_values(specs: ClipSpecs, domain: Domain, digit_labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The rows of every column for these clips; ``digit_labels`` int64 (M,), empty for domains without digits."""
    return {
        name: np.asarray(column.values(specs, domain, digit_labels), dtype=column.dtype)
        for name, column in COLUMNS.items()
    }
