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
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            return [f"is larger than {MAX_TABLE_BYTES} bytes; not read."]
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(expected.schema, check_metadata=True):
                return [f"has other columns: {', '.join(file.schema_arrow.names)}, or says other things about them."]
            if file.metadata.num_rows != expected.num_rows:
                return [f"has {file.metadata.num_rows} rows, there are {expected.num_rows} to describe."]
            table = file.read()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as problem:
        return [f"cannot be read: {problem}"]
    found = []
    for name in expected.column_names:
        is_same = (same or {}).get(name, _is_equal)
        pairs = zip(table[name].to_pylist(), expected[name].to_pylist(), strict=True)
        rows = [row for row, (mine, theirs) in enumerate(pairs) if not is_same(mine, theirs)]
        if rows:
            found.append(f"{name} differs in {len(rows)} of {expected.num_rows} rows, first in row {rows[0]}.")
    return found


def _is_equal(mine: Any, theirs: Any) -> bool:
    return bool(mine == theirs)
