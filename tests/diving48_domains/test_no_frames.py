"""What may be published without leave: texts, masks, and tables without pictures."""

import pytest

from diving48_domains.no_frames import frames_in


@pytest.mark.parametrize("name", ["a.tif", "a.html", "a.svg", "a.pt", "a.bin", "a.zst", "a.h5.1", "noext", "a.parquet"])
def test_what_no_rule_knows_may_hold_frames(tmp_path, name):
    (tmp_path / "README.md").write_text("text")
    (tmp_path / name).write_bytes(b"anything")
    assert frames_in(tmp_path) == [name]


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("int64", False), ("float64", False), ("string", False), ("bool", False), ("list<string>", False),
        ("binary", True), ("list<uint8>", True), ("list<list<int64>>", True), ("timestamp", True),
    ],
)  # fmt: skip
def test_columns_that_may_hold_frames(tmp_path, kind, held):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    types = {
        "list<string>": pa.list_(pa.string()), "list<uint8>": pa.list_(pa.uint8()),
        "list<list<int64>>": pa.list_(pa.list_(pa.int64())), "timestamp": pa.timestamp("s"),
    }  # fmt: skip
    schema = pa.schema([("column", types[kind] if kind in types else getattr(pa, kind.replace("bool", "bool_"))())])
    pq.write_table(schema.empty_table(), tmp_path / "index.parquet")
    assert bool(frames_in(tmp_path)) is held
