"""The paper's results on Diving48 as reference rows: ratios as printed, with the interval their clips imply.

The paper reports no intervals and trained each model once. ``published_ratio`` gives each ratio the interval of the
delta method on its log, from the accuracies that the printed level and ratios imply and the sizes of the two sets. It
carries the clips alone: not the training, and not that V was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.experiments import DIVING48_EXPERIMENTS
from benchmark.paper.tables import RATIO_COLUMNS, printed_ratios, read_table
from benchmark.statistics.estimate import CLIPS, Estimate
from benchmark.statistics.published import published_accuracy, published_ratio
from tsgen.common.intervals import LEVEL

N_VAL = 1502
"""A random tenth of the V2 training list (section 3.3)."""
N_TARGET = 1970
"""The V2 test list, of which S1, S2 and T are made."""

CITATION = "Broomé et al., Recur, Attend or Convolve?"


@dataclass(frozen=True)
class ReferenceRow:
    """One model of one experiment. ``ratios``: column -> value as printed with its delta-method interval.

    ``V``: the accuracy at which the experiment compares checkpoints. ``asterisk``: printed beside T/V.
    ``texture_drop``: T/S1 < 1 by its whole interval, without which T/V says nothing about texture.
    """

    model: str
    experiment: str
    matched_by: str
    source: str
    V: float
    ratios: dict[str, Estimate]
    asterisk: bool
    n_val: int = N_VAL
    n_target: int = N_TARGET

    @property
    def accuracy(self) -> Estimate:
        """``V`` with the exact interval of its set: how well a level of accuracy is known from so many clips."""
        return published_accuracy(self.V, self.n_val)

    @property
    def texture_drop(self) -> bool:
        return self.ratios["T/S1"].high < 1

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "experiment": self.experiment,
            "matched_by": self.matched_by,
            "citation": CITATION,
            "source": self.source,
            "reported_with_intervals": False,
            "interval": {"method": "delta, binomial, log ratio", "level": LEVEL, "variance": CLIPS, "seeds": 1},
            "n_val": self.n_val,
            "n_target": self.n_target,
            "V": self.V,
            "V_interval": [self.accuracy.low, self.accuracy.high],
            "ratios": {
                column: {"value": ratio.value, "low": ratio.low, "high": ratio.high}
                for column, ratio in self.ratios.items()
            },
            "asterisk": self.asterisk,
            "texture_drop": self.texture_drop,
        }


def reference_rows(n_val: int = N_VAL, n_target: int = N_TARGET) -> tuple[ReferenceRow, ...]:
    """The 21 rows of main Tables 2-5 and supplement Tables 1-4."""
    rows = []
    for row in printed_ratios():
        experiment = DIVING48_EXPERIMENTS[row.experiment]
        V = experiment.level
        S1 = V * float(row.value("S1/V"))
        ratios = {}
        for column in RATIO_COLUMNS:
            below = (V, n_val) if column.endswith("/V") else (S1, n_target)
            ratio = published_ratio(float(row.value(column)), *below, n_target)
            assert ratio is not None  # every printed accuracy is between 0 and 1
            ratios[column] = ratio
        rows.append(
            ReferenceRow(
                model=row.model,
                experiment=row.experiment,
                matched_by=experiment.matched_by,
                source=read_table(row.table).source,
                V=V,
                ratios=ratios,
                asterisk=row.printed["T/V"].endswith("*"),
                n_val=n_val,
                n_target=n_target,
            )
        )
    return tuple(rows)
