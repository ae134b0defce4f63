"""What follows from the paper's own printed numbers, recomputed and compared cell by cell.

A cell agrees to the printed digit; or agrees within rounding, which is that of the printed numbers it is computed from;
or differs as documented in ``KNOWN``; or differs. A documented cell must come out as noted there: any other value, also
the printed one, is a difference that nobody expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_UP, Decimal
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmark.attributes import random_sets, set_count
from benchmark.experiments import DIVING48_EXPERIMENTS
from benchmark.models import MODELS, count_parameters
from benchmark.models.specs import Spec, TimeSformerSpec
from benchmark.paper.rounding import (
    Range,
    deviation_range,
    mean_range,
    overlap,
    range_of,
    ratio_range,
    rows_without_whole_counts,
)
from benchmark.paper.tables import RATIO_COLUMNS, RATIO_TABLES, SPELLINGS, PrintedRatios, printed_ratios, read_table
from tsgen.common.errors import unknown_name

AGREES, WITHIN_ROUNDING, DOCUMENTED, DIFFERS = VERDICTS = (
    "agrees",
    "agrees within rounding",
    "differs as documented",
    "differs",
)

EXAMPLES: dict[str, str] = {"34": "main6", "12": "supplement5", "22": "supplement6", "45": "supplement7"}
"""Class of Table 7 -> the table with the accuracies on the same five clips."""

KNOWN: dict[tuple[str, str, str], tuple[str, str]] = {
    ("main7", "class 34, TimeSf", "Correct attr."): (
        "7/16",
        "12, 31 and 47 share two attributes each with class 34 (inward, 2.5 somersaults, no twist, tuck) and 20 shares "
        "one. The text says itself that the best of these answers has two right.",
    ),
    ("supplement8", "h = 2", "TimeSformer-8"): (
        "20421",
        "a misprint: TimeSformer-1 at h = 16 has the identical shape, and there 20421 is printed.",
    ),
    ("supplement9", "d", "3D CNN"): (
        "Hidden [32,64,128,128,128,256,256,256,512,512,512], Filter sizes [5,3,3,3,3,3,3,3,3,3,3]",
        "eleven layers and ten filter sizes are printed; with an eleventh filter of 3 the encoder has the 23.3M "
        "parameters of the text.",
    ),
}
"""(table, row, column) -> what is recomputed instead, and why."""


@dataclass(frozen=True)
class Cell:
    table: str
    row: str
    column: str
    printed: str
    recomputed: str
    verdict: str
    why: str | None = None


@dataclass(frozen=True)
class Reproduction:
    """``remarks``: what the recomputation showed beyond its cells."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> number of cells."""
        return {verdict: sum(cell.verdict == verdict for cell in self.cells) for verdict in VERDICTS}

    @property
    def as_documented(self) -> bool:
        return self.counts[DIFFERS] == 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "as_documented": self.as_documented,
            "counts": self.counts,
            "cells": [asdict(cell) for cell in self.cells],
            "remarks": list(self.remarks),
        }


def compare(table: str, row: str, column: str, printed: str, recomputed: str, *, possible: Range | None = None) -> Cell:
    """``possible``: what the rounding of the numbers behind ``recomputed`` leaves open."""
    verdict, why = AGREES if printed == recomputed else DIFFERS, None
    if verdict == DIFFERS and possible is not None:
        why = f"{possible[0]:.4f} .. {possible[1]:.4f} possible"
        verdict = WITHIN_ROUNDING if overlap(possible, range_of(printed)) else DIFFERS
    if (table, row, column) in KNOWN:
        expected, why = KNOWN[table, row, column]
        if printed == recomputed or recomputed != expected:
            verdict, why = DIFFERS, f"expected {expected}: {why}"
        else:
            verdict = DOCUMENTED
    return Cell(table, row, column, printed, recomputed, verdict, why)


def table1() -> Reproduction:
    """Mean and sample deviation (ddof = 1) of each model over its experiments."""
    of_model: dict[str, list[PrintedRatios]] = {}
    for row in printed_ratios():
        of_model.setdefault(row.model, []).append(row)
    cells = []
    for record in read_table("main1").records():
        for column in RATIO_COLUMNS:
            rows = of_model[record["model"]]
            values, texts = [row.value(column) for row in rows], [row.digits(column) for row in rows]
            at = ("main1", record["model"])
            average, deviation = record[column].split(" ± ")
            recomputed = _round_like(mean(values), average)
            cells.append(compare(*at, f"{column} mean", average, recomputed, possible=mean_range(texts)))
            recomputed, possible = _round_like(stdev(values), deviation), deviation_range(texts)
            cells.append(compare(*at, f"{column} deviation", deviation, recomputed, possible=possible))
    numbers = ", ".join(f"{model} {len(rows)}" for model, rows in of_model.items())
    remark = (
        f"Experiments a model: {numbers}. They are no independent sample: they share clips, and ConvLSTM has the same "
        "architecture at the same level in a and e and in b and f, where accuracies over V differ by at most 0.002."
    )
    return Reproduction("table1", "main Table 1 from Tables 2-5 and supplement Tables 1-4", tuple(cells), (remark,))


