"""What rounding leaves open: ranges of printed numbers, and whole counts of clips behind printed ratios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import product
from statistics import mean, stdev

from benchmark.paper.reference import N_TARGET, N_VAL
from benchmark.paper.tables import PrintedRatios, read_table

Range = tuple[Decimal, Decimal]


def range_of(printed: str) -> Range:
    """All numbers that are printed so: half a unit of the last digit to each side, both ends included."""
    value = Decimal(printed)
    half = Decimal(1).scaleb(int(value.as_tuple().exponent)) / 2
    return value - half, value + half


def ratio_range(above: str, below: str) -> Range:
    """All quotients of numbers that are printed so."""
    (above_low, above_high), (below_low, below_high) = range_of(above), range_of(below)
    return above_low / below_high, above_high / below_low


def mean_range(printed: Sequence[str]) -> Range:
    lows, highs = zip(*map(range_of, printed), strict=True)
    return mean(lows), mean(highs)


def deviation_range(printed: Sequence[str]) -> Range:
    """Sample deviations (ddof = 1) at the 2^n corners; all between them are possible, smaller ones perhaps too."""
    corners = [stdev(corner) for corner in product(*map(range_of, printed))]
    return min(corners), max(corners)


def overlap(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def rows_without_whole_counts(rows: Iterable[PrintedRatios]) -> list[PrintedRatios]:
    return [row for row in rows if not has_whole_counts(row, *level_range(row))]


def level_range(row: PrintedRatios) -> Range:
    """The V that are printed as the level in the caption of the row's table."""
    percent = next(word for word in read_table(row.table).caption.split() if word.endswith("%"))
    low, high = range_of(percent.rstrip("%"))
    return low / 100, high / 100


def has_whole_counts(
    row: PrintedRatios, v_low: Decimal, v_high: Decimal, n_val: int = N_VAL, n_target: int = N_TARGET
) -> bool:
    """Whether whole numbers of right clips out of ``n_val`` and ``n_target`` give all four ratios as printed."""
    ts_low, ts_high = range_of(row.printed["T/S1"])
    for v in _whole(v_low * n_val, v_high * n_val):
        V = Decimal(v) / n_val
        s1, s2, t = (
            _whole(*(end * V * n_target for end in range_of(row.digits(column)))) for column in ("S1/V", "S2/V", "T/V")
        )
        if s2 and any(ts_low * below <= above <= ts_high * below for above in t for below in s1):
            return True
    return False


def _whole(low: Decimal, high: Decimal) -> range:
    return range(int(low.to_integral_value(ROUND_CEILING)), int(high.to_integral_value(ROUND_FLOOR)) + 1)
