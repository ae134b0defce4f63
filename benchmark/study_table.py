"""The tables of section 4.2 from studies: what is marked in them, averages over experiments, and plain text. No torch.

The same rules serve the terminal, the pages and the exports (:mod:`benchmark.report.study`).
"""

from __future__ import annotations

import json
import statistics as plain
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.config import VIDEO_SOURCE
from benchmark.paper.reference import N_TARGET, N_VAL
from benchmark.paper.tables import read_table
from benchmark.statistics import Estimate
from benchmark.statistics.rules import NOT_DROPPED, OPEN
from benchmark.study_record import FACTORS, PRINTED, Pair, Study, StudyConfig, StudyRow, name_of

TEXTURE_PAIR: Pair = ("T", VIDEO_SOURCE)
LOWER_IS_BETTER = (TEXTURE_PAIR, ("T", "S1"))
MARKS = {NOT_DROPPED: "*", OPEN: "*?"}
WIDTH = 22  # of a column of plain text
LINE_WIDTH = 110

MARK_WORDS = (
    "* beside T/V: T/S1 < 1 does not hold, so a low T/V says nothing about texture; *?: that is open, its interval "
    "holds 1. The paper marks only the lowest T/V, by the value alone."
)
BEST_WORDS = (
    "Bold: the best value of a column, the highest S1/V and S2/V, the lowest T/S1 and the lowest T/V without a mark; "
    "rac-bench compare says whether it is surely better."
)
FACTOR_WORDS = (
    f"T/V = {' x '.join(map(name_of, FACTORS))}: another list of clips, the same steps without an edit, the edit itself"
)
PAIRED_WORDS = "Brackets: 95% intervals. Ratios of test domains compare the same clips, those over V do not."
AVERAGE_WORDS = (
    "Mean and standard deviation (ddof = 1) over the experiments whose level a family reached with a V above guessing, "
    "as in the paper's Table 1. They are no interval: experiments share clips, and some of them the same model."
)


def mark_of(row: StudyRow, pair: Pair) -> str:
    """The paper's asterisk beside T/V, by the interval of T/S1; with a question mark where that is open."""
    if pair != TEXTURE_PAIR or row.card is None:
        return ""
    return MARKS.get(row.card.texture_verdict or OPEN, "")


def paper_mark(row: StudyRow, pair: Pair) -> str:
    return "*" if pair == TEXTURE_PAIR and row.paper.asterisk else ""


def best_of(rows: Sequence[StudyRow], pair: Pair) -> frozenset[str]:
    """Families whose value is set in bold, several where they are equal; empty with fewer than two, or for a factor.

    A ratio over a V that is not above guessing takes no part, nor does a marked T/V.
    """
    known = [(row, row.ratios.get(pair)) for row in rows if row.card is not None and row.card.valid]
    values = [(row, one.value) for row, one in known if one is not None]
    unmarked = {row.title: value for row, value in values if not mark_of(row, pair)}
    if pair not in PRINTED or len(values) < 2 or not unmarked:
        return frozenset()
    best = (min if pair in LOWER_IS_BETTER else max)(unmarked.values())
    return frozenset(title for title, value in unmarked.items() if value == best)


def printed_text(value: float) -> str:
    """Three significant digits, as the paper prints ratios: 0.230, 1.06."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def sizes_of(rows: Sequence[StudyRow]) -> tuple[int, int] | None:
    """Clips of V and of the first target; None where no family reached the level."""
    cards = [row.card for row in rows if row.card is not None]
    return (cards[0].rows[0].n, cards[0].rows[1].n) if cards else None


def paper_words(rows: Sequence[StudyRow]) -> str:
    """What the paper's numbers are, and whether they can be of the same clips."""
    table = rows[0].paper.source
    text = (
        f"Paper: {table}, on Diving48 ({N_VAL} and {N_TARGET} clips, one training each); its brackets follow from "
        "these numbers of clips and were not printed."
    )
    sizes = sizes_of(rows)
    if sizes and sizes != (N_VAL, N_TARGET):
        text += f" Here: {sizes[0]} and {sizes[1]} clips, which are other data."
    return text


