"""Does a simple quantity of a clip have the same distribution in every class?

Every quantity is cut into bins that hold about as many clips each (places: into the cells of such bins in x and y), and
class x bin is tested for independence by chi-square. So a difference of any form is seen, of spread as well as of
location; starts drawn from squares of different size around one centre differ in spread alone. The size of the effect
is Cramer's V, corrected for bias (Bergsma 2013): 0 no relation, 1 the quantity gives the class away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.audit.view import View
from tsgen.philox import kernel

DIFFERS_P = 0.001
DIFFERS_V = 0.1
CLIPS_A_CELL = 5  # expected in each cell of the table, the usual condition of the chi-square test
MOST_BINS = 16

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Marginal:
    """One quantity across the classes. ``means`` by class name, (x, y) for places; ``p`` None: too few to test."""

    name: str
    unit: str
    means: dict[str, list[float]]
    bins: int
    v: float | None
    p: float | None

    @property
    def differs(self) -> bool:
        """p < 0.001 and V >= 0.1: a difference that is neither chance nor trifling."""
        return self.v is not None and self.p is not None and self.p < DIFFERS_P and self.v >= DIFFERS_V

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "differs": self.differs}


def extent(corner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Longer side of the box around the path int64 (N, T, 2), in px between first and last corner. (N,)."""
    return np.asarray(np.ptp(corner, axis=1).max(axis=1))


def enclosing_circle(corner: NDArray[np.int64]) -> FloatArray:
    """Diameter of the smallest circle around the places on the path int64 (N, T, 2), px. float64 (N,)."""
    return np.asarray(_enclosing_diameters(np.ascontiguousarray(corner, dtype=np.float64)))


@kernel
def _enclosing_diameters(points: FloatArray) -> FloatArray:
    """(N, T, 2) to (N,): the smallest of all circles through two or three points that hold the others."""
    # Incremental (Welzl): a point outside the circle so far lies on the rim of the next one.
    diameters = np.zeros(len(points))
    for n in range(len(points)):
        p = points[n]
        x, y, r2 = p[0, 0], p[0, 1], 0.0
        for i in range(1, len(p)):
            if (p[i, 0] - x) ** 2 + (p[i, 1] - y) ** 2 <= r2 * (1 + 1e-12) + 1e-12:
                continue
            x, y, r2 = p[i, 0], p[i, 1], 0.0
            for j in range(i):
                if (p[j, 0] - x) ** 2 + (p[j, 1] - y) ** 2 <= r2 * (1 + 1e-12) + 1e-12:
                    continue
                x, y = (p[i, 0] + p[j, 0]) / 2, (p[i, 1] + p[j, 1]) / 2
                r2 = (p[i, 0] - x) ** 2 + (p[i, 1] - y) ** 2
                for k in range(j):
                    if (p[k, 0] - x) ** 2 + (p[k, 1] - y) ** 2 <= r2 * (1 + 1e-12) + 1e-12:
                        continue
                    bx, by = p[j, 0] - p[i, 0], p[j, 1] - p[i, 1]
                    cx, cy = p[k, 0] - p[i, 0], p[k, 1] - p[i, 1]
                    d, b2, c2 = 2 * (bx * cy - by * cx), bx * bx + by * by, cx * cx + cy * cy
                    if d == 0:
                        continue
                    ux, uy = (cy * b2 - by * c2) / d, (bx * c2 - cx * b2) / d
                    x, y, r2 = p[i, 0] + ux, p[i, 1] + uy, ux * ux + uy * uy
        diameters[n] = 2 * r2**0.5
    return diameters


def distinct_places(corner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Different whole-pixel places on the path int64 (N, T, 2). (N,), 1..T."""
    keys = np.sort(corner[..., 0] * 65536 + corner[..., 1], axis=1)
    return np.asarray(1 + (np.diff(keys, axis=1) != 0).sum(axis=1))


QUANTITIES: dict[str, tuple[str, Callable[[View], NDArray[Any]]]] = {
    "ink": ("grey", lambda view: view.ink.mean(axis=1)),
    "blank": ("frames", lambda view: view.blank.sum(axis=1)),
    "extent": ("px", lambda view: extent(view.corner)),
    "enclosing circle": ("px", lambda view: enclosing_circle(view.corner)),
    "places": ("distinct", lambda view: distinct_places(view.corner)),
    "start": ("px", lambda view: view.corner[:, 0]),
    "end": ("px", lambda view: view.corner[:, -1]),
    "mean place": ("px", lambda view: view.corner.mean(axis=1)),
}
"""Name -> unit and values, (N,) or (N, 2) for a place (x, y). A new quantity is one row."""


def measure_marginals(view: View, class_names: tuple[str, ...]) -> list[Marginal]:
    """All quantities of the table, for all clips of the file."""
    return [
        compare_classes(name, unit, np.asarray(values(view), dtype=np.float64), view.labels, class_names)
        for name, (unit, values) in QUANTITIES.items()
    ]


def compare_classes(
    name: str, unit: str, values: FloatArray, labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> Marginal:
    """``values`` float64 (N,) or (N, 2); ``labels`` int64 (N,)."""
    columns = values.reshape(len(values), -1)  # (N,) -> (N, 1)
    means = {
        class_name: [round(float(mean), 4) for mean in columns[labels == class_id].mean(axis=0)]
        for class_id, class_name in enumerate(class_names)
        if (labels == class_id).any()
    }
    table = np.zeros((0, 0))
    smallest = np.bincount(labels)[np.unique(labels)].min(initial=len(labels)) if len(labels) else 0
    most = min(MOST_BINS, int(smallest) // CLIPS_A_CELL)
    a_side = most if columns.shape[1] == 1 else int(most**0.5)
    if a_side >= 2 and len(means) >= 2:
        cell = np.zeros(len(columns), dtype=np.int64)
        for column in columns.T:
            cell = cell * (2 * a_side) + _equal_bins(column, a_side)
        table = np.zeros((len(class_names), (2 * a_side) ** columns.shape[1]))
        np.add.at(table, (labels, cell), 1)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
    v, p = cramers_v(table)
    return Marginal(name, unit, means, table.shape[1], v, p)


def cramers_v(table: FloatArray) -> tuple[float | None, float | None]:
    """Bias-corrected Cramer's V and the p-value of independence of a table of counts (R, K) without empty rows.

    (None, None) for an empty table; (0, 1) where there is only one column: the quantity is constant.
    """
    if not table.size:
        return None, None
    if min(table.shape) < 2:
        return 0.0, 1.0
    from scipy.stats import chi2_contingency

    found = chi2_contingency(table, correction=False)
    n, (rows, columns) = table.sum(), table.shape
    excess = max(0.0, found.statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    rows_, columns_ = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    return float(np.sqrt(excess / min(rows_ - 1, columns_ - 1))), float(found.pvalue)


def _equal_bins(values: FloatArray, count: int) -> NDArray[np.int64]:
    """0..2*count-1 by rank. A value as common as a whole bin has one to itself: of counts that are mostly 0, the
    others are told from the 0s."""
    edges = np.unique(np.quantile(values, np.arange(1, count) / count, method="inverted_cdf"))
    common = np.isin(edges, edges[[np.mean(values == edge) >= 1 / count for edge in edges]])
    above = np.searchsorted(edges, values, side="right")
    own = (above > 0) & (values == edges[above - 1]) & common[above - 1]
    return np.where(own, 2 * above - 1, 2 * above)
