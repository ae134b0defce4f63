"""The instances file: who is where in every frame of many clips, made once by a segmenter (or from ground truth).

HDF5 with flat tables: ``clips/`` one row a clip, ``frames/`` one a frame, ``instances/`` one an instance, ``masks`` the
bytes of all masks one after another; a clip's rows follow one another, clips in the order written. Every clip carries
the SHA-256 of its content, checked when it is read, and the file one hash over all of them, which depends neither on
the order of clips nor on how HDF5 lays them out. ``facts`` (JSON) says how the content was made. Clips are written and
read one at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from diving48_domains.instances import ClipInstances, Instance
from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.h5write import create_hdf5

FORMAT = "diving48-instances"
SCHEMA_VERSION = 1
PART_MAGIC = b"diving48-instances-part-1\n"
PART_HEAD = struct.Struct("<IQQQ")  # bytes of the header, frames, instances, bytes of masks

MAX_CLIPS = 1_000_000
MAX_ID_BYTES = 255
MAX_FACTS_BYTES = 16 << 20
MAX_SIDE = 65_535  # px, of a frame and of a mask
# In one clip, so that a hostile file cannot make a reader allocate without end.
MOST = {"frames": 1_000_000, "instances": 1_000_000, "masks": 1 << 31}

# dataset -> (which count of a clip it follows, dtype, shape of a row, rows a chunk)
TABLES: dict[str, tuple[str, np.dtype[Any], tuple[int, ...], int]] = {
    "frames/index": ("frames", np.dtype("<i8"), (), 8192),
    "frames/num_instances": ("frames", np.dtype("<i4"), (), 8192),
    "instances/box": ("instances", np.dtype("<f4"), (4,), 4096),
    "instances/score": ("instances", np.dtype("<f8"), (), 4096),
    "instances/mask_size": ("instances", np.dtype("<i4"), (2,), 4096),
    "masks": ("masks", np.dtype("u1"), (), 1 << 18),
}


class ClipHead(NamedTuple):
    """What is known of a clip without its instances."""

    clip_id: str
    height: int
    width: int
    source_sha256: str


class ClipTables(NamedTuple):
    """A clip's rows: T frames, M instances, B bytes of masks; fields in the order of :data:`TABLES`."""

    frame_index: NDArray[np.int64]
    num_instances: NDArray[np.int32]
    box: NDArray[np.float32]
    score: NDArray[np.float64]
    mask_size: NDArray[np.int32]
    masks: NDArray[np.uint8]

    def counts(self) -> dict[str, int]:
        return {"frames": len(self.frame_index), "instances": len(self.score), "masks": len(self.masks)}


def table_names() -> set[str]:
    """All groups and tables that an instances file has, and no other."""
    clips = {"clips", "clips/id", "clips/size", "clips/source_sha256", "clips/digest", "facts"}
    return clips | {f"clips/{key}_start" for key in MOST} | {"frames", "instances"} | set(TABLES)


def check_clip_id(clip_id: str) -> None:
    """Raises DataError for a clip id that could not be a file's name: ids become file names in many places."""
    strange = [letter for letter in clip_id if letter in "/\\" or unicodedata.category(letter)[0] == "C"]
    if strange or clip_id in {"", ".", ".."} or len(clip_id.encode()) > MAX_ID_BYTES:
        raise DataError(
            f"the clip id {clip_id!r} is not usable: an id is 1 to {MAX_ID_BYTES} bytes of text without slashes and "
            "control characters."
        )


def encode_clip(clip: ClipInstances) -> bytes:
    """The clip as bytes, the same for equal clips everywhere: what is hashed, and what a part file holds."""
    return _encode(ClipHead(clip.clip_id, clip.height, clip.width, clip.source_sha256), _tables(clip))


