"""Where the moving digits come from: MNIST (a directory, the cache or a download) or the shipped UCI digits.

Train and validation clips take the train digits, test clips the test digits, so that no scan crosses over.
One source never silently replaces another: what cannot be had is an error, and "auto" says what it chose.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from tsgen.common.errors import DataError, RacError, UsageError, unknown_name
from tsgen.entities import centre_in_cell, resize_lanczos
from tsgen.idx import IdxArray, read_labelled_images
from tsgen.vocabulary import FRAME_SIZE_PX, SPLITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MNIST_DIR_VARIABLE = "TSGEN_MNIST_DIR"
AUTO, EMBEDDED, MNIST = "auto", "embedded", "mnist"
SOURCE_WORDS = (AUTO, EMBEDDED, MNIST)
"""Sources that are words; any other source is a path (``./auto`` is a directory of that name)."""

DIGIT_WIDTH_PX = 14
"""A 28 px MNIST scan at half its size, as published."""

EMBEDDED_SOURCE = "embedded-uci-8x8"
EMBEDDED_MAX_LEVEL = 16
INK_FRACTION = 20 / 28
"""MNIST fits its ink into 20 of 28 px; UCI's fills its 8 px, so it is given the same part of the cell."""

HELP = (
    f"Set {MNIST_DIR_VARIABLE} to a directory with MNIST's IDX files, give it as --digits PATH, "
    "or use --digits embedded for the 1797 UCI digits shipped with tsgen."
)

PARTITION_OF_SPLIT = {"train": "train", "val": "train", "test": "test"}
_STEMS = {"train": "train", "test": "t10k"}
_KNOWN = {  # SHA-256 of the uncompressed images and labels -> what they are
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ): (MNIST, "train"),
    (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ): (MNIST, "test"),
    (
        "6db282b9f91340ca736550cd2866ee6f4f6b1261b0a326b5086d0a0d0c6f3c47",
        "2a460a5cd0cfd1848fa04a26b2c906aa8336c71a90f29c34926d6199b044914d",
    ): (EMBEDDED_SOURCE, "train"),
    (
        "cbe67ad74a06a7207053e24a89670ce9809e4f0dc154c3a0ee5cd96094c38121",
        "380b80cb1d4687cf7597b7660f6130e38c1bb6d1f936165854d667476fde6639",
    ): (EMBEDDED_SOURCE, "test"),
}


@dataclass(frozen=True)
class DigitSet:
    """The digits of one partition, ready to be drawn.

    ``bitmaps`` uint8 (M, width_px, width_px), grey levels 0..255, C-contiguous; ``labels`` int64 (M,), 0..9;
    ``source`` "mnist", "embedded-uci-8x8" or "custom"; ``partition`` "train" or "test"; ``sha256`` hex
    SHA-256 of the uncompressed IDX images followed by the labels: the same for the same digits, raw or gzip.
    """

    bitmaps: NDArray[np.uint8]
    labels: NDArray[np.int64]
    source: str
    partition: str
    sha256: str


@dataclass(frozen=True)
class _Located:
    images: Path | Traversable
    labels: Path | Traversable
    must_be: str | None  # the only source these files may hold; None where the user chose the directory


