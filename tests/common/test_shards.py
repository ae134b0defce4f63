"""Shards: slices that cover every row once, whatever the counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgen.common.errors import UsageError
from tsgen.common.shards import MOST_SHARDS, WHOLE, Shard


@pytest.mark.parametrize("num_rows", [0, 1, 7, 8, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_rows_are_covered_once_and_evenly(num_rows, count):
    slices = [Shard(index, count).rows(num_rows) for index in range(count)]
    assert [row for each in slices for row in each] == list(range(num_rows))
    sizes = {len(each) for each in slices}
    assert max(sizes) - min(sizes) <= 1


def test_parse():
    assert Shard.parse("2/8") == Shard(2, 8) and str(Shard(2, 8)) == "2/8"
    assert Shard.parse("0/1") == WHOLE and WHOLE.is_whole and not Shard(0, 2).is_whole


@pytest.mark.parametrize("text", ["", "2", "a/b", "-1/2", "1/2/3", "1/ 2", "1/2\n", "9999999999/1"])
def test_what_is_no_shard(text):
    with pytest.raises(UsageError, match="is no shard; give i/n, from 0/n to n-1/n, like 2/8"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["8/8", "1/0", "0/0", f"0/{MOST_SHARDS + 1}"])
def test_shards_are_counted_from_0(text):
    with pytest.raises(UsageError, match=f"shard {text} is not possible: shards are counted from 0"):
        Shard.parse(text)


def test_paths_sort_by_shard():
    paths = [Shard(index, 12).path(Path("out/S1.h5")) for index in range(12)]
    assert paths[2] == Path("out/S1-00002-of-00012.h5") and paths == sorted(paths)
    assert WHOLE.path(Path("out/S1.h5")) == Path("out/S1.h5")


def test_a_dot_in_the_name_of_a_folder_begins_no_suffix():
    assert Shard(2, 8).folder(Path("out/v1.0")) == Path("out/v1.0-00002-of-00008")
    assert WHOLE.folder(Path("..")) == Path("..")


@pytest.mark.parametrize("path", [".", "..", "out/..", "/"])
def test_a_shard_needs_a_name(path):
    for beside in (Shard(0, 3).path, Shard(0, 3).folder):
        with pytest.raises(UsageError, match="ends in no name, to which that of shard 0/3 would be added; give one"):
            beside(Path(path))