def decode_clip(data: bytes, name: str = "part") -> ClipInstances:
    """The clip that :func:`encode_clip` gave ``data``. Raises DataError for any other bytes; ``name`` is told then."""
    start = len(PART_MAGIC) + PART_HEAD.size
    if not data.startswith(PART_MAGIC) or len(data) < start:
        raise DataError(f"{name} is no part of an instances file.")
    head_bytes, *counts = PART_HEAD.unpack_from(data, len(PART_MAGIC))
    sizes = dict(zip(MOST, counts, strict=True))
    row_bytes = [(key, dtype.itemsize * int(np.prod(shape))) for key, dtype, shape, _ in TABLES.values()]
    if len(data) != start + head_bytes + sum(sizes[key] * size for key, size in row_bytes):
        raise DataError(f"{name} is damaged or truncated: it holds {len(data)} bytes, its header says otherwise.")
    try:
        values = json.loads(data[start : start + head_bytes])
        clip_id, height, width, source = values
    except (ValueError, TypeError, RecursionError) as problem:
        raise DataError(f"{name} is damaged: {problem}") from problem
    place, arrays = start + head_bytes, []
    for (key, size), (_, dtype, shape, _) in zip(row_bytes, TABLES.values(), strict=True):
        count = sizes[key]
        arrays.append(np.frombuffer(data, dtype, count * size // dtype.itemsize, place).reshape(count, *shape))
        place += count * size
    return _clip(ClipHead(clip_id, height, width, source), ClipTables(*arrays), name)


def write_instances(path: Path, clips: Iterable[ClipInstances], facts: Mapping[str, Any]) -> str:
    """Write the file (whole or not at all) and return its content hash.

    ``facts``: what JSON holds, about how the instances were made. Equal clips in equal order and equal facts give
    equal bytes. Raises DataError for a clip id given twice or beyond the format's limits.
    """
    facts_json = json.dumps(dict(facts), allow_nan=False, ensure_ascii=False).encode()
    if len(facts_json) > MAX_FACTS_BYTES:
        raise DataError(f"facts take {len(facts_json)} bytes, at most {MAX_FACTS_BYTES} are kept.")
    heads: dict[str, ClipHead] = {}
    digests: list[bytes] = []
    starts = {key: [0] for key in MOST}
    with atomic_path(path) as partial, create_hdf5(partial) as (file, sink):
        for name in ("clips", "frames", "instances"):
            _create_group(file, name)
        tables = {name: _create_table(file, name) for name in TABLES}
        for clip in clips:
            if clip.clip_id in heads:
                raise DataError(f"clip {clip.clip_id!r} comes twice.")
            rows = _tables(clip)
            head = ClipHead(clip.clip_id, clip.height, clip.width, clip.source_sha256)
            heads[clip.clip_id] = head
            digests.append(hashlib.sha256(_encode(head, rows)).digest())
            arrays: tuple[NDArray[Any], ...] = rows
            for (name, table), values in zip(tables.items(), arrays, strict=True):
                start = starts[TABLES[name][0]][-1]
                table.resize(start + len(values), axis=0)
                table[start:] = values
            for key, count in rows.counts().items():
                starts[key].append(starts[key][-1] + count)
            sink.check()
        if len(heads) > MAX_CLIPS:
            raise DataError(f"{len(heads)} clips; an instances file holds at most {MAX_CLIPS}.")
        content_hash = _content_hash(list(heads), digests)
        ids = [clip_id.encode() for clip_id in heads]
        file["clips/id"] = np.array(ids, dtype=f"S{max(map(len, ids), default=1)}")
        file["clips/size"] = np.array([(h.height, h.width) for h in heads.values()], np.int32).reshape(-1, 2)
        file["clips/source_sha256"] = np.array([h.source_sha256.encode() for h in heads.values()], dtype="S64")
        file["clips/digest"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        for key, places in starts.items():
            file[f"clips/{key}_start"] = np.array(places, dtype=np.int64)
        file["facts"] = np.frombuffer(facts_json, np.uint8)
        file.attrs.update({"format": FORMAT, "schema_version": SCHEMA_VERSION, "content_hash": content_hash})
    return content_hash


class InstanceFile:
    """An instances file open for reading; it may come from anywhere. Close it, or use it in ``with``.

    ``clip_ids``: in the file's order; ``facts``: how it was made; ``content_hash``: hex SHA-256. Raises DataError, on
    opening or on reading a clip, for anything that is not an intact file of this version.
    """

    clip_ids: tuple[str, ...]
    facts: dict[str, Any]
    content_hash: str

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with contextlib.ExitStack() as stack:
            self._file: h5py.File = stack.enter_context(open_guarded(self.path))
            with reading(self.path):
                self._open()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._row

    def __iter__(self) -> Iterator[ClipInstances]:
        return (self.read(clip_id) for clip_id in self.clip_ids)

    def read(self, clip_id: str) -> ClipInstances:
        """The clip's instances. Raises DataError for a clip the file does not hold, or holds damaged."""
        row = self._row.get(clip_id)
        if row is None:
            raise DataError(
                f"{self.path} holds no clip {clip_id!r}; it holds {len(self)} clips"
                + (f", from {self.clip_ids[0]!r} to {self.clip_ids[-1]!r}." if len(self) else ".")
            )
        with reading(self.path):
            arrays = [
                self._file[name][self._starts[key][row] : self._starts[key][row + 1]]
                for name, (key, *_) in TABLES.items()
            ]
        rows, head, where = ClipTables(*arrays), self._heads[row], f"{self.path}: clip {clip_id!r}"
        clip = _clip(head, rows, where)
        if hashlib.sha256(_encode(head, rows)).digest() != self._digests[row]:
            raise DataError(f"{where} is damaged: its content is not what was written.")
        return clip

    def _open(self) -> None:
        file, path = self._file, self.path
        if file.attrs.get("format") != FORMAT:
            raise DataError(f"{path} is no instances file: its format is {file.attrs.get('format')!r}.")
        if file.attrs.get("schema_version") != SCHEMA_VERSION:
            version = file.attrs.get("schema_version")
            raise DataError(f"{path} has schema version {version!r}, this d48dom reads {SCHEMA_VERSION}.")
        for name, (_, dtype, shape, _) in TABLES.items():
            table = _dataset(file, name, path)
            if table.dtype != dtype or table.shape[1:] != shape or not table.shape:
                raise DataError(f"{path}: {name} is {table.dtype} {table.shape}, expected {dtype} (rows, *{shape}).")
        ids = _dataset(file, "clips/id", path)
        if ids.dtype.kind != "S" or ids.dtype.itemsize > MAX_ID_BYTES or ids.ndim != 1 or len(ids) > MAX_CLIPS:
            raise DataError(f"{path}: clips/id is {ids.dtype} {ids.shape}; refused.")
        count = len(ids)
        texts = tuple(value.decode() for value in ids[...].tolist())
        for text in texts:
            check_clip_id(text)
        self.clip_ids, self._row = texts, {text: row for row, text in enumerate(texts)}
        if len(self._row) != count:
            raise DataError(f"{path} names a clip twice.")
        sizes = _read(file, "clips/size", path, np.dtype("<i4"), (count, 2)).tolist()
        sources = _read(file, "clips/source_sha256", path, np.dtype("S64"), (count,)).tolist()
        self._heads = [
            ClipHead(text, height, width, source.decode())
            for text, (height, width), source in zip(texts, sizes, sources, strict=True)
        ]
        self._digests = [row.tobytes() for row in _read(file, "clips/digest", path, np.dtype("u1"), (count, 32))]
        self._starts = {key: self._read_starts(key, count) for key in MOST}
        facts = _dataset(file, "facts", path)
        if facts.dtype != np.uint8 or facts.ndim != 1 or len(facts) > MAX_FACTS_BYTES:
            raise DataError(f"{path}: facts is {facts.dtype} {facts.shape}; refused.")
        self.facts = _parse_facts(facts[...].tobytes(), path)
        self.content_hash = _content_hash(texts, self._digests)
        if file.attrs.get("content_hash") != self.content_hash:
            raise DataError(f"{path} is damaged: its content hash is not that of its clips.")

    def _read_starts(self, key: str, count: int) -> list[int]:
        starts = _read(self._file, f"clips/{key}_start", self.path, np.dtype("<i8"), (count + 1,))
        ends = {name: len(self._file[name]) for name, (follows, *_) in TABLES.items() if follows == key}
        # Bounds before differences: differences of hostile numbers could overflow.
        if (
            starts[0] != 0
            or (starts < 0).any()
            or (starts[1:] < starts[:-1]).any()
            or any(end != starts[-1] for end in ends.values())
            or (np.diff(starts) > MOST[key]).any()
        ):
            raise DataError(f"{self.path}: clips/{key}_start does not fit tables of {ends} rows; refused.")
        return [int(value) for value in starts]


def _create_group(file: h5py.File, name: str) -> None:
    """A group without the times HDF5 would note, for equal bytes at any hour."""
    without_times = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    without_times.set_obj_track_times(False)
    h5py.h5g.create(file.id, name.encode(), gcpl=without_times)


def _create_table(file: h5py.File, name: str) -> h5py.Dataset:
    _, dtype, shape, rows = TABLES[name]
    layout: dict[str, Any] = {"chunks": (rows, *shape), "compression": "gzip", "compression_opts": 1}
    return file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), **layout)


def _tables(clip: ClipInstances) -> ClipTables:
    check_clip_id(clip.clip_id)
    flat = [one for frame in clip.frames for one in frame]
    rows = ClipTables(
        np.asarray(clip.frame_indices, dtype="<i8"),
        np.array([len(frame) for frame in clip.frames], dtype="<i4"),
        np.array([one.box for one in flat], dtype="<f4").reshape(-1, 4),
        np.array([one.score for one in flat], dtype="<f8"),
        np.array([one.mask.shape for one in flat], dtype="<i4").reshape(-1, 2),
        np.concatenate([one.mask.ravel() for one in flat]) if flat else np.zeros(0, np.uint8),
    )
    _check(ClipHead(clip.clip_id, clip.height, clip.width, clip.source_sha256), rows, f"clip {clip.clip_id!r}")
    return rows


def _encode(head: ClipHead, rows: ClipTables) -> bytes:
    text = json.dumps(list(head), ensure_ascii=False, separators=(",", ":")).encode()
    sizes = PART_HEAD.pack(len(text), *rows.counts().values())
    return b"".join([PART_MAGIC, sizes, text, *(np.ascontiguousarray(table).tobytes() for table in rows)])


def _check(head: ClipHead, rows: ClipTables, where: str) -> None:
    """Everything that the records do not check themselves, before anything is cut by these numbers."""
    if not isinstance(head.clip_id, str) or not isinstance(head.source_sha256, str):
        raise DataError(f"{where}: its id and its source's hash are texts, got {head[0]!r} and {head[3]!r}.")
    check_clip_id(head.clip_id)
    if head.source_sha256 and (len(head.source_sha256) != 64 or set(head.source_sha256) - set("0123456789abcdef")):
        raise DataError(f"{where}: {head.source_sha256!r} is no SHA-256 in hexadecimal digits.")
    if any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in (head.height, head.width)):
        raise DataError(f"{where}: a frame is 1 to {MAX_SIDE} px a side, got {head.width}x{head.height}.")
    counts = rows.counts()
    if any(counts[key] > most for key, most in MOST.items()):
        raise DataError(f"{where}: {counts} are more than {MOST}; refused.")
    if len(rows.num_instances) != counts["frames"] or (rows.num_instances < 0).any():
        raise DataError(f"{where}: a number of instances, 0 or more, for each of {counts['frames']} frames.")
    if rows.num_instances.sum(dtype=np.int64) != counts["instances"]:
        raise DataError(f"{where}: its frames do not hold {counts['instances']} instances.")
    if (rows.frame_index < 0).any():
        raise DataError(f"{where}: frame indices count from 0.")
    if len(rows.mask_size) != counts["instances"] or len(rows.box) != counts["instances"]:
        raise DataError(f"{where}: a box and a size of a mask for each of {counts['instances']} instances.")
    if ((rows.mask_size < 1) | (rows.mask_size > MAX_SIDE)).any():
        raise DataError(f"{where}: a mask is 1 to {MAX_SIDE} px a side.")
    if rows.mask_size.astype(np.int64).prod(axis=1).sum() != counts["masks"]:
        raise DataError(f"{where}: its masks do not hold {counts['masks']} bytes.")


