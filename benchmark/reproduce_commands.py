"""``rac-bench reproduce``: the paper's tables from its own numbers. No torch, but for Table 8."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tsgen.common.errors import UsageError

if TYPE_CHECKING:
    from benchmark.paper.reproduce import Reproduction

UNEXPECTED_EXIT_CODE = 3
WIDTH = 110


@click.command("reproduce")
@click.argument("table")
@click.option("--differences", is_flag=True, help="Leave out the cells that agree to the printed digit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def reproduce(table: str, differences: bool, as_json: bool) -> None:
    """Recompute TABLE of the paper from the numbers printed elsewhere in it.

    TABLE is table1, ratios, table6, table7, table8, table9, or all. Every cell is printed with what comes out and
    whether they agree. Exit code 3: a cell differs in a way that is not documented.
    """
    from benchmark.paper.reproduce import NEEDS_TORCH, REPRODUCTIONS
    from benchmark.paper.reproduce import reproduce as recompute

    done, missing = [], None
    for name in REPRODUCTIONS if table == "all" else (table,):
        try:
            done.append(recompute(name))
        except UsageError as problem:
            if table != "all" or name not in NEEDS_TORCH:
                raise
            missing = UsageError(f"{name} was not recomputed: {problem}")
    if as_json:
        click.echo(json.dumps([each.to_json() for each in done], indent=1, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_render_reproduction(each, differences) for each in done))
    if not all(each.as_documented for each in done):
        click.get_current_context().exit(UNEXPECTED_EXIT_CODE)
    if missing is not None:
        raise missing


def _render_reproduction(reproduction: Reproduction, differences: bool) -> str:
    from benchmark.paper.reproduce import AGREES, WITHIN_ROUNDING

    cells = [cell for cell in reproduction.cells if not (differences and cell.verdict == AGREES)]
    lines = [("table", "row", "column", "printed", "recomputed", "")]
    footnotes: list[str] = []
    for cell in cells:
        mark = ""
        if cell.verdict == WITHIN_ROUNDING:
            mark = f" ({cell.why})"
        elif cell.why is not None:
            footnotes.append("\n".join(_wrapped(f"[{len(footnotes) + 1}] {cell.why}")))
            mark = f" [{len(footnotes)}]"
        lines.append((cell.table, cell.row, cell.column, cell.printed, cell.recomputed, cell.verdict + mark))
    table = aligned(lines, "<<<<<<") if cells else []
    counts = ", ".join(f"{verdict}: {number}" for verdict, number in reproduction.counts.items() if number)
    title = f"{reproduction.name}: {reproduction.title}"
    remarks = [line for remark in reproduction.remarks for line in _wrapped(remark)]
    blocks = [[title], table, footnotes, [f"{len(reproduction.cells)} cells; {counts}.", *remarks]]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ") or [""]


def aligned(lines: Iterable[Sequence[Any]], align: str) -> list[str]:
    """Columns under a head, two spaces apart, a rule below the head."""
    rows = [[str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = ["  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, align, widths, strict=True)).rstrip() for row in rows]
    return [texts[0], "-" * max(map(len, texts)), *texts[1:]]
