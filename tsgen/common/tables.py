"""Parquet files of releases: written with what ``datasets`` reads from a schema, and compared value by value.

Values depend on the data alone. Bytes also depend on the version of pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tsgen.common.errors import UsageError
from tsgen.common.files import atomic_path

EXTRA = "pip install 'recur-attend-convolve[export]'"
ROW_GROUP_ROWS = 1024
MAX_TABLE_BYTES = 1 << 30
MAX_RATIO, SPARE_BYTES = 4, 1 << 20
"""A table may be as many times as large in memory as the one that is expected, and so many bytes more."""

BATCH_ROWS = 128


def require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as problem:
        raise UsageError(f"the Parquet files of a release need pyarrow: {EXTRA}") from problem


def described(table: Any, special: Mapping[str, Mapping[str, Any]]) -> Any:
    """``table``, a pyarrow.Table, with the features that ``datasets`` reads: those of ``special`` by column, such as
    ``{"names": [...], "_type": "ClassLabel"}``, and plain values of their type for all other columns."""
    types = {"float": "float32", "double": "float64"}
    features = {
        field.name: special.get(field.name) or {"dtype": types.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in table.schema
    }
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_table(table: Any, path: Path) -> None:
    """Write a table, at once. The same table gives the same bytes with the same version of pyarrow."""
    import pyarrow.parquet as pq

    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def table_problems(
    path: Path, expected: Any, same: Mapping[str, Callable[[Any, Any], bool]] | None = None
) -> list[str]:
    """How the Parquet file at ``path``, of unknown origin, differs from a table: in columns, rows or values.

    ``same``: by column, what else than equality makes the file's value as good as the expected one.

    A few kB of Parquet can stand for GB, by compression and by words that are stored once for many rows: what would
    unpack to far more than expected is not read, and words are held once.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            return [f"is larger than {MAX_TABLE_BYTES} bytes; not read."]
        with pq.ParquetFile(path) as file:
            told = _shape_problems(file, expected)
        return told or _value_problems(path, expected, same or {})
    except (pa.ArrowException, OSError, ValueError, MemoryError) as problem:
        return [f"cannot be read: {problem}"]


def _shape_problems(file: Any, expected: Any) -> list[str]:
    """From the file's own account of itself, before any value is read."""
    if not file.schema_arrow.equals(expected.schema, check_metadata=True):
        return [f"has other columns: {', '.join(file.schema_arrow.names)}, or says other things about them."]
    if file.metadata.num_rows != expected.num_rows:
        return [f"has {file.metadata.num_rows} rows, there are {expected.num_rows} to describe."]
    limit = MAX_RATIO * expected.nbytes + SPARE_BYTES
    unpacked = _unpacked_bytes(file.metadata)
    return [f"unpacks to {unpacked} bytes, where at most {limit} are expected; not read."] if unpacked > limit else []


def _value_problems(path: Path, expected: Any, same: Mapping[str, Callable[[Any, Any], bool]]) -> list[str]:
    """Rows whose values differ, column by column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = [field.name for field in expected.schema if pa.types.is_string(field.type)]
    wrong: dict[str, list[int]] = {name: [] for name in expected.column_names}
    start = 0
    with pq.ParquetFile(path, read_dictionary=words) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            there = expected.slice(start, batch.num_rows)
            for name, rows in wrong.items():
                is_same = same.get(name, _is_equal)
                pairs = zip(_values(batch.column(name)), there[name].to_pylist(), strict=True)
                rows += [row for row, (mine, theirs) in enumerate(pairs, start) if not is_same(mine, theirs)]
            start += batch.num_rows
    if start != expected.num_rows:
        return [f"holds {start} rows, says it has {expected.num_rows}."]
    return [
        f"{name} differs in {len(rows)} of {start} rows, first in row {rows[0]}."
        for name, rows in wrong.items()
        if rows
    ]


def _unpacked_bytes(metadata: Any) -> int:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return sum(
        max(group.column(place).total_uncompressed_size, group.column(place).total_compressed_size)
        for group in groups
        for place in range(group.num_columns)
    )


def _values(array: Any) -> list[Any]:
    """As Python's; a word that occurs in many rows is one object."""
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        return list(array.to_pylist())
    words = array.dictionary.to_pylist()
    return [None if place is None else words[place] for place in array.indices.to_pylist()]


def _is_equal(mine: Any, theirs: Any) -> bool:
    return bool(mine == theirs)
