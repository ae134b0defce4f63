from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from benchmark.experiments import DIVING48_EXPERIMENTS
from benchmark.paper import TABLES, read_table, reference_rows
from benchmark.paper import reproduce as recompute
from benchmark.paper.rounding import deviation_range, has_whole_counts, level_range, mean_range, range_of, ratio_range
from benchmark.paper.tables import RATIO_COLUMNS, PrintedRatios, printed_ratios
from benchmark.statistics import robustness_ratio
from tsgen.common.errors import UsageError

SHARED = Path(__file__).parents[3] / "shared"
TABLE8 = Path(__file__).parents[1] / "oracles" / "table8.csv"
TORCH_FREE = [name for name in recompute.REPRODUCTIONS if name not in recompute.NEEDS_TORCH]

ROWS = dict(zip(TABLES, (3, 3, 3, 3, 2, 3, 12, 3, 3, 2, 2, 3, 3, 3, 9, 8, 11), strict=True))
CELLS_SHA256 = "bb8c8a8ce630308b433453dee2c04acc21d051e8f11acd17c91a4483c09329e2"


def cells_sha256():
    """Of the cells alone: heads and notes may be reworded."""
    cells = json.dumps([[read_table(name).columns, *read_table(name).rows] for name in TABLES])
    return hashlib.sha256(cells.encode()).hexdigest()


def test_the_transcription_is_the_one_that_was_checked():
    assert {name: len(read_table(name).rows) for name in TABLES} == ROWS
    assert cells_sha256() == CELLS_SHA256


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name):
    table = read_table(name)
    number = re.fullmatch(r"(?:main|supplement)(\d+)", name)[1]
    assert table.source.endswith(f"Table {number}")
    assert table.caption.endswith((".", ")"))
    assert all(len(row) == len(table.columns) and all(row) for row in table.rows)
    assert {path.name for path in (resources.files("benchmark.paper") / "data").iterdir()} == {
        f"{name}.csv" for name in TABLES
    }


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'main1'"):
        read_table("main11")


def needs(path):
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path.read_text(encoding="utf-8")


def bare(text):
    """Letters, digits and points: what is left of a table whatever it was typeset with."""
    return re.sub(r"\\[a-z]+|</?b>|[^0-9A-Za-z.]", "", text)


def pieces(name):
    """The cells of a table in the order in which the text has them, as far as it keeps them together."""
    rows = read_table(name).rows
    if name == "main1":  # the first column of numbers runs downwards
        return [[row[1] for row in rows], *(row[2:] for row in rows)]
    if name == "main2":  # all columns run downwards; a second TimeSformer is damaged
        return list(zip(*rows, strict=True))
    if name == "main4":
        return [*zip(*rows[:2], strict=True), rows[2]]
    if name == "main7":  # the class stands in the head of a section
        return [row[1:] for row in rows]
    return rows


@pytest.mark.parametrize("name", TABLES)
def test_cells_are_those_of_the_text(name):
    text = bare(needs(SHARED / "paper" / ("main.md" if name.startswith("main") else "supplement.md")))
    for piece in pieces(name):
        assert bare("".join(piece)) in text
    assert bare(read_table(name).caption.partition(",")[0]) in text


def test_results_equal_the_facts():
    facts = json.loads(needs(SHARED / "facts" / "diving48_results.json"))
    ours = {}
    for row in printed_ratios():
        ours.setdefault(row.model, {})[row.experiment] = [float(row.value(column)) for column in RATIO_COLUMNS]
    assert ours == facts["results"]
    for record in read_table("main1").records():
        pairs = [[float(part) for part in record[column].split(" ± ")] for column in RATIO_COLUMNS]
        assert pairs == facts["table1"][record["model"]]


def test_table8_equals_the_oracle():
    with TABLE8.open() as lines:
        oracle = list(csv.reader(line for line in lines if not line.startswith("#")))
    assert [list(row) for row in read_table("supplement8").rows] == oracle[1:]


def test_levels_in_the_captions_are_those_of_the_experiments():
    for row in printed_ratios():
        low, high = map(float, level_range(row))
        assert low < DIVING48_EXPERIMENTS[row.experiment].level < high
        assert row.model in DIVING48_EXPERIMENTS[row.experiment].models


COUNTS = {  # agrees, within rounding, documented
    "table1": (20, 4, 0),
    "ratios": (14, 15, 0),
    "table6": (24, 0, 0),
    "table7": (23, 0, 1),
    "table8": (35, 0, 1),
    "table9": (23, 0, 1),
}


@pytest.mark.parametrize("name", recompute.REPRODUCTIONS)
def test_everything_is_as_documented(name):
    done = recompute.reproduce(name)
    assert tuple(done.counts.values()) == (*COUNTS[name], 0)
    assert done.as_documented


