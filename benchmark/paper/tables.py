"""The tables of the paper, every cell as printed: digits, asterisks and misprints. Bold type is not recorded.

One CSV file a table in ``data/``. Its head says where the table stands, its caption, and in notes what is known about
it; the rest is the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources

from tsgen.common.errors import unknown_name

TABLES: tuple[str, ...] = (
    *(f"main{number}" for number in range(1, 8)),
    *(f"supplement{number}" for number in range(1, 11)),
)

RATIO_COLUMNS = ("S1/V", "S2/V", "T/V", "T/S1")
RATIO_TABLES: dict[str, str] = {
    "a": "main2",
    "b": "main3",
    "c": "main4",
    "d": "main5",
    "e": "supplement1",
    "f": "supplement2",
    "g": "supplement3",
    "h": "supplement4",
}
"""Experiment on Diving48 -> the table with its ratios."""

SPELLINGS = {"Timeformer": "TimeSformer", "TimeSf": "TimeSformer"}
"""How some tables print a model -> its name in the others and in ``benchmark.experiments``."""


@dataclass(frozen=True)
class PaperTable:
    """``rows``: one tuple of printed cells a row, in the order of ``columns``."""

    name: str
    source: str
    caption: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """Column -> printed cell, for every row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class PrintedRatios:
    """One model in one of experiments a-h. ``printed``: column -> cell; an asterisk may follow T/V."""

    experiment: str
    table: str
    model: str
    printed: dict[str, str]

    def digits(self, column: str) -> str:
        """The cell without its asterisk."""
        return self.printed[column].rstrip("*")

    def value(self, column: str) -> Decimal:
        return Decimal(self.digits(column))


@cache
def read_table(name: str) -> PaperTable:
    """The table of that name in ``TABLES``; UsageError for another name."""
    if name not in TABLES:
        raise unknown_name("table of the paper", name, TABLES)
    lines = (resources.files("benchmark.paper") / "data" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("# ").partition(": ") for line in lines if line.startswith("# ")]
    columns, *rows = csv.reader(lines[len(head) :])
    facts = {key: text for key, _, text in head if key != "note"}
    notes = tuple(text for key, _, text in head if key == "note")
    return PaperTable(name, facts["source"], facts["caption"], notes, tuple(columns), tuple(map(tuple, rows)))


def printed_ratios() -> list[PrintedRatios]:
    """The 21 rows of experiments a-h, in the order of the paper."""
    return [
        PrintedRatios(
            experiment, table, SPELLINGS.get(row["model"], row["model"]), {name: row[name] for name in RATIO_COLUMNS}
        )
        for experiment, table in RATIO_TABLES.items()
        for row in read_table(table).records()
    ]
