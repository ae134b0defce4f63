"""The IDX reader against good files and hostile ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from digit_files import (
    GOOD_IMAGES,
    GOOD_LABELS,
    IMAGES,
    LABELS,
    SCANS,
    images_bytes,
    labels_bytes,
    write_partition,
)

from tsgen import idx
from tsgen.common.errors import DataError


def read(directory: Path) -> tuple[idx.IdxArray, idx.IdxArray]:
    return idx.read_labelled_images(directory / IMAGES, directory / LABELS)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_good_files_come_back_as_they_were(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    write_partition(tmp_path, pack(GOOD_IMAGES), pack(GOOD_LABELS))
    images, labels = read(tmp_path)
    np.testing.assert_array_equal(images.values, SCANS)
    assert labels.values.tolist() == [3, 1, 4, 1, 9]
    assert images.header + images.values.tobytes() == GOOD_IMAGES
    assert labels.header + labels.values.tobytes() == GOOD_LABELS


def test_an_unreadable_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def _header(*shape: int, magic: int = 2051) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape)


HOSTILE: dict[str, tuple[bytes, bytes, str, str]] = {
    "empty": (b"", GOOD_LABELS, IMAGES, r"magic bytes \(none\)"),
    "png": (
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        GOOD_LABELS,
        IMAGES,
        "magic bytes 89 50 4e 47, expected 00 00 08 03",
    ),
    "float type": (_header(5, 28, 28, magic=0x0D03), GOOD_LABELS, IMAGES, "magic bytes 00 00 0d 03"),
    "labels as images": (GOOD_LABELS, GOOD_LABELS, IMAGES, "magic bytes 00 00 08 01"),
    "images as labels": (GOOD_IMAGES, GOOD_IMAGES, LABELS, "magic bytes 00 00 08 03"),
    "half a header": (GOOD_IMAGES[:9], GOOD_LABELS, IMAGES, "truncated, 9 bytes of a header of 16"),
    "no images": (_header(0, 28, 28), labels_bytes([]), IMAGES, r"0 items, expected 1\.\."),
    "four billion": (_header(2**32 - 1, 28, 28), GOOD_LABELS, IMAGES, "4294967295 items"),
    "no pixels": (_header(5, 0, 28), GOOD_LABELS, IMAGES, "0 x 28 px"),
    "large": (_header(5, 257, 257), GOOD_LABELS, IMAGES, r"257 x 257 px, expected sides of 1\.\.256"),
    "a lie raw": (
        _header(300_000, 28, 28) + bytes(99),
        GOOD_LABELS,
        IMAGES,
        "300000 x 28 x 28 = 235200000 bytes",
    ),
    "a lie gz": (gzip.compress(_header(90_000, 28, 28)), GOOD_LABELS, IMAGES, r"the file has \d+ compressed"),
    "over the limit": (
        gzip.compress(_header(300_000, 256, 256) + bytes(9)),
        GOOD_LABELS,
        IMAGES,
        "limit 268435456",
    ),
    "truncated": (GOOD_IMAGES[:-1], GOOD_LABELS, IMAGES, "truncated"),
    "truncated inside gz": (
        gzip.compress(GOOD_IMAGES[:-1]),
        GOOD_LABELS,
        IMAGES,
        "truncated, 3919 bytes where",
    ),
    "truncated gz": (gzip.compress(GOOD_IMAGES)[:-20], GOOD_LABELS, IMAGES, "compressed data end early"),
    "gz checksum": (gzip.compress(GOOD_IMAGES)[:-8] + bytes(8), GOOD_LABELS, IMAGES, "damaged gzip data"),
    "gz garbage": (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 60, GOOD_LABELS, IMAGES, "damaged gzip data"),
    "more bytes": (GOOD_IMAGES + b"!", GOOD_LABELS, IMAGES, "more bytes than the 5 x 28 x 28 = 3920"),
    "oblong": (images_bytes(SCANS[:, :20]), GOOD_LABELS, IMAGES, "20x28 px, expected square"),
    "few labels": (GOOD_IMAGES, labels_bytes([1, 2]), LABELS, "2 labels for the 5 images"),
    "letter": (
        GOOD_IMAGES,
        labels_bytes([1, 2, 11, 3, 4]),
        LABELS,
        r"label 11 at index 2, expected digits 0\.\.9",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_data_errors_that_name_the_file(tmp_path: Path, case: str) -> None:
    images, labels, culprit, message = HOSTILE[case]
    write_partition(tmp_path, images, labels)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / culprit))


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    original_read = gzip.GzipFile.read

    def counting_read(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal taken
        assert size is not None
        assert size >= 0, "an unbounded read"
        content = original_read(self, size)
        taken += len(content)
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", counting_read)
    bomb = gzip.compress(GOOD_IMAGES + bytes(50_000_000), 1)
    write_partition(tmp_path, bomb)
    with pytest.raises(DataError, match="more bytes"):
        read(tmp_path)
    assert taken == len(GOOD_IMAGES) + 1


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MAX_FILE_BYTES", 1000)
    write_partition(tmp_path)
    with pytest.raises(DataError, match="3936 bytes, more than the 1000 allowed"):
        read(tmp_path)
