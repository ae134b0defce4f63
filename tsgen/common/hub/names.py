"""File names that come from outside: none may leave its folder, on any system."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from tsgen.common.errors import DataError
from tsgen.common.sums import SUMS_FILE, check_name

MAX_NAME_LETTERS = 240
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in "0123456789¹²³")}
_FORBIDDEN = set('*?"<>|')  # by some systems


def check_names(names: Iterable[str], where: str) -> None:
    """DataError when a name is not one plain relative path, or two of them cannot lie in one folder.

    ``where``: what listed them, for the message. Refused beyond what SHA256SUMS cannot name: device names, ``.git``,
    names that differ in case alone, and a file that would have to be a folder too.
    """
    folded: dict[str, str] = {}
    for name in names:
        problem = None if name == SUMS_FILE else check_name(name) or _problem(name)
        if problem:
            raise DataError(f"{where} lists the file name {name[:200]!r}, which {problem}; nothing of it is used.")
        former = folded.setdefault(name.casefold(), name)
        if former != name:
            raise DataError(f"{where} lists {former!r} and {name!r}, which some systems take for one file.")
    for key, name in folded.items():
        for parent in PurePosixPath(key).parents:
            if str(parent) in folded:
                raise DataError(f"{where} lists {folded[str(parent)]!r} as a file and {name!r} below it.")


def _problem(name: str) -> str | None:
    if len(name) > MAX_NAME_LETTERS or _FORBIDDEN & set(name):
        return f"has more than {MAX_NAME_LETTERS} letters, or one of {' '.join(sorted(_FORBIDDEN))}"
    parts = [part.casefold() for part in name.split("/")]
    if ".git" in parts or any(part.split(".")[0].rstrip() in _DEVICES for part in parts):
        return "has a part that is .git or the name of a device"
    return None
