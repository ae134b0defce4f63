"""The numbers of a board in a row for each entry, and the same rows as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.report.boards import Board, studies_of
from benchmark.report.entries import BoardEntry
from benchmark.report.escaping import csv_cell, md_line, md_number, md_text, tex_text
from benchmark.report.robustness import EFFECTIVE_WORDS, detectable_text
from benchmark.report.study_text import ratio_lines, studies_json, studies_latex, studies_markdown
from benchmark.report.texts import interval_text, points_interval_text, points_text, value_text
from benchmark.scoring import TEXTURE, Row
from benchmark.statistics import Estimate
from benchmark.statistics.rules import NOT_DROPPED, OPEN
from tsgen.common.errors import DataError

NOT_VALID = "V is not above guessing by its interval: rr means nothing"
CSV_COLUMNS = (
    *("entry", "kind", "origin", "model", "hidden", "parameters", "preset", "seeds", "source", "valid", "domain"),
    *("role", "clips", "hits", "content_hash", "accuracy", "accuracy_low", "accuracy_high", "accuracy_variance"),
    *("rr", "rr_low", "rr_high", "rr_variance", "rr_chance_corrected", "rr_chance_corrected_low"),
    *("rr_chance_corrected_high", "chance", "majority", "prior", "prior_top5", "effective_robustness"),
    *("effective_robustness_low", "effective_robustness_high", "effective_robustness_expected"),
    *("minimum_detectable_difference", "minimum_detectable_ratio"),
    *("experiment", "level", "paper", "paper_low", "paper_high"),
)


def corrected_text(row: Row) -> str:
    return "-" if row.rr_chance_corrected is None else f"{row.rr_chance_corrected:.3f}"


def corrected_interval_text(row: Row) -> str:
    ends = row.rr_chance_corrected_interval
    return "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def asterisk_text(entry: BoardEntry, row: Row) -> str:
    """The paper's asterisk beside T/V, with a question mark where T/S1 < 1 is open; empty for other targets."""
    verdict = entry.card.texture_verdict if row.domain == TEXTURE[0] else None
    return {NOT_DROPPED: "*", OPEN: "*?"}.get(verdict or "", "")


def to_markdown(boards: Sequence[Board]) -> str:
    """A table for each board, and those of experiments; a line with ! is not valid."""
    blocks = []
    for board in boards:
        lines = _cells(board)
        rule = ["---"] * 2 + ["---:"] * (len(lines[0]) - 3) + [":---:"]
        rows = [md_line([md_text(line[0]), *(md_number(cell) for cell in line[1:])]) for line in lines]
        blocks.append("\n".join([f"### {md_text(heading(board, boards))}", "", rows[0], md_line(rule), *rows[1:]]))
        blocks += [md_number(detectable_text(board.detectable))] if board.detectable else []
    return "\n\n".join([*blocks, _note(boards), *studies_markdown(studies_of(boards))]) + "\n"


def to_latex(boards: Sequence[Board]) -> str:
    """A booktabs table for each board, and those of experiments."""
    blocks = ["% \\usepackage{booktabs}"]
    for board in boards:
        lines = [" & ".join(tex_text(cell) for cell in line) + r" \\" for line in _cells(board)]
        columns = "ll" + "r" * (len(_cells(board)[0]) - 3) + "c"
        blocks.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering" + (r"\scriptsize" if board.has_effective else r"\small"),
                    rf"\caption{{{tex_text(heading(board, boards))}. {tex_text(_note([board]))} "
                    rf"{tex_text(detectable_text(board.detectable))}}}",
                    rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join([*blocks, *studies_latex(studies_of(boards))]) + "\n"


