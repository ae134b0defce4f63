"""Training-ready frames: uint8 clips in HDF5 files that can be memory-mapped. Their form and their reading.

A store holds the clips of one list in one form (a domain, or the plain frames for training), or a shard of them; the
contiguous block of all clips starts on a page and is mapped, so reading a clip copies nothing and a store larger than
memory is no trouble. ``storewriter`` writes them.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from diving48_domains.manifest import STATUS
from tsgen.common.errors import DataError, UsageError
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.shards import Shard

FORMAT, VERSION = "d48dom-frames", 1
MERGED_SUFFIX = ".merged"
"""After the name of a shard that is merged: no reader takes it for a part of a store."""
FINGERPRINT_BYTES = 16
MAX_TEXT_BYTES, MAX_SETTINGS_BYTES = 128, 60_000
MAX_EXTENTS = (1_000_000, 4096, 8192, 8192, 3)  # clips, frames, height, width, channels
TABLES: dict[str, str] = {
    "labels": "int64 (N,)",
    "clip_id": "text (N,)",
    "group": "text (N,): clips of one source video share it",
    "frame_indices": "int64 (N, T): numbers of the decoded frames",
    "status": "uint8 (N, T): index into manifest.STATUS",
    "present": "uint8 (N,): 1 where the clip was written, 0 where it was dropped or failed",
    "fingerprint": "uint8 (N, 16): XXH3-128 of the clip's bytes",
    "digest": "uint8 (32,): sha256 of all of the above and the settings; zero while unfinished",
}


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What a store will hold: N clips of (T, H, W, 3).

    ``settings``: everything that decides the pixels (JSON values: domain, size, resize rule, options, hashes of what
    was read). A store is read, or resumed, only with the settings it was made with.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]
    num_frames: int
    height: int
    width: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.labels) == len(self.groups) or not self.ids:
            raise UsageError(
                f"a store needs as many labels and groups as ids, and at least one; got {len(self.ids)} ids, "
                f"{len(self.labels)} labels, {len(self.groups)} groups."
            )
        if len(set(self.ids)) != len(self.ids):
            raise UsageError(f"{len(self.ids) - len(set(self.ids))} clip ids occur twice.")
        if any(len(text.encode()) > MAX_TEXT_BYTES for text in (*self.ids, *self.groups)):
            raise UsageError(f"clip ids and groups have at most {MAX_TEXT_BYTES} bytes.")
        if len(json.dumps(self.settings, allow_nan=False)) > MAX_SETTINGS_BYTES:
            raise UsageError(f"a store's settings have at most {MAX_SETTINGS_BYTES} characters.")
        if not all(1 <= got <= most for got, most in zip(self.shape, MAX_EXTENTS, strict=True)):
            raise UsageError(f"a store of shape {self.shape} is outside 1..{MAX_EXTENTS}.")

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return len(self.ids), self.num_frames, self.height, self.width, 3

    @property
    def clip_bytes(self) -> int:
        return self.num_frames * self.height * self.width * 3

    def key(self) -> dict[str, Any]:
        """All that the finished bytes depend on beside the frames."""
        return {
            "shape": list(self.shape),
            "ids": list(self.ids),
            "labels": list(self.labels),
            "groups": list(self.groups),
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True, eq=False)
class FrameStore:
    """A store open for reading: the clips that are present, over all shards, in the order of the list.

    ``ids``, ``groups``: texts (N,); ``labels`` int64 (N,); ``frame_indices`` int64 (N, T); ``status`` uint8 (N, T):
    index into manifest.STATUS; ``fingerprints`` uint8 (N, 16); ``settings``: what decided the pixels;
    ``content_hash``: sha256, over all shards. ``blocks`` are the mapped clips of each shard, uint8 (n, T, H, W, 3), and
    ``places`` int64 (N, 2): shard and row of each clip.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    frame_indices: NDArray[np.int64]
    status: NDArray[np.uint8]
    fingerprints: NDArray[np.uint8]
    settings: Mapping[str, Any]
    content_hash: str
    blocks: tuple[NDArray[np.uint8], ...]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3)."""
        _, num_frames, height, width, channels = self.blocks[0].shape
        return num_frames, height, width, channels

    def clip(self, number: int) -> NDArray[np.uint8]:
        """uint8 (T, H, W, 3), a read-only view of the file."""
        block, row = self.places[number]
        clip: NDArray[np.uint8] = self.blocks[block][row]
        return clip

    def gather(self, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 (n, T, H, W, 3): a copy of these clips, in this order."""
        out = np.empty((len(numbers), *self.clip_shape), dtype=np.uint8)
        for place, number in enumerate(numbers):
            out[place] = self.clip(int(number))
        return out

    def verify(self) -> None:
        """Read every clip. DataError naming those whose bytes are not the ones that were written."""
        bad = [
            clip_id
            for number, clip_id in enumerate(self.ids)
            if fingerprint(self.clip(number)) != self.fingerprints[number].tobytes().hex()
        ]
        if bad:
            raise DataError(f"{len(bad)} of {len(self)} clips are damaged, the first is {bad[0]}; make them again.")


