"""A submission as a zip or tar archive, unpacked into a folder that is gone afterwards. Written for hostile archives.

No function of the libraries that unpacks by itself is used: each member is looked at, then its bytes are copied and
counted, whatever sizes the archive claims.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmark.submission.layout import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, RECORD_NAME, shown
from tsgen.common.errors import DataError

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
"""By which archives are found in a folder; one that is named itself may have any name."""

MAX_ARCHIVE_BYTES = 256 << 20
MAX_RATIO = 100
RATIO_MATTERS_FROM = 16 << 20  # small archives of equal numbers may well shrink by more
MAX_NAME_PARTS = 4  # one folder around a submission is common
BLOCK = 1 << 20
ZIP_END = b"PK\x05\x06"
ZIP64_LOCATOR = b"PK\x06\x07"
ZIP_END_BYTES, ZIP_COMMENT_BYTES, ZIP64_LOCATOR_BYTES = 22, 0xFFFF, 20
MAX_TAR_HEADER = 4096
MAX_ZIP_ENTRY_BYTES = 4096  # of the directory at its end


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The directory of the submission at ``path``: itself, or where the archive was unpacked to.

    DataError when there is none, or the archive holds anything but plain files within the limits.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise DataError(f"{path}: no such directory or archive.")
    size = path.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise DataError(f"{path} has {size} bytes; an archive may have {MAX_ARCHIVE_BYTES}.")
    with tempfile.TemporaryDirectory(prefix="rac-bench-") as folder, path.open("rb") as handle:
        target = _Target(Path(folder), str(path), size)
        try:
            start = handle.read(4)
            handle.seek(0)
            if start in (b"PK\x03\x04", ZIP_END):
                _unpack_zip(handle, target)
            else:
                _unpack_tar(handle, start, target)
        except DataError:
            raise
        # What the libraries raise on damaged input, by their documentation and by trying.
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            NotImplementedError,
            RuntimeError,
            struct.error,
            OverflowError,
        ) as problem:
            raise DataError(f"{path} is no intact .zip, .tar or .tar.gz: {shown(str(problem))}.") from problem
        yield _inside(Path(folder))


def _inside(folder: Path) -> Path:
    """The only folder in it, where somebody packed the folder and not its content."""
    entries = list(folder.iterdir())
    if not (folder / RECORD_NAME).exists() and len(entries) == 1 and entries[0].is_dir():
        return entries[0]
    return folder


class _Target:
    """Where members go, and the counts that end a bomb."""

    def __init__(self, folder: Path, archive: str, archive_bytes: int) -> None:
        self.archive = archive
        self._folder = folder
        self._most = MAX_TOTAL_BYTES
        if archive_bytes * MAX_RATIO < MAX_TOTAL_BYTES:
            self._most = max(archive_bytes * MAX_RATIO, RATIO_MATTERS_FROM)
        self._members = 0
        self._unpacked = 0

    def count(self, unpacked: int) -> None:
        self._unpacked += unpacked
        if self._unpacked > self._most:
            raise DataError(f"{self.archive} unpacks to more than {self._most} bytes; refused.")

    def path_for(self, name: str, *, is_folder: bool) -> Path:
        """Where a member goes; DataError for a name that leads elsewhere or comes twice."""
        self._members += 1
        if self._members > MAX_FILES:
            raise DataError(f"{self.archive} holds more than {MAX_FILES} members; refused.")
        parts = name.removeprefix("./").removesuffix("/").split("/")
        if is_folder and parts in ([""], ["."]):
            return self._folder
        bad = any(part in ("", ".", "..") or len(part) > 255 for part in parts)
        if bad or len(parts) > MAX_NAME_PARTS or "\\" in name or ":" in name or not name.isprintable():
            raise DataError(f"{self.archive}: the name {shown(name)} leads out of a submission; refused.")
        path = self._folder.joinpath(*parts)
        if path.exists() and not (is_folder and path.is_dir()):
            raise DataError(f"{self.archive} holds {shown(name)} twice; refused.")
        return path

    def add_folder(self, name: str) -> None:
        self.path_for(name, is_folder=True).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, claimed: int, source: IO[bytes], *, counted: bool) -> None:
        """Copy a member. ``counted``: its bytes are not counted on the way in already."""
        path = self.path_for(name, is_folder=False)
        if claimed > MAX_FILE_BYTES:
            raise DataError(f"{self.archive}: {shown(name)} has {claimed} bytes; allowed are {MAX_FILE_BYTES}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as out:
            while block := source.read(BLOCK):
                written += len(block)
                if counted:
                    self.count(len(block))
                if written > claimed:
                    raise DataError(f"{self.archive}: {shown(name)} is longer than it says; refused.")
                out.write(block)
        if written != claimed:
            raise DataError(f"{self.archive}: {shown(name)} is shorter than it says; refused.")


def _unpack_zip(handle: IO[bytes], target: _Target) -> None:
    _check_zip_directory(handle, target.archive)
    with zipfile.ZipFile(handle) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() and kind in (0, stat.S_IFDIR):
                target.add_folder(member.filename)
                continue
            if kind not in (0, stat.S_IFREG):
                raise DataError(f"{target.archive}: {shown(member.filename)} is a link or device; refused.")
            if member.flag_bits & 1:
                raise DataError(f"{target.archive}: {shown(member.filename)} is encrypted; pack it without a password.")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{target.archive}: {shown(member.filename)} is not packed by deflate; pack it anew.")
            with archive.open(member) as source:
                target.add_file(member.filename, member.file_size, source, counted=True)


def _check_zip_directory(handle: IO[bytes], archive: str) -> None:
    """Before zipfile reads the whole directory into memory, however long it is."""
    size = handle.seek(0, io.SEEK_END)
    start = max(0, size - ZIP_END_BYTES - ZIP_COMMENT_BYTES - ZIP64_LOCATOR_BYTES)
    handle.seek(start)
    tail = handle.read()
    at = tail.rfind(ZIP_END)
    if at < 0 or len(tail) - at < ZIP_END_BYTES:
        raise DataError(f"{archive} is no intact .zip: its end is missing.")
    entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if ZIP64_LOCATOR in tail or entries > MAX_FILES or directory_bytes > MAX_FILES * MAX_ZIP_ENTRY_BYTES:
        raise DataError(f"{archive} holds more than {MAX_FILES} members; refused.")
    handle.seek(0)


def _unpack_tar(handle: IO[bytes], start: bytes, target: _Target) -> None:
    with contextlib.ExitStack() as stack:
        source: IO[bytes] = handle
        if start.startswith(b"\x1f\x8b"):
            source = stack.enter_context(gzip.open(handle, "rb"))  # type: ignore[arg-type]  # a GzipFile reads like a file
        counted = _Counted(source, target)
        archive = stack.enter_context(tarfile.open(fileobj=counted, mode="r|", bufsize=BLOCK, tarinfo=_ShortHeader))
        for member in archive:
            if member.isdir():
                target.add_folder(member.name)
                continue
            if not member.isreg() or member.issparse():
                raise DataError(f"{target.archive}: {shown(member.name)} is a link, device or sparse file; refused.")
            content = archive.extractfile(member)
            assert content is not None
            target.add_file(member.name, member.size, content, counted=False)


class _ShortHeader(tarfile.TarInfo):
    """Refuses long extended headers: before Python 3.11.10 tarfile searches them in quadratic time."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if (
            not (self.isreg() or self.isdir() or self.issym() or self.islnk() or self.isdev())
            and self.size > MAX_TAR_HEADER
        ):
            raise DataError(f"an extended header has {self.size} bytes; refused, pack anew with --format=ustar.")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


class _Counted(io.RawIOBase):
    """Counts what comes out, headers too, and gives little at a time: a header may claim to be as long as a disk."""

    def __init__(self, source: IO[bytes], target: _Target) -> None:
        self._source = source
        self._target = target

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, BLOCK) if size >= 0 else BLOCK)
        self._target.count(len(data))
        return data
