"""What lies in the directory of a submission and within which limits. Nothing is opened before its size is known.

submission.json                      what was trained how, and on which clips it was evaluated
predictions/seed<seed>/<domain>.h5   the answers
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError

FORMAT = "rac-bench-submission"
SCHEMA_VERSION = 1
RECORD_NAME = "submission.json"

MAX_FILES = 4096
MAX_DEPTH = 3  # of names: predictions/seed42/2dot.h5
MAX_RECORD_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20
MAX_TOTAL_BYTES = 512 << 20
MAX_JSON_DEPTH = 32
MAX_SHOWN_CHARS = 80


@dataclass(frozen=True)
class Problem:
    """Something that makes a submission inadmissible: in which file, and what to do."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@dataclass(frozen=True)
class Listing:
    """``present``: names of all files, relative and with slashes. ``readable``: those small and regular enough."""

    present: frozenset[str]
    readable: frozenset[str]
    problems: tuple[Problem, ...]


def shown(value: object) -> str:
    """A value of unknown origin for one line on a terminal."""
    text = value if isinstance(value, str) and value.isprintable() and value else ascii(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."


def answers_name(seed: int, domain: str) -> str:
    return f"predictions/seed{seed}/{domain}.h5"


def list_files(root: Path) -> Listing:
    """Everything below ``root``, without following links; DataError when there is far too much of it."""
    present: set[str] = set()
    readable: set[str] = set()
    problems: list[Problem] = []
    total = 0
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if len(present) + len(folders) >= MAX_FILES:
                    raise DataError(f"{root} holds more than {MAX_FILES} files and folders; a submission never does.")
                if stat.S_ISDIR(status.st_mode) and name.count("/") + 1 < MAX_DEPTH:
                    folders.append(f"{name}/")
                    continue
                present.add(name)
                if not stat.S_ISREG(status.st_mode):
                    kind = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file, or too deep"
                    problems.append(Problem(shown(name), f"is {kind}; only plain files are read, remove it."))
                    continue
                total += status.st_size
                most = MAX_RECORD_BYTES if name == RECORD_NAME else MAX_FILE_BYTES
                if status.st_size > most:
                    problems.append(Problem(shown(name), f"has {status.st_size} bytes; allowed are {most}."))
                    continue
                readable.add(name)
    if total > MAX_TOTAL_BYTES:
        raise DataError(f"{root} holds {total} bytes; a submission may have {MAX_TOTAL_BYTES}.")
    return Listing(frozenset(present), frozenset(readable), tuple(problems))


def parse_json(data: bytes) -> Any:
    """DataError for what is no JSON text, has NaN, a name twice, or is nested deeper than MAX_JSON_DEPTH."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise DataError(f"is not UTF-8 text ({problem.reason} at byte {problem.start}); save it as JSON.") from None
    if _depth(text) > MAX_JSON_DEPTH:
        raise DataError(f"is nested deeper than {MAX_JSON_DEPTH}; refused.")
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"is not JSON: {shown(str(problem))}; write it with a JSON library.") from None


def _depth(text: str) -> int:
    """How deep brackets are nested, those inside strings aside."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
