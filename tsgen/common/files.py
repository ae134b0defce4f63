"""Writing so that a reader sees a whole file or none."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsgen.common.errors import UsageError

NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that have no locks (Lustre without -o flock), or none of what cannot be written to (NFS, of
folders).
"""


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final``; renamed to it (after fsync) when the block succeeds, removed when not."""
    _remove_partials_of_dead_processes(final)
    partial = _partial_name(final)
    try:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(final)
        _fsync_directory(final.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """An empty folder beside ``final``; renamed to it when the block succeeds, removed when not.

    A folder ``final`` that exists is replaced: ask before.
    """
    _remove_partials_of_dead_processes(final)
    partial = _partial_name(final)
    former = _partial_name(final)
    partial.mkdir()
    try:
        yield partial
        if final.exists():
            final.rename(former)
        partial.rename(final)
        _fsync_directory(final.parent)
    finally:
        if former.exists() and not final.exists():  # interrupted between the two renames
            former.rename(final)
        for leftover in (partial, former):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text_atomic(final: Path, text: str) -> None:
    with atomic_path(final) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json_atomic(final: Path, value: Any) -> None:
    write_text_atomic(final, json.dumps(value, indent=1, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_output_file(out: Path, force: bool) -> None:
    """Refuse an output that exists (without ``force``), is a directory, or lies where nothing can be written."""
    if out.is_dir():
        raise UsageError(f"--out {out} is a directory; give a file name.")
    if out.exists() and not out.is_file():
        raise UsageError(f"--out {out} is not a regular file; give another name.")
    if out.exists() and not force:
        raise UsageError(f"--out {out} exists; give another name or add --force to replace it.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write in {out.parent}.")


def check_free_space(directory: Path, needed_bytes: int, what: str) -> None:
    """Refuse, before the first byte is written, what cannot fit on the disk."""
    free = shutil.disk_usage(directory).free
    if needed_bytes > free:
        raise UsageError(
            f"{what} needs about {needed_bytes / 1e9:.1f} GB, but {directory} has {free / 1e9:.1f} GB free; "
            "ask for fewer clips or write to another disk."
        )


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """One process at a time: an exclusive lock on an existing file or folder that ends with the process.

    ``shared``: any number at a time, of those that say so. UsageError when another process has it, unless ``wait``.
    Nothing is locked where the system, or the file system, has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    # NFS locks exclusively only what is open for writing.
    descriptor = os.open(path, os.O_RDWR if path.is_file() and os.access(path, os.W_OK) else os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UsageError(f"another process works on {path}; wait until it has ended.") from None
        except OSError as problem:
            if problem.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _partial_name(final: Path) -> Path:
    """A name no other thread, process or machine that writes to the same folder has."""
    return final.with_name(f".{final.name}.partial-{secrets.token_hex(4)}-{_host()}-{os.getpid()}")


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _remove_partials_of_dead_processes(final: Path) -> None:
    # kill -9 leaves a partial file behind; the next writer of the same name on the same machine clears it away.
    for stale in final.parent.glob(f".{glob.escape(final.name)}.partial-*-{_host()}-*"):
        pid = stale.name.rpartition("-")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fsync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
