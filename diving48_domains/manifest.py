"""The manifest of written domains (contract 2): JSON lines, a header, then one line a clip in the order of the list.

It says of every clip that was asked for what became of it, so that no frame without a diver and no clip goes uncounted.
A :class:`Journal` is a manifest in the making: lines in the order in which clips were finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import locked, write_text_atomic

FORMAT, VERSION = "d48dom-manifest", 1
MAX_LINE_BYTES, MAX_CLIPS = 1 << 22, 1_000_000
MAX_FRAMES = 100_000

STATUS = ("detected", "interpolated", "empty", "leaked", "unseen")
"""What a stored frame rests on: divers as found; at least one interpolated; no diver, before the first or after the
last one seen; no diver although the clip shows one before and after: T shows it unfilled, unless the options say
otherwise; nobody was looked for, as in training clips."""

OUTCOMES = {
    "written": "its frames are in every domain",
    "dropped": "left out by the policy for frames without a diver",
    "failed": "its video is absent, damaged or not covered by the instances",
}
FLAGS = {
    "no_diver": "no frame has a diver: S1 and S2 are wholly blurred, T is the unedited frame",
    "mostly_empty": "more frames are without a diver than the build allows",
    "leaked": "at least one frame between the first and the last diver has none",
    "interpolated": "more than a quarter of the frames rests on interpolated boxes",
    "short": "fewer frames than are stored: some repeat",
    "partial": "the video is damaged; the frames before the damage were used",
    "crowded": "more divers were found than are kept",
}


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What became of one clip.

    ``row``: its place in the stores, None unless written; ``source``: the video file, relative to the dataset;
    ``num_frames``: decoded frames of the video; ``frame_indices``: which of them are stored, T numbers, rising, with
    repeats in short clips; ``status``: T names of STATUS; ``summary``: numbers by name; ``flags``: names of FLAGS;
    ``outputs``: domain -> fingerprint of the stored frames (stores) or sha256 of the file (videos).
    """

    clip_id: str
    label: int
    group: str
    outcome: str
    reason: str = ""
    row: int | None = None
    source: str = ""
    source_sha256: str = ""
    num_frames: int = 0
    fps: float = 0.0
    frame_indices: tuple[int, ...] = ()
    status: tuple[str, ...] = ()
    summary: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"clip {self.clip_id!r}"
        for name in ("frame_indices", "status", "flags"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.outcome not in OUTCOMES:
            raise DataError(f"{where}: outcome {self.outcome!r} is unknown; allowed: {', '.join(OUTCOMES)}.")
        strange = sorted((set(self.status) - set(STATUS)) | (set(self.flags) - set(FLAGS)))
        if strange:
            raise DataError(f"{where}: {strange} are neither a frame's status nor a clip's flag.")
        if len(self.status) != len(self.frame_indices) or len(self.status) > MAX_FRAMES:
            raise DataError(f"{where}: {len(self.status)} statuses for {len(self.frame_indices)} frames.")
        if any(later < earlier for earlier, later in zip(self.frame_indices, self.frame_indices[1:], strict=False)):
            raise DataError(f"{where}: frame indices must not fall.")
        if self.frame_indices and not 0 <= self.frame_indices[0] <= self.frame_indices[-1] < self.num_frames:
            raise DataError(f"{where}: frame indices leave 0..{self.num_frames - 1}.")
        if (self.outcome == "written") != (self.row is not None) or (self.row is not None and not self.status):
            raise DataError(f"{where}: a written clip has a row and frames, another has no row; row is {self.row}.")
        if self.label < 0:
            raise DataError(f"{where}: label {self.label} is negative.")

    def to_json(self) -> dict[str, Any]:
        return {item.name: _plain(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """DataError unless ``value`` has exactly the fields of a record, each of its type."""
        if not isinstance(value, dict) or set(value) != set(_KINDS):
            raise DataError(f"a clip's line has the fields {', '.join(_KINDS)}; got {_fields(value)}.")
        for name, kind in _KINDS.items():
            if not kind(value[name]):
                raise DataError(f"clip {value['clip_id']!r:.100}: field {name!r} has a value of the wrong kind.")
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Manifest:
    """``header``: parameters, versions and hashes as written; ``clips``: in the order of the list."""

    header: Mapping[str, Any]
    clips: tuple[ClipRecord, ...]

    def written(self) -> tuple[ClipRecord, ...]:
        return tuple(one for one in self.clips if one.outcome == "written")

    def totals(self) -> dict[str, int]:
        """Clips by outcome and by flag, stored frames by status."""
        counts = {f"clips {name}": sum(one.outcome == name for one in self.clips) for name in OUTCOMES}
        written = self.written()
        counts |= {f"frames {name}": sum(one.status.count(name) for one in written) for name in STATUS}
        return counts | {f"flag {name}": sum(name in one.flags for one in self.clips) for name in FLAGS}


def write_manifest(path: Path, header: Mapping[str, Any], clips: Iterable[ClipRecord]) -> None:
    """Write atomically; equal content gives equal bytes."""
    lines = [{"format": FORMAT, "version": VERSION, **header}, *(one.to_json() for one in clips)]
    write_text_atomic(path, "".join(_line(one) for one in lines))


def read_manifest(path: Path) -> Manifest:
    """Read and check every line. DataError names the line and what is wrong with it."""
    lines = list(_lines(Path(path)))
    if not lines or not isinstance(lines[0], dict) or lines[0].get("format") != FORMAT:
        raise DataError(f"{path} is no manifest: its first line must hold format {FORMAT!r}.")
    header = dict(lines[0])
    if header.pop("version", None) != VERSION:
        raise DataError(f"{path} has version {lines[0].get('version')!r}; this release reads {VERSION}.")
    del header["format"]
    clips = []
    for number, line in enumerate(lines[1:], 2):
        try:
            clips.append(ClipRecord.from_json(line))
        except DataError as problem:
            raise DataError(f"{path}, line {number}: {problem}") from None
    names = [one.clip_id for one in clips]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: {len(names) - len(set(names))} clips are listed twice.")
    return Manifest(header, tuple(clips))


class Journal:
    """What is finished so far, so that a killed run goes on where it was. UsageError when another process has it.

    ``key``: everything that decides the output; a journal of another key is refused. ``records``: by clip id.
    :meth:`add` collects; :meth:`flush` makes durable. Write the data the lines speak of to the disk before flushing.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        self.path = path
        self.records: dict[str, ClipRecord] = {}
        self._pending: list[ClipRecord] = []
        self._first = _line({"format": f"{FORMAT} journal", "version": VERSION, "key": key_hash(key)})
        self._file = path.open("ab")
        self._lock = contextlib.ExitStack()
        try:
            self._take()
            self._resume()  # not before: whoever has it may be writing
            if not os.fstat(self._file.fileno()).st_size:
                self._append(self._first)
        except BaseException:
            self.close()
            raise

    def add(self, record: ClipRecord) -> None:
        self.records[record.clip_id] = record
        self._pending.append(record)

    @property
    def pending(self) -> int:
        return len(self._pending)

    def flush(self) -> None:
        self._append("".join(_line(one.to_json()) for one in self._pending))
        self._pending = []

    def close(self) -> None:
        self._file.close()
        self._lock.close()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def begin_anew(self) -> None:
        """Forget all records."""
        self.records, self._pending = {}, []
        self._file.truncate(0)
        self._append(self._first)

    def _take(self) -> None:
        """The lock. UsageError where another process has it, or has removed the file meanwhile."""
        try:
            self._lock.enter_context(locked(self.path))
            is_ours = os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            raise UsageError(f"another process has just finished with {self.path}; run the command again.")

    def _append(self, text: str) -> None:
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _resume(self) -> None:
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]  # a kill may have cut the last line
        lines = whole.decode(errors="replace").splitlines(keepends=True)
        if lines and lines[0] != self._first:
            raise UsageError(
                f"{self.path} belongs to an unfinished run with other settings or other data; "
                "repeat that run's options to finish it, or add --force to begin anew."
            )
        for line in lines[1:]:
            record = ClipRecord.from_json(_parse(line, self.path))
            self.records[record.clip_id] = record
        self._file.truncate(len(whole))


def key_hash(key: Mapping[str, Any]) -> str:
    """sha256 of the JSON form of ``key``, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _lines(path: Path) -> Iterable[Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    with path.open("rb") as file:
        for number in range(MAX_CLIPS + 2):
            line = file.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{path}, line {number + 1} has more than {MAX_LINE_BYTES} bytes; refused.")
            yield _parse(line, path)
    raise DataError(f"{path} has more than {MAX_CLIPS} clips; refused.")


def _parse(line: str | bytes, path: Path) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is damaged: {problem} in the line {line[:60]!r}") from None


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _fields(value: Any) -> str:
    return ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _named(check: Any) -> Any:
    return lambda value: isinstance(value, dict) and all(check(one) for one in value.values())


_KINDS: dict[str, Any] = {
    "clip_id": _is_text,
    "label": _is_count,
    "group": _is_text,
    "outcome": _is_text,
    "reason": _is_text,
    "row": lambda value: value is None or (_is_count(value) and value >= 0),
    "source": _is_text,
    "source_sha256": _is_text,
    "num_frames": _is_count,
    "fps": _is_number,
    "frame_indices": lambda value: isinstance(value, list) and all(_is_count(one) for one in value),
    "status": _texts,
    "summary": _named(_is_number),
    "flags": _texts,
    "outputs": _named(_is_text),
}


def check_order(records: Mapping[str, ClipRecord], clip_ids: Sequence[str]) -> tuple[ClipRecord, ...]:
    """The records in the order of the list. DataError when one is missing."""
    missing = [clip_id for clip_id in clip_ids if clip_id not in records]
    if missing:
        raise DataError(f"{len(missing)} clips are unfinished, the first is {missing[0]}; run the command again.")
    return tuple(records[clip_id] for clip_id in clip_ids)
