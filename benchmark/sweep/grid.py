"""Which runs a sweep consists of, and in which order. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.config import PRESETS, TARGETS, RunConfig, make_config, parse_names, parse_numbers, parse_seeds
from benchmark.models import MODELS, PAPER_HIDDEN, check_model, is_outside
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.shards import Shard

AXES = ("model", "hidden", "source", "seeds")
"""The fields of a run's config in which the jobs of one sweep differ; the others are its protocol."""

SWEEP_PRESETS = tuple(name for name, preset in PRESETS.items() if preset.source in TARGETS)
"""Those that train on drawn clips; a study on videos has its own way through its models."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Family = tuple[str, int]
"""(model, hidden): jobs that cost the same and may train together."""


@dataclass(frozen=True)
class Job:
    """One training: a config with exactly one seed."""

    config: RunConfig

    @property
    def seed(self) -> int:
        return self.config.seeds[0]

    @property
    def family(self) -> Family:
        return self.config.model, self.config.hidden

    @property
    def name(self) -> str:
        """Also that of its directory: ``3dcnn-h8-2dot-seed42``."""
        return f"{self.config.short_name}-seed{self.seed}"


@dataclass(frozen=True)
class Grid:
    """Every model with every h, source and seed. UsageError for what does not exist, before anything is done."""

    models: tuple[str, ...] = tuple(MODELS)
    hidden: tuple[int, ...] = PAPER_HIDDEN
    sources: tuple[str, ...] = tuple(TARGETS)
    seeds: tuple[int, ...] = RunConfig().seeds

    @classmethod
    def parse(cls, preset: str, models: str | None, hidden: str | None, sources: str | None, seeds: str | None) -> Grid:
        """From lists like ``2,4,8``; None: the paper's, or for the seeds those of the preset."""
        if preset not in PRESETS:
            raise unknown_name("preset", preset, SWEEP_PRESETS)
        if preset not in SWEEP_PRESETS:
            raise UsageError(
                f"--preset {preset} is for videos, which no sweep trains on; use rac-bench run --experiment, or "
                f"--preset {' or '.join(SWEEP_PRESETS)} here."
            )
        return cls(
            models=cls.models if models is None else parse_names(models),
            hidden=cls.hidden if hidden is None else parse_numbers("hidden", hidden),
            sources=cls.sources if sources is None else parse_names(sources),
            seeds=PRESETS[preset].seeds if seeds is None else parse_seeds(seeds),
        )

    def __post_init__(self) -> None:
        for name in ("models", "hidden", "sources", "seeds"):
            values = getattr(self, name)
            repeated = [str(value) for place, value in enumerate(values) if value in values[:place]]
            if repeated:
                raise UsageError(f"--{name} names {', '.join(repeated)} twice; give each once.")
        for source in self.sources:
            if source not in TARGETS:
                raise unknown_name("source", source, TARGETS)
        for model in self.models:
            for h in (0,) if is_outside(model) else self.hidden:
                check_model(model, h)

    def jobs(self, preset: str, **overrides: Any) -> list[Job]:
        """A round for each seed, in a round small models first.

        So a sweep that is stopped early holds every (model, h, source) with about the same number of seeds.
        """
        jobs = [
            Job(make_config(preset, model=model, hidden=h, source=source, seeds=(seed,), **overrides))
            for seed in self.seeds
            for place, h in enumerate(self.hidden)
            for model, h in self._sizes(h, first=place == 0)
            for source in self.sources
        ]
        names = [job.name for job in jobs]
        alike = sorted({name for name in names if names.count(name) > 1})
        if alike:
            raise UsageError(f"two jobs would share the directory {alike[0]}; sweep these models one at a time.")
        return jobs

    def _sizes(self, h: int, *, first: bool) -> list[Family]:
        """The models with h hidden units; those from outside have none to choose and come once."""
        sizes = [(model, 0 if is_outside(model) else h) for model in self.models]
        return [size for size in sizes if first or size[1]]

    def shard(self, jobs: Sequence[Job], shard: Shard) -> list[Job]:
        """Of shard i/n every n-th job, counted from the i-th; one further with each seed.

        Without that shift a shard could meet the same models in every round. All shards together are all jobs.
        """
        length = len(jobs) // len(self.seeds)
        return [
            job for place, job in enumerate(jobs) if (place % length + place // length) % shard.count == shard.index
        ]


def protocol_of(preset: str, **overrides: Any) -> dict[str, Any]:
    """Every field but the axes: its value, or ``{model: value}`` where the families have their own."""
    of = {model: _settings(make_config(preset, model=model, **overrides)) for model in MODELS}
    common = next(iter(of.values()))
    return {
        name: value
        if all(settings[name] == value for settings in of.values())
        else {model: settings[name] for model, settings in of.items()}
        for name, value in common.items()
    }


def protocol_differences(begun: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """One line a field that differs: ``name: begun -> asked``."""
    names = [*begun, *(name for name in asked if name not in begun)]
    return [
        f"{name}: {_text(begun.get(name))} -> {_text(asked.get(name))}"
        for name in names
        if begun.get(name) != asked.get(name)
    ]


def check_protocol(config: RunConfig, protocol: dict[str, Any], where: str) -> None:
    """DataError when a run followed another protocol than the sweep it lies in."""
    found = _settings(config)
    if is_outside(config.model):  # has no family in the protocol
        found = {name: value for name, value in found.items() if not isinstance(protocol.get(name), dict)}
    here = {name: protocol.get(name) for name in found}
    here = {name: value.get(config.model) if isinstance(value, dict) else value for name, value in here.items()}
    differing = protocol_differences(here, found)
    if differing:
        raise DataError(f"{where} followed another protocol than this sweep ({'; '.join(differing)}); move it away.")


def parse_budget(text: str) -> float:
    """Seconds: ``"30m"`` -> 1800.0."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"budget {text!r} is no time; give a number and s, m, h or d, like 900s, 30m or 2h.")
    return seconds


def _settings(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_json().items() if name not in AXES}


def _text(value: Any) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)
