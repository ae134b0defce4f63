"""docs/release.md: its table is the table of the code, its example runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from release_hashes import HASHES

from tsgen.release.build import build_release
from tsgen.release.plan import Plan
from tsgen.release.tables import INDEX_COLUMNS

KINDS = ("shared_frames", "shared_paths")
PAGE = (Path(__file__).parents[2] / "docs" / "release.md").read_text(encoding="utf-8")


def test_the_index_columns_are_those_of_the_code():
    table = re.search(r"index: begin[^\n]*\n(.*?)<!-- index: end", PAGE, flags=re.DOTALL)[1]
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, _, meaning) in INDEX_COLUMNS.items()]
    assert table.split("\n")[3:-2] == rows


def test_the_counts_of_duplicates_are_those_of_the_release():
    audit = json.loads(HASHES.read_text())["real"]["audit"]
    frames, paths = ({name: audit[name][kind]["val in train"] for name in audit} for kind in KINDS)
    told = re.search(r"`2dot`\s(\d+) are in .* of `5dot` (\d+); of `mnist` none, but (\d+) move", PAGE, flags=re.DOTALL)
    assert [int(number) for number in told.groups()] == [frames["2dot"], frames["5dot"], paths["mnist"]]
    assert frames["mnist"] == 0
    matched = [name for name in audit if name.endswith(("-strict", "-order"))]
    assert len(matched) == 8
    assert all(not any(audit[name][kind].values()) for name in matched for kind in KINDS)


def test_the_python_example_runs(tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("datasets")
    build_release(tmp_path / "release", Plan(("mnist",), {"train": 5, "val": 5, "test": 5}), digits="embedded")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    environment = {**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "strip.png").exists()
