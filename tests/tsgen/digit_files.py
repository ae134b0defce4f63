"""Small IDX files for the tests of digits: five scans of noise with their labels."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def images_bytes(images: np.ndarray) -> bytes:
    return struct.pack(">4I", 2051, *images.shape) + images.tobytes()


def labels_bytes(labels: list[int]) -> bytes:
    return struct.pack(">2I", 2049, len(labels)) + bytes(labels)


SCANS = np.random.default_rng(0).integers(1, 256, (5, 28, 28), np.uint8)
GOOD_IMAGES, GOOD_LABELS = images_bytes(SCANS), labels_bytes([3, 1, 4, 1, 9])
PACKED = {
    f"{IMAGES}.gz": gzip.compress(GOOD_IMAGES, mtime=0),
    f"{LABELS}.gz": gzip.compress(GOOD_LABELS, mtime=0),
}
"""The two files as a mirror holds them."""


def write_partition(directory: Path, images: bytes = GOOD_IMAGES, labels: bytes = GOOD_LABELS) -> str:
    (directory / IMAGES).write_bytes(images)
    (directory / LABELS).write_bytes(labels)
    return str(directory)
