"""The one door through which HDF5 files come in. HDF5 reads other files by design; this refuses to.

An HDF5 file may point outside itself (external links, external storage, virtual datasets), claim 15 GB while holding
1 kB, or carry filters that load plug-ins. :func:`open_guarded` looks at the structure before any data is read and
raises :class:`DataError` for everything that a file of ours never contains.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import h5py

from tsgen.common.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
ALLOWED_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "deflate",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}
MAX_OBJECTS = 1000
MAX_DEPTH = 4
MAX_RANK = 8
MAX_ATTRIBUTE_BYTES = 64 * 1024
MAX_TEXTS = 64
MAX_DATASET_BYTES = 1 << 40
DEFLATE_MAX_RATIO = 1032  # deflate cannot shrink data by more (RFC 1951: 258 bytes from 2 bits)


@contextlib.contextmanager
def open_guarded(path: Path | str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading after checking all of its structure.

    Raises DataError when it cannot be opened, or holds anything but plain groups and datasets of numbers and text
    stored inside the file itself. Wrap later reads in :func:`reading`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    with reading(path), path.open("rb") as handle:
        if handle.read(len(SIGNATURE)) != SIGNATURE:
            raise DataError(f"{path} is not an HDF5 file.")
    with contextlib.ExitStack() as stack:
        with reading(path):
            file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=0))
            _check_group(file, path, depth=0, seen=set())
        yield file


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around every access to a file of unknown origin: what HDF5 stumbles over becomes a DataError naming the file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as problem:
        raise DataError(f"{path} is damaged or truncated: {problem}") from problem


def _check_group(group: h5py.Group, path: Path, depth: int, seen: set[int]) -> None:
    if depth > MAX_DEPTH:
        raise DataError(f"{path}: groups nested deeper than {MAX_DEPTH}; refused.")
    _check_attributes(group, path)
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = {h5py.SoftLink: "a soft link", h5py.ExternalLink: "an external link"}.get(
                type(link), "a strange link"
            )
            raise DataError(f"{path}: {name!r} is {kind}; only data inside the file itself is read.")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise DataError(f"{path}: {name!r} is a second name of another object; refused.")
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            raise DataError(f"{path}: more than {MAX_OBJECTS} objects; refused.")
        if isinstance(item, h5py.Group):
            _check_group(item, path, depth + 1, seen)
        elif isinstance(item, h5py.Dataset):
            _check_dataset(item, path)
        else:
            raise DataError(f"{path}: {name!r} is neither a group nor a dataset; refused.")


def _check_dataset(dataset: h5py.Dataset, path: Path) -> None:
    where = f"{path}: dataset {dataset.name!r}"
    if dataset.external:
        raise DataError(f"{where} keeps its data in another file (external storage); refused.")
    if dataset.is_virtual:
        raise DataError(f"{where} is virtual (a view of other files); refused.")
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    if dataset.dtype.kind not in "iuf" and not is_text:
        raise DataError(f"{where} has type {dataset.dtype}; only integers, floats and text are read.")
    if len(dataset.shape) > MAX_RANK or dataset.nbytes > MAX_DATASET_BYTES:
        raise DataError(f"{where} has shape {dataset.shape}; refused.")
    filters = _filters(dataset)
    strange = sorted(set(filters) - set(ALLOWED_FILTERS))
    if strange:
        raise DataError(f"{where} uses filters {strange}; allowed: {', '.join(ALLOWED_FILTERS.values())}.")
    _check_claim(dataset, where, compressed=h5py.h5z.FILTER_DEFLATE in filters)
    _check_attributes(dataset, path)


def _check_claim(dataset: h5py.Dataset, where: str, *, compressed: bool) -> None:
    """A dataset must not claim more than what it stores can hold, so that nobody allocates for an empty promise."""
    stored = dataset.id.get_storage_size()
    can_hold = stored * (DEFLATE_MAX_RATIO if compressed else 1)
    one_chunk = dataset.dtype.itemsize
    for extent in dataset.chunks or ():
        one_chunk *= extent
    if dataset.nbytes > can_hold + (one_chunk if stored else 0):
        raise DataError(f"{where} claims {dataset.nbytes} bytes but the file stores {stored} for it; refused.")
    if one_chunk > max(dataset.nbytes, 1) * 2 + (1 << 20):
        raise DataError(f"{where} has chunks of {one_chunk} bytes for {dataset.nbytes} bytes of data; refused.")


def _check_attributes(item: h5py.Group | h5py.Dataset, path: Path) -> None:
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        is_text = h5py.check_string_dtype(attribute.dtype) is not None
        if attribute.dtype.kind not in "iufb" and not is_text:
            raise DataError(f"{path}: attribute {name!r} has type {attribute.dtype}; refused.")
        if attribute.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            raise DataError(f"{path}: attribute {name!r} is larger than {MAX_ATTRIBUTE_BYTES} bytes; refused.")
        # The size of text of variable length is only that of its references, of which many could share one long text.
        if is_text and math.prod(attribute.shape) > MAX_TEXTS:
            raise DataError(f"{path}: attribute {name!r} holds more than {MAX_TEXTS} texts; refused.")


def _filters(dataset: h5py.Dataset) -> list[int]:
    plist = dataset.id.get_create_plist()
    return [int(plist.get_filter(number)[0]) for number in range(plist.get_nfilters())]