def ratios() -> Reproduction:
    """T/S1 against T/V and S1/V as far as rounding tells, and the rule of the asterisk."""
    rows = printed_ratios()
    cells = []
    for row in rows:
        above, below, printed = (row.digits(column) for column in ("T/V", "S1/V", "T/S1"))
        quotient, possible = Decimal(above) / Decimal(below), ratio_range(above, below)
        cells.append(compare(row.table, row.model, "T/S1", printed, _round_like(quotient, printed), possible=possible))
    for experiment, table in RATIO_TABLES.items():
        group = [row for row in rows if row.experiment == experiment]
        lowest = min(group, key=lambda row: row.value("T/V"))
        starred = [row.model for row in group if row.printed["T/V"].endswith("*")]
        due = [lowest.model] if lowest.value("T/S1") >= 1 else []
        cells.append(compare(table, "asterisk", "T/V", ", ".join(starred) or "none", ", ".join(due) or "none"))
    without = rows_without_whole_counts(rows)
    remark = (
        f"{len(without)} of {len(rows)} rows fit no whole numbers of right clips out of 1502 (V) and 1970 (S1, S2, T), "
        f"whichever V prints as the level: {', '.join(f'{row.experiment} {row.model}' for row in without)}. They were "
        "divided from rounded accuracies, or come from other sets; counts of clips cannot be recovered from them."
    )
    title = "T/S1 of Tables 2-5 and supplement Tables 1-4 from their T/V and S1/V, and the asterisks"
    return Reproduction("ratios", title, tuple(cells), (remark,))


def table6() -> Reproduction:
    """Top-1 accuracies on five clips from the answers printed in Table 7."""
    cells = []
    for answers in read_table("main7").records():
        table, label = EXAMPLES[answers["class"]], int(answers["class"])
        (printed,) = [row for row in read_table(table).records() if row["model"] == answers["model"]]
        for domain in ("S1", "S2"):
            given = _whole_numbers(answers[domain])
            share = Decimal(given.count(label)) / len(given)
            column = f"{domain} top-1"
            cells.append(compare(table, answers["model"], column, printed[column], f"{share:.1f}"))
    remark = "The other columns cannot be recomputed: Table 7 prints the first answers, on S1 and S2."
    return Reproduction(
        "table6", "main Table 6 and supplement Tables 5-7 from the answers in Table 7", tuple(cells), (remark,)
    )


def table7() -> Reproduction:
    """The sets of wrong classes and the attributes they have right, from the answers printed beside them."""
    cells = []
    pooled: dict[str, tuple[list[int], list[int]]] = {}
    for record in read_table("main7").records():
        label, row = int(record["class"]), f"class {record['class']}, {record['model']}"
        answers = [*_whole_numbers(record["S1"]), *_whole_numbers(record["S2"])]
        wrong = sorted(set(answers) - {label})
        column = "Misclassifications (set)"
        cells.append(compare("main7", row, column, record[column], ", ".join(map(str, wrong))))
        labels = [label] * len(answers)
        count = set_count(np.array(labels), np.array(answers))
        assert count is not None  # no model has all ten answers right
        column = "Correct attr."
        cells.append(compare("main7", row, column, record[column], f"{count.correct}/{count.total}"))
        of_model = pooled.setdefault(SPELLINGS.get(record["model"], record["model"]), ([], []))
        of_model[0].extend(labels)
        of_model[1].extend(answers)
    remarks = ["All four classes, against as many wrong classes drawn at random (exact, one-sided p):"]
    for model, (labels, answers) in pooled.items():
        true, predicted = np.array(labels), np.array(answers)
        count = set_count(true, predicted)
        assert count is not None
        expected, p = random_sets(true, predicted)
        remarks.append(f"  {model}: {count.correct}/{count.total}, at random {expected:.1f}/{count.total}, p = {p:.2g}")
    return Reproduction("table7", "main Table 7 from the answers printed in it", tuple(cells), tuple(remarks))


def table8() -> Reproduction:
    """Parameter counts from models built here. UsageError without PyTorch."""
    columns = {family.title: family.spec_of for family in MODELS.values()}
    cells = []
    for record in read_table("supplement8").records():
        hidden = int(record["hidden per layer"])
        for title, spec_of in columns.items():
            count = str(count_parameters(spec_of(hidden)))
            cells.append(compare("supplement8", f"h = {hidden}", title, record[title], count))
    return Reproduction("table8", "supplement Table 8 from the models", tuple(cells))


def table9() -> Reproduction:
    """The architectures of a-h as ``benchmark.experiments`` has them."""
    cells = []
    for record in read_table("supplement9").records():
        letter = record["Experiment"]
        for title in ("3D CNN", "ConvLSTM", "TimeSformer"):
            spec = DIVING48_EXPERIMENTS[letter].models.get(title)
            printed, recomputed = record[title], _spelled(spec)
            cells.append(compare("supplement9", letter, title, printed, recomputed))
    return Reproduction("table9", "supplement Table 9 against the architectures of this benchmark", tuple(cells))


REPRODUCTIONS: dict[str, Callable[[], Reproduction]] = {
    "table1": table1,
    "ratios": ratios,
    "table6": table6,
    "table7": table7,
    "table8": table8,
    "table9": table9,
}
NEEDS_TORCH = ("table8",)


def reproduce(name: str) -> Reproduction:
    if name not in REPRODUCTIONS:
        raise unknown_name("table to reproduce", name, [*REPRODUCTIONS, "all"])
    return REPRODUCTIONS[name]()


def _round_like(value: Decimal, printed: str) -> str:
    return str(value.quantize(Decimal(printed), ROUND_HALF_UP))


def _whole_numbers(cell: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", cell)]


def _spelled(spec: Spec | None) -> str:
    if spec is None:
        return "-"
    if isinstance(spec, TimeSformerSpec):
        return f"Depth={spec.depth}, D = {spec.dim}, D_h = {spec.head_dim}"
    hidden, kernels = (",".join(map(str, numbers)) for numbers in (spec.channels, spec.kernels))
    return f"Hidden [{hidden}], Filter sizes [{kernels}]"
