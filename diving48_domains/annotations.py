"""The lists of Diving48 V2 and the folder they lie in: which clips there are, their classes, their video files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import write_json_atomic

LIST_FILES: dict[str, str] = {
    "train": "Diving48_V2_train.json",
    "test": "Diving48_V2_test.json",
    "val": "mini_val.json",
    "shift": "mini_shift.json",
    "swap": "mini_swap.json",
}
"""Split -> file name. The last three exist in Mini-Diving48 alone."""
VOCAB_FILE = "Diving48_vocab.json"
VIDEO_FOLDER = "rgb"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
"""In the order they are looked for."""

MAX_LIST_BYTES = 64 << 20  # the published train list has 1.5 MB
CLIP_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Ids become file names: no separator, no dot, so no id can leave the folder."""


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One clip of a list: ``clip_id`` (the list's vid_name), ``label`` 0..47, frames ``start_frame`` to ``end_frame``.

    The frame numbers are kept as the list gives them, and whether the last is meant to be included is not documented:
    the number of frames is found by decoding, and the audit alone compares the two.
    """

    clip_id: str
    label: int
    start_frame: int = 0
    end_frame: int = 0

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.clip_id):
            raise DataError(f"clip id {self.clip_id!r}: allowed are 1 to 128 letters, digits, '_' and '-'.")
        if not 0 <= self.label < len(DIVE_CLASSES):
            raise DataError(f"{self.clip_id}: label {self.label} is outside 0..{len(DIVE_CLASSES) - 1}.")
        if not 0 <= self.start_frame <= self.end_frame:
            raise DataError(f"{self.clip_id}: frames {self.start_frame} to {self.end_frame} are no range.")


def source_id(clip_id: str) -> str:
    """The video a clip was cut from, the group key of splits: all before the last underscore."""
    return clip_id.rpartition("_")[0] or clip_id


def read_list(path: Path) -> tuple[ClipEntry, ...]:
    """The entries of a V2 list in the file's order. Raises DataError naming the file, the entry and what is wrong."""
    rows = _read_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: a V2 list is a non-empty JSON list of entries, got {_kind(rows)}.")
    entries = tuple(_entry(path, position, row) for position, row in enumerate(rows))
    seen: dict[str, int] = {}
    for position, entry in enumerate(entries):
        if entry.clip_id in seen:
            raise DataError(f"{path}: entries {seen[entry.clip_id]} and {position} are both {entry.clip_id!r}.")
        seen[entry.clip_id] = position
    return entries


def write_list(path: Path, entries: Iterable[ClipEntry]) -> None:
    """Write a list in the V2 form, atomically."""
    rows = [
        {"vid_name": one.clip_id, "label": one.label, "start_frame": one.start_frame, "end_frame": one.end_frame}
        for one in entries
    ]
    if not rows:
        raise UsageError(f"{path}: a list needs at least one entry.")
    write_json_atomic(path, rows)


def write_vocab(path: Path) -> None:
    """Write the vocabulary in the published form: a list of [takeoff, somersault, twist, position] in index order."""
    write_json_atomic(path, [list(dive) for dive in DIVE_CLASSES])


@dataclass(frozen=True, slots=True)
class DivingFolder:
    """A folder in Diving48's form: lists beside ``rgb/<clip_id>.mp4``. Made by :func:`open_folder`."""

    root: Path
    lists: dict[str, Path]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.lists)

    def entries(self, split: str) -> tuple[ClipEntry, ...]:
        """The clips of a split. Raises UsageError for a split this folder has not."""
        if split not in self.lists:
            raise unknown_name("split", split, self.lists)
        return read_list(self.lists[split])

    def find_video(self, clip_id: str) -> Path | None:
        """The clip's video file; None where there is none."""
        if not CLIP_ID.fullmatch(clip_id):
            raise DataError(f"clip id {clip_id!r}: allowed are 1 to 128 letters, digits, '_' and '-'.")
        paths = (self.root / VIDEO_FOLDER / f"{clip_id}{suffix}" for suffix in VIDEO_SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def video(self, clip_id: str) -> Path:
        """The clip's video file. Raises DataError where there is none."""
        path = self.find_video(clip_id)
        if path is None:
            raise DataError(
                f"{self.root / VIDEO_FOLDER} has no video of {clip_id} ({' '.join(VIDEO_SUFFIXES)}); "
                "`d48dom audit` lists all that are missing."
            )
        return path


def open_folder(root: Path) -> DivingFolder:
    """Find the lists and videos under ``root``.

    Raises UsageError when ``root`` is no such folder (naming what was found instead) and DataError when its vocabulary
    is not the one of V2. The lists are read later, one by one.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a directory; give the folder that holds {LIST_FILES['train']} and rgb/.")
    lists = {split: root / name for split, name in LIST_FILES.items() if (root / name).is_file()}
    videos = root / VIDEO_FOLDER
    if not lists or not videos.is_dir():
        needed = {f"{LIST_FILES['train']} (or _test)": bool(lists), f"{VIDEO_FOLDER}/": videos.is_dir()}
        lacks = " and ".join(name for name, is_there in needed.items() if not is_there)
        raise UsageError(f"{root} lacks {lacks}; {_hint(root)}")
    if not any(path.suffix in VIDEO_SUFFIXES for path in videos.iterdir()):
        raise UsageError(f"{videos} holds no video ({' '.join(VIDEO_SUFFIXES)}); unpack the archive of clips there.")
    _check_vocab(root / VOCAB_FILE)
    return DivingFolder(root, lists)


def _hint(root: Path) -> str:
    """What the user most likely gave instead of the dataset's folder."""
    if not any(root.iterdir()):
        return "it is empty."
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return "it holds labelled frames (images/, masks/): those go to `d48dom train --labels`."
    for near in (root.parent, *sorted(path for path in root.iterdir() if path.is_dir())):
        if any((near / name).is_file() for name in LIST_FILES.values()):
            return f"did you mean {near}?"
    return "docs/diving48_data.md shows the layout."


def _check_vocab(path: Path) -> None:
    if not path.is_file():
        return
    rows = _read_json(path)
    if rows == [list(dive) for dive in DIVE_CLASSES]:
        return
    if not isinstance(rows, list) or len(rows) != len(DIVE_CLASSES):
        raise DataError(f"{path}: the V2 vocabulary is a list of {len(DIVE_CLASSES)} classes, got {_kind(rows)}.")
    index = next(index for index, row in enumerate(rows) if row != list(DIVE_CLASSES[index]))
    raise DataError(
        f"{path}: class {index} is {rows[index]!r}, in V2 {list(DIVE_CLASSES[index])!r}; labels of another vocabulary "
        "would be misread. Use the V2 files."
    )


def _entry(path: Path, position: int, row: Any) -> ClipEntry:
    where = f"{path}: entry {position}"
    if not isinstance(row, dict):
        raise DataError(f"{where} is {_kind(row)}; an entry is an object with vid_name and label.")
    name, label = row.get("vid_name"), row.get("label")
    start, end = row.get("start_frame", 0), row.get("end_frame", 0)
    if not isinstance(name, str):
        raise DataError(f"{where}: vid_name must be text, got {_kind(name)}.")
    for field, value in (("label", label), ("start_frame", start), ("end_frame", end)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{where} ({name}): {field} must be a whole number, got {_kind(value)}.")
    try:
        return ClipEntry(name, label, start, end)  # type: ignore[arg-type]
    except DataError as problem:
        raise DataError(f"{where}: {problem}") from None


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    if path.stat().st_size > MAX_LIST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; a list has at most {MAX_LIST_BYTES}.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is not JSON: {problem}") from problem


def _kind(value: Any) -> str:
    """How a message names a JSON value of the wrong kind, without printing all of it."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return f"{value!r:.40}"
