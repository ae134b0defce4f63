"""docs/temporal_shape_data.md: its table is the table of the code, and its examples and commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tsgen.clipfile import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "temporal_shape_data.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def column_rows() -> list[str]:
    import numpy as np

    rows = []
    for name, column in COLUMNS.items():
        shape = ", ".join(["N", *("T" if extent == 99 else str(extent) for extent in column.shape(99))])
        shape = f"({shape},)" if shape == "N" else f"({shape})"
        rows.append(f"| `{name}` | {np.dtype(column.dtype)} | {shape} | {column.meaning} |")
    return rows


def test_the_columns_are_those_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(r"columns: begin[^\n]*\n(.*?)<!-- columns: end", text, flags=re.DOTALL)[1]
    assert table.split("\n")[4:-2] == column_rows()


def test_the_python_examples_run(tmp_path):
    pytest.importorskip("torch")
    script = "if __name__ == '__main__':\n" + "".join(
        f"    {line}\n" for line in "\n".join(blocks("python")).split("\n")
    )
    (tmp_path / "example.py").write_text(script)
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "example.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert re.match(r"median 0\.\d\d px, largest \d\.\d px", result.stdout)


def test_the_commands_run(run_cli):
    pytest.importorskip("pyarrow")
    for name, domain in (("ts.h5", "5dot"), ("5dot.h5", "5dot"), ("2dot.h5", "2dot")):
        assert run_cli("tsgen", "make", "--domain", domain, "--n", 10, "--out", name).returncode == 0
    commands = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 8
    for command, *arguments in commands:
        result = run_cli(command, *arguments, COLUMNS=os.environ.get("COLUMNS", "100"))
        assert result.returncode == 0, (arguments, result.stderr)
