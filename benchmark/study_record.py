"""What an experiment of section 4.2 asked for and found: its record, read back from its folder. No torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import scoring, statistics
from benchmark.config import VIDEO_SOURCE
from benchmark.engine.levels import check_levels
from benchmark.experiments import DIVING48_EXPERIMENTS, LEAST_SIDE_PX, PREFIX, SMALL_FRAMES, Contender, Experiment
from benchmark.paper.reference import ReferenceRow, reference_rows
from benchmark.results import RunDirectory, read_json
from benchmark.scoring import Scorecard
from benchmark.statistics import Estimate
from tsgen.common.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmark.config import RunConfig
    from benchmark.predictions import Predictions

SCHEMA_VERSION = 1
ASKED, FOUND = "experiment.json", "result.json"
Pair = tuple[str, str]
"""(over, under) of a ratio of accuracies."""
PRINTED: tuple[Pair, ...] = (("S1", VIDEO_SOURCE), ("S2", VIDEO_SOURCE), ("T", VIDEO_SOURCE), ("T", "S1"))
"""The columns of main Tables 1-5 and supplement Tables 1-4."""
FACTORS: tuple[Pair, ...] = (("O", VIDEO_SOURCE), ("C", "O"), ("T", "C"))
"""T/V as a product: another list of clips, the same steps without an edit, the edit itself."""
SHOWN = (*PRINTED, *FACTORS)


def name_of(pair: Pair) -> str:
    return "/".join(pair)


@dataclass(frozen=True)
class StudyConfig:
    """``shrink`` divides the hidden units of every family, ``level`` replaces the paper's. Overrides are a run's."""

    experiment: str
    shrink: int = 1
    level: float | None = None

    def __post_init__(self) -> None:
        if self.letter not in DIVING48_EXPERIMENTS or not self.experiment.startswith(PREFIX):
            raise unknown_name("experiment", self.experiment, [PREFIX + letter for letter in DIVING48_EXPERIMENTS])
        if self.shrink < 1:
            raise UsageError(f"shrink {self.shrink} is not possible; allowed: 1 or more.")
        check_levels([self.at])
        for contender in self.contenders.values():
            if contender.hidden % 2 and contender.model.startswith("timesf"):
                raise UsageError(f"shrink {self.shrink} leaves {contender.model} an odd width; give a power of two.")

    @property
    def letter(self) -> str:
        return self.experiment.removeprefix(PREFIX)

    @property
    def of_paper(self) -> Experiment:
        return DIVING48_EXPERIMENTS[self.letter]

    @property
    def at(self) -> float:
        """The validation accuracy that checkpoints are compared at."""
        return self.of_paper.level if self.level is None else self.level

    @property
    def contenders(self) -> dict[str, Contender]:
        """Family title -> model and its hidden units."""
        full = self.of_paper.contenders
        return {
            title: dataclasses.replace(one, hidden=max(2, one.hidden // self.shrink)) for title, one in full.items()
        }

    def contenders_for(self, side_px: int) -> dict[str, Contender]:
        """The same, for frames whose shorter side is ``side_px``."""
        return {
            title: dataclasses.replace(one, model=SMALL_FRAMES[one.model])
            if side_px < LEAST_SIDE_PX.get(one.model, 0)
            else one
            for title, one in self.contenders.items()
        }

    @property
    def level_text(self) -> str:
        return f"{100 * self.at:g} %"

    @property
    def description(self) -> str:
        """What was matched, and how far the scale is the paper's; one line."""
        scale = "" if self.shrink == 1 else f", hidden units divided by {self.shrink}"
        other = "" if self.at == self.of_paper.level else f"; in the paper at V = {100 * self.of_paper.level:g} %"
        matched = f"matched by {self.of_paper.matched_by}, compared at V = {self.level_text}"
        return f"experiment {self.letter}: {matched}{scale}{other}"


@dataclass(frozen=True)
class StudyRow:
    """One family. ``card`` is of the level's checkpoints in ``at_level``; both None where no seed reached the level.

    ``best``: the highest source validation accuracy of any seed. ``ratios``: (over, under) -> interval, as in SHOWN;
    None where the data lacks a domain or nothing stands below the line. ``paper``: the printed row.
    """

    title: str
    model: str
    hidden: int
    parameters: int
    best: float
    seeds: tuple[int, ...]
    card: Scorecard | None
    ratios: dict[Pair, Estimate | None]
    paper: ReferenceRow
    at_level: RunDirectory | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.title,
            "model": self.model,
            "hidden": self.hidden,
            "parameters": self.parameters,
            "best_source_validation_accuracy": self.best,
            "seeds_at_level": list(self.seeds),
            "ratios": {name_of(pair): one and one.to_json() for pair, one in self.ratios.items()},
            "scorecard": self.card and self.card.to_json(),
            "paper": self.paper.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Study:
    """A finished experiment; two are the same only if they are one object. ``name``: of its folder.

    ``data``: store -> content hash. ``rows``: in the paper's order of families.
    """

    name: str
    config: StudyConfig
    overrides: dict[str, Any]
    data: dict[str, Any]
    rows: tuple[StudyRow, ...]

    @property
    def reached(self) -> tuple[StudyRow, ...]:
        return tuple(row for row in self.rows if row.card is not None)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **asked_of(self.config, self.overrides, self.data),
            "rows": [row.to_json() for row in self.rows],
        }


