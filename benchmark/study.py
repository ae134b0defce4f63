"""An experiment of section 4.2: matched families trained on videos, compared at one source validation accuracy.

OUT/experiment.json                   what was asked for
OUT/<model>/                          one run directory a family (:mod:`benchmark.results`)
OUT/<model>/level-<level>/            the same run, evaluated at the checkpoint that first reached the level
OUT/result.json                       the table, with intervals and the paper's numbers beside them; written last
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import statistics
from benchmark.config import VIDEO_SOURCE, make_config
from benchmark.engine.levels import check_levels
from benchmark.experiments import DIVING48_EXPERIMENTS, LEAST_SIDE_PX, PREFIX, SMALL_FRAMES, Contender
from benchmark.models import VIDEO_MODELS
from benchmark.results import RunDirectory, read_json
from benchmark.scoring import Scorecard
from benchmark.statistics import Estimate
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import write_json_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTORS = (("O", VIDEO_SOURCE), ("C", "O"), ("T", "C"))
"""T/V as a product: another list of clips, the same steps without an edit, the edit itself."""
SHOWN = (("S1", VIDEO_SOURCE), ("S2", VIDEO_SOURCE), ("T", VIDEO_SOURCE), ("T", "S1"), *FACTORS)


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
    def at(self) -> float:
        """The validation accuracy that checkpoints are compared at."""
        return DIVING48_EXPERIMENTS[self.letter].level if self.level is None else self.level

    @property
    def contenders(self) -> dict[str, Contender]:
        """Family title -> model and its hidden units."""
        full = DIVING48_EXPERIMENTS[self.letter].contenders
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


@dataclass(frozen=True)
class StudyRow:
    """One family. ``card`` is of the level's checkpoints; None where no seed reached the level.

    ``best``: the highest source validation accuracy of any seed. ``ratios``: (over, under) -> interval, as in SHOWN.
    """

    title: str
    model: str
    hidden: int
    parameters: int
    best: float
    seeds: tuple[int, ...]
    card: Scorecard | None
    ratios: dict[tuple[str, str], Estimate | None]

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.title,
            "model": self.model,
            "hidden": self.hidden,
            "parameters": self.parameters,
            "best_source_validation_accuracy": self.best,
            "seeds_at_level": list(self.seeds),
            "ratios": {f"{over}/{under}": one and one.to_json() for (over, under), one in self.ratios.items()},
            "scorecard": self.card and self.card.to_json(),
        }


def run_study(
    study: StudyConfig,
    folder: Path,
    out: Path,
    *,
    overrides: dict[str, Any],
    say: Callable[[str], None] = lambda line: None,
    **where: Any,
) -> list[StudyRow]:
    """Train and evaluate what is not done yet; the rows of the table, written to ``out`` as well.

    Section 4.2. Under torchrun all processes train each family together; the first one evaluates and has the rows.

    ``overrides``: fields of RunConfig that replace the protocol's; ``where``: device, threads, resume and quiet of
    :func:`benchmark.run.run`. UsageError when ``out`` holds another experiment.
    """
    from benchmark.engine.device import select_device
    from benchmark.engine.ranks import check_shared_batch, is_first_rank
    from benchmark.run import evaluate_level, run
    from benchmark.video_data import open_folder, sizes

    stores = open_folder(folder)
    side = min(stores["train"].clip_shape[1:3])
    configs = {
        title: make_config(
            "d48", model=contender.model, hidden=contender.hidden, source=VIDEO_SOURCE, **sizes(stores), **overrides
        )
        for title, contender in study.contenders_for(side).items()
    }
    select_device(str(where.get("device", "auto")))
    for config in configs.values():
        check_shared_batch(config.batch_size)
    data = {name: store.content_hash for name, store in stores.items()}
    asked = {**dataclasses.asdict(study), "level": study.at, "overrides": overrides, "data": data}
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a directory.")
    record = out / "experiment.json"
    if record.exists() and read_json(record) != json.loads(json.dumps(asked)):
        raise UsageError(f"--out {out} holds another experiment, or one on other data: {record}; give another folder.")
    if is_first_rank():
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(record, asked)
    rows = []
    for title, config in configs.items():
        say(f"{title}: {VIDEO_MODELS[config.model].title}, h = {config.hidden}")
        directory = run(config, out / config.model, digits=None, data_dir=folder, levels=(study.at,), say=say, **where)
        if not is_first_rank():
            continue
        at_level = evaluate_level(directory, study.at, folder, device=str(where.get("device", "auto")), say=say)
        rows.append(row_of(title, directory, at_level))
    if is_first_rank():
        write_json_atomic(out / "result.json", {"schema_version": 1, **asked, "rows": [row.to_json() for row in rows]})
    return rows


def row_of(title: str, directory: RunDirectory, at_level: RunDirectory | None) -> StudyRow:
    """Computed from the predictions of a finished run. ``at_level`` None: the level was not reached."""
    config, result = directory.read_config(), directory.read_result()
    best = max(_best(directory, seed) for seed in config.seeds)
    card = at_level.scorecard() if at_level else None
    return StudyRow(
        title=title,
        model=config.model,
        hidden=config.hidden,
        parameters=int(result["parameters"]),
        best=best,
        seeds=at_level.read_config().seeds if at_level else (),
        card=card,
        ratios=_ratios(at_level) if at_level else {},
    )


def _best(directory: RunDirectory, seed: int) -> float:
    path = directory.seed_path(seed, "metrics.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return max(float(json.loads(line)["val_accuracy"]) for line in lines)
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(f"{path} is damaged: {problem}; do the run again.") from problem


def _ratios(directory: RunDirectory) -> dict[tuple[str, str], Estimate | None]:
    """Of every pair of SHOWN. Domains of the same test clips are compared clip by clip, V has clips of its own."""
    import numpy as np

    config = directory.read_config()
    predictions = directory.read_predictions(config)
    correct: dict[str, NDArray[np.bool_]] = {}
    ids: dict[str, NDArray[np.int64]] = {}
    for domain in (config.source, *config.targets):
        group = [predictions[seed, domain] for seed in config.seeds]
        correct[domain] = np.stack([one.correct for one in group])
        ids[domain] = group[0].clip_id
    found: dict[tuple[str, str], Estimate | None] = {}
    for over, under in SHOWN:
        if under == config.source:
            found[over, under] = statistics.robustness_ratio(correct[under], correct[over])
        else:
            found[over, under] = statistics.target_ratio(correct[over], correct[under], ids[over], ids[under])
    return found


def render_study(study: StudyConfig, rows: list[StudyRow]) -> str:
    """Plain text; no trailing newline."""
    experiment = DIVING48_EXPERIMENTS[study.letter]
    scale = "" if study.shrink == 1 else f", hidden units divided by {study.shrink}"
    lines = [
        f"experiment {study.letter}: matched by {experiment.matched_by}, compared at V = {100 * study.at:g} %{scale}",
        "",
    ]
    names = [f"{over}/{under}" for over, under in SHOWN]
    width = 20
    head = f"{'family':<12}{'h':>4}{'parameters':>12}{'V':>7}  " + "".join(f"{name:<{width}}" for name in names[:4])
    lines += [head.rstrip(), "-" * len(head.rstrip())]
    for row in rows:
        start = f"{row.title:<12}{row.hidden:>4}{row.parameters:>12}"
        if row.card is None:
            lines.append(f"{start}{'-':>7}  the level was not reached: best V {row.best:.3f}")
            continue
        cells = "".join(f"{_cell(row.ratios[pair]):<{width}}" for pair in SHOWN[:4])
        lines.append(f"{start}{row.card.rows[0].accuracy.value:>7.3f}  {cells}".rstrip())
    reached = [row for row in rows if row.card is not None]
    if reached:
        lines += ["", f"T/V = {' x '.join(f'{over}/{under}' for over, under in FACTORS)}: clips, re-encoding, texture"]
        for row in reached:
            cells = "".join(f"{_cell(row.ratios[pair]):<{width}}" for pair in FACTORS)
            lines.append(f"{row.title:<12}{'':>23}  {cells}".rstrip())
        lines += ["", "Brackets: 95% intervals. Ratios of test domains compare the same clips, those over V do not."]
    return "\n".join(lines)


def _cell(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