def load_digits(source: str | None, split: str, width_px: int = DIGIT_WIDTH_PX) -> DigitSet:
    """Load the digits that clips of ``split`` are drawn with.

    Args:
        source: None (``$TSGEN_MNIST_DIR`` if set, else the cache, else a download), "mnist" (the same without
            the variable), "embedded" (UCI digits shipped with tsgen), "auto" (see ``resolve_source``; resolve
            once if several splits must agree), else the path of a directory with IDX files, raw or gzip.
        split: one of ``tsgen.vocabulary.SPLITS``.
        width_px: side of the square cell of a digit, 1..64 px.

    Raises:
        UsageError: an unknown split, a width out of range, a source that is no word and no directory.
        DataError: files missing, damaged or of the other partition, or a download that failed.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if not 1 <= width_px <= FRAME_SIZE_PX:
        raise UsageError(f"digit width of {width_px} px; allowed: 1..{FRAME_SIZE_PX}.")
    partition = PARTITION_OF_SPLIT[split]
    files = _locate(resolve_source(source, (partition,)), partition)
    images, labels = read_labelled_images(files.images, files.labels)
    name, sha256 = _identify(images, labels, partition, files)
    if name == EMBEDDED_SOURCE:
        bitmaps = _embedded_bitmaps(images.values, width_px)
    else:
        bitmaps = resize_lanczos(images.values, width_px)
    blank = ~bitmaps.any(axis=(1, 2))
    if blank.any():  # a clip in which nothing is to be seen could not be told from any other
        raise DataError(f"{files.images}: image {int(blank.argmax())} is all black at {width_px} px.")
    return DigitSet(bitmaps, labels.values.astype(np.int64), name, partition, sha256)


def resolve_source(source: str | None, partitions: tuple[str, ...] = ("train", "test")) -> str | None:
    """Turn "auto" into one concrete source for all of ``partitions``; any other source is returned unchanged.

    MNIST if the directory of ``$TSGEN_MNIST_DIR`` (its path is returned), the cache or a download ("mnist")
    has every partition; else "embedded", with a warning on stderr that says why.
    """
    if source != AUTO:
        return source
    own_directory = os.environ.get(MNIST_DIR_VARIABLE)
    # Absolute, so that a directory called "embedded" is not taken for the word.
    candidates = ([str(Path(own_directory).expanduser().absolute())] if own_directory else []) + [MNIST]
    reasons = []
    for candidate in candidates:
        try:
            for partition in partitions:
                _locate(candidate, partition)
        except RacError as problem:
            reasons.append(str(problem).removesuffix(HELP).strip())
        else:
            return candidate
    click.echo(
        "WARNING: NO MNIST; USING THE EMBEDDED UCI 8x8 DIGITS INSTEAD. Results do not compare with those on "
        f"MNIST. Why: {' '.join(reasons)} {HELP}",
        err=True,
    )
    return EMBEDDED


def cached_mnist(split: str) -> str | None:
    """The directory of tsgen's cache if MNIST's files for clips of ``split`` are in it; never downloads them."""
    from tsgen.mnist_cache import REMOTE_FILES, cache_directory

    cache = cache_directory()
    files = REMOTE_FILES[PARTITION_OF_SPLIT[split]]
    return str(cache) if all((cache / file.name).is_file() for file in files) else None


def _locate(source: str | None, partition: str) -> _Located:
    """The files of ``partition``; downloads them when that is what ``source`` means."""
    if source == EMBEDDED:
        return _find(resources.files("tsgen") / "data" / "uci_digits", partition, EMBEDDED_SOURCE)
    if source is None and (own_directory := os.environ.get(MNIST_DIR_VARIABLE)):  # empty is unset
        directory = Path(own_directory).expanduser()
        if not directory.is_dir():
            raise UsageError(f"{MNIST_DIR_VARIABLE}={own_directory} is no directory. {HELP}")
        return _find(directory, partition, None)
    if source is None or source == MNIST:
        from tsgen.mnist_cache import ensure_partition

        try:
            return _find(ensure_partition(partition), partition, MNIST)
        except DataError as problem:
            raise DataError(f"{problem} {HELP}") from problem
    directory = Path(source).expanduser()
    if not directory.is_dir():
        raise UsageError(
            f"{unknown_name('source of digits', source, SOURCE_WORDS)} Or a directory with IDX files; "
            f"{directory.absolute()} is none."
        )
    return _find(directory, partition, None)


def _find(directory: Path | Traversable, partition: str, must_be: str | None) -> _Located:
    stem = _STEMS[partition]
    names = (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
    images, labels = (_first_spelling(directory, name) for name in names)
    if images is None or labels is None:
        missing = [name for name, file in zip(names, (images, labels), strict=True) if file is None]
        raise DataError(
            f"no {partition} digits in {directory}: missing {' and '.join(missing)} (also looked for .gz and "
            f"for the spelling {missing[0].replace('-idx', '.idx')}). {HELP}"
        )
    return _Located(images, labels, must_be)


def _first_spelling(directory: Path | Traversable, name: str) -> Path | Traversable | None:
    dotted = name.replace("-idx", ".idx")  # what some unpackers write
    candidates = (directory / spelling for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _identify(images: IdxArray, labels: IdxArray, partition: str, files: _Located) -> tuple[str, str]:
    """The name of the source and the SHA-256 of images and labels together."""
    label_bytes = labels.header + labels.values.tobytes()
    digest = hashlib.sha256(images.header)
    digest.update(images.values.data)
    key = (digest.hexdigest(), hashlib.sha256(label_bytes).hexdigest())
    digest.update(label_bytes)
    name, its_partition = _KNOWN.get(key, ("custom", partition))
    if its_partition != partition:
        raise DataError(f"{files.images}: holds the {its_partition} digits of {name}, not the {partition} ones.")
    if files.must_be not in (None, name):
        raise DataError(f"{files.images}: not the {partition} digits of {files.must_be}; the file was altered.")
    return name, digest.hexdigest()


def _embedded_bitmaps(images: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    levels = np.round(np.arange(256) * (255 / EMBEDDED_MAX_LEVEL)).clip(0, 255).astype(np.uint8)  # 0..16 -> 0..255
    ink_px = max(1, round(width_px * INK_FRACTION))
    return centre_in_cell(resize_lanczos(levels[images], ink_px), width_px)
