"""Lines through what ``perf/growth.py`` measured, and what they say of sizes nobody ran. Pure: no file, no clock.

Cost of n = start + n * per unit, neither below 0. The line goes through the medians of the points and makes the
relative errors least, so that a second at 10^3 clips counts as much as a hundred at 10^5. The 95% intervals are those
of the repeats: every point's median is drawn anew from its runs (2000 times). They know of noise, and nothing of
whether the line holds beyond the last point; the largest residual, stated beside them, tells how well it holds before.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
MOST_NODES = 1 << 16
Record = dict[str, Any]
"""Of ``perf/results/growth.json``."""


@dataclass(frozen=True)
class Line:
    """``drawn`` (1 + draws, 2): start and cost per unit, first those of the medians. ``worst``: the residual of the
    point that lies farthest off, relative to it. ``last``: the largest n that was measured.
    """

    drawn: NDArray[np.float64]
    worst: float
    last: int

    @property
    def start(self) -> float:
        return float(self.drawn[0, 0])

    @property
    def per_unit(self) -> float:
        return float(self.drawn[0, 1])

    def at(self, n: float) -> float:
        return self.start + self.per_unit * n

    def interval(self, n: float) -> tuple[float, float]:
        """95%, of the cost of n."""
        low, high = np.percentile(self.drawn @ [1.0, n], [2.5, 97.5])
        return float(low), float(high)

    def per_unit_interval(self) -> tuple[float, float]:
        low, high = np.percentile(self.drawn[:, 1], [2.5, 97.5])
        return float(low), float(high)


def fit(sizes: Sequence[int], values: Sequence[Sequence[float]]) -> Line:
    """Of the runs (> 0) at each size. ValueError for fewer than two sizes."""
    if len(set(sizes)) < 2:
        raise ValueError(f"a line needs two sizes, not {sorted(set(sizes))}")
    random = np.random.default_rng(0)
    medians = [statistics.median(each) for each in values]
    drawn = [np.median(random.choice(each, (DRAWS, len(each))), axis=1) for each in values]
    y = np.vstack([medians, np.stack(drawn, axis=1)])  # (1 + DRAWS, points)
    n = np.array(sizes, dtype=np.float64)
    lines = _least_relative(n, y)
    residuals = (lines[0, 0] + lines[0, 1] * n) / y[0] - 1
    return Line(lines, float(residuals[np.argmax(np.abs(residuals))]), int(n.max()))


def _least_relative(n: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """n (points,), y (lines, points) -> (lines, 2), the least sums of ((start + n * per unit) / y - 1)^2."""
    largest = n.max()
    x, w = n / largest, 1 / y
    a, b, c = (w**2).sum(axis=1), (x * w**2).sum(axis=1), (x**2 * w**2).sum(axis=1)
    p, q = w.sum(axis=1), (x * w).sum(axis=1)
    start, slope = (c * p - b * q) / (a * c - b**2), (a * q - b * p) / (a * c - b**2)
    # Where one of them were negative it is 0, and the other what is best then.
    start, slope = np.where(slope < 0, p / a, start), np.where(start < 0, q / c, slope)
    return np.stack([np.maximum(start, 0), np.maximum(slope, 0) / largest], axis=1)


def points_of(record: Record, measure: str) -> list[Record]:
    """By size. KeyError where nothing of the name was measured."""
    found = sorted((p for p in record["points"] if p["measure"] == measure), key=lambda p: int(p["n"]))
    if not found:
        raise KeyError(measure)
    return found


def measures(record: Record) -> list[str]:
    return list(dict.fromkeys(point["measure"] for point in record["points"]))


def peak_mib(point: Record) -> float:
    """The largest of all runs. A process that ends between two looks is known by the kernel's figure alone."""
    return float(max(max(run["tree_mib"], run["largest_mib"]) for run in point["runs"]))


def time_line(record: Record, measure: str) -> Line:
    points = points_of(record, measure)
    return fit([p["n"] for p in points], [[run["wall_s"] for run in p["runs"]] for p in points])


def size_line(record: Record, measure: str) -> Line:
    """Bytes; every run of a size writes as many."""
    points = points_of(record, measure)
    return fit([p["n"] for p in points], [[p["out_bytes"]] for p in points])


@dataclass(frozen=True)
class Nodes:
    """Clips made as slices on nodes like the measured one, then merged on one of them, all on one file system that is
    as fast for all together as it was for one. ``per_slice``: seconds the merge takes longer for each slice.
    """

    make: Line
    merge: Line
    per_slice: float

    def slices_s(self, clips: float, nodes: int) -> float:
        return self.make.at(clips / nodes)

    def merge_s(self, clips: float, nodes: int) -> float:
        return self.merge.at(clips) + self.per_slice * max(0, nodes - 4)  # the line is of four slices

    def seconds(self, clips: float, nodes: int) -> float:
        """One node merges nothing."""
        return self.slices_s(clips, nodes) + (self.merge_s(clips, nodes) if nodes > 1 else 0.0)

    def limit(self) -> float:
        """How many times faster endlessly many nodes are (Amdahl); from as many nodes as that on, merging takes longer
        than making.
        """
        return self.make.per_unit / self.merge.per_unit if self.merge.per_unit else math.inf

    def best(self, clips: float) -> int:
        """The power of two of nodes, up to MOST_NODES, that is done first."""
        return min(
            (1 << power for power in range(MOST_NODES.bit_length())), key=lambda nodes: self.seconds(clips, nodes)
        )


def nodes_of(record: Record, domain: str) -> Nodes:
    slices = time_line(record, "tsgen merge of 10,000 clips")
    merge = time_line(record, f"tsgen merge of 4 slices, {domain}")
    return Nodes(time_line(record, f"tsgen make, {domain}"), merge, slices.per_unit)
