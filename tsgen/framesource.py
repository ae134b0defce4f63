"""Where published frames come from: a folder or a zip file, listed and read without writing anything to disk.

Archives are not trusted: names that leave the archive, links, encrypted or oddly compressed members, and members or
totals that are too large are refused before anything is unpacked, and a member is never read beyond what it claims.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgen.common.errors import DataError

MAX_FILES = 5_000_000
MAX_DEPTH = 8
MAX_IMAGE_BYTES = 1 << 20
MAX_TABLE_BYTES = 64 << 20
MAX_TOTAL_BYTES = 1 << 37
MAX_SIDE_PX = 1024
CHANNEL_TOLERANCE = 8  # grey levels that the channels of a JPEG may differ by chroma rounding and still be grey
IMAGE_FORMATS = ("JPEG", "PNG")


class FrameSource(Protocol):
    """Files by their relative names, "/" between folders."""

    def sizes(self) -> dict[str, int]: ...

    def read(self, name: str, limit: int) -> bytes: ...


class Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}
        self._walk(root, "", 0)

    def sizes(self) -> dict[str, int]:
        return self._sizes

    def read(self, name: str, limit: int) -> bytes:
        try:
            with (self._root / name).open("rb") as handle:
                data = handle.read(limit + 1)
        except OSError as problem:
            raise DataError(f"{name} cannot be read: {problem}") from problem
        return _within(data, name, limit)

    def _walk(self, folder: Path, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise DataError(f"{folder}: folders nested deeper than {MAX_DEPTH}; give the folder that holds the labels.")
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if _is_junk(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        self._walk(Path(entry.path), f"{prefix}{entry.name}/", depth + 1)
                    elif entry.is_file(follow_symlinks=False):
                        self._sizes[prefix + entry.name] = entry.stat(follow_symlinks=False).st_size
                    else:
                        raise DataError(f"{entry.path} is a link or a special file; only plain files are read.")
                    if len(self._sizes) > MAX_FILES:
                        raise DataError(f"{self._root}: more than {MAX_FILES} files; refused.")
        except OSError as problem:
            raise DataError(f"{folder} cannot be read: {problem}") from problem


class Archive:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        if len(archive.infolist()) > MAX_FILES:
            raise DataError(f"{path}: more than {MAX_FILES} members; refused.")
        for member in archive.infolist():
            if member.is_dir():
                continue
            self._check(member)
            if _is_junk(*member.filename.split("/")):
                continue
            if member.filename in self._members:
                raise DataError(f"{path}: two members are called {member.filename!r}; refused.")
            self._members[member.filename] = member
        total = sum(member.file_size for member in self._members.values())
        if total > MAX_TOTAL_BYTES:
            raise DataError(f"{path} claims to unpack to {total / 1e9:.0f} GB; refused.")

    def sizes(self) -> dict[str, int]:
        return {name: member.file_size for name, member in self._members.items()}

    def read(self, name: str, limit: int) -> bytes:
        try:
            with self._archive.open(self._members[name]) as handle:
                data = handle.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as problem:
            raise DataError(f"{self._path}: {name} is damaged: {problem}") from problem
        return _within(data, f"{self._path}: {name}", limit)

    def _check(self, member: zipfile.ZipInfo) -> None:
        name, where = member.filename, f"{self._path}: {member.filename!r}"
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise DataError(f"{where} is a path that leads out of the archive; refused.")
        mode = stat.S_IFMT(member.external_attr >> 16)
        if mode not in (0, stat.S_IFREG):
            raise DataError(f"{where} is a link or a special file; refused.")
        if member.flag_bits & 1:
            raise DataError(f"{where} is encrypted; refused.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{where} uses compression {member.compress_type}; only stored and deflate are read.")


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[FrameSource]:
    """A folder or a zip file of frames. DataError for anything else, or for an archive that is not to be trusted."""
    if path.is_dir():
        yield Folder(path)
        return
    if not path.exists():
        raise DataError(f"{path}: no such folder or file.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise DataError(f"{path} is neither a folder nor a readable zip file: {problem}.") from problem
    with archive:
        yield Archive(path, archive)


def decode_frame(data: bytes, name: str) -> NDArray[np.uint8]:
    """A grey JPEG or PNG as uint8 (H, W), levels as decoded. Colour is refused, three equal channels are grey."""
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{name} is {width}x{height} px; allowed: up to {MAX_SIDE_PX} px a side.")
            if image.mode not in ("L", "RGB"):
                raise DataError(f"{name} has colour mode {image.mode}; only grey frames are read.")
            pixels = np.asarray(image)
            if image.mode == "L":
                return pixels
            spread = int((pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)).max())
            if spread > CHANNEL_TOLERANCE:
                raise DataError(f"{name} is coloured (channels differ by up to {spread} levels); frames must be grey.")
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise DataError(f"{name} is not a readable JPEG or PNG image: {problem}") from problem


def _within(data: bytes, name: str, limit: int) -> bytes:
    if len(data) > limit:
        raise DataError(f"{name} is larger than {limit} bytes; refused.")
    return data


def _is_junk(*parts: str) -> bool:
    """What desktops leave behind: .DS_Store, ._frame.jpg, __MACOSX."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_below(name: str, folder: PurePosixPath) -> bool:
    return folder == PurePosixPath(".") or folder in PurePosixPath(name).parents