def to_csv(boards: Sequence[Board]) -> str:
    """A line for each entry and domain of its board, numbers in full; empty where there is none.

    An entry of an experiment has a line for each ratio of its table as well, with the paper's: its role is "ratio".
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for board in boards:
        for entry in board.entries:
            lines = [_record(board, entry, row) for row in board.rows_of(entry)]
            lines += [[line.get(name, "") for name in CSV_COLUMNS] for line in ratio_lines(entry)]
            writer.writerows([csv_cell(cell) for cell in line] for line in lines)
    return out.getvalue()


def to_json(boards: Sequence[Board]) -> str:
    """The records of all entries. DataError for a number that JSON has no place for."""
    return json_text(records_of(boards)) + "\n"


def records_of(boards: Sequence[Board]) -> dict[str, Any]:
    """The records of all entries, and of the experiments where there are any."""
    entries = [entry.to_json() for board in boards for entry in board.entries]
    return {"entries": entries, **studies_json(studies_of(boards))}


def json_text(value: Any) -> str:
    """Strict JSON; DataError when a record, which may come from anywhere, holds NaN or infinity."""
    try:
        return json.dumps(value, indent=1, allow_nan=False)
    except ValueError as problem:
        raise DataError(f"a record holds a number that JSON has no place for: {problem}.") from problem


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {"md": to_markdown, "csv": to_csv, "tex": to_latex}


def heading(board: Board, boards: Sequence[Board]) -> str:
    """The source, and which clips where several sets of them are shown."""
    alike = [each for each in boards if each.source == board.source]
    which = [f"digits {board.digits}"] * bool(board.digits) + [f"clips {board.clips}"]
    return f"Trained on {board.source}" + (f" ({', '.join(which)})" if len(alike) > 1 else "")


def _cells(board: Board) -> list[list[str]]:
    effective = board.targets if board.has_effective else ()
    head = ["model", "h", "parameters", "seeds", "V", *(f"rr {target}" for target in board.targets)]
    lines = [[*head, *(f"eff. {target}" for target in effective), ""]]
    for entry in board.entries:
        source, *targets = board.rows_of(entry)
        values = [_both(source.accuracy), *(_both(row.rr, asterisk_text(entry, row)) for row in targets)]
        points = [board.effective_points(entry, target) for target in effective]
        values += [f"{points_text(each)} {points_interval_text(each)}".strip() for each in points]
        size = str(entry.hidden) if entry.hidden else "-"
        parameters = "-" if entry.parameters is None else str(entry.parameters)
        flag = "" if entry.card.valid else "!"
        lines.append([entry.model_title, size, parameters, str(len(entry.card.seeds)), *values, flag])
    return lines


def _both(estimate: Estimate | None, mark: str = "") -> str:
    return f"{value_text(estimate)}{mark} {interval_text(estimate)}".strip()


def _note(boards: Sequence[Board]) -> str:
    text = (
        "V: source validation accuracy, mean over seeds. rr = target accuracy / V. Brackets: 95% intervals; of one "
        "seed they carry the variance of the clips alone. !: V is not above guessing, so rr means nothing."
    )
    return f"{text} {EFFECTIVE_WORDS}" if any(board.has_effective for board in boards) else text


def _record(board: Board, entry: BoardEntry, row: Row) -> list[Any]:
    accuracy, rr = row.accuracy, row.rr
    effective = board.effective.get((entry.name, row.domain))
    points = effective and effective.points
    detectable = next((each for each in board.detectable if each.domain == row.domain), None)
    of_rr = ["", "", "", ""] if rr is None else [rr.value, rr.low, rr.high, rr.variance]
    return [
        *(entry.name, entry.kind, entry.origin, entry.model, entry.hidden or "", entry.parameters),
        *(entry.protocol.get("preset"), " ".join(map(str, entry.card.seeds)), entry.source.domain, entry.card.valid),
        *(row.domain, row.role, row.n, " ".join(map(str, row.hits)), row.content_hash),
        *(accuracy.value, accuracy.low, accuracy.high, accuracy.variance),
        *of_rr,
        *(row.rr_chance_corrected, *(row.rr_chance_corrected_interval or ("", ""))),
        *(entry.card.chance, row.majority, row.prior, row.prior_top5),
        *((points.value, points.low, points.high) if points else ("", "", "")),
        effective.expected if effective else "",
        *((detectable.difference, detectable.ratio) if detectable else ("", "")),
        *((entry.study.config.experiment, entry.study.config.at) if entry.study else ("", "")),
        *("", "", ""),
    ]