def test_eleven_of_twelve_attribute_counts_agree():
    cells = [cell for cell in recompute.table7().cells if cell.column == "Correct attr."]
    assert len(cells) == 12
    (other,) = [cell for cell in cells if cell.verdict != recompute.AGREES]
    assert (other.row, other.printed, other.recomputed) == ("class 34, TimeSf", "5/16", "7/16")


def test_table1_is_off_by_one_in_the_last_digit_at_most():
    for cell in recompute.table1().cells:
        unit = 10.0 ** -len(cell.printed.partition(".")[2])
        assert abs(float(cell.printed) - float(cell.recomputed)) < 1.5 * unit


def test_the_deviations_are_those_of_samples():
    """With ddof = 0 most deviations of Table 1 are out of reach of rounding."""
    of_model = {}
    for row in printed_ratios():
        of_model.setdefault(row.model, []).append(row)
    misses = 0
    for record in read_table("main1").records():
        for column in RATIO_COLUMNS:
            population = np.std([float(row.value(column)) for row in of_model[record["model"]]])
            low, high = range_of(record[column].split(" ± ")[1])
            misses += not float(low) - 0.0005 <= population <= float(high) + 0.0005
    assert misses >= 9


def tampered(monkeypatch, table, changes):
    """Read ``table`` with some cells replaced: {(row, column): cell}."""
    true = read_table(table)
    rows = [list(row) for row in true.rows]
    for (row, column), cell in changes.items():
        rows[row][true.columns.index(column)] = cell
    false = type(true)(true.name, true.source, true.caption, true.notes, true.columns, tuple(map(tuple, rows)))
    for module in (recompute, sys.modules["benchmark.paper.tables"]):
        monkeypatch.setattr(module, "read_table", lambda name: false if name == table else read_table(name))


@pytest.mark.parametrize(
    "name, table, changes",
    [
        ("table1", "main1", {(0, "S1/V"): "0.257 ± 0.026"}),
        ("table1", "main5", {(0, "S1/V"): "0.263"}),
        ("ratios", "main5", {(0, "T/S1"): "0.825"}),
        ("ratios", "main3", {(2, "T/V"): "0.190"}),
        ("ratios", "main2", {(1, "T/V"): "0.238*"}),
        ("table6", "main6", {(0, "S1 top-1"): "0.6"}),
        ("table7", "main7", {(0, "S1"): "[34, 34, 35, 8, 21]"}),
        ("table7", "main7", {(2, "Correct attr."): "7/16"}),  # a documented difference that is gone
        ("table8", "supplement8", {(3, "ConvLSTM"): "14614"}),
        ("table9", "supplement9", {(0, "ConvLSTM"): "Hidden [128,128,128,128], Filter sizes [7,7,5,5]"}),
    ],
)
def test_other_digits_are_noticed(monkeypatch, name, table, changes):
    tampered(monkeypatch, table, changes)
    done = recompute.reproduce(name)
    assert not done.as_documented
    assert done.counts[recompute.DIFFERS] >= 1


def test_ranges_hold_what_rounds_to_the_printed_numbers():
    printed = ["0.253", "1.01", "0.19"]
    rng = np.random.default_rng(3)
    bounds = np.array([[float(end) for end in range_of(text)] for text in printed])
    assert bounds[1] == pytest.approx([1.005, 1.015])
    exact = rng.uniform(bounds[:, 0], bounds[:, 1], (2000, 3))
    for values, (low, high), reach in (
        (exact.mean(axis=1), mean_range(printed), 0.5),
        (exact.std(axis=1, ddof=1), deviation_range(printed), 0.7),
        (exact[:, 1] / exact[:, 0], ratio_range("1.01", "0.253"), 0.7),
    ):
        assert float(low) <= values.min() and values.max() <= float(high)
        assert np.ptp(values) > reach * float(high - low)


def test_whole_counts_are_found_where_there_are_some():
    def row_of(v, s1, s2, t):
        ratios = {"S1/V": s1 / 1970 / (v / 1502), "S2/V": s2 / 1970 / (v / 1502), "T/V": t / 1970 / (v / 1502)}
        printed = {column: f"{ratio:.3f}" for column, ratio in ratios.items()} | {"T/S1": f"{t / s1:.3f}"}
        return PrintedRatios("d", "main5", "3D CNN", printed)

    rng = np.random.default_rng(5)
    for s1, s2, t in rng.integers(100, 400, (50, 3)):
        row = row_of(752, s1, s2, t)
        assert has_whole_counts(row, *level_range(row))
    row = next(row for row in printed_ratios() if (row.experiment, row.model) == ("d", "3D CNN"))
    assert not has_whole_counts(row, *level_range(row))  # 188 / 231 = 0.8139, 0.815 is printed
    assert "8 of 21 rows" in recompute.ratios().remarks[0]


