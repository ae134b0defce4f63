"""The published form of Temporal Shape: numbered frame images and a table of labels. Pure: names and text to plan.

As published, one folder holds the frames of all clips under consecutive numbers, ``<clip * T + t>.jpg``, beside
``labels.csv`` with an unnamed column of clip numbers and a column ``class``. Two other layouts people make of it are
understood as well: a sub-folder a clip, and flat files ``<clip>_<frame>.jpg``. :data:`LAYOUTS` lists them.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tsgen.common.errors import DataError, UsageError
from tsgen.vocabulary import NUM_FRAMES

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LABEL_SUFFIXES = (".csv", ".tab", ".tsv")
MAX_FRAMES = 1000
CLIP_COLUMNS = (
    "",
    "unnamed: 0",
    "clip",
    "clip_id",
    "video",
    "video_id",
    "id",
    "index",
    "path",
    "file",
    "filename",
    "name",
    "folder",
)
LABEL_COLUMNS = ("class", "label", "class_id", "label_id", "class_name", "target", "trajectory", "shape")
LISTED = 5
MAX_ROWS = 1_000_000
FRAME_WORD = re.compile(r"[\W_]*(?:frame|frm|img|image|f|t)?[\W_]*$", re.IGNORECASE)
TRAILING_NUMBER = re.compile(r"^(.*?)(\d{1,9})$", re.DOTALL)


@dataclass(frozen=True)
class Labels:
    """The table of labels: the clips' names as written (row numbers where there is no such column) and class ids."""

    clips: tuple[str, ...]
    class_ids: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Which file is which frame: ``frames[i][t]`` is the name of frame t of clip i, in the order of the labels."""

    layout: str
    frames: tuple[tuple[str, ...], ...]
    class_ids: tuple[int, ...]
    clip_ids: tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    """Images that differ in their last number only."""

    folder: str
    prefix: str
    by_number: dict[int, str]


def some(names: Iterable[object]) -> str:
    """The first few of a list, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def parse_labels(text: str, name: str, class_names: Sequence[str], columns: tuple[str, str] | None = None) -> Labels:
    """Read the table of labels. Columns are found by their names in the header, or given as (clip, label).

    A label is a class id or a class name. DataError names every row that has neither.
    """
    delimiter = "\t" if not name.lower().endswith(".csv") or "\t" in text.partition("\n")[0] else ","
    if delimiter == "," and ";" in text.partition("\n")[0]:
        delimiter = ";"
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = list(itertools.islice((row for row in reader if row), MAX_ROWS + 1))
    except csv.Error as problem:
        raise DataError(f"{name} is not a readable table: {problem}.") from problem
    if len(rows) > MAX_ROWS:
        raise DataError(f"{name} has more than {MAX_ROWS} rows; refused.")
    if len(rows) < 2:
        raise DataError(f"{name} holds no labels: a header and at least one row are needed.")
    header = [cell.strip().lower() for cell in rows[0]]
    clip_column, label_column = _find_columns(header, name, columns)
    short = [number for number, row in enumerate(rows[1:], 2) if len(row) != len(header)]
    if short:
        raise DataError(f"{name}: {len(short)} rows do not have {len(header)} columns: lines {some(short)}.")
    cells = [row[label_column].strip() for row in rows[1:]]
    ids = [_class_id(cell, class_names) for cell in cells]
    wrong = [
        f"line {number}: {cell!r}" for number, (cell, id_) in enumerate(zip(cells, ids, strict=True), 2) if id_ < 0
    ]
    if wrong:
        allowed = ", ".join(f"{number} {known}" for number, known in enumerate(class_names))
        raise DataError(f"{name}: {len(wrong)} labels are none of ({allowed}): {some(wrong)}.")
    clips = [
        str(row) if clip_column is None else cells_of[clip_column].strip() for row, cells_of in enumerate(rows[1:])
    ]
    repeated = [clip for clip, count in Counter(clips).items() if count > 1]
    if repeated:
        raise DataError(f"{name}: {len(repeated)} clips are listed more than once: {some(repeated)}.")
    return Labels(tuple(clips), tuple(ids))


