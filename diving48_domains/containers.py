"""What kind of video file this is, by its own first bytes, and whether it holds as many bytes as it claims.

FFmpeg would guess the kind among hundreds, some of which (HLS, concat, DASH) are text files that name *other* files and
addresses to read. Only three kinds are let in, each opened as that kind and no other.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
SEGMENT_ID = b"\x18\x53\x80\x67"
MP4_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
MAX_BOXES = 100_000  # fragmented files have two a fragment
MAX_HEADER_BYTES = 64 << 20
SAMPLE_TABLES = re.compile(rb"(stsz|stz2|trun)....", re.DOTALL)
COUNT_OFFSET = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # bytes from the end of the box's name to its number of samples

FORMATS: dict[str, str] = {"mp4": "mov", "matroska": "matroska", "avi": "avi"}
"""Our name of the kind -> FFmpeg's demuxer."""


@dataclass(frozen=True, slots=True)
class Container:
    """``kind``: a key of FORMATS; ``missing_bytes``: how far the file ends before the end it claims, 0 if whole;
    ``claimed_samples``: frames and sounds that an mp4's tables claim to index, else 0."""

    kind: str
    missing_bytes: int
    claimed_samples: int = 0


def sniff(path: Path) -> Container | None:
    """The container of a file; None where it is none of the three. Reads headers only, never the frames."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(16)
        if head[:4] == EBML_MAGIC:
            return Container("matroska", max(0, _matroska_end(handle) - size))
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            # Files beyond 1 GB go on in further RIFF chunks; the first one's end says whether the index is there.
            return Container("avi", max(0, 8 + struct.unpack("<I", head[4:8])[0] - size))
        if head[4:8] in MP4_FIRST_BOXES:
            end, samples = _mp4_extent(handle, size)
            return Container("mp4", max(0, end - size), samples)
    return None


def _mp4_extent(handle: BinaryIO, size: int) -> tuple[int, int]:
    """Where the last of the file's outermost boxes ends (beyond ``size`` when it was cut), and the samples claimed.

    A table of a few bytes can claim billions of samples, for each of which FFmpeg would allocate an index entry.
    """
    position, samples, read = 0, 0, 0
    for _ in range(MAX_BOXES):
        handle.seek(position)
        head = handle.read(16)
        if len(head) < 8:
            break  # fewer than 8 bytes at the end are padding in some files, never a box of frames
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        elif length == 0:
            length = size - position  # "up to the end of the file"
        if length < 8:
            break  # no box at all: FFmpeg will say what is wrong
        if head[4:8] != b"mdat":
            # Tables may hide in any box, also in a "free" one; only frame data is passed over.
            handle.seek(position)
            content = handle.read(min(length, size - position, MAX_HEADER_BYTES - read))
            read += len(content)
            samples += _claimed_samples(content)
        position += length
        if position >= size:
            break
    return position, samples


def _claimed_samples(content: bytes) -> int:
    total = 0
    for found in SAMPLE_TABLES.finditer(content):
        start = found.end(1) + COUNT_OFFSET[found[1]]
        total += int.from_bytes(content[start : start + 4], "big")
    return total


def _matroska_end(handle: BinaryIO) -> int:
    """Where the segment claims to end; 0 where its size is unknown, as in a live recording."""
    handle.seek(4)
    header = _ebml_number(handle)
    if header is None:
        return 0
    handle.seek(header, 1)
    if handle.read(4) != SEGMENT_ID:
        return 0
    length = _ebml_number(handle)
    return 0 if length is None else handle.tell() + length


def _ebml_number(handle: BinaryIO) -> int | None:
    """A variable-length size (RFC 8794, section 4); None for "unknown" and for what is no number."""
    first = handle.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    rest = handle.read(count - 1)
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - count)) - 1)]) + rest, "big")
    is_unknown = value == (1 << (7 * count)) - 1
    return None if is_unknown or len(rest) < count - 1 else value
