"""A manifest of video clips of any origin: which file, which class, which split. Reading and checking it.

For tests across data sets, as from UCF101 to HMDB51: splits ``train`` and ``val`` are the source, every other split
is a target domain of that name. CSV with a header, or JSON lines, by the file's suffix.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, UsageError, unknown_name

TRAIN, VAL = "train", "val"
FIELDS = {"id": 128, "path": 4096, "label": 128, "split": 64, "source": 128}
"""Field -> its longest value in bytes of UTF-8."""
OPTIONAL = {"source"}
RESERVED = "V"
"""What rac-bench calls accuracy on ``val``."""
ONE_LIST = ("O", "C", "S1", "S2", "T", "T_union", "B")
"""The paper's domains: versions of one test list, which rac-bench sets against each other clip by clip."""
DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SHARD = re.compile(r"-\d{5}-of-\d{5}$")  # such a file would be read as a part of another store
MAX_BYTES, MAX_CLIPS, MAX_SPLITS = 256 << 20, 1_000_000, 100
MAX_NAMES = 50_000  # characters of all class names together: every store repeats them
SHOWN = 50


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One row. ``path``: where the video lies; ``given``: the same as the row has it; ``source``: the video it was cut
    from, empty where the manifest does not say.
    """

    line: int
    clip_id: str
    label: str
    split: str
    path: Path
    given: str
    source: str

    @property
    def origin(self) -> str:
        """How records name the video: as given, but of an absolute path the name alone."""
        return self.path.name if Path(self.given).is_absolute() else self.given


@dataclass(frozen=True, slots=True)
class ClipList:
    """``class_names``: a label is the place of its name; ``splits``: name -> clips, both in the order of the file."""

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[ListedClip, ...]]

    @property
    def has_sources(self) -> bool:
        """Whether it is known which clips come from one video."""
        return all(clip.source for clips in self.splits.values() for clip in clips)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(name for name in self.splits if name not in (TRAIN, VAL))

    def rows_sha256(self, split: str) -> str:
        """Of what the rows of a split say, in their order: it stays when other splits change."""
        rows = [[one.clip_id, one.given, one.label, one.source] for one in self.splits[split]]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_clip_list(path: Path, classes: Sequence[str] | None = None) -> ClipList:
    """Read a manifest and check all of it but the videos.

    ``classes``: names in the order of their labels; None: those of the file, sorted. UsageError for a file that is none
    and for ``classes`` that cannot be; DataError listing every problem with its line.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise unknown_name("form of a manifest", path.suffix or path.name, READERS)
    if not path.is_file():
        raise UsageError(f"--manifest {path}: no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; a manifest has at most {MAX_BYTES}.")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file in that encoding.") from None
    if classes is not None:
        _check_classes(classes)
    problems: list[str] = []
    clips = list(_clips(path, text, problems))
    names = tuple(classes) if classes is not None else tuple(sorted({clip.label for clip in clips}))
    problems += [*_repeats(clips), *_wrong_splits(clips), *_wrong_labels(clips, names, classes is not None)]
    if problems:
        raise DataError(listing(f"{path} cannot be used:", problems))
    splits: dict[str, list[ListedClip]] = {}
    for clip in clips:
        splits.setdefault(clip.split, []).append(clip)
    return ClipList(path, names, {name: tuple(rows) for name, rows in splits.items()})


def listing(head: str, items: Sequence[str]) -> str:
    """A message of one line an item, so many as one can read."""
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return "\n  ".join([head, *items[:SHOWN], *more])


Row = tuple[int, dict[str, Any]]


def _csv_rows(text: str, problems: list[str]) -> Iterator[Row]:
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    try:
        for cells in table:
            if not cells:
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                wrong = _wrong_names(names)
                if wrong:
                    problems.append(f"line {table.line_num}: {wrong}")
                    return
            elif len(cells) != len(names):
                problems.append(f"line {table.line_num}: {len(cells)} fields, the header has {len(names)}")
            else:
                yield table.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as problem:
        problems.append(f"line {table.line_num}: {problem}")


def _json_rows(text: str, problems: list[str]) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=tuple)  # of a dict the last of two values would win unseen
        except (ValueError, RecursionError) as problem:
            problems.append(f"line {number}: not JSON: {problem}")
            continue
        wrong = _wrong_names([name for name, _ in row]) if isinstance(row, tuple) else "not an object"
        if wrong:
            problems.append(f"line {number}: {wrong}")
        else:
            yield number, dict(row)


READERS: dict[str, Callable[[str, list[str]], Iterator[Row]]] = {".csv": _csv_rows, ".jsonl": _json_rows}


def _wrong_names(names: list[str]) -> str:
    """What is wrong with a header, or with the keys of an object; empty for nothing."""
    lacking = [name for name in FIELDS if name not in names and name not in OPTIONAL]
    strange = [name for name in names if name not in FIELDS]
    said = [
        f"no field {', '.join(map(repr, lacking))}" if lacking else "",
        f"unknown field {', '.join(f'{name!r:.60}' for name in strange[:5])}" if strange else "",
        "a field is named twice" if len(set(names)) != len(names) else "",
    ]
    wrong = "; ".join(one for one in said if one)
    return f"{wrong}; allowed: {', '.join(FIELDS)}" if wrong else ""


