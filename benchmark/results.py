"""The run directory: which files are in it, and the record that ``result.json`` and ``report.md`` are written from.

config.json  data.json  environment.json          what was asked for, which clips, where it ran
levels.json                                        only with --levels: at which accuracies checkpoints are captured
seed<seed>/  metrics.jsonl  state.safetensors  checkpoint.safetensors  level-*.safetensors
predictions/seed<seed>/<domain>.h5
level-<level>/                                     the same at another checkpoint, with selection.json
result.json  report.md                            written last: a directory with result.json is finished
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.config import RunConfig
from benchmark.data import DataPlan
from benchmark.predictions import Predictions, predictions_path, read_predictions
from benchmark.scoring import Entry, Scorecard, score
from benchmark.table import render
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_json_atomic, write_text_atomic

SCHEMA_VERSION = 1
SELECTION_NAME = "selection.json"
MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class SeedTraining:
    """How the training of one seed went; ``stopped`` is "patience" or "max_epochs"."""

    seed: int
    best_epoch: int
    epochs: int
    stopped: str

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "best_epoch": self.best_epoch, "epochs": self.epochs, "stopped": self.stopped}


@dataclass(frozen=True)
class Result:
    """Everything a run found. Holds no path, name of a machine or time: equal runs give equal bytes."""

    config: RunConfig
    parameters: int
    trainings: tuple[SeedTraining, ...]
    scorecard: Scorecard
    data: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    selection: str = "first epoch with the highest source validation accuracy"

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "config": self.config.to_json(),
            "parameters": self.parameters,
            "selection": self.selection,
            "environment": self.environment,
            "data": list(self.data),
            "seeds": [
                {
                    **training.to_json(),
                    "domains": {
                        row.domain: {"hits": row.hits[number], "n": row.n, "accuracy": row.hits[number] / row.n}
                        for row in self.scorecard.rows
                    },
                }
                for number, training in enumerate(self.trainings)
            ],
            "scorecard": self.scorecard.to_json(),
        }

    def to_markdown(self) -> str:
        config = self.config
        data = [
            f"| {facts['domain']} | {facts['split']} | {facts['n']} | {facts['digits_source'] or '-'} "
            f"| `{facts['content_hash'][:16]}` |"
            for facts in self.data
        ]
        trainings = [f"| {t.seed} | {t.epochs} | {t.best_epoch} | {t.stopped} |" for t in self.trainings]
        return "\n".join(
            [
                f"# {self.scorecard.title}",
                "",
                f"{self.parameters} parameters; preset `{config.preset}`; at most {config.max_epochs} epochs, patience "
                f"{config.patience}, batch {config.batch_size}, {config.update_rule}.",
                "",
                "```",
                render(self.scorecard),
                "```",
                "",
                "| seed | epochs | best epoch | stopped by |",
                "|---|---|---|---|",
                *trainings,
                "",
                "| domain | split | clips | digits | content hash |",
                "|---|---|---|---|---|",
                *data,
                "",
                f"Device {self.environment['device']}, {self.environment['threads']} threads, "
                f"torch {self.environment['torch']}, tsgen {self.environment['tsgen']}. "
                f"Repeatability: {self.environment['determinism']}.",
                "",
            ]
        )


@dataclass(frozen=True)
class RunDirectory:
    """Paths and records of one run."""

    path: Path

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    def seed_path(self, seed: int, name: str) -> Path:
        return self.path / f"seed{seed}" / name

    def check_free(self, config: RunConfig, *, resume: bool) -> None:
        """UsageError when the directory is taken, or was begun with another config. Writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--out {self.path} is a file; give a directory.")
        if self.config_path.exists():
            if not resume:
                raise UsageError(f"--out {self.path} holds a run; add --resume to continue it or give another --out.")
            differing = self.read_config().differences(config)
            if differing:
                raise UsageError(
                    f"--resume: {self.path} was begun with another config ({'; '.join(differing)}). "
                    "Ask for the same, or give another --out."
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise UsageError(f"--out {self.path} is not empty and holds no run; give another directory.")

    def begin(self, config: RunConfig, digests: dict[str, str], environment: dict[str, Any]) -> list[str]:
        """Record what the run is about and where it is computed; return how that place differs from the first one.

        UsageError when the run was begun with other clips, or nothing can be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.config_path, config.to_json())
        except OSError as problem:
            raise UsageError(f"--out {self.path} cannot be written: {problem}.") from problem
        self._check_same_data(digests)
        return self._record_environment(environment)

    def read_config(self) -> RunConfig:
        if not self.config_path.is_file():
            raise DataError(f"{self.path} is not a run directory: it has no config.json.")
        return RunConfig.from_json(read_json(self.config_path), str(self.config_path))

    def _check_same_data(self, digests: dict[str, str]) -> None:
        """Record which clips the run is about; UsageError when it was begun with others."""
        path = self.path / "data.json"
        if not path.exists():
            write_json_atomic(path, digests)
            return
        begun = read_json(path)
        differing = [name for name in digests if not isinstance(begun, dict) or begun.get(name) != digests[name]]
        if differing:
            raise UsageError(
                f"--resume: {self.path} was begun with other clips of {', '.join(differing)}; "
                "give the same --digits (or --data-seed), or another --out."
            )

    def _record_environment(self, environment: dict[str, Any]) -> list[str]:
        """Store where the run is computed. Returns what differs from where it was begun, one line each."""
        path = self.path / "environment.json"
        stored = read_json(path) if path.exists() else {}
        begun = stored.get("begun", environment)
        resumed = stored.get("resumed_elsewhere", [])
        differing = [
            f"{key}: {begun.get(key)} -> {value}" for key, value in environment.items() if begun.get(key) != value
        ]
        if differing and environment not in resumed:
            resumed = [*resumed, environment]
        write_json_atomic(path, {"begun": begun, "resumed_elsewhere": resumed})
        return differing

    def was_resumed_elsewhere(self) -> bool:
        return bool(read_json(self.path / "environment.json").get("resumed_elsewhere"))

    def read_predictions(self, config: RunConfig) -> dict[tuple[int, str], Predictions]:
        """Those of every seed and domain; DataError listing all that are missing."""
        wanted = [(seed, domain) for seed in config.seeds for domain in (config.source, *config.targets)]
        missing = [key for key in wanted if not predictions_path(self.path, *key).is_file()]
        if missing:
            names = ", ".join(f"seed {seed} on {domain}" for seed, domain in missing)
            raise DataError(f"{self.path}: no predictions of {names}; continue the run with rac-bench run --resume.")
        return {key: read_predictions(predictions_path(self.path, *key)) for key in wanted}

    def entry(self) -> Entry:
        """What is scored here; a folder of a level says in selection.json which checkpoint that is."""
        path = self.path / SELECTION_NAME
        if not path.is_file():
            return Entry.of_run(self.read_config())
        value = read_json(path)
        level = value.get("level") if isinstance(value, dict) else None
        if not isinstance(level, float):
            raise DataError(f"{path} is damaged: it names no level.")
        entry = Entry.of_run(self.read_config())
        return replace(entry, selection=f"the first epoch with V of at least {level:g}")

    def scorecard(self) -> Scorecard:
        """Computed from config.json, selection.json and the predictions, and from nothing else."""
        return score(self.entry(), self.read_predictions(self.read_config()))

    def write_result(self, result: Result) -> None:
        write_text_atomic(self.path / "report.md", result.to_markdown())
        write_json_atomic(self.result_path, result.to_json())

    def read_result(self) -> dict[str, Any]:
        value = read_json(self.result_path)
        if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
            raise DataError(f"{self.result_path} is not a result of schema version {SCHEMA_VERSION}.")
        return value


def check_same_clips(directory: RunDirectory, plan: DataPlan) -> None:
    """UsageError when ``plan`` is about other clips than the run in ``directory`` was."""
    path = directory.path / "data.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: it says which clips the run was about.")
    begun = read_json(path)
    digests = plan.digests()
    differing = [name for name in digests if not isinstance(begun, dict) or begun.get(name) != digests[name]]
    if differing:
        raise UsageError(
            f"{directory.path} is about other clips of {', '.join(differing)} than there are here; give the --digits "
            "(of videos the --data) of the run."
        )


def read_json(path: Path) -> Any:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{path} is larger than {MAX_JSON_BYTES} bytes; refused.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is damaged: {problem}") from problem
