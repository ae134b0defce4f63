"""What stands in a report: one entry for each group of seeds of one model, from any directory that can be scored."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import scoring
from benchmark.config import RunConfig
from benchmark.models import FAMILIES
from benchmark.predictions import Predictions
from benchmark.results import RunDirectory
from benchmark.scoring import SELECTION, Row, Scorecard
from benchmark.statistics import Correct
from benchmark.study_record import ASKED, Study, read_study
from benchmark.submission.record import REQUIRED_TARGETS
from benchmark.submission.truth import AnswerKeys
from tsgen.common.errors import DataError, UsageError

MAX_NAME = 80
COMPUTED = ("card", "correct", "study", "family")
NOT_PROTOCOL = ("model", "hidden", "source", "seeds")  # of a config; they have places of their own


@dataclass(frozen=True)
class BoardEntry:
    """A scorecard and where it comes from. Holds no path: ``origin`` is the name of the directory, without its parents.

    ``name`` is made of letters that are safe in a file name and unique after :func:`read_entries`. ``hidden`` 0: the
    model has no such choice. ``parameters`` None: not known. ``protocol``: how it was trained. ``trainings``: one
    record a seed. ``data``: the clip files. ``environments``: the different places where seeds were trained.
    ``card``: its targets stand as :func:`ordered_targets` says.
    ``correct``: of each row, bool (S, N), clips in the order of their ids; for comparisons, not part of the JSON.
    ``study``: the experiment that it is a ``family`` of, in the paper's words; None and "" for the others.
    """

    name: str
    origin: str
    kind: str
    model: str
    hidden: int
    parameters: int | None
    card: Scorecard
    protocol: dict[str, Any]
    trainings: tuple[dict[str, Any], ...]
    data: tuple[dict[str, Any], ...]
    environments: tuple[dict[str, Any], ...]
    correct: tuple[Correct, ...]
    study: Study | None = None
    family: str = ""

    @property
    def source(self) -> Row:
        return self.card.rows[0]

    @property
    def targets(self) -> tuple[Row, ...]:
        return self.card.rows[1:]

    @property
    def model_title(self) -> str:
        title = FAMILIES[self.model].title if self.model in FAMILIES else self.model
        return title if self.study is None else f"{self.study.config.letter}) {title}"

    @property
    def label(self) -> str:
        return f"{self.model_title}, h = {self.hidden}" if self.hidden else self.model_title

    @property
    def series_title(self) -> str:
        """Of the line that it is a point of."""
        return self.family or self.model_title

    @property
    def about(self) -> str:
        """What tells it from others of its model."""
        size = [f"h = {self.hidden}"] if self.hidden else []
        level = [f"at V = {self.study.config.level_text}"] if self.study else []
        return " · ".join([*size, *level, self.origin])

    def to_json(self) -> dict[str, Any]:
        plain = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in COMPUTED
        }
        lists = {name: list(plain[name]) for name in ("trainings", "data", "environments")}
        return {**plain, **lists, "scorecard": self.card.to_json()}


def _run_entries(path: Path, keys: AnswerKeys) -> list[BoardEntry]:
    run = RunDirectory(path)
    config = run.read_config()
    if not run.result_path.is_file():
        raise DataError(f"{path} is not finished: it has no result.json; continue it with rac-bench run --resume.")
    return [_entry(path.name, "run", config, run.read_predictions(config), [run])]


def _sweep_entries(path: Path, keys: AnswerKeys) -> list[BoardEntry]:
    from benchmark.sweep.store import SweepDirectory

    sweep = SweepDirectory(path)
    alike: dict[RunConfig, dict[int, RunDirectory]] = {}
    for job in sweep.begun_jobs():
        if sweep.state(job) == "done":
            alike.setdefault(dataclasses.replace(job.config, seeds=(0,)), {})[job.seed] = sweep.run_directory(job)
    entries = []
    for config, of_seed in alike.items():
        seeds = tuple(sorted(of_seed))
        predictions: dict[tuple[int, str], Predictions] = {}
        for seed in seeds:
            predictions |= of_seed[seed].read_predictions(dataclasses.replace(config, seeds=(seed,)))
        merged = dataclasses.replace(config, seeds=seeds)
        entries.append(_entry(path.name, "sweep", merged, predictions, [of_seed[seed] for seed in seeds]))
    return entries


def _study_entries(path: Path, keys: AnswerKeys) -> list[BoardEntry]:
    study = read_study(path)
    entries = []
    for row in study.reached:
        assert row.at_level is not None
        config = row.at_level.read_config()
        one = _entry(path.name, "study", config, row.at_level.read_predictions(config), [row.at_level])
        of_study = {"experiment": study.config.experiment, "level": study.config.at, "shrink": study.config.shrink}
        name = f"{study.config.letter}-{one.name}"
        entries.append(
            dataclasses.replace(one, name=name, protocol=of_study | one.protocol, study=study, family=row.title)
        )
    if not entries:
        best = ", ".join(f"{row.title} {row.best:.3f}" for row in study.rows)
        raise DataError(
            f"{path}: no family reached V = {study.config.level_text} (best: {best}); there is nothing to compare."
        )
    return entries


def _submission_entries(path: Path, keys: AnswerKeys) -> list[BoardEntry]:
    from benchmark.submission.check import check

    checked = check(path, keys)
    try:
        scored = checked.entry()
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from None
    targets = ordered_targets(scored.source, scored.targets)
    card = scoring.score(dataclasses.replace(scored, targets=targets), checked.predictions)
    one = checked.submission
    assert one is not None  # or there was no scorecard
    about = {"title": one.title, "authors": ", ".join(one.authors) or "-", "protocol": one.protocol}
    facts = {"selection": one.selection, "family": one.model.family, "pretraining": one.model.pretraining}
    domains = (one.source, *targets)
    clips = [
        {"domain": name, "split": each.split, "n": each.n, "content_hash": each.content_hash}
        for name, each in ((name, one.domains[name]) for name in domains)
    ]
    entry = BoardEntry(
        name=f"{one.model.name}-{one.source}",
        origin=path.name,
        kind="submission",
        model=one.model.name,
        hidden=0,
        parameters=one.model.parameters,
        card=card,
        protocol=about | facts,
        trainings=(),
        data=tuple(clips),
        environments=(),
        correct=tuple(_correct([checked.predictions[seed, domain] for seed in one.seeds]) for domain in domains),
    )
    return [entry]


KINDS: dict[str, tuple[str, Callable[[Path, AnswerKeys], list[BoardEntry]]]] = {
    "submission": ("submission.json", _submission_entries),
    "sweep": ("sweep.json", _sweep_entries),
    "run": ("config.json", _run_entries),
    "study": (ASKED, _study_entries),
}
"""Kind of directory -> the file by which it is known, and how its entries are read; a submission needs the truth."""


def entries_of(path: Path, keys: AnswerKeys) -> list[BoardEntry]:
    """Those of one directory of any kind. DataError when it is of none, unfinished, damaged or not admissible."""
    if path.is_file():
        return _submission_entries(path.resolve(), keys)
    if not path.is_dir():
        raise UsageError(f"{path} does not exist; give the directory of {_kinds()}, or the archive of a submission.")
    for marker, load in KINDS.values():
        if (path / marker).is_file():
            return load(path.resolve(), keys)
    raise DataError(f"{path} is not the directory of {_kinds()}.")


def read_entries(paths: Sequence[Path], keys: AnswerKeys | None = None) -> list[BoardEntry]:
    """Those of all directories, each with a name of its own. UsageError when one is given twice or none is done."""
    resolved = [path.resolve() for path in paths]
    twice = [str(path) for path, real in zip(paths, resolved, strict=True) if resolved.count(real) > 1]
    if twice:
        raise UsageError(f"given more than once: {', '.join(twice)}; each directory counts once.")
    truth = keys or AnswerKeys()
    entries = [entry for path in paths for entry in entries_of(path, truth)]
    if not entries:
        raise UsageError("nothing to report: no job of these sweeps is done.")
    return _named_apart(entries)


def ordered_targets(source: str, targets: Sequence[str]) -> tuple[str, ...]:
    """The required targets of ``source`` in their order, then the others by name."""
    required = [name for name in REQUIRED_TARGETS.get(source, ()) if name in targets]
    return (*required, *sorted(set(targets) - set(required)))


def _entry(
    origin: str,
    kind: str,
    config: RunConfig,
    predictions: dict[tuple[int, str], Predictions],
    runs: Sequence[RunDirectory],
) -> BoardEntry:
    """``runs``: the directories that hold the seeds of this entry."""
    trainings, environments = [], []
    for run in runs:
        result = run.read_result()
        try:
            for seed in result["seeds"]:
                trainings.append({name: seed[name] for name in ("seed", "epochs", "best_epoch", "stopped")})
            if result["environment"] not in environments:
                environments.append(dict(result["environment"]))
            parameters, data = int(result["parameters"]), tuple(dict(facts) for facts in result["data"])
        except (KeyError, TypeError, ValueError) as problem:
            raise DataError(f"{run.result_path} is damaged: {problem!r}.") from problem
    scored = runs[0].entry()  # its seeds alone differ from those of the others
    targets = ordered_targets(scored.source, scored.targets)
    scored = dataclasses.replace(scored, targets=targets, seeds=config.seeds)
    size = f"-h{config.hidden}" if config.hidden else ""
    protocol = {name: value for name, value in config.to_json().items() if name not in NOT_PROTOCOL}
    card = scoring.score(scored, predictions)
    chosen = {} if card.selection == SELECTION else {"selection": card.selection}
    return BoardEntry(
        name=f"{config.model}{size}-{config.source}",
        origin=origin,
        kind=kind,
        model=config.model,
        hidden=config.hidden,
        parameters=parameters,
        card=card,
        protocol=protocol | chosen,
        trainings=tuple(trainings),
        data=data,
        environments=tuple(environments),
        correct=tuple(_correct([predictions[seed, domain] for seed in scored.seeds]) for domain in scored.domains),
    )


def _correct(group: Sequence[Predictions]) -> Correct:
    """bool (S, N), clips in the order of their ids."""
    order = np.argsort(group[0].clip_id)
    return np.stack([each.correct[order] for each in group])


def _named_apart(entries: Sequence[BoardEntry]) -> list[BoardEntry]:
    """Names safe in a file name, also where upper and lower case are one, and unique: by the origin, else a number."""
    plain = [_safe(entry.name) for entry in entries]
    taken: set[str] = set()
    named = []
    for entry, name in zip(entries, plain, strict=True):
        chosen = name if plain.count(name) == 1 else _safe(f"{entry.origin}-{name}")
        number, base = 1, chosen
        while chosen.lower() in taken:
            number += 1
            chosen = f"{base}-{number}"
        taken.add(chosen.lower())
        named.append(dataclasses.replace(entry, name=chosen))
    return named


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:MAX_NAME] or "entry"


def _kinds() -> str:
    return " or ".join(f"a {kind}" for kind in KINDS)