def open_store(path: Path | str, expect: Mapping[str, Any] | None = None) -> FrameStore:
    """Open a store: a file, or, where ``S1.h5`` is absent, all its shards ``S1-00000-of-00008.h5`` and so on.

    ``expect``: settings the store must have been made with; DataError lists those that differ. DataError also for an
    unfinished store, missing shards, shards that do not belong together and anything that is no store. The content
    hash is checked against the tables; only :meth:`FrameStore.verify` reads the frames.
    """
    parts = [open_part(one) for one in _parts(Path(path))]
    settings = parts[0].settings
    for part in parts[1:]:
        different = _differences(part.settings, settings)
        if different or part.clip_shape != parts[0].clip_shape:
            raise DataError(f"{path}: the shards were not made by one run: {different or 'their shapes differ'}.")
    different = _differences(settings, expect or {}, only=set(expect or {}))
    if different:
        raise DataError(f"{path} was made with other settings: {different}. Build it anew, or read it as what it is.")
    ids = tuple(clip_id for part in parts for clip_id in part.ids)
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: {len(ids) - len(set(ids))} clips occur twice.")
    places = np.concatenate(
        [np.stack([np.full(len(part), number), part.places[:, 1]], axis=1) for number, part in enumerate(parts)]
    )
    whole = "".join(part.content_hash for part in parts)
    return FrameStore(
        ids,
        np.concatenate([part.labels for part in parts]),
        tuple(group for part in parts for group in part.groups),
        np.concatenate([part.frame_indices for part in parts]),
        np.concatenate([part.status for part in parts]),
        np.concatenate([part.fingerprints for part in parts]),
        settings,
        whole if len(parts) == 1 else hashlib.sha256(whole.encode()).hexdigest(),
        tuple(part.blocks[0] for part in parts),
        places.astype(np.int64),
    )


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """XXH3-128 of the bytes, 32 hex digits."""
    return xxhash.xxh3_128(np.ascontiguousarray(frames).data).hexdigest()


def _parts(path: Path) -> list[Path]:
    shards = shards_of(path)
    if path.is_file():
        if shards:
            raise DataError(
                f"{path.parent} holds {path.name} and {len(shards)} shards of it ({min(shards.values()).name}); "
                "which of them is meant cannot be told: `d48dom merge` ends a merge that was stopped; else delete one "
                "or the other."
            )
        return [path]
    if partial_path(path).is_file():
        raise DataError(f"{path} is unfinished; run the command that makes it again, it goes on where it stopped.")
    if not shards:
        raise DataError(f"{path}: no such file.")
    return complete(shards, path)


def complete(shards: Mapping[Shard, Path], path: Path) -> list[Path]:
    """The files of all shards of ``path``, in order. DataError when one is missing, or some are of another count."""
    counts = {shard.count for shard in shards}
    if len(counts) > 1:
        raise DataError(f"{path.parent} holds shards of {path.stem} of {sorted(counts)}; keep one set of them.")
    count = counts.pop()
    wanted = [Shard(index, count) for index in range(count)]
    missing = [shard.index for shard in wanted if shard not in shards]
    if missing:
        first = Shard(missing[0], count).path(path).name + MERGED_SUFFIX
        hint = f" Take {MERGED_SUFFIX} off the name of {first}." if path.with_name(first).is_file() else ""
        raise DataError(f"{path}: of {count} shards {len(missing)} are missing, the first is {missing[0]}.{hint}")
    return [shards[shard] for shard in wanted]


def shards_of(path: Path, ending: str = "") -> dict[Shard, Path]:
    """The files that are there of those :meth:`Shard.path` names; ``ending`` follows the name."""
    found = {}
    pattern = re.compile(f"{re.escape(path.stem)}-(\\d{{5}})-of-(\\d{{5}}){re.escape(path.suffix + ending)}", re.ASCII)
    for one in path.parent.glob(f"{glob.escape(path.stem)}-*"):
        match = pattern.fullmatch(one.name)
        if match and int(match[1]) < int(match[2]):
            found[Shard(int(match[1]), int(match[2]))] = one
    return found


