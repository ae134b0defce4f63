"""Reading clip files (contract 1, see ``clipfile.py``): of known or unknown origin, all through one guard."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tsgen.clipfile import CLIPS, COLUMNS, FORMAT, FORMAT_VERSION, LEAF_BYTES, LEAVES, ContentHash
from tsgen.common.engine import usable_cores
from tsgen.common.errors import DataError, UsageError
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.shards import WHOLE, Shard
from tsgen.vocabulary import SPLITS

MAX_CLIP_BYTES = 1 << 28
MAX_NAME_CHARS = 100
BLOCK_BYTES = 64 << 20  # of decoded clips held at a time, however large one is


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
        self.shard = self._shard()
        self._check_attributes()
        self._check_datasets()
        self._clip_bytes = math.prod(self.clip_shape)

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
        with reading(self.path):
            out = np.empty((max(stop - start, 0), *self.clip_shape), dtype=np.uint8)
        if not self._is_one_deflated_clip_a_chunk():
            with reading(self.path):
                self._file[CLIPS].read_direct(out, np.s_[start:stop])
            return out
        threads = threads or usable_cores()
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

    def packed(self, start: int, stop: int) -> list[bytes]:
        """Clips start..stop-1 as they are stored, one zlib stream each; DataError where they are stored otherwise."""
        if not self._is_one_deflated_clip_a_chunk():
            raise DataError(f"{self.path} is not stored as tsgen stores clips: one a chunk, deflated.")
        dataset = self._file[CLIPS].id
        with reading(self.path):
            chunks = [dataset.read_direct_chunk((row, 0, 0, 0)) for row in range(start, stop)]
        if any(filter_mask for filter_mask, _ in chunks):
            raise DataError(f"{self.path}: clips {start}..{stop - 1} are not all deflated, as tsgen stores them.")
        return [chunk for _, chunk in chunks]

    @property
    def packed_hash(self) -> str:
        """The :class:`tsgen.clipfile.PackedHash` recorded in a slice, hex; DataError where there is none."""
        return self._text("packed_hash")

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Of the content hash: those that a slice records of clips start..stop-1; DataError where there are none."""
        with reading(self.path):
            leaves = self._file.get(LEAVES)
            plain = ((len(self), LEAF_BYTES), np.uint8, None)
            if not isinstance(leaves, h5py.Dataset) or (leaves.shape, leaves.dtype, leaves.chunks) != plain:
                raise DataError(f"{self.path} has no hash of each clip, as tsgen writes slices; make it again.")
            return [row.tobytes() for row in leaves[start:stop]]

    def blocks(self, most: int = 256) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """All clips in order, at most ``most`` and 64 MB at a time: (first row, uint8 (M, T, H, W))."""
        size = max(1, min(most, BLOCK_BYTES // int(np.prod(self.clip_shape))))
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

    def _shard(self) -> Shard:
        """Which slice of a larger file this is."""
        if "shard" not in self._file.attrs:
            return WHOLE
        try:
            return Shard.parse(self._text("shard"))
        except UsageError as problem:
            raise DataError(f"{self.path}: the attribute 'shard' is damaged: {str(problem)[:MAX_NAME_CHARS]}") from None

    def _check_attributes(self) -> None:
        """They name files that are exported and go to the terminal: one short printable line each."""
        if self.split not in SPLITS:
            raise DataError(f"{self.path}: split {self.split[:50]!r} is none of {', '.join(SPLITS)}.")
        names = {"domain": self.domain, "profile": self.profile, "generator_version": self.generator_version}
        names |= {f"class name {number}": name for number, name in enumerate(self.class_names)}
        for what, text in names.items():
            if not text or len(text) > MAX_NAME_CHARS or not text.isprintable():
                raise DataError(f"{self.path}: {what} {text[:50]!r} is not a printable name.")
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise DataError(f"{self.path}: class names {self.class_names} are empty or not distinct.")
        if not isinstance(self.recipe, dict):
            raise DataError(f"{self.path}: the recipe is no JSON object.")

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
        for place, row in enumerate(rows[: len(out)]):
            with reading(self.path):
                filter_mask, chunk = dataset.read_direct_chunk((row, 0, 0, 0))
            raw = chunk if filter_mask else self._inflated(row, chunk)
            if len(raw) != self._clip_bytes:
                raise DataError(f"{self.path}: clip {row} has {len(raw)} bytes instead of {self._clip_bytes}.")
            out[place] = np.frombuffer(raw, dtype=np.uint8).reshape(out.shape[1:])

    def _inflated(self, row: int, packed: bytes) -> bytes:
        """The T * H * W bytes of the clip whose zlib stream is ``packed``."""
        try:
            decoder = isal_zlib.decompressobj()
            raw = decoder.decompress(packed, self._clip_bytes)
        except isal_zlib.IsalError as problem:  # type: ignore[misc]  # its stub has no base class
            raise DataError(f"{self.path}: clip {row} is damaged: {problem}") from problem
        if len(raw) != self._clip_bytes or not decoder.eof or decoder.unused_data:
            raise DataError(f"{self.path}: clip {row} does not decode to {self._clip_bytes} bytes.")
        return bytes(raw)


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
