"""SHA256SUMS: the SHA-256 of every file of a folder in the format that ``sha256sum -c`` reads, sorted by path.

It is written last, so that a folder without it is unfinished. Read back, it is hostile: names that could lead out of
the folder, or that look like other names, are refused before any file is touched.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tsgen.common.engine import usable_cores
from tsgen.common.errors import DataError
from tsgen.common.files import sha256_file, write_text_atomic
from tsgen.common.names import problem_of

SUMS_FILE = "SHA256SUMS"
MAX_FILE_BYTES = 64 << 20
NOT_CONTENT = (".git", ".gitattributes", ".cache")
"""What git and the Hub's clients put beside the content at the top of a folder; of no concern to the sums."""

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def check_name(name: str) -> str | None:
    """What is wrong with a path in SHA256SUMS, None if nothing: relative, plain, the same on every file system."""
    if name.casefold() == SUMS_FILE.casefold():
        return "is the file itself"
    if name.partition("/")[0].casefold() in NOT_CONTENT:
        return f"begins with one of {', '.join(NOT_CONTENT)}, which are no content"
    return problem_of(name)


def hash_folder(folder: Path, *, workers: int | None = None) -> dict[str, str]:
    """Path -> SHA-256 (hex) of every file below ``folder`` but SHA256SUMS, sorted by path.

    Raises DataError for links, for anything that is no file or folder, and for names that SHA256SUMS cannot hold.
    """
    files, strange = _walk(folder)
    bad = strange + [f"{ascii(name)[1:-1]}: the name {problem}." for name in files if (problem := check_name(name))]
    bad += [f"{ascii(name)[1:-1]}: is a link." for name in files if (folder / name).is_symlink()]
    if bad:
        raise DataError(f"{folder} holds what {SUMS_FILE} cannot name: {' '.join(bad)}")
    return _hashes(folder, files, workers)


def write_sums(folder: Path, sums: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write SHA256SUMS of ``folder``, at once; ``sums`` if they are known. Returns them."""
    found = dict(sorted((hash_folder(folder) if sums is None else sums).items()))
    write_text_atomic(folder / SUMS_FILE, "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return found


def read_sums(path: Path) -> dict[str, str]:
    """Path -> SHA-256 of a file SHA256SUMS. Raises DataError when it is missing, malformed, or names what it must not.

    Two names that differ in case alone are refused: on many systems they are one file.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path} is no regular file; refused.")
        if facts.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} is larger than {MAX_FILE_BYTES} bytes; refused.")
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; the folder is unfinished, or is no release.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem
    sums: dict[str, str] = {}
    folded: set[str] = set()
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, line {number}: {line[:100]!r} is not 'sha256  path'.")
        digest, name = match.groups()
        if problem_of_name := check_name(name):
            raise DataError(f"{path}, line {number}: the name {name[:100]!r} {problem_of_name}; refused.")
        if name.casefold() in folded:
            raise DataError(f"{path}, line {number}: {name[:100]!r} occurs twice.")
        folded.add(name.casefold())
        sums[name] = digest
    return sums


def check_sums(folder: Path, *, workers: int | None = None, say: Callable[[str], None] | None = None) -> list[str]:
    """Every difference between ``folder`` and its SHA256SUMS: files missing, changed, or not listed. Empty: none.

    Links to files are followed (the Hub's cache consists of them): their content must have the hash. Each problem also
    goes to ``say`` when it is found. Raises DataError when SHA256SUMS itself cannot be used.
    """
    sums = read_sums(folder / SUMS_FILE)
    present, problems = _walk(folder)
    problems += [f"{name}: missing." for name in sums if name not in present]
    problems += [f"{ascii(name)[1:-1]}: not listed in {SUMS_FILE}." for name in present if name not in sums]
    found = _hashes(folder, [name for name in sums if name in present], workers)
    problems += [
        f"{name}: changed; its SHA-256 is {digest[:16]}..., listed is {sums[name][:16]}..."
        for name, digest in found.items()
        if digest != sums[name]
    ]
    if say is not None:
        for problem in problems:
            say(problem)
    return problems


def _walk(folder: Path) -> tuple[dict[str, None], list[str]]:
    """Paths of all files below, sorted, with '/' between the parts; and what is neither a file nor a folder."""
    files: list[str] = []
    strange: list[str] = []
    for path in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if name == SUMS_FILE:
            continue
        if path.is_file():
            files.append(name)
        else:
            what = "a link to a folder, or to nothing" if path.is_symlink() else "neither a file nor a folder"
            strange.append(f"{ascii(name)[1:-1]}: is {what}.")
    return dict.fromkeys(sorted(files)), strange


def _entries(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        ignored = NOT_CONTENT if here == folder else ()
        folders[:] = [name for name in folders if name not in ignored]
        yield from (here / name for name in files if name not in ignored)
        yield from (here / name for name in folders if (here / name).is_symlink())


def _hashes(folder: Path, names: Iterable[str], workers: int | None) -> dict[str, str]:
    """Hashing runs without the interpreter lock. A file that cannot be read has a hash that none has."""

    def digest(name: str) -> str:
        try:
            return sha256_file(folder / name)
        except OSError as problem:
            return f"unreadable ({problem.strerror})"

    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        names = list(names)
        return dict(zip(names, pool.map(digest, names), strict=True))