def asked_of(config: StudyConfig, overrides: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The content of experiment.json."""
    return {**dataclasses.asdict(config), "level": config.at, "overrides": dict(overrides), "data": dict(data)}


def row_of(letter: str, title: str, directory: RunDirectory, at_level: RunDirectory | None) -> StudyRow:
    """Computed from the predictions of a finished run. ``at_level`` None: the level was not reached."""
    config, result = directory.read_config(), directory.read_result()
    (paper,) = [row for row in reference_rows() if (row.experiment, row.model) == (letter, title)]
    parameters = result.get("parameters")
    if type(parameters) is not int:
        raise DataError(f"{directory.result_path} is damaged: parameters is {parameters!r}.")
    seeds: tuple[int, ...] = ()
    card, ratios = None, {}
    if at_level is not None:
        own = at_level.read_config()
        predictions = at_level.read_predictions(own)
        seeds, card, ratios = own.seeds, scoring.score(at_level.entry(), predictions), ratios_of(own, predictions)
    return StudyRow(
        title=title,
        model=config.model,
        hidden=config.hidden,
        parameters=parameters,
        best=max(_best(directory, seed) for seed in config.seeds),
        seeds=seeds,
        card=card,
        ratios=ratios,
        paper=paper,
        at_level=at_level,
    )


def read_study(folder: Path) -> Study:
    """The finished experiment in ``folder``, its numbers computed anew. DataError when it is unfinished or damaged."""
    asked = read_json(folder / ASKED)
    try:
        config = StudyConfig(asked["experiment"], asked["shrink"], float(asked["level"]))
        overrides, data = dict(asked["overrides"]), dict(asked["data"])
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as problem:
        raise DataError(f"{folder / ASKED} is damaged: {problem!r}.") from problem
    if not (folder / FOUND).is_file():
        raise DataError(
            f"{folder} is not finished: it has no {FOUND}; continue it with rac-bench run --experiment "
            f"{config.experiment} --resume and what it was begun with."
        )
    reached = _reached(folder / FOUND)
    rows = []
    for title, contender in config.contenders.items():
        models = [name for name in (contender.model, SMALL_FRAMES.get(contender.model)) if name]
        found = [one for one in map(RunDirectory, (folder / name for name in models)) if one.result_path.is_file()]
        if len(found) != 1 or title not in reached:
            raise DataError(f"{folder} is damaged: it holds no finished run of {' or '.join(models)} for {title}.")
        at_level = RunDirectory(found[0].path / level_folder(config.at)) if reached[title] else None
        if at_level and not at_level.result_path.is_file():
            raise DataError(f"{at_level.path} is missing, but {title} reached the level; do the study again.")
        rows.append(row_of(config.letter, title, found[0], at_level))
    return Study(folder.resolve().name, config, overrides, data, tuple(rows))


def level_folder(level: float) -> str:
    """Inside a run directory: where the answers of its checkpoints at ``level`` lie."""
    return f"level-{level!r}"


def _reached(path: Path) -> dict[str, bool]:
    """Family title -> whether any seed reached the level, as recorded."""
    result = read_json(path)
    try:
        if result["schema_version"] != SCHEMA_VERSION:
            raise DataError(f"{path} is not a result of schema version {SCHEMA_VERSION}.")
        return {str(row["family"]): bool(row["seeds_at_level"]) for row in result["rows"]}
    except (KeyError, TypeError) as problem:
        raise DataError(f"{path} is damaged: {problem!r}.") from problem


def _best(directory: RunDirectory, seed: int) -> float:
    path = directory.seed_path(seed, "metrics.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return max(float(json.loads(line)["val_accuracy"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{path} is damaged: {problem}; do the run again.") from problem


def ratios_of(
    config: RunConfig, predictions: Mapping[tuple[int, str], Predictions], pairs: Sequence[Pair] = SHOWN
) -> dict[Pair, Estimate | None]:
    """Of every pair. Domains of the same test clips are compared clip by clip, V has clips of its own."""
    import numpy as np

    correct: dict[str, NDArray[np.bool_]] = {}
    ids: dict[str, NDArray[np.int64]] = {}
    for domain in (config.source, *config.targets):
        group = [predictions[seed, domain] for seed in config.seeds]
        correct[domain] = np.stack([one.correct for one in group])
        ids[domain] = group[0].clip_id
    found: dict[Pair, Estimate | None] = {}
    for over, under in pairs:
        if over not in correct or under not in correct:
            found[over, under] = None
        elif under == config.source:
            found[over, under] = statistics.robustness_ratio(correct[under], correct[over])
        else:
            found[over, under] = statistics.target_ratio(correct[over], correct[under], ids[over], ids[under])
    return found