def open_part(path: Path) -> FrameStore:
    """As :func:`open_store`, of this one file, a whole store or a shard."""
    with open_guarded(path) as file, reading(path):
        if file.attrs.get("format") != FORMAT:
            raise DataError(f"{path} is no store of frames (format {file.attrs.get('format')!r:.60}, not {FORMAT!r}).")
        if file.attrs.get("version") != VERSION:
            raise DataError(f"{path} has version {file.attrs.get('version')!s:.20}; this release reads {VERSION}.")
        settings = json.loads(str(file.attrs["settings"]))
        clips = file["clips"]
        shape = clips.shape
        if clips.dtype != np.uint8 or clips.chunks or clips.ndim != 5 or shape[4] != 3 or 0 in shape:
            raise DataError(f"{path}: clips are {clips.dtype} {shape}; a store has uint8 (N, T, H, W, 3), contiguous.")
        if any(got > most for got, most in zip(shape, MAX_EXTENTS, strict=True)):
            raise DataError(f"{path}: {shape} is beyond {MAX_EXTENTS}; refused.")
        tables = {name: _table(file, name, shape[0], shape[1], path) for name in TABLES}
        offset = clips.id.get_offset()
    text = {name: tuple(value.decode() for value in tables[name].tolist()) for name in ("clip_id", "group")}
    if not tables["digest"].any():
        raise DataError(f"{path} is unfinished; run the command that makes it again, it goes on where it stopped.")
    labels = tuple(tables["labels"].tolist())
    plan = StorePlan(text["clip_id"], labels, text["group"], shape[1], shape[2], shape[3])
    digest = content_hash(plan, settings, tables)
    if tables["digest"].tobytes().hex() != digest:
        raise DataError(f"{path} is damaged: its tables do not give the content hash it carries.")
    if (tables["status"] >= len(STATUS)).any():
        raise DataError(f"{path}: a status is above {len(STATUS) - 1}.")
    rows = np.flatnonzero(tables["present"])
    if not rows.size:
        raise DataError(f"{path} holds no clip: all were dropped or failed; its manifest says why.")
    return FrameStore(
        tuple(text["clip_id"][row] for row in rows),
        tables["labels"][rows],
        tuple(text["group"][row] for row in rows),
        tables["frame_indices"][rows],
        tables["status"][rows],
        tables["fingerprint"][rows],
        settings,
        digest,
        (np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape),),
        np.stack([np.zeros_like(rows), rows], axis=1),
    )


def _table(file: h5py.File, name: str, num_clips: int, num_frames: int, path: Path) -> NDArray[Any]:
    kind, _, extents = TABLES[name].partition(":")[0].partition(" ")
    sizes = {"N": num_clips, "T": num_frames}
    shape = tuple(sizes[one] if one in sizes else int(one) for one in re.findall(r"\w+", extents))
    data = file[name]
    right = data.dtype.kind == "S" and data.dtype.itemsize <= MAX_TEXT_BYTES if kind == "text" else data.dtype == kind
    if not right or data.shape != shape:
        raise DataError(f"{path}: {name!r} is {data.dtype} {data.shape}; a store has {TABLES[name]}.")
    values: NDArray[Any] = data[()]
    return values


def _differences(got: Mapping[str, Any], wanted: Mapping[str, Any], only: set[str] | None = None) -> str:
    names = sorted(only if only is not None else set(got) | set(wanted))
    return "; ".join(
        f"{name} is {got.get(name)!r:.80}, not {wanted.get(name)!r:.80}"
        for name in names
        if name not in {"shard"} and got.get(name) != wanted.get(name)
    )


def partial_path(path: Path) -> Path:
    """What a store is called until it is finished."""
    return path.with_name(path.name + ".partial")


def content_hash(plan: StorePlan, settings: Mapping[str, Any], tables: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over the settings, the list and the fingerprints of all frames: equal hashes, equal stores."""
    head = {"format": FORMAT, "version": VERSION, **plan.key(), "settings": dict(settings)}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True, allow_nan=False).encode())
    for name in ("frame_indices", "status", "present", "fingerprint"):
        digest.update(np.ascontiguousarray(tables[name]).tobytes())
    return digest.hexdigest()
