"""What each model answered on the same test clips of S1, S2 and T, read from run directories, levels and studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.config import VIDEO_SOURCE, RunConfig
from benchmark.models import FAMILIES
from benchmark.predictions import Predictions, predictions_path, read_predictions
from benchmark.results import RunDirectory, read_json
from benchmark.study_record import ASKED, level_folder
from tsgen.common.errors import DataError, UsageError

DOMAINS = ("S1", "S2", "T")
"""Of Table 6. The wrong answers of Table 7 are those on the first two, which leave the shape."""
ORIGINAL = "O"


@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """One training of a model. ``top``: domain -> int64 (N, K), the K = min(5, C) best classes of each test clip.

    ``title`` is as short as tells the models of one :class:`Answered` apart, ``family`` is the whole of it. ``origin``:
    the folder, without its parents.
    ``source_hits``, ``source_clips``: right answers on V. ``others``: seeds of the folder that are not this one.
    """

    title: str
    family: str
    hidden: int
    origin: str
    seed: int
    others: tuple[int, ...]
    selection: str
    source_hits: int
    source_clips: int
    top: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Answered:
    """clip_id and label int64 (N,), by clip_id: test clips that all models answered on all domains.

    ``hashes``: domain -> content hash of its clips; DOMAINS, and ``O`` where every model was evaluated on it.
    ``left_out``: a line for each family of a study that has no checkpoint at its level.
    """

    class_names: tuple[str, ...]
    clip_id: NDArray[np.int64]
    label: NDArray[np.int64]
    hashes: dict[str, str]
    models: tuple[ModelAnswers, ...]
    left_out: tuple[str, ...] = ()

    @property
    def populated(self) -> tuple[int, ...]:
        """Classes with clips."""
        return tuple(np.unique(self.label).tolist())


def read_answered(paths: Sequence[Path], run_seed: int | None = None) -> Answered:
    """The models in ``paths``.

    A path is a run directory on videos, the folder of a level, or the OUT of a study, whose level folders are taken.
    ``run_seed``: the training seed to read; None: the first of each. UsageError for runs on Temporal Shape, without S1,
    S2 or T, or without that seed; DataError where predictions are missing or models answered other clips.
    """
    found: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        runs, without = _runs_of(path)
        found += runs
        left_out += without
    resolved = [path.resolve() for path in found]
    twice = [str(path) for path, real in zip(found, resolved, strict=True) if resolved.count(real) > 1]
    if twice:
        raise UsageError(f"given more than once: {', '.join(dict.fromkeys(twice))}; each model counts once.")
    configs = [RunDirectory(path).read_config() for path in found]
    for path, config in zip(found, configs, strict=True):
        _check_run(path, config, run_seed)
    domains = [*([ORIGINAL] if all(ORIGINAL in config.targets for config in configs) else []), *DOMAINS]
    seeds = [config.seeds[0] if run_seed is None else run_seed for config in configs]
    read = [_read(path, config, seed, domains) for path, config, seed in zip(found, configs, seeds, strict=True)]
    first = read[0]
    for path, each in zip(found[1:], read[1:], strict=True):
        _check_same(found[0], first, path, each, domains)
    reference = first[DOMAINS[0]]
    order = np.argsort(reference.clip_id)
    _check_domains(found[0], first, domains)
    models = tuple(
        _model(path, config, seed, each, domains)
        for path, config, seed, each in zip(found, configs, seeds, read, strict=True)
    )
    return Answered(
        class_names=reference.class_names,
        clip_id=reference.clip_id[order],
        label=reference.label[order],
        hashes={domain: first[domain].content_hash for domain in domains},
        models=_named_apart(models),
        left_out=tuple(left_out),
    )


def _runs_of(path: Path) -> tuple[list[Path], list[str]]:
    """Run directories of a path, and which models of a study have none at its level."""
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder; give a run, a level folder, or the --out of run --experiment.")
    if not (path / ASKED).is_file():
        return [path], []
    record = read_json(path / ASKED)
    level = record.get("level") if isinstance(record, dict) else None
    if not isinstance(level, float):
        raise DataError(f"{path / ASKED} is damaged: it names no level.")
    begun = [each for each in path.iterdir() if (each / "config.json").is_file()]
    families = list(FAMILIES)
    begun.sort(key=lambda each: (families.index(each.name) if each.name in families else len(families), each.name))
    reached = [each / level_folder(level) for each in begun]
    runs = [each for each in reached if (each / "result.json").is_file()]
    without = [
        f"{each.parent.name} has no checkpoint at V = {level:g} in {path}." for each in reached if each not in runs
    ]
    if not runs:
        raise DataError(
            f"{path} holds no checkpoint at V = {level:g}: the study is not finished, or no family reached it. The "
            f"folders of its families are runs, which are taken too: {path}/<model>."
        )
    return runs, without


def _check_run(path: Path, config: RunConfig, run_seed: int | None) -> None:
    if config.source != VIDEO_SOURCE:
        raise UsageError(
            f"{path} was trained on {config.source}; these tables are of runs on videos ({VIDEO_SOURCE}), see "
            "rac-bench run --data."
        )
    lacking = [domain for domain in DOMAINS if domain not in config.targets]
    if lacking:
        raise UsageError(
            f"{path} was not evaluated on {', '.join(lacking)}; its targets are {', '.join(config.targets)}, and these "
            f"tables need {', '.join(DOMAINS)}."
        )
    if run_seed is not None and run_seed not in config.seeds:
        raise UsageError(f"{path} has no seed {run_seed}; it has {', '.join(map(str, config.seeds))}.")


def _read(path: Path, config: RunConfig, seed: int, domains: Sequence[str]) -> dict[str, Predictions]:
    """Domain -> predictions, V among them. DataError for files that say they are of something else."""
    wanted = {domain: predictions_path(path, seed, domain) for domain in (config.source, *domains)}
    missing = [domain for domain, file in wanted.items() if not file.is_file()]
    if missing:
        raise DataError(
            f"{path}: no predictions of seed {seed} on {', '.join(missing)}; continue the run with rac-bench run "
            "--resume."
        )
    read = {domain: read_predictions(file) for domain, file in wanted.items()}
    for domain, each in read.items():
        if (each.seed, each.domain) != (seed, domain):
            raise DataError(f"{wanted[domain]} says it is of seed {each.seed} on {each.domain}.")
    return read


def _check_same(
    path: Path, first: dict[str, Predictions], other: Path, each: dict[str, Predictions], domains: Sequence[str]
) -> None:
    if first[domains[0]].class_names != each[domains[0]].class_names:
        raise DataError(f"{path} and {other} have other classes; give runs on one data set.")
    differing = [name for name in domains if first[name].content_hash != each[name].content_hash]
    if differing:
        raise DataError(
            f"{path} and {other} answered other clips of {', '.join(differing)} (their content hashes differ); give "
            "runs on one data folder."
        )
    for name in domains:
        if not _same_clips(first[name], each[name]):
            raise DataError(f"{path} and {other}: the clips or labels of {name} differ under one content hash.")


def _check_domains(path: Path, read: dict[str, Predictions], domains: Sequence[str]) -> None:
    """The domains must show the same clips: else five clips of one are not five of another."""
    reference = read[DOMAINS[0]]
    for name in domains:
        if read[name].class_names != reference.class_names:
            raise DataError(f"{path}: {name} has other classes than {DOMAINS[0]}.")
        if not _same_clips(read[name], reference):
            missing = len(np.setdiff1d(reference.clip_id, read[name].clip_id))
            raise DataError(
                f"{path}: {name} and {DOMAINS[0]} are not of the same clips ({missing} of {len(reference.clip_id)} "
                f"missing in {name}, or other labels); build all domains from one list."
            )


def _same_clips(one: Predictions, other: Predictions) -> bool:
    if len(one.clip_id) != len(other.clip_id):
        return False
    mine, theirs = np.argsort(one.clip_id), np.argsort(other.clip_id)
    pairs = ((one.clip_id, other.clip_id), (one.label, other.label))
    return all(np.array_equal(a[mine], b[theirs]) for a, b in pairs)


def _model(
    path: Path, config: RunConfig, seed: int, read: dict[str, Predictions], domains: Sequence[str]
) -> ModelAnswers:
    V = read[config.source]
    full = path.resolve()
    is_level = (path / "selection.json").is_file()
    family = FAMILIES[config.model].title if config.model in FAMILIES else config.model
    return ModelAnswers(
        title=family.partition(",")[0],
        family=family,
        hidden=config.hidden,
        origin=f"{full.parent.name}/{full.name}" if is_level else full.name,
        seed=seed,
        others=tuple(each for each in config.seeds if each != seed),
        selection=RunDirectory(path).entry().selection,
        source_hits=int(V.correct.sum()),
        source_clips=len(V.label),
        top={domain: read[domain].ranked[np.argsort(read[domain].clip_id)] for domain in domains},
    )


def _named_apart(models: Sequence[ModelAnswers]) -> tuple[ModelAnswers, ...]:
    """Titles that differ: models with one title get the first detail that tells all of them apart, else a number."""
    details: tuple[Callable[[ModelAnswers], str], ...] = (
        lambda each: each.family.partition(", ")[2],
        lambda each: f"h = {each.hidden}",
        lambda each: each.origin.rpartition("/")[2],
        lambda each: each.origin,
    )
    named = list(models)
    for title in dict.fromkeys(each.title for each in models):
        alike = [place for place, each in enumerate(models) if each.title == title]
        if len(alike) == 1:
            continue
        numbers = [f"number {place}" for place in range(1, len(alike) + 1)]
        choices = [*([detail(models[place]) for place in alike] for detail in details), numbers]
        chosen = next(each for each in choices if len(set(each)) == len(each))
        for place, detail in zip(alike, chosen, strict=True):
            named[place] = replace(models[place], title=f"{title}, {detail}" if detail else title)
    return tuple(named)
