"""Plain text tables and JSON of estimates, for the probes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.statistics import Estimate


def table(cells: Sequence[Sequence[str]], align: str) -> str:
    """Rows of cells under a header; ``align`` holds < or > for each column."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(align))]
    lines = ["  ".join(f"{text:{a}{w}}" for text, a, w in zip(row, align, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])


def interval(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} .. {estimate.high:.3f}"