def test_convlstm_has_nearly_the_same_results_twice():
    of = {row.experiment: row for row in printed_ratios() if row.model == "ConvLSTM"}
    for one, other in (("a", "e"), ("b", "f")):
        gaps = [abs(of[one].value(column) - of[other].value(column)) for column in ("S1/V", "S2/V", "T/V")]
        assert float(max(gaps)) <= 0.002


def test_reference_rows():
    rows = reference_rows()
    assert len(rows) == 21
    assert [row.experiment for row in rows if row.asterisk] == ["b", "c"]
    record = rows[0].to_json()
    assert json.loads(json.dumps(record))["reported_with_intervals"] is False
    assert (record["V"], record["n_val"], record["n_target"], record["source"]) == (
        0.3,
        1502,
        1970,
        "main paper, Table 2",
    )
    for row in rows:
        for ratio in row.ratios.values():
            assert ratio.low < ratio.value < ratio.high
    # The asterisk's rule by interval: of the drops on texture these alone are not within noise of none.
    assert {(row.experiment, row.model) for row in rows if row.texture_drop} == {
        *((letter, "ConvLSTM") for letter in "cdgh"),
        *((letter, "3D CNN") for letter in "dfgh"),
    }


def test_reference_intervals_by_hand_and_from_clips():
    row = next(row for row in reference_rows() if (row.experiment, row.model) == ("d", "ConvLSTM"))
    V, T, S1 = 0.5007, 0.5007 * 0.136, 0.5007 * 0.232
    spread = math.exp(1.959964 * math.sqrt((1 - T) / (1970 * T) + (1 - V) / (1502 * V)))
    assert (row.ratios["T/V"].low, row.ratios["T/V"].high) == pytest.approx((0.136 / spread, 0.136 * spread))
    spread = math.exp(1.959964 * math.sqrt((1 - 0.586 * S1) / (1970 * 0.586 * S1) + (1 - S1) / (1970 * S1)))
    assert (row.ratios["T/S1"].low, row.ratios["T/S1"].high) == pytest.approx((0.586 / spread, 0.586 * spread))
    val, target = (np.arange(n)[None] < hits for n, hits in ((1502, 752), (1970, 134)))
    ours = robustness_ratio(val, target)
    assert (ours.low, ours.high) == pytest.approx((row.ratios["T/V"].low, row.ratios["T/V"].high), rel=0.01)


COMMAND = "import sys; sys.argv[0] = 'rac-bench'; {}; from benchmark.cli import main; main()"


def rac_bench(*arguments, first="pass"):
    command = [sys.executable, "-W", "error", "-c", COMMAND.format(first), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_command_prints_every_cell_and_the_reason():
    done = rac_bench("reproduce", "table7")
    assert done.returncode == 0, done.stderr
    assert "11/28" in done.stdout
    assert "differs as documented [1]" in done.stdout and "share two attributes each" in done.stdout
    assert "24 cells; agrees: 23, differs as documented: 1." in done.stdout
    short = rac_bench("reproduce", "table7", "--differences").stdout
    assert "7/16" in short and "11/28" not in short


def test_command_without_torch():
    blocked = "sys.modules['torch'] = None"
    done = rac_bench("reproduce", "table8", first=blocked)
    assert done.returncode == 2 and "needs PyTorch" in done.stderr and not done.stdout
    done = rac_bench("reproduce", "all", "--json", first=blocked)
    assert done.returncode == 2 and "table8 was not recomputed" in done.stderr
    assert [each["name"] for each in json.loads(done.stdout)] == TORCH_FREE


def test_an_unexpected_difference_is_exit_code_3():
    change = "import benchmark.paper.reproduce as r; r.KNOWN.pop(('supplement9', 'd', '3D CNN'))"
    done = rac_bench("reproduce", "table9", first=change)
    assert done.returncode == 3 and "differs: 1" in done.stdout


def between(marker):
    page = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    return page.split(f"<!-- {marker} -->\n")[1].split(f"<!-- /{marker} -->")[0].strip()


def test_the_page_holds_what_is_computed():
    lines = ["| | model | V | S1/V | S2/V | T/V | T/S1 |", "|---|---|---|---|---|---|---|"]
    for row in reference_rows():
        cells = [f"{each.value:.3f} ({each.low:.3f} .. {each.high:.3f})" for each in row.ratios.values()]
        lines.append(" | ".join([f"| {row.experiment}", row.model, f"{100 * row.V:.4g} %", *cells]) + " |")
    assert between("reference").splitlines() == lines
    remarks = [remark.strip() for remark in recompute.table7().remarks[1:]]
    assert between("random sets").splitlines() == ["```", *remarks, "```"]
    rows = [f"| `{name}` | {' | '.join(map(str, counts))} |" for name, counts in COUNTS.items()]
    assert [line.rpartition(" | ")[0] + " |" for line in between("cells").splitlines()[2:]] == rows