@dataclass(frozen=True)
class Average:
    """One family in Table 1. ``mean``: of each column of PRINTED; ``deviation`` None for one experiment.

    ``experiments``: letters of those that it reached. ``paper``: the printed cells.
    """

    title: str
    experiments: str
    mean: dict[Pair, float]
    deviation: dict[Pair, float | None]
    paper: dict[str, str]

    def text(self, pair: Pair) -> str:
        """``0.255 ± 0.026``; "-" where no experiment has the ratio."""
        if pair not in self.mean:
            return "-"
        deviation = self.deviation[pair]
        return printed_text(self.mean[pair]) + ("" if deviation is None else f" ± {deviation:.3f}")

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.title,
            "experiments": list(self.experiments),
            "mean": {name_of(pair): value for pair, value in self.mean.items()},
            "deviation": {name_of(pair): value for pair, value in self.deviation.items()},
            "paper": self.paper,
        }


def averages_of(studies: Sequence[Study]) -> list[Average]:
    """Table 1 of studies that :func:`comparable` put together; empty for fewer than two."""
    if len(studies) < 2:
        return []
    averages = []
    for printed in read_table("main1").records():
        title = printed.pop("model")
        rows = [
            (study.config.letter, row)
            for study in studies
            for row in study.reached
            if row.title == title and row.card and row.card.valid
        ]
        if not rows:
            continue
        values = {pair: [one.value for _, row in rows if (one := row.ratios[pair]) is not None] for pair in PRINTED}
        known = {pair: each for pair, each in values.items() if each}
        averages.append(
            Average(
                title=title,
                experiments="".join(letter for letter, _ in rows),
                mean={pair: plain.fmean(each) for pair, each in known.items()},
                deviation={pair: plain.stdev(each) if len(each) > 1 else None for pair, each in known.items()},
                paper=printed,
            )
        )
    return averages


def comparable(studies: Sequence[Study]) -> list[list[Study]]:
    """Groups on the same data, at one scale and protocol, each with every experiment once, in the paper's order."""
    groups: dict[str, list[list[Study]]] = {}
    for study in sorted(studies, key=lambda each: each.config.letter):
        alike = json.dumps([study.data, study.overrides, study.config.shrink], sort_keys=True)
        places = groups.setdefault(alike, [])
        letter = study.config.letter
        free = next((each for each in places if letter not in {one.config.letter for one in each}), None)
        if free is None:
            places.append([study])
        else:
            free.append(study)
    return [group for places in groups.values() for group in places]


def render_study(study: StudyConfig, rows: Sequence[StudyRow]) -> str:
    """Plain text; no trailing newline."""
    lines = [study.description, ""]
    names = "".join(f"{name_of(pair):<{WIDTH}}" for pair in PRINTED)
    head = f"{'family':<12}{'h':>4}{'parameters':>12}{'V':>7}  {names}".rstrip()
    lines += [head, "-" * len(head)]
    for row in rows:
        start = f"{row.title:<12}{row.hidden:>4}{row.parameters:>12}"
        if row.card is None:
            lines.append(f"{start}{'-':>7}  the level was not reached: best V {row.best:.3f}")
        else:
            cells = "".join(f"{_cell(row.ratios[pair], mark_of(row, pair)):<{WIDTH}}" for pair in PRINTED)
            invalid = "" if row.card.valid else "  V is not above guessing"
            lines.append(f"{start}{row.card.rows[0].accuracy.value:>7.3f}  {cells}".rstrip() + invalid)
        cells = "".join(f"{_cell(row.paper.ratios[name_of(pair)], paper_mark(row, pair)):<{WIDTH}}" for pair in PRINTED)
        lines.append(f"{'  paper':<28}{row.paper.V:>7.3f}  {cells}".rstrip())
    reached = [row for row in rows if row.card is not None]
    if reached:
        heads = "".join(f"{name_of(pair):<{WIDTH}}" for pair in FACTORS)
        lines += ["", FACTOR_WORDS, f"{'':>35}  {heads}".rstrip()]
        for row in reached:
            cells = "".join(f"{_cell(row.ratios[pair]):<{WIDTH}}" for pair in FACTORS)
            lines.append(f"{row.title:<12}{'':>23}  {cells}".rstrip())
        lines += ["", PAIRED_WORDS]
        if any(mark_of(row, TEXTURE_PAIR) for row in reached):
            lines.append(textwrap.fill(MARK_WORDS, LINE_WIDTH))
    return "\n".join([*lines, *([] if reached else [""]), textwrap.fill(paper_words(rows), LINE_WIDTH)])


def _cell(estimate: Estimate | None, mark: str = "") -> str:
    if estimate is None:
        return "-"
    return f"{printed_text(estimate.value)}{mark} [{estimate.low:.2f}, {estimate.high:.2f}]"
