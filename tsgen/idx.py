"""The IDX format of MNIST, read with distrust: sizes are checked before memory is asked for.

A file is four magic bytes (0, 0, element type, number of axes), one big-endian uint32 for each axis, then the
elements; it may be gzip-compressed. Only unsigned bytes (type 8) occur here.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tsgen.common.errors import DataError

MAX_IMAGES = 300_000  # EMNIST's largest set of digits has 280 000
MAX_SIDE_PX = 256
MAX_FILE_BYTES = 256 << 20
DEFLATE_MAX_RATIO = 1032  # no deflate stream expands by more: a larger claim is a lie

_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class IdxArray:
    """One IDX file: ``values`` uint8, read-only, and ``header``, the uncompressed bytes before them."""

    values: NDArray[np.uint8]
    header: bytes


def read_labelled_images(images_file: Path | Traversable, labels_file: Path | Traversable) -> tuple[IdxArray, IdxArray]:
    """Read a pair of IDX files, each raw or gzip (told apart by content, not by name).

    Returns:
        Images with values uint8 (M, H, H), 1 <= M <= 300 000, 1 <= H <= 256, and labels uint8 (M,), 0..9.

    Raises:
        DataError: a file is unreadable, damaged, truncated, too large, not IDX or of other axes, its images
            are not square, or the labels are of another number or above 9. The message begins with the path.
    """
    images = _read_idx(images_file, axes=3)
    count, height, width = images.values.shape
    if height != width:
        raise DataError(f"{images_file}: images are {height}x{width} px, expected square ones.")
    labels = _read_idx(labels_file, axes=1)
    if labels.values.shape[0] != count:
        raise DataError(f"{labels_file}: {labels.values.shape[0]} labels for the {count} images of {images_file}.")
    if labels.values.max() > 9:
        place = int(labels.values.argmax())
        raise DataError(f"{labels_file}: label {labels.values[place]} at index {place}, expected digits 0..9.")
    return images, labels


def _read_idx(file: Path | Traversable, axes: int) -> IdxArray:
    try:
        with file.open("rb") as stored:
            return _parse(stored, str(file), axes)
    except EOFError as problem:
        raise DataError(f"{file}: truncated, the compressed data end early.") from problem
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise DataError(f"{file}: damaged gzip data ({problem}).") from problem
    except OSError as problem:
        raise DataError(f"{file}: cannot be read ({problem}).") from problem


def _parse(stored: IO[bytes], name: str, axes: int) -> IdxArray:
    stored_bytes = stored.seek(0, io.SEEK_END)
    stored.seek(0)
    if stored_bytes > MAX_FILE_BYTES:
        raise DataError(f"{name}: {stored_bytes} bytes, more than the {MAX_FILE_BYTES} allowed.")
    compressed = stored.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    stored.seek(0)
    content = gzip.GzipFile(fileobj=stored) if compressed else stored

    header_bytes = 4 + 4 * axes
    header = content.read(header_bytes)
    shape = _shape(header, name, axes)
    body_bytes = math.prod(shape)
    capacity = stored_bytes * DEFLATE_MAX_RATIO if compressed else stored_bytes - header_bytes
    if body_bytes > min(capacity, MAX_FILE_BYTES):
        raise DataError(
            f"{name}: truncated or not what it claims: the header says {_times(shape)} = {body_bytes} bytes, "
            f"the file has {stored_bytes}{' compressed' if compressed else ''} (limit {MAX_FILE_BYTES})."
        )
    body = content.read(body_bytes)  # never more than claimed: a gzip bomb stops here
    if len(body) < body_bytes:
        raise DataError(f"{name}: truncated, {len(body)} bytes where {_times(shape)} = {body_bytes} are claimed.")
    if content.read(1):  # reading to the end also makes gzip check its CRC
        raise DataError(f"{name}: more bytes than the {_times(shape)} = {body_bytes} its header claims.")
    return IdxArray(np.frombuffer(body, np.uint8).reshape(shape), header)


def _shape(header: bytes, name: str, axes: int) -> tuple[int, ...]:
    expected = bytes((0, 0, _UNSIGNED_BYTE, axes))
    if header[:4] != expected:
        raise DataError(
            f"{name}: magic bytes {header[:4].hex(' ') or '(none)'}, expected {expected.hex(' ')} "
            f"(IDX of unsigned bytes with {axes} axes)."
        )
    if len(header) < 4 + 4 * axes:
        raise DataError(f"{name}: truncated, {len(header)} bytes of a header of {4 + 4 * axes}.")
    shape: tuple[int, ...] = struct.unpack(f">{axes}I", header[4:])
    count, sides = shape[0], shape[1:]
    if not 1 <= count <= MAX_IMAGES:
        raise DataError(f"{name}: {count} items, expected 1..{MAX_IMAGES}.")
    if not all(1 <= side <= MAX_SIDE_PX for side in sides):
        raise DataError(f"{name}: images of {_times(sides)} px, expected sides of 1..{MAX_SIDE_PX}.")
    return shape


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)
