"""Writing stores of frames: by many processes side by side, resumable, the same bytes however often interrupted.

All space is laid out when a file is made; from then on HDF5 does not touch it, and clips are written to their places
with ``pwrite``. A kill loses at most the clips since the last flush. While it grows a store is called ``NAME.partial``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from diving48_domains.framestore import (
    FINGERPRINT_BYTES,
    FORMAT,
    MAX_TEXT_BYTES,
    VERSION,
    StorePlan,
    content_hash,
    partial_path,
)
from diving48_domains.manifest import STATUS, ClipRecord, Journal
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import check_free_space
from tsgen.common.h5write import Sink

PAGE = 4096
FLUSH_CLIPS = 16


@dataclass(frozen=True, slots=True)
class Slots:
    """Where the clips of one store go; small, so that it travels to worker processes."""

    path: Path
    offset: int
    clip_shape: tuple[int, int, int, int]


Place = Slots | NDArray[np.uint8]
"""Where a clip's frames go: into a row of a store, or into an array uint8 (T, H, W, 3) that is sent to its writer."""


class ClipSink:
    """Takes the frames of one clip one by one, each uint8 (H, W, 3), into its row; :meth:`close` gives the fingerprint.

    OSError when the disk is full; the row is then written anew by the next run.
    """

    def __init__(self, place: Place, row: int) -> None:
        self._array = place if isinstance(place, np.ndarray) else None
        self._shape: tuple[int, ...] = place.shape if isinstance(place, np.ndarray) else place.clip_shape
        self._count = 0
        self._hash = xxhash.xxh3_128()
        self._next, self._descriptor = 0, -1
        if isinstance(place, Slots):
            self._next = place.offset + row * int(np.prod(self._shape))
            self._descriptor = os.open(place.path, os.O_WRONLY)

    def add(self, frame: NDArray[np.uint8]) -> None:
        if frame.dtype != np.uint8 or frame.shape != self._shape[1:] or self._count == self._shape[0]:
            raise DataError(f"frame {self._count} is {frame.dtype} {frame.shape}; the store takes {self._shape}.")
        view = np.ascontiguousarray(frame).data.cast("B")
        self._hash.update(view)
        if self._array is not None:
            self._array[self._count] = frame
        while view and self._array is None:
            written = os.pwrite(self._descriptor, view, self._next)
            self._next += written
            view = view[written:]
        self._count += 1

    def close(self) -> str:
        self.abandon()
        if self._count != self._shape[0]:
            raise DataError(f"a clip of {self._count} frames; the store takes {self._shape[0]}.")
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Close without a fingerprint; harmless after :meth:`close`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def write_clip(slots: Slots, row: int, frames: NDArray[np.uint8]) -> str:
    """Write uint8 (T, H, W, 3) into a row, from any process, and return its fingerprint (32 hex digits)."""
    sink = ClipSink(slots, row)
    try:
        for frame in frames:
            sink.add(frame)
    except BaseException:
        sink.abandon()
        raise
    return sink.close()


class StoreWriter:
    """Stores that share a list (say one for each domain), their rows, and one journal.

    ``paths``: name -> final file; the settings of a store are the plan's and ``{"domain": name}``. Write rows of
    :meth:`todo` with :class:`ClipSink` and :attr:`slots`, in this or other processes; hand each finished clip's record
    to :meth:`record`; :meth:`finish` closes the files and gives them their names. Leaving the block early keeps
    everything for the next run. UsageError when what lies there was begun with other settings.
    """

    def __init__(self, paths: Mapping[str, Path], plan: StorePlan, journal: Path) -> None:
        self.paths, self.plan = dict(paths), plan
        key = plan.key() | {"names": sorted(paths)}
        if not journal.is_file():
            for path in self.paths.values():
                if path.exists():
                    raise UsageError(f"{path} exists; give another place or add --force to replace it.")
        needed = sum(_missing_bytes(path, plan) for path in self.paths.values())
        check_free_space(journal.parent, needed, f"a store of {len(plan.ids)} clips in {len(paths)} files")
        self.slots: dict[str, Slots] = {}
        self.journal = Journal(journal, key)
        try:
            self._begin()
        except BaseException:
            self.journal.close()
            raise

    def _begin(self) -> None:
        plan, known, journal = self.plan, set(self.plan.ids), self.journal.path
        strangers = [clip_id for clip_id in self.journal.records if clip_id not in known]
        if strangers:
            raise DataError(f"{journal} names {strangers[0]!r}, which is not in the list; add --force to begin anew.")
        if not self.journal.records:  # files from before the journal may be of another plan
            for path in self.paths.values():
                partial_path(path).unlink(missing_ok=True)
        if not all(_present(path).exists() for path in self.paths.values()):
            if any(path.exists() for path in self.paths.values()):
                raise DataError(
                    f"{journal.parent}: some finished files of this run are gone; add --force to begin anew."
                )
            self.journal.begin_anew()  # the files did not follow the journal, or somebody removed one
            for path in self.paths.values():
                _lay_out(partial_path(path), plan, self.settings(path))
        self.slots = {name: _slots(_present(path), plan) for name, path in self.paths.items()}

    def settings(self, path: Path) -> dict[str, Any]:
        name = next(name for name, known in self.paths.items() if known == path)
        return {**self.plan.settings, "domain": name}

    def todo(self) -> list[int]:
        """Rows not finished by an earlier run, rising."""
        return [row for row, clip_id in enumerate(self.plan.ids) if clip_id not in self.journal.records]

    def record(self, clip: ClipRecord) -> None:
        """A clip is done: written in every store with its fingerprints in ``outputs``, or left out for good."""
        if clip.outcome == "written":
            if clip.row is None or self.plan.ids[clip.row] != clip.clip_id or set(clip.outputs) != set(self.paths):
                raise DataError(f"clip {clip.clip_id!r}: row {clip.row} and outputs {sorted(clip.outputs)} do not fit.")
            if len(clip.frame_indices) != self.plan.num_frames:
                raise DataError(f"clip {clip.clip_id!r} has {len(clip.frame_indices)} frame indices, not T.")
        self.journal.add(clip)
        if self.journal.pending >= FLUSH_CLIPS:
            self.flush()

    def flush(self) -> None:
        """Frames to the disk first, then the journal's lines that speak of them."""
        if self.journal.pending:
            for path in self.paths.values():
                _sync(_present(path))
            self.journal.flush()

    def finish(self) -> dict[str, str]:
        """Name -> content hash (sha256). The journal stays until :meth:`done`, for whatever is written after it."""
        self.flush()
        left = self.todo()
        if left:
            raise DataError(f"{len(left)} clips are unfinished, the first is {self.plan.ids[left[0]]}.")
        hashes = {}
        for name, path in self.paths.items():
            tables = tables_of(self.plan, name, self.journal.records.values())
            hashes[name] = content_hash(self.plan, self.settings(path), tables)
            if path.exists():  # a kill came between the renaming of one file and the next
                continue
            tables["digest"] = np.frombuffer(bytes.fromhex(hashes[name]), dtype=np.uint8)
            _put(partial_path(path), tables)
            _sync(partial_path(path))
            partial_path(path).replace(path)
        return hashes

    def done(self) -> None:
        """The last step: nothing needs the journal any more."""
        self.journal.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.journal.path.exists():
            with contextlib.suppress(OSError):
                self.flush()
        self.journal.close()


