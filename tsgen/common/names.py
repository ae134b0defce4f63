"""Names of files that come from outside: none may leave its folder, or look like another name, on any system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from tsgen.common.errors import DataError

MAX_PATH_BYTES = 1000
MAX_PART_BYTES = 240  # file systems hold 255; the rest is for what is put around a name while it is written
MAX_PARTS = 16
_PORTS = [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS})
_FORBIDDEN = frozenset('\\:*?"<>|')


def problem_of(name: str) -> str | None:
    """What is wrong with ``name`` as a relative path with "/" between its parts, None if nothing."""
    parts = name.split("/")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    problems = {
        "is absolute, or has an empty part, '.' or '..'": any(part in ("", ".", "..") for part in parts),
        "holds characters that cannot be printed": not name.isprintable(),
        "is not in Unicode's normal form C": unicodedata.normalize("NFC", name) != name,
        f"holds one of {' '.join(sorted(_FORBIDDEN))}": not _FORBIDDEN.isdisjoint(name),
        "has a part that ends in a space or a dot": any(part.endswith((" ", ".")) for part in parts),
        "has a part that is .git or the name of a device": any(map(_is_reserved, parts)),
        f"has a part of more than {MAX_PART_BYTES} bytes": max(sizes) > MAX_PART_BYTES,
        f"has more than {MAX_PATH_BYTES} bytes": sum(sizes) + len(parts) - 1 > MAX_PATH_BYTES,
        f"has more than {MAX_PARTS} parts": len(parts) > MAX_PARTS,
    }
    return next((problem for problem, holds in problems.items() if holds), None)


def check_names(names: Iterable[str], where: str) -> None:
    """DataError when a name is not one plain relative path, or two of them cannot lie in one folder.

    The latter: names that differ in case alone, or are one, and a file that would have to be a folder too. ``where``:
    what listed them, for the message.
    """
    folded: dict[str, str] = {}
    for name in names:
        if problem := problem_of(name):
            raise DataError(f"{where} lists the file name {name[:200]!r}, which {problem}; nothing of it is used.")
        if former := folded.get(name.casefold()):
            raise DataError(f"{where} lists {former!r} and {name!r}, which some systems take for one file.")
        folded[name.casefold()] = name
    for key, name in folded.items():
        for parent in PurePosixPath(key).parents:
            if str(parent) in folded:
                raise DataError(f"{where} lists {folded[str(parent)]!r} as a file and {name!r} below it.")


def printable(text: str) -> str:
    """``text`` for a terminal or a log: what is no visible letter becomes "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _is_reserved(part: str) -> bool:
    folded = part.casefold()
    return folded == ".git" or folded.split(".")[0].rstrip() in _DEVICES