def plan_clips(images: Iterable[str], labels: Labels, num_frames: int | None = None) -> Plan:
    """Find every frame of every labelled clip.

    ``images`` names relative to the folder of the labels; ``num_frames`` T where it does not follow from the files.
    DataError names the frames that are missing, the clips without a label and the labels without a clip.
    """
    if num_frames is not None and not 1 <= num_frames <= MAX_FRAMES:
        raise UsageError(f"{num_frames} frames a clip are not possible; allowed: 1..{MAX_FRAMES}.")
    groups = _grouped(images)
    layout = "consecutive" if len(groups) == 1 else "clips"
    return LAYOUTS[layout](groups, labels, num_frames)


def _plan_consecutive(groups: list[_Group], labels: Labels, num_frames: int | None) -> Plan:
    """``<clip * T + t>.jpg``: the frames of all clips under consecutive numbers."""
    by_number = groups[0].by_number
    clip_ids = [_as_number(clip) for clip in labels.clips]
    if None in clip_ids:
        raise DataError(
            f"the frames are numbered through, so the labels must name clips by number, but {labels.clips[0]!r} is "
            "none; or name the files <clip>_<frame>.jpg."
        )
    numbers = [number for number in clip_ids if number is not None]
    first = 1 if 0 not in by_number and 1 in by_number else 0
    first_clip = 1 if 0 not in numbers and min(numbers) == 1 else 0
    total = max(by_number) + 1 - first
    length, rest = divmod(total, len(numbers))
    length = num_frames or (length if rest == 0 and length <= MAX_FRAMES else NUM_FRAMES)
    wanted = [[first + (clip - first_clip) * length + t for t in range(length)] for clip in numbers]
    missing = [number for clip in wanted for number in clip if number not in by_number]
    used = {number for clip in wanted for number in clip}
    unlabelled = sorted(set(by_number) - used)
    problems = []
    if missing:
        of = sum(any(number not in by_number for number in clip) for clip in wanted)
        suffix = PurePosixPath(next(iter(by_number.values()))).suffix
        problems.append(f"{len(missing)} frames of {of} clips are missing: {some(f'{n}{suffix}' for n in missing)}")
    if unlabelled:
        problems.append(f"{len(unlabelled)} frames have no label: {some(by_number[number] for number in unlabelled)}")
    if problems:
        raise DataError(
            f"{'; '.join(problems)} ({len(by_number)} frames, {len(numbers)} labels, taken as {length} frames a clip; "
            "say --frames where that is another number)."
        )
    frames = tuple(tuple(by_number[number] for number in clip) for clip in wanted)
    return Plan("consecutive", frames, labels.class_ids, tuple(numbers))


def _plan_groups(groups: list[_Group], labels: Labels, num_frames: int | None) -> Plan:
    """A sub-folder a clip, or ``<clip>_<frame>.jpg``."""
    by_clip = _matched(groups, labels)
    ranges = Counter((min(group.by_number), max(group.by_number)) for group in groups)
    first, last = ranges.most_common(1)[0][0]
    if num_frames:
        last = first + num_frames - 1
    expected = range(first, last + 1)
    if len(expected) > MAX_FRAMES:
        raise DataError(f"frames are numbered {first}..{last}; allowed: up to {MAX_FRAMES} frames a clip.")
    missing, surplus = [], []
    for clip, group in by_clip.items():
        missing += [f"{clip}: frame {number}" for number in expected if number not in group.by_number]
        surplus += [name for number, name in sorted(group.by_number.items()) if number not in expected]
    used = {id(group) for group in by_clip.values()}
    problems = {
        "clips have a label but no frames": [clip for clip in labels.clips if clip not in by_clip],
        "clips have frames but no label": [
            f"{group.folder}/{group.prefix}".strip("/") for group in groups if id(group) not in used
        ],
        "frames are missing": missing,
        f"frames lie outside {first}..{last}, where most clips have theirs": surplus,
    }
    found = [f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names]
    if found:
        raise DataError("; ".join(found) + ".")
    frames = tuple(tuple(by_clip[clip].by_number[number] for number in expected) for clip in labels.clips)
    numbers = [_as_number(clip) for clip in labels.clips]
    whole = [number for number in numbers if number is not None]
    clip_ids = tuple(whole) if len(set(whole)) == len(numbers) else tuple(range(len(numbers)))
    return Plan("clips", frames, labels.class_ids, clip_ids)


