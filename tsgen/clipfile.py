"""CONTRACT 1: the clip file, both directions.

An HDF5 file whose datasets all have the clip as their first axis and one length, so that h5py,
``datasets.load_dataset("hdf5", ...)`` and MATLAB read it alike; one file per domain and split. Clips are stored one a
chunk with standard deflate. :data:`COLUMNS` lists the datasets; facts about the whole file are its attributes.

The content hash covers the recipe and every value, and nothing else: it does not change with compression, chunking
or library versions. It tells versions of data apart; it is no defence against forgery (use the SHA-256 of a file).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import xxhash
from isal import isal_zlib
from numpy.typing import NDArray

import tsgen
from tsgen.common.errors import DataError
from tsgen.common.h5guard import open_guarded, reading
from tsgen.domains import Domain
from tsgen.motion import SUBPIXELS
from tsgen.recipe import Recipe
from tsgen.sampling import ClipSpecs

FORMAT = "tsgen-clips"
FORMAT_VERSION = 1
COLUMN_CHUNK_ROWS = 1024
COMPRESSION_LEVEL = 1  # of igzip; higher ones cost time and save nothing on sparse frames
MAX_CLIP_BYTES = 1 << 30


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
    "heading": Column("<f4", _scalar, lambda s, d, g: s.heading_rad, "first heading, rad; NaN: the class has none"),
    "direction": Column("<i2", _scalar, lambda s, d, g: s.direction, "+1, or -1: reversed; 0: the class has none"),
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


@dataclass(frozen=True)
class FileFacts:
    """What a clip file says about itself as a whole: its attributes and the extent of its datasets.

    ``clip_shape`` (T, H, W). ``recipe`` the JSON form of :class:`Recipe`; for clips that were not made here it is
    ``{"imported": {...}}``, the profile is "imported" and ``seed`` -1.
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

    @classmethod
    def of_recipe(cls, recipe: Recipe) -> FileFacts:
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


class ClipWriter:
    """Writes a clip file in order, block by block, from clips that are already compressed."""

    def __init__(self, file: h5py.File, facts: FileFacts) -> None:
        self._file = file
        self._hash = ContentHash(facts.recipe)
        self._written = 0
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
        attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "generator_version": tsgen.__version__,
            "domain": facts.domain,
            "profile": facts.profile,
            "split": facts.split,
            "seed": facts.seed,
            "class_names": list(facts.class_names),
            "digits_source": facts.digits_source or "",
            "digits_sha256": facts.digits_sha256 or "",
            "recipe": json.dumps(facts.recipe, sort_keys=True),
        }
        for name, value in attributes.items():
            file.attrs[name] = value

    def write(self, compressed: list[bytes], leaves: list[bytes], columns: dict[str, NDArray[Any]]) -> None:
        start, stop = self._written, self._written + len(compressed)
        clips = self._file[CLIPS].id
        for row, chunk in enumerate(compressed, start):
            clips.write_direct_chunk((row, 0, 0, 0), chunk)
        for name, values in columns.items():
            self._file[name][start:stop] = values
        self._hash.update(leaves, columns)
        self._written = stop

    def finish(self) -> str:
        """Write the content hash, without which a file is not accepted. Returns it, hex."""
        content_hash = self._hash.hexdigest()
        self._file.attrs["content_hash"] = content_hash
        return content_hash