def _clips(path: Path, text: str, problems: list[str]) -> Iterator[ListedClip]:
    count = with_source = 0
    splits: set[str] = set()
    for line, row in READERS[path.suffix.lower()](text, problems):
        count += 1
        if count > MAX_CLIPS:
            problems.append(f"line {line}: more than {MAX_CLIPS} clips")
            return
        with_source += "source" in row
        wrong = [f"line {line}: {one}" for one in _wrong_fields(row)]
        problems += wrong
        if not wrong:
            value = {name: text.strip() for name, text in row.items()}
            place = Path(os.path.normpath(path.parent / value["path"]))
            splits.add(value["split"])
            if len(splits) > MAX_SPLITS:
                problems.append(f"line {line}: more than {MAX_SPLITS} splits")
                return
            yield ListedClip(
                line, value["id"], value["label"], value["split"], place, value["path"], value.get("source", "")
            )
    if not count and not problems:
        problems.append("no clip")
    if 0 < with_source < count:
        problems.append(f"{with_source} of {count} clips have a source; give it for all, or for none")


def _wrong_fields(row: dict[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if not isinstance(value, str):
            yield f"{name} is {value!r:.40}, not a text"
        elif not value.strip():
            yield f"{name} is empty"
        elif len(value.encode(errors="replace")) > FIELDS[name]:
            yield f"{name} has more than {FIELDS[name]} bytes"
        elif not value.strip().isprintable():
            yield f"{name} {value!r:.60} holds characters that cannot be printed"
        elif name == "id" and (value.strip()[0] == "." or set(value) & set("/\\")):
            yield f"id {value!r}: an id is a name, without / and \\, and does not begin with a dot"


def _repeats(clips: Sequence[ListedClip]) -> Iterator[str]:
    """One clip, one role. Targets may share clips: the same video may be shown in two of them."""
    for what in ("id", "path"):
        seen: dict[Any, dict[str, int]] = {}
        for clip in clips:
            places = seen.setdefault(clip.clip_id if what == "id" else clip.path, {})
            for split, line in places.items():
                if split == clip.split:
                    yield f"line {clip.line}: the {what} of line {line} again"
                elif {split, clip.split} & {TRAIN, VAL}:
                    yield f"line {clip.line}: the {what} of line {line}, from {split} into {clip.split}: a leak"
            places.setdefault(clip.split, clip.line)


def _wrong_splits(clips: Sequence[ListedClip]) -> Iterator[str]:
    lines: dict[str, int] = {}
    for clip in clips:
        lines.setdefault(clip.split, clip.line)
    spelled: dict[str, str] = {TRAIN: TRAIN, VAL: VAL}
    for split, line in lines.items():
        known = spelled.setdefault(split.casefold(), split)
        if known != split:
            yield f"line {line}: split {split!r} beside {known!r}: they differ in case only"
        elif not DOMAIN.fullmatch(split) or split == RESERVED or SHARD.search(split):
            yield (
                f"line {line}: split {split!r}: a name has letters, digits and _.-, begins with a letter or digit, and "
                f"is neither {RESERVED} nor that of a shard"
            )
    ids = {split: [clip.clip_id for clip in clips if clip.split == split] for split in lines if split in ONE_LIST}
    first = next(iter(ids), "")
    for split, listed in ids.items():
        if listed != ids[first]:
            yield (
                f"line {lines[split]}: split {split!r} has other ids than {first!r}, or in another order: "
                f"{', '.join(ONE_LIST)} are the paper's domains, versions of the same clips; name targets of other "
                f"clips in another way, like {split}_clips"
            )
    if clips and TRAIN not in lines:
        yield f"no clip of split {TRAIN!r}"
    if clips and not set(lines) - {TRAIN, VAL}:
        yield f"no split beside {TRAIN!r} and {VAL!r}: name one for each target domain"


def _wrong_labels(clips: Sequence[ListedClip], names: tuple[str, ...], given: bool) -> Iterator[str]:
    """Each label once, with the first line that has it."""
    lines: dict[str, int] = {}
    for clip in clips:
        lines.setdefault(clip.label, clip.line)
    if given:
        strange = [label for label in lines if label not in names]
        for label in strange[:SHOWN]:
            near = difflib.get_close_matches(label, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"line {lines[label]}: label {label!r} is not among the classes given{hint}"
        if len(strange) > SHOWN:
            yield f"{len(strange) - SHOWN} more labels are not among the classes given"
        return
    spelled: dict[str, str] = {}
    for label, line in lines.items():
        known = spelled.setdefault(label.casefold(), label)
        if known != label:
            yield f"line {line}: label {label!r} beside {known!r}: they differ in case only"
    if len(names) == 1:
        yield f"one class, {names[0]!r}; two or more are needed"
    if len(json.dumps(names)) > MAX_NAMES:
        yield f"the {len(names)} class names have more than {MAX_NAMES} characters together"


def _check_classes(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--classes names {', '.join(twice)} twice.")
    if len(json.dumps(names)) > MAX_NAMES:
        raise UsageError(f"--classes: the names have more than {MAX_NAMES} characters together.")
    if len(names) < 2 or not all(name.strip() == name and name.isprintable() and name for name in names):
        raise UsageError(f"--classes {','.join(names)!r:.80} is not possible; give two or more names, as in walk,run.")
