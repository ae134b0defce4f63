"""A Dataverse listing as a folder: every file verified before it has its name, resumed after an interruption.

The folder holds the files where their authors put them, and ``dataverse.json``: data set, version, licence, and of each
file its length, SHA-256 and how it was verified. ``finished``: all that was asked for has come; ``complete``: that is
every one of the ``listed`` files of the data set.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsgen.common.dataverse import MAX_TABLE_BYTES, RECORD_FILE, Listing, RemoteFile, digests_of, safe_path
from tsgen.common.errors import DataError, UsageError
from tsgen.common.fetch import PATIENCE, Patience, fetch
from tsgen.common.files import check_free_space, locked, sha256_file, write_json_atomic

PARTIALS = ".partial"
SCHEMA_VERSION = 2
WORKERS = 4
TRIES = 3
MOST_IN_A_ROW = 8
LISTED = 5
MAX_RECORD_BYTES = 1 << 30
VERIFIED = ("checksum", "two equal downloads")
Files = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Summary:
    """What a download left in ``folder``: ``files`` and ``total_bytes`` in all, of ``listed`` files of the data set;
    ``fetched`` of them in this run, ``unchecked`` paths without a listed checksum that fits (two downloads agreed).
    """

    folder: Path
    doi: str
    version: str
    licence: str
    files: int
    listed: int
    total_bytes: int
    fetched: int
    unchecked: tuple[str, ...]

    def text(self) -> str:
        part = "" if self.files == self.listed else f" of {self.listed}"
        size = f"{self.files}{part} files, {self.total_bytes / 1e6:.1f} MB"
        lines = [f"{self.folder}: {size} of {self.doi} version {self.version}, {self.fetched} fetched now"]
        lines.append(f"licence as stated there: {self.licence}")
        if self.unchecked:
            lines.append(
                f"{len(self.unchecked)} had no checksum that fits; two equal downloads each: {_some(self.unchecked)}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "folder": str(self.folder), "unchecked": list(self.unchecked)}


@dataclass
class _Run:
    """What the threads of one download share."""

    listing: Listing
    out: Path
    patience: Patience
    advance: Callable[[int], None]
    files: Files = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    fetched: int = 0
    in_a_row: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _StoppedError(Exception):
    """Another thread, or the user, has ended the download."""


def pinned_version(out: Path, doi: str) -> str | None:
    """The version that a folder was begun with, None for a folder that is not there or empty.

    UsageError when it holds something else.
    """
    if not (out.exists() or out.is_symlink()) or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / RECORD_FILE).is_file():
        raise UsageError(f"--out {out} exists and is no earlier download; give another name.")
    record = read_record(out)
    if record["doi"] != doi:
        raise UsageError(f"--out {out} holds {record['doi']}, not {doi}; give another name.")
    return str(record["version"])


def read_record(folder: Path) -> dict[str, Any]:
    """``dataverse.json`` of a folder, its paths checked. DataError when there is none or it is damaged."""
    path = folder / RECORD_FILE
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise DataError(f"{path} is larger than {MAX_RECORD_BYTES >> 20} MB; refused.")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"{path} has version {record['schema_version']!r}; this program reads {SCHEMA_VERSION}.")
        for name, facts in record["files"].items():
            safe_path(*_split(name))
            if not (isinstance(facts["sha256"], str) and isinstance(facts["bytes"], int)):
                raise TypeError(name)
        if not (isinstance(record["doi"], str) and isinstance(record["version"], str)):
            raise TypeError("doi")
        if type(record["listed"]) is not int:
            raise TypeError("listed")
    except FileNotFoundError as problem:
        raise DataError(f"{folder} has no {RECORD_FILE}: it is no download of a Dataverse data set.") from problem
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as problem:
        raise DataError(f"{path} is damaged: {problem!r}. Remove it and download into a new folder.") from problem
    return dict(record)


def check_folder(folder: Path) -> list[str]:
    """Every file of the record against its length and SHA-256: the problems found, none when all that was asked for is
    whole. Whether that is the whole data set: ``complete`` in the record."""
    record = read_record(folder)
    problems = [] if record.get("finished") is True else ["the download was not finished; run it again to go on"]
    for name, facts in record["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif path.stat().st_size != facts["bytes"] or sha256_file(path) != facts["sha256"]:
            problems.append(f"{name} has changed")
    return problems


def download(
    listing: Listing,
    out: Path,
    *,
    wanted: Callable[[RemoteFile], bool] = lambda file: True,
    say: Callable[[str], object] = lambda text: None,
    quiet: bool = False,
    patience: Patience = PATIENCE,
) -> Summary:
    """Bring the ``wanted`` files into the folder ``out``; files of earlier runs are verified and kept.

    Raises UsageError for a folder of something else or a full disk. DataError names, after all others have come, the
    files that could not be had: restricted, gone, or of other bytes than listed.
    """
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
    begun = pinned_version(out, listing.doi)
    if begun not in (None, listing.version):
        raise UsageError(f"--out {out} holds version {begun}, not {listing.version}; give another name.")
    chosen = [file for file in listing.files if wanted(file)]
    if not chosen:
        raise UsageError(
            f"{listing.doi} holds nothing of what was asked for; its {len(listing.files)} files: "
            f"{_some([file.path for file in listing.files])}."
        )
    out.mkdir(exist_ok=True)
    with locked(out):
        earlier: Files = read_record(out)["files"] if begun else {}
        _write_record(out, listing, earlier, finished=False)
        total = sum(file.size or 0 for file in chosen if not file.restricted)
        counted = [out / file.path for file in chosen if file.size and not file.restricted and file.path in earlier]
        had = sum(path.stat().st_size for path in counted if path.is_file())
        check_free_space(out, total - had, f"{listing.doi}")
        say(
            f"{listing.doi} version {listing.version}: {len(chosen)} files, {total / 1e6:.1f} MB; "
            f"licence as stated there: {listing.licence}"
        )
        run = _fetch_all(listing, out, chosen, earlier, patience, quiet, total)
        whole = not run.problems
        _write_record(out, listing, {**earlier, **run.files}, finished=whole)
        _remove_partials(out, whole)
    if not whole:
        first = "; ".join(sorted(run.problems)[:LISTED]) + ("; ..." if len(run.problems) > LISTED else "")
        raise DataError(
            f"{len(chosen) - len(run.files)} of {len(chosen)} files of {listing.doi} were not had: {first}. "
            f"The others are whole in {out}; run again to go on."
        )
    files = {**earlier, **run.files}
    return Summary(
        folder=out,
        doi=listing.doi,
        version=listing.version,
        licence=listing.licence,
        files=len(files),
        listed=len(listing.files),
        total_bytes=sum(facts["bytes"] for facts in files.values()),
        fetched=run.fetched,
        unchecked=tuple(sorted(name for name in run.files if files[name]["verified"] != VERIFIED[0])),
    )


def _fetch_all(
    listing: Listing,
    out: Path,
    chosen: Sequence[RemoteFile],
    earlier: Files,
    patience: Patience,
    quiet: bool,
    total: int,
) -> _Run:
    from tqdm import tqdm

    with tqdm(
        total=total, desc="download", unit="B", unit_scale=True, unit_divisor=1000, disable=True if quiet else None
    ) as bar:
        run = _Run(listing, out, patience, lambda n: None)

        def advance(n: int) -> None:
            if run.stop.is_set():
                raise _StoppedError
            with run.lock:
                bar.update(n)

        run.advance = advance
        queue = iter(chosen)
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(_work, run, queue, earlier) for _ in range(WORKERS)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                run.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                _write_record(out, listing, {**earlier, **run.files}, finished=False)
                raise
    return run


def _work(run: _Run, queue: Iterator[RemoteFile], earlier: Files) -> None:
    while not run.stop.is_set():
        with run.lock:
            file = next(queue, None)
        if file is None:
            return
        try:
            facts, fetched = _bring(run, file, earlier.get(file.path))
        except _StoppedError:
            return
        except DataError as problem:
            with run.lock:
                run.problems.append(f"{file.path}: {problem}")
                run.in_a_row += not file.restricted
                if run.in_a_row >= MOST_IN_A_ROW:  # no network, most likely: not minutes for each of the others
                    run.stop.set()
            continue
        with run.lock:
            run.files[file.path] = facts
            run.in_a_row = 0
            run.fetched += fetched


def _bring(run: _Run, file: RemoteFile, known: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """The facts of one file that is whole under its name, and whether it had to be fetched."""
    final = _place(run.out, file.path)
    if final.is_file():
        digests = digests_of(final)
        had = known is not None and known["sha256"] == digests["SHA-256"]
        if had or (file.checksum is not None and file.checksum.fits(digests)):
            run.advance(file.size or 0)
            how = str(known["verified"]) if had and known is not None else VERIFIED[0]
            return _facts(file, final, digests, how), False
    if file.restricted:
        raise DataError(f"restricted by its authors; ask for access at {run.listing.page}")
    partial = run.out / PARTIALS / f"{file.id}.part"
    partial.parent.mkdir(exist_ok=True)
    before: str | None = None
    for _ in range(TRIES):
        fetch(
            run.listing.url(file),
            partial,
            size=file.size,
            limit=MAX_TABLE_BYTES,
            advance=run.advance if file.size is not None else lambda n: None,
            patience=run.patience,
        )
        digests = digests_of(partial)
        proof = _verified(file, digests, before)
        if proof is not None:
            facts = _facts(file, partial, digests, proof)
            partial.replace(final)
            return facts, True
        before = digests["SHA-256"]
        run.advance(-(file.size or 0))
        partial.unlink()
    listed = f"{file.checksum.algorithm} {file.checksum.value}" if file.checksum else "no checksum"
    raise DataError(f"{TRIES} downloads did not have the listed content ({listed})")


def _verified(file: RemoteFile, digests: dict[str, str], before: str | None) -> str | None:
    if file.checksum is not None and file.checksum.fits(digests):
        return VERIFIED[0]
    may_differ = file.checksum is None or file.ingested
    return VERIFIED[1] if may_differ and digests["SHA-256"] == before else None


def _facts(file: RemoteFile, path: Path, digests: dict[str, str], how: str) -> dict[str, Any]:
    return {"id": file.id, "bytes": path.stat().st_size, "sha256": digests["SHA-256"], "verified": how}


def _place(out: Path, name: str) -> Path:
    """Where a file goes, its folders made. DataError when a link leads out of ``out``."""
    final = out / name
    final.parent.mkdir(parents=True, exist_ok=True)
    if not final.parent.resolve().is_relative_to(out.resolve()) or final.is_symlink():
        raise DataError("a link in the folder leads elsewhere; remove it")
    return final


def _write_record(out: Path, listing: Listing, files: Files, *, finished: bool) -> None:
    record = {
        "schema_version": SCHEMA_VERSION,
        "server": listing.server,
        "doi": listing.doi,
        "version": listing.version,
        "licence": listing.licence,
        "finished": finished,
        "complete": finished and len(files) == len(listing.files),
        "listed": len(listing.files),
        "files": dict(sorted(files.items())),
    }
    write_json_atomic(out / RECORD_FILE, record)


def _remove_partials(out: Path, whole: bool) -> None:
    folder = out / PARTIALS
    if folder.is_dir():
        if whole:
            for leftover in folder.glob("*.part"):
                leftover.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _split(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
