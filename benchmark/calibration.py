"""Does the paper's measure of texture bias rise with the texture bias? A study on clips where the bias is a dial.

Mini-Diving48 lets the venue follow the class with probability rho (:mod:`diving48_domains.mini.config`). For every rho
the families of experiment a are trained alike, and the ratios of section 4.2 are set against rho, with true masks and
with those of a segmenter. Beside them stands what the paper could not measure: accuracy on ``O-swap``, whose venues
are those of other classes. What a model loses there it owes to the venue, whatever any mask shows.

OUT/calibration.json                what was asked for
OUT/rho-<rho>/<model>/              run directories
OUT/result.json, calibration.svg    the table and the figure, written last
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark import scoring
from benchmark.calibration_config import EXPERIMENT, FOUND, CalibrationConfig
from benchmark.config import VIDEO_SOURCE, RunConfig, make_config
from benchmark.data_folder import data_folder
from benchmark.results import RunDirectory, read_json
from benchmark.statistics import Estimate, accuracy
from benchmark.study_record import Pair, StudyConfig, name_of, ratios_of
from tsgen.common.errors import UsageError
from tsgen.common.files import write_json_atomic
from tsgen.common.intervals import LEVEL

ASKED = "calibration.json"
SWAP = ("O-swap", "O")
MEASURES: dict[Pair, str] = {
    ("T", "S1"): "T/S1, true masks",
    ("T-predicted", "S1-predicted"): "T/S1, predicted masks",
    ("T_union", "S1"): "T_union/S1, true masks",
    ("T", VIDEO_SOURCE): "T/V, true masks",
    ("T-predicted", VIDEO_SOURCE): "T/V, predicted masks",
    SWAP: "accuracy kept when textures are swapped",
}
"""(over, under) -> its title. All are to rise with the texture bias; the last is to fall."""


@dataclass(frozen=True)
class CalibrationRow:
    """One family at one rho. ``accuracies``: domain -> interval; ``ratios``: of MEASURES, None where not defined;
    ``data``: domain -> content hash of its clips; ``valid``: V is above guessing by its interval. Ratios that are not
    valid mean nothing and take no part in trends.
    """

    title: str
    model: str
    hidden: int
    rho: float
    seeds: tuple[int, ...]
    accuracies: dict[str, Estimate]
    ratios: dict[Pair, Estimate | None]
    data: dict[str, str] = field(default_factory=dict)
    valid: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.title,
            "model": self.model,
            "hidden": self.hidden,
            "rho": self.rho,
            "seeds": list(self.seeds),
            "accuracies": {domain: one.to_json() for domain, one in self.accuracies.items()},
            "ratios": {name_of(pair): one and one.to_json() for pair, one in self.ratios.items()},
            "data": self.data,
            "above_guessing": self.valid,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CalibrationRow:
        """A row of result.json, as :meth:`to_json` wrote it."""
        return cls(
            title=value["family"],
            model=value["model"],
            hidden=value["hidden"],
            rho=value["rho"],
            seeds=tuple(value["seeds"]),
            accuracies={domain: _estimate(one) for domain, one in value["accuracies"].items()},
            ratios={pair: one and _estimate(one) for pair in MEASURES for one in [value["ratios"][name_of(pair)]]},
            data=value["data"],
            valid=value["above_guessing"],
        )


def _estimate(value: dict[str, Any]) -> Estimate:
    return Estimate(**{**value, "high": math.inf if value["high"] is None else value["high"]})


@dataclass(frozen=True)
class Trend:
    """``slope``: what a ratio gains from rho = 0 to 1, with its interval; ``points``: from so many rhos."""

    title: str
    measure: Pair
    slope: float
    low: float
    high: float
    points: int

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "rises"
        return "falls" if self.high < 0 else "no trend seen"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "measure": name_of(self.measure), "verdict": self.verdict}


def calibrate(
    config: CalibrationConfig,
    out: Path,
    *,
    overrides: dict[str, Any],
    say: Callable[[str], None] = lambda line: None,
    resume: bool = False,
    **where: Any,
) -> list[CalibrationRow]:
    """Train and evaluate what is not done yet; the rows by family and rho, written to ``out`` as well.

    ``overrides``: fields of RunConfig; ``where``: device, threads and quiet of :func:`benchmark.run.run`. UsageError
    when ``out`` holds another calibration, or this one without ``resume``.
    """
    from benchmark.run import Library, run

    asked = json.loads(json.dumps({**asdict(config), "overrides": overrides}))
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a directory.")
    record = out / ASKED
    if record.exists() and (read_json(record) != asked or not resume):
        raise UsageError(f"--out {out} holds a calibration; continue the same with --resume, or give another folder.")
    make_config("d48", source=VIDEO_SOURCE, **overrides)
    folders = {rho: data_folder(config.data(rho), say) for rho in config.rhos}
    jobs = [job for rho, folder in folders.items() for job in _jobs(config, rho, folder, overrides)]
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomic(record, asked)
    rows, library = [], Library()
    for job in jobs:
        say(f"rho = {job.rho:g}, {job.title}")
        place = out / f"rho-{job.rho:g}" / job.config.model
        run(job.config, place, digits=None, data_dir=job.folder, resume=True, say=say, library=library, **where)
        rows.append(row_of(job.title, job.rho, RunDirectory(place)))
    rows.sort(key=lambda row: (list(StudyConfig(EXPERIMENT).contenders).index(row.title), row.rho))
    return rows


@dataclass(frozen=True)
class _Job:
    rho: float
    title: str
    config: RunConfig
    folder: Path


def _jobs(config: CalibrationConfig, rho: float, folder: Path, overrides: dict[str, Any]) -> list[_Job]:
    """Of each family, its config checked and its model known to fit the frames, before the first is trained."""
    from benchmark.models import FAMILIES, count_parameters
    from benchmark.models.specs import ClipShape
    from benchmark.video_data import open_folder, settings_of

    stores = open_folder(folder)
    T, H, W, C = stores["train"].clip_shape
    study = StudyConfig(EXPERIMENT, config.shrink)
    jobs = []
    for title, contender in (config.bed.contenders or study.contenders_for(min(H, W))).items():
        asked = {"model": contender.model, "hidden": contender.hidden, "source": VIDEO_SOURCE}
        jobs.append(_Job(rho, title, make_config("d48", **asked, **settings_of(stores), **overrides), folder))
        count_parameters(FAMILIES[contender.model].spec_of(contender.hidden), ClipShape(T, C, H, W))
    return jobs


def record(
    config: CalibrationConfig, overrides: dict[str, Any], rows: Sequence[CalibrationRow], out: Path
) -> dict[str, Any]:
    """What was asked and found, written to ``out`` as result.json."""
    found = {
        "schema_version": 1,
        **asdict(config),
        "overrides": overrides,
        "rows": [row.to_json() for row in rows],
        "trends": [trend.to_json() for trend in trends_of(rows)],
    }
    write_json_atomic(out / FOUND, found)
    return found


def row_of(title: str, rho: float, directory: RunDirectory) -> CalibrationRow:
    """Of the checkpoints with the best V of a finished run."""
    import numpy as np

    config = directory.read_config()
    predictions = directory.read_predictions(config)
    accuracies = {
        domain: accuracy(np.stack([predictions[seed, domain].correct for seed in config.seeds]))
        for domain in (config.source, *config.targets)
    }
    ratios = ratios_of(config, predictions, tuple(MEASURES))
    data = {domain: predictions[config.seeds[0], domain].content_hash for domain in accuracies}
    valid = scoring.score(directory.entry(), predictions).valid
    return CalibrationRow(title, config.model, config.hidden, rho, config.seeds, accuracies, ratios, data, valid)


def trends_of(rows: Sequence[CalibrationRow]) -> list[Trend]:
    """Of each family and measure with three rhos or more: a line through the ratios over rho, by least squares.

    Its interval comes from how far the points lie off the line (Student's t), and so carries what trainings differ by,
    which the interval of one training's ratio does not.
    """
    found = []
    for title in dict.fromkeys(row.title for row in rows):
        for pair in MEASURES:
            ratios = [(row.rho, row.ratios[pair]) for row in rows if row.title == title and row.valid]
            points = [(rho, one.value) for rho, one in ratios if one is not None]
            if len({rho for rho, _ in points}) >= 3:
                found.append(_trend(title, pair, points))
    return found


def _trend(title: str, pair: Pair, points: Sequence[tuple[float, float]]) -> Trend:
    from scipy.special import stdtrit

    n = len(points)
    mean_rho, mean = (sum(each) / n for each in zip(*points, strict=True))
    spread = sum((rho - mean_rho) ** 2 for rho, _ in points)
    slope = sum((rho - mean_rho) * (value - mean) for rho, value in points) / spread
    rest = sum((value - mean - slope * (rho - mean_rho)) ** 2 for rho, value in points)
    half = float(stdtrit(n - 2, (1 + LEVEL) / 2)) * math.sqrt(rest / (n - 2) / spread)
    return Trend(title, pair, slope, slope - half, slope + half, n)
