"""The numbers of a board in a row for each entry, and the same rows as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.report.entries import Board, BoardEntry
from benchmark.report.robustness import EFFECTIVE_WORDS, detectable_text
from benchmark.scoring import TEXTURE, Row
from benchmark.statistics import Estimate
from benchmark.statistics.rules import NOT_DROPPED, OPEN
from tsgen.common.errors import DataError

MAX_PRINTED = 10  # an interval of rr that reaches so far says nothing, in however many digits
NOT_VALID = "V is not above guessing by its interval: rr means nothing"
CSV_COLUMNS = (
    *("entry", "kind", "origin", "model", "hidden", "parameters", "preset", "seeds", "source", "valid", "domain"),
    *("role", "clips", "hits", "content_hash", "accuracy", "accuracy_low", "accuracy_high", "accuracy_variance"),
    *("rr", "rr_low", "rr_high", "rr_variance", "rr_chance_corrected", "rr_chance_corrected_low"),
    *("rr_chance_corrected_high", "chance", "majority", "prior", "prior_top5", "effective_robustness"),
    *("effective_robustness_low", "effective_robustness_high", "effective_robustness_expected"),
    *("minimum_detectable_difference", "minimum_detectable_ratio"),
)


def value_text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def interval_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]" if estimate.high < MAX_PRINTED else f"[{estimate.low:.3f}, ∞)"


def points_text(estimate: Estimate | None) -> str:
    """Of a difference of accuracies: with its sign."""
    return "-" if estimate is None else f"{estimate.value:+.3f}"


def points_interval_text(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"


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
    """A table for each board; a line with ! is not valid."""
    blocks = []
    for board in boards:
        lines = _cells(board)
        rule = ["---"] * 2 + ["---:"] * (len(lines[0]) - 3) + [":---:"]
        rows = [_md_line([_md(line[0]), *(_md_number(cell) for cell in line[1:])]) for line in lines]
        blocks.append("\n".join([f"### {_md(heading(board, boards))}", "", rows[0], _md_line(rule), *rows[1:]]))
        blocks += [_md_number(detectable_text(board.detectable))] if board.detectable else []
    return "\n\n".join([*blocks, _note(boards)]) + "\n"


def to_latex(boards: Sequence[Board]) -> str:
    """A booktabs table for each board."""
    blocks = ["% \\usepackage{booktabs}"]
    for board in boards:
        lines = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in _cells(board)]
        columns = "ll" + "r" * (len(_cells(board)[0]) - 3) + "c"
        blocks.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering" + (r"\scriptsize" if board.has_effective else r"\small"),
                    rf"\caption{{{_tex(heading(board, boards))}. {_tex(_note([board]))} "
                    rf"{_tex(detectable_text(board.detectable))}}}",
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
    return "\n\n".join(blocks) + "\n"


def to_csv(boards: Sequence[Board]) -> str:
    """A line for each entry and domain of its board, numbers in full; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for board in boards:
        for entry in board.entries:
            writer.writerows([_csv(cell) for cell in _record(board, entry, row)] for row in board.rows_of(entry))
    return out.getvalue()


def to_json(boards: Sequence[Board]) -> str:
    """The records of all entries. DataError for a number that JSON has no place for."""
    return json_text({"entries": [entry.to_json() for board in boards for entry in board.entries]}) + "\n"


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
    ]


def _csv(cell: Any) -> Any:
    """Spreadsheets run a text that begins with = + - or @: an apostrophe keeps it a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def _md_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _md(text: str) -> str:
    """Words from anywhere: no link, picture or markup comes of them."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_<>|#\[\]!(])", r"\\\1", flat)


def _md_number(text: str) -> str:
    """Our own numbers, names of domains and marks: their brackets stay readable."""
    return re.sub(r"([\\`*_<>|#])", r"\\\1", text)


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "∞": r"$\infty$"}
_TEX |= {char: f"\\{char}" for char in "&%$#_{}"}
_TEX |= {char: f"${char}$" for char in "<>"}


def _tex(text: str) -> str:
    flat = " ".join(text.split())
    # After the end of a row [ and * would be its arguments.
    head = f"{{{flat[0]}}}" if flat[:1] in {"[", "*"} else ""
    return head + "".join(_TEX.get(char, char) for char in (flat[1:] if head else flat))
