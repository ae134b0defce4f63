"""``rac-bench reproduce``: the paper's tables from its own numbers. ``rac-bench attributes``: its attribute count for
any predictions. No torch, but for Table 8.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tsgen.common.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.attributes import AttributeReport, Count, Null
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


@click.command("attributes")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--permutations", type=int, help="Samples of the null of exchanged errors. [2000]")
@click.option("--seed", default=0, show_default=True, help="Of the null.")
@click.option("--values", is_flag=True, help="Also a line for each value of each attribute.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def attributes(files: tuple[Path, ...], permutations: int | None, seed: int, values: bool, as_json: bool) -> None:
    """Count which attributes of a dive the wrong answers in FILES got right: takeoff, somersault, twist, position.

    FILES are predictions on Diving48 (HDF5). Each gets a table; of several, as S1 and S2 in the paper, also the set
    count of their answers taken together.
    """
    import numpy as np

    from benchmark.attributes import PERMUTATIONS, POPULATED, analyse, dive_ids, set_count
    from benchmark.predictions import read_predictions

    reports: list[tuple[dict[str, Any], AttributeReport]] = []
    answers: list[NDArray[np.int64]] = []
    populated: tuple[int, ...] | None = None
    for path in files:
        predictions = read_predictions(path)
        ids = dive_ids(predictions.class_names)
        true, predicted = ids[predictions.label], ids[predictions.predicted]
        known = tuple(index for index in POPULATED if index in ids)
        if populated not in (None, known):
            raise UsageError(f"{path} has other classes than {files[0]}; give files of one data set.")
        populated = known
        of_file = {"file": str(path), "domain": predictions.domain, "training_seed": predictions.seed}
        report = analyse(
            true,
            predicted,
            populated=known,
            permutations=PERMUTATIONS if permutations is None else permutations,
            seed=seed,
        )
        reports.append((of_file, report))
        answers.append(np.stack([true, predicted]))
    together = None
    if len(files) > 1 and populated:
        true, predicted = np.concatenate(answers, axis=1)
        together = set_count(true, predicted, populated)
    if as_json:
        record = {
            "files": [{**of_file, **asdict(report)} for of_file, report in reports],
            "together": together and {**asdict(together), "share": together.share},
        }
        click.echo(json.dumps(record, indent=1))
        return
    parts = [_render_attributes(of_file, report, values) for of_file, report in reports]
    if together is not None:
        parts.append(f"set count of all {len(files)} files together: {_count(together)}, chance {together.chance:.3f}")
    click.echo("\n\n".join([*parts, *_notes(reports[0][1])]))


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
    table = _aligned(lines, "<<<<<<") if cells else []
    counts = ", ".join(f"{verdict}: {number}" for verdict, number in reproduction.counts.items() if number)
    title = f"{reproduction.name}: {reproduction.title}"
    remarks = [line for remark in reproduction.remarks for line in _wrapped(remark)]
    blocks = [[title], table, footnotes, [f"{len(reproduction.cells)} cells; {counts}.", *remarks]]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ") or [""]


def _render_attributes(of_file: dict[str, Any], report: AttributeReport, with_values: bool) -> str:
    head = (
        f"{of_file['file']}: {of_file['domain']}, seed {of_file['training_seed']}; {report.clips} clips, "
        f"{report.errors} errors"
    )
    lines: list[tuple[str, ...]] = [
        ("", "all clips", "95% interval", "errors", "share", "95% interval", "chance", "exchanged (95%)", "p")
    ]
    for row in report.attributes:
        overall = (f"{row.correct / report.clips:.3f}", _interval(row.interval))
        lines.append(
            (
                row.name,
                *overall,
                *_errors(row.of_errors),
                _interval(row.errors_interval),
                *_null(row.of_errors, row.null),
            )
        )
    for name, count, null in (("bag count", report.bag, report.bag_null), ("set count", report.set, report.set_null)):
        lines.append((name, "", "", *_errors(count), "", *_null(count, null)))
    text = "\n".join([head, "", *_aligned(lines, "<" + ">" * 8)])
    if with_values:
        text += "\n\n" + "\n".join(_aligned(_value_lines(report), "<<>>>"))
    return text


def _value_lines(report: AttributeReport) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("attribute", "value", "clips", "class right", "attribute right")]
    for row in report.attributes:
        for each in row.values:
            shares = (f"{right / each.clips:.3f}" for right in (each.class_correct, each.attribute_correct))
            lines.append((row.name, each.value, str(each.clips), *shares))
    return lines


def _notes(report: AttributeReport) -> list[str]:
    return [
        "all clips: the answer has the attribute right. errors: attributes right among the wrong answers.\n"
        "set count: the paper's, every wrong class once for each true class. bag count: every error.\n"
        "chance: wrong classes drawn at random from the other classes with clips.\n"
        f"exchanged: the wrong answers exchanged among the errors at random ({report.permutations} samples, seed "
        f"{report.seed}): mean and\nmiddle 95%; p, one-sided: as many right or more. Six p from one set of answers."
    ]


def _count(count: Count) -> str:
    return f"{count.correct}/{count.total} = {count.share:.3f}"


def _errors(count: Count | None) -> tuple[str, str]:
    return ("-", "-") if count is None else (f"{count.correct}/{count.total}", f"{count.share:.3f}")


def _null(count: Count | None, null: Null | None) -> tuple[str, str, str]:
    if count is None or null is None:
        return "-", "-", "-"
    return f"{count.chance:.3f}", f"{null.mean:.3f} ({null.low:.3f} .. {null.high:.3f})", f"{null.p:.2g}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} .. {bounds[1]:.3f}"


def _aligned(lines: Iterable[Sequence[Any]], align: str) -> list[str]:
    """Columns under a head, two spaces apart, a rule below the head."""
    rows = [[str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = ["  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, align, widths, strict=True)).rstrip() for row in rows]
    return [texts[0], "-" * max(map(len, texts)), *texts[1:]]