LAYOUTS: dict[str, Callable[[list[_Group], Labels, int | None], Plan]] = {
    "consecutive": _plan_consecutive,
    "clips": _plan_groups,
}


def _grouped(images: Iterable[str]) -> list[_Group]:
    groups: dict[tuple[str, str], dict[int, str]] = {}
    strange, repeated = [], []
    for name in images:
        path = PurePosixPath(name)
        match = TRAILING_NUMBER.match(path.stem)
        if match is None:
            strange.append(name)
            continue
        folder = "" if str(path.parent) == "." else str(path.parent)
        numbers = groups.setdefault((folder, match[1]), {})
        number = int(match[2])
        if number in numbers:
            repeated.append(f"{numbers[number]} and {name}")
        numbers[number] = name
    if strange:
        raise DataError(f"{len(strange)} images have no frame number at the end of their name: {some(strange)}.")
    if repeated:
        raise DataError(f"{len(repeated)} frames are there twice: {some(repeated)}.")
    if not groups:
        raise DataError(f"no frames: no files ending in {', '.join(IMAGE_SUFFIXES)} beside the labels.")
    return [_Group(folder, prefix, numbers) for (folder, prefix), numbers in groups.items()]


def _matched(groups: list[_Group], labels: Labels) -> dict[str, _Group]:
    """The group of each labelled clip, by the way of naming that finds most of them."""
    ways: tuple[Callable[[_Group], str], ...] = (
        lambda group: group.folder,
        lambda group: PurePosixPath(group.folder).name,
        lambda group: FRAME_WORD.sub("", group.prefix),
        lambda group: f"{group.folder}/{FRAME_WORD.sub('', group.prefix)}".strip("/"),
    )
    best: dict[str, _Group] = {}
    for way in ways:
        names = [way(group) for group in groups]
        for normal in (_plain, _by_number):
            keys = [normal(name) for name in names]
            if len(set(keys)) < len(keys):
                continue
            table = dict(zip(keys, groups, strict=True))
            found = {clip: table[normal(clip)] for clip in labels.clips if normal(clip) in table}
            injective = len({id(group) for group in found.values()}) == len(found)
            if injective and len(found) > len(best):
                best = found
    if not best:
        names = [f"{group.folder}/{group.prefix}".strip("/") for group in groups]
        raise DataError(
            f"the labels name clips {some(labels.clips)}, the frames belong to {some(names)}: none fit together."
        )
    return best


def _plain(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else str(path)


def _by_number(name: str) -> str | int:
    number = _as_number(_plain(name))
    return name if number is None else number


def _as_number(name: str) -> int | None:
    """12 for "12", "0012", "12.0" and "clip_0012"; None where a name ends in no number."""
    match = TRAILING_NUMBER.match(name.removesuffix(".0"))
    return int(match[2]) if match else None


def _find_columns(header: list[str], name: str, columns: tuple[str, str] | None) -> tuple[int | None, int]:
    if columns is not None:
        unknown = [column for column in columns if column.lower() not in header]
        if unknown:
            raise UsageError(f"--columns: {name} has no column {some(unknown)}; it has: {', '.join(header)}.")
        return header.index(columns[0].lower()), header.index(columns[1].lower())
    label = next((column for column in LABEL_COLUMNS if column in header), None)
    if label is None:
        raise DataError(
            f"{name} has the columns {', '.join(map(repr, header))}, none of them a label; "
            f"known names: {', '.join(LABEL_COLUMNS)}. Name yours with --columns CLIP LABEL."
        )
    clip = next((column for column in CLIP_COLUMNS if column in header), None)
    return (None if clip is None else header.index(clip)), header.index(label)


def _class_id(cell: str, class_names: Sequence[str]) -> int:
    """The class id of "2", "2.0" or "line"; -1 for everything else."""
    lowered = cell.lower()
    if lowered in class_names:
        return class_names.index(lowered)
    text = lowered.removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and int(text) < len(class_names) else -1
