"""Writing HDF5 to a disk that may fill up.

When the operating system refuses a write, the HDF5 library keeps the file half open and may crash the whole process on
closing it. So it writes through :class:`Sink`, which remembers the refusal and lets HDF5 go on into the void; whoever
writes asks :meth:`Sink.check` after each step and gets the refusal as an ordinary OSError.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import h5py

MOST_PENDING = 1 << 20


class Sink:
    """The file object HDF5 writes to (h5py's "fileobj" driver)."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._refusal: OSError | None = None
        self._position = 0
        self._size = 0  # as HDF5 believes it to be
        self._pending = bytearray()  # written last and in one piece: chunks are small and follow one another
        self._pending_from = 0

    def check(self) -> None:
        """Write what is pending, and raise what the operating system refused, if anything."""
        self._write_pending()
        if self._refusal is not None:
            raise self._refusal

    def close(self) -> None:
        os.close(self._descriptor)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self._size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:  # by this h5py knows a file object; it calls readinto
        self._write_pending()
        data = os.pread(self._descriptor, count, self._position)
        self._position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        self._write_pending()
        got = os.preadv(self._descriptor, [buffer], self._position)
        self._position += got
        return got

    def write(self, data: memoryview) -> int:
        if self._position != self._pending_from + len(self._pending) or len(self._pending) > MOST_PENDING:
            self._write_pending()
            self._pending_from = self._position
        self._pending += data
        self._position = self._pending_from + len(self._pending)
        self._size = max(self._size, self._position)
        return memoryview(data).nbytes

    def _write_pending(self) -> None:
        done, view = 0, memoryview(self._pending)
        try:
            while self._refusal is None and done < len(view):
                done += os.pwrite(self._descriptor, view[done:], self._pending_from + done)
        except OSError as refusal:
            self._refusal = refusal
        self._pending = bytearray()

    def truncate(self, size: int) -> int:
        self._size = size
        self._write_pending()
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as refusal:
            self._refusal = self._refusal or refusal
        return size

    def flush(self) -> None:
        self._write_pending()


@contextlib.contextmanager
def create_hdf5(path: Path) -> Iterator[tuple[h5py.File, Sink]]:
    """A new HDF5 file and its sink. OSError on leaving when a write was refused: then ``path`` holds no valid file.

    HDF5 1.10 and later read it. Its index of chunks is an array, written once; the older tree was rewritten all along.
    """
    sink = Sink(path)
    try:
        with h5py.File(sink, "w", libver=("v110", "v110")) as file:
            yield file, sink
        sink.check()
    finally:
        sink.close()