def column_values(specs: ClipSpecs, domain: Domain, digit_labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The rows of every column for these clips; ``digit_labels`` int64 (M,), empty for domains without digits."""
    return {
        name: np.asarray(column.values(specs, domain, digit_labels), dtype=column.dtype)
        for name, column in COLUMNS.items()
    }


class ClipSet:
    """An open clip file. Use it in a ``with`` block; get one from :func:`open_clips`."""

    def __init__(self, path: Path, file: h5py.File, stack: contextlib.ExitStack) -> None:
        self.path = path
        self._file = file
        self._stack = stack
        attributes = file.attrs
        if attributes.get("format") != FORMAT:
            raise DataError(f"{path} is not a clip file: its attribute 'format' is {attributes.get('format')!r}.")
        version = attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path} has clip file version {version}, this tsgen reads version {FORMAT_VERSION}; "
                "make the file again, or use the tsgen release that wrote it."
            )
        self.domain = self._text("domain")
        self.profile = self._text("profile")
        self.split = self._text("split")
        self.content_hash = self._text("content_hash")
        self.generator_version = self._text("generator_version")
        self.digits_source: str | None = self._text("digits_source") or None
        self.digits_sha256: str | None = self._text("digits_sha256") or None
        self.seed = int(attributes["seed"])
        self.class_names: tuple[str, ...] = tuple(str(name) for name in attributes["class_names"])
        self.recipe: dict[str, Any] = json.loads(self._text("recipe"))
        self._check_datasets()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return int(self._file[CLIPS].shape[0])

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        _, num_frames, height, width = self._file[CLIPS].shape
        return num_frames, height, width

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class ids, int64 (N,)."""
        labels = self.column("labels")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise DataError(f"{self.path}: labels outside 0..{len(self.class_names) - 1}.")
        return labels

    @property
    def clip_id(self) -> NDArray[np.int64]:
        """Identity of each clip within its domain and split, int64 (N,), without repeats."""
        clip_id = self.column("clip_id")
        if len(np.unique(clip_id)) != len(clip_id):
            raise DataError(f"{self.path}: a clip_id occurs twice.")
        return clip_id

    def column(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start..stop-1 (all of them by default) of a dataset beside the clips, see ``COLUMNS``."""
        with reading(self.path):
            return np.asarray(self._file[name][start:stop])

    def clips(self, start: int = 0, stop: int | None = None, threads: int | None = None) -> NDArray[np.uint8]:
        """Clips start..stop-1 (all of them by default), decoded in parallel. uint8 (N, T, H, W)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        out = np.empty((max(stop - start, 0), *self.clip_shape), dtype=np.uint8)
        if not self._is_one_deflated_clip_a_chunk():
            with reading(self.path):
                self._file[CLIPS].read_direct(out, np.s_[start:stop])
            return out
        threads = threads or os.cpu_count() or 1
        step = max(1, min(64, -(-len(out) // threads)))
        with ThreadPoolExecutor(threads) as pool:
            list(
                pool.map(
                    lambda at: self._decode(range(start + at, stop), out[at : at + step]), range(0, len(out), step)
                )
            )
        return out

    def rows(self, index: Sequence[int]) -> NDArray[np.uint8]:
        """The clips at ``index`` (M rows, any order), decoded by this thread alone. uint8 (M, T, H, W)."""
        out = np.empty((len(index), *self.clip_shape), dtype=np.uint8)
        if self._is_one_deflated_clip_a_chunk():
            self._decode(index, out)
        else:
            for place, row in enumerate(index):
                out[place] = self.clips(row, row + 1)[0]
        return out

    def blocks(self, size: int = 256) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """All clips in order, a block at a time: (first row, uint8 (<= size, T, H, W))."""
        for start in range(0, len(self), size):
            yield start, self.clips(start, start + size)

    def computed_hash(self) -> str:
        """The content hash recomputed from every value in the file, hex."""
        content = ContentHash(self.recipe)
        columns = {name: self.column(name) for name in COLUMNS}
        for start, block in self.blocks():
            content.update(
                [ContentHash.leaf(clip) for clip in block],
                {name: values[start : start + len(block)] for name, values in columns.items()},
            )
        return content.hexdigest()

    def check_content(self) -> None:
        """Recompute the content hash; DataError when the values are not the ones that were written."""
        found = self.computed_hash()
        if found != self.content_hash:
            raise DataError(
                f"{self.path} was changed or damaged after it was made: its content hash is {found[:16]}..., "
                f"recorded is {self.content_hash[:16]}...; make the file again."
            )

    def _text(self, name: str) -> str:
        value = self._file.attrs.get(name)
        if not isinstance(value, str):
            raise DataError(f"{self.path}: the attribute {name!r} is missing or not text; the file is incomplete.")
        return value

    def _check_datasets(self) -> None:
        missing = [name for name in (CLIPS, *COLUMNS) if not isinstance(self._file.get(name), h5py.Dataset)]
        if missing:
            raise DataError(f"{self.path}: datasets missing: {', '.join(missing)}.")
        clips = self._file[CLIPS]
        if clips.dtype != np.uint8 or clips.ndim != 4 or 0 in clips.shape:
            raise DataError(f"{self.path}: clips are {clips.dtype} {clips.shape}; expected uint8 (N, T, H, W).")
        if int(np.prod(clips.shape[1:], dtype=np.int64)) > MAX_CLIP_BYTES:
            raise DataError(f"{self.path}: one clip of shape {clips.shape[1:]} is larger than {MAX_CLIP_BYTES} bytes.")
        n, num_frames = clips.shape[:2]
        for name, column in COLUMNS.items():
            dataset = self._file[name]
            inner = tuple(dataset.shape[1:])
            expected = column.shape(num_frames)
            if dataset.shape[:1] != (n,) or inner != expected or dataset.dtype != np.dtype(column.dtype):
                raise DataError(
                    f"{self.path}: {name} is {dataset.dtype} {dataset.shape}; "
                    f"expected {np.dtype(column.dtype)} {(n, *expected)}."
                )

    def _is_one_deflated_clip_a_chunk(self) -> bool:
        clips = self._file[CLIPS]
        one_filter = clips.id.get_create_plist().get_nfilters() == 1
        return bool(clips.chunks == (1, *self.clip_shape) and clips.compression == "gzip" and one_filter)

    def _decode(self, rows: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` uint8 (M, T, H, W) with the clips at the first M of ``rows``."""
        dataset = self._file[CLIPS].id
        clip_bytes = int(np.prod(out.shape[1:]))
        for place, row in enumerate(rows[: len(out)]):
            with reading(self.path):
                filter_mask, chunk = dataset.read_direct_chunk((row, 0, 0, 0))
            try:
                decoder = isal_zlib.decompressobj()
                raw = chunk if filter_mask else decoder.decompress(chunk, clip_bytes)
                whole = filter_mask or decoder.eof
            except isal_zlib.IsalError as problem:  # type: ignore[misc]  # its stub has no base class
                raise DataError(f"{self.path}: clip {row} is damaged: {problem}") from problem
            if len(raw) != clip_bytes or not whole:
                raise DataError(f"{self.path}: clip {row} does not decode to {clip_bytes} bytes.")
            out[place] = np.frombuffer(raw, dtype=np.uint8).reshape(out.shape[1:])


def open_clips(path: Path | str) -> ClipSet:
    """Open a clip file for reading. Raises DataError for anything that is not an intact clip file of this version."""
    path = Path(path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_guarded(path))
        with reading(path):
            clip_set = ClipSet(path, file, contextlib.ExitStack())
        clip_set._stack = stack.pop_all()
        return clip_set
    raise AssertionError("unreachable")