def tables_of(plan: StorePlan, name: str, clips: Iterable[ClipRecord]) -> dict[str, NDArray[Any]]:
    """What the store ``name`` holds beside labels, ids and frames, in the forms of framestore.TABLES."""
    num_clips, num_frames = plan.shape[:2]
    tables: dict[str, NDArray[Any]] = {
        "frame_indices": np.zeros((num_clips, num_frames), dtype=np.int64),
        "status": np.zeros((num_clips, num_frames), dtype=np.uint8),
        "present": np.zeros(num_clips, dtype=np.uint8),
        "fingerprint": np.zeros((num_clips, FINGERPRINT_BYTES), dtype=np.uint8),
    }
    for clip in clips:
        if clip.row is not None:
            tables["frame_indices"][clip.row] = clip.frame_indices
            tables["status"][clip.row] = [STATUS.index(status) for status in clip.status]
            tables["present"][clip.row] = 1
            tables["fingerprint"][clip.row] = np.frombuffer(bytes.fromhex(clip.outputs[name]), dtype=np.uint8)
    return tables


def _lay_out(path: Path, plan: StorePlan, settings: Mapping[str, Any]) -> None:
    """An HDF5 file with room for everything. Deterministic: no time stamps, all space allocated at once."""
    num_clips, num_frames = plan.shape[:2]
    building = path.with_name(path.name + ".new")
    pages: dict[str, Any] = {"alignment_threshold": PAGE, "alignment_interval": PAGE}
    sink = Sink(building)  # a full disk is then an OSError, where HDF5 by itself may crash
    try:
        with h5py.File(sink, "w", libver=("v110", "v110"), **pages) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["settings"] = json.dumps(settings, sort_keys=True, allow_nan=False)
            file["labels"] = np.array(plan.labels, dtype=np.int64)
            for name, values in (("clip_id", plan.ids), ("group", plan.groups)):
                file[name] = np.array([value.encode() for value in values], dtype=f"S{MAX_TEXT_BYTES}")
            for name, shape, kind in (
                ("frame_indices", (num_clips, num_frames), "int64"),
                ("status", (num_clips, num_frames), "uint8"),
                ("present", (num_clips,), "uint8"),
                ("fingerprint", (num_clips, FINGERPRINT_BYTES), "uint8"),
                ("digest", (32,), "uint8"),
                ("clips", plan.shape, "uint8"),
            ):
                file.create_dataset(name, shape, kind, dcpl=_allocated_at_once())
        sink.check()
        building.replace(path)
    finally:
        sink.close()
        building.unlink(missing_ok=True)


def _allocated_at_once() -> Any:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a hole in the file reads as zeros; writing them would take minutes
    return layout


def _offsets(path: Path) -> dict[str, int]:
    with h5py.File(path, "r") as file:
        return {name: int(file[name].id.get_offset()) for name in file}


def _put(path: Path, tables: Mapping[str, NDArray[Any]]) -> None:
    offsets = _offsets(path)
    with path.open("rb+", buffering=0) as file:
        for name, values in tables.items():
            view = np.ascontiguousarray(values).data.cast("B")
            file.seek(offsets[name])
            while view:
                view = view[file.write(view) :]


def _slots(path: Path, plan: StorePlan) -> Slots:
    return Slots(path, _offsets(path)["clips"], plan.shape[1:])


def _present(path: Path) -> Path:
    return path if path.exists() else partial_path(path)


def _missing_bytes(path: Path, plan: StorePlan) -> int:
    if path.exists():
        return 0
    partial = partial_path(path)
    there = partial.stat().st_blocks * 512 if partial.exists() else 0  # a sparse file takes what was written
    return max(plan.clip_bytes * len(plan.ids) - there, 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