def _clip(head: ClipHead, rows: ClipTables, where: str) -> ClipInstances:
    _check(head, rows, where)
    sizes = rows.mask_size.tolist()
    frames, one, place = [], 0, 0
    try:
        for count in rows.num_instances.tolist():
            found = []
            for _ in range(count):
                height, width = sizes[one]
                mask = rows.masks[place : place + height * width].reshape(height, width)
                found.append(Instance(rows.box[one], float(rows.score[one]), mask))
                one, place = one + 1, place + height * width
            frames.append(tuple(found))
        frame_indices = np.asarray(rows.frame_index, dtype=np.int64)
        return ClipInstances(head.clip_id, head.height, head.width, frame_indices, tuple(frames), head.source_sha256)
    except DataError as problem:
        raise DataError(f"{where}: {problem}") from problem


def _content_hash(clip_ids: Iterable[str], digests: Iterable[bytes]) -> str:
    """Over the clips' digests in the order of their ids, so that a merged file has the hash of a file made at once."""
    lines = [f"{clip_id}\n{digest.hex()}\n" for clip_id, digest in sorted(zip(clip_ids, digests, strict=True))]
    return hashlib.sha256("".join([f"{FORMAT} {SCHEMA_VERSION}\n", *lines]).encode()).hexdigest()


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise DataError(f"{path}: the table {name} is missing.")
    return dataset


def _read(file: h5py.File, name: str, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    dataset = _dataset(file, name, path)
    if dataset.dtype != dtype or dataset.shape != shape:
        raise DataError(f"{path}: {name} is {dataset.dtype} {dataset.shape}, expected {dtype} {shape}.")
    return np.asarray(dataset[...])


def _parse_facts(data: bytes, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path}: its facts are damaged: {problem}") from problem
    if not isinstance(facts, dict):
        raise DataError(f"{path}: its facts are {type(facts).__name__}, expected an object.")
    return facts
