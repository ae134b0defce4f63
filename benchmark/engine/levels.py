"""Checkpoints at levels of source validation accuracy, so that models can be compared at equal accuracy. No torch.

A level is reached by the first epoch whose source validation accuracy is at least that: read off the history, so that
nothing else has to be remembered, and nothing but source data is asked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from benchmark.engine.selection import Epoch
from benchmark.results import RunDirectory, read_json
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_json_atomic

RECORD_NAME = "levels.json"


def parse_levels(text: str) -> tuple[float, ...]:
    """``"0.3,0.35"`` -> (0.3, 0.35); UsageError unless they rise and lie in (0, 1]."""
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"levels {text!r} are not numbers separated by commas, like 0.3,0.35.") from None
    check_levels(levels)
    return levels


def check_levels(levels: Sequence[float]) -> None:
    outside = [level for level in levels if not (math.isfinite(level) and 0 < level <= 1)]
    if outside:
        raise UsageError(f"level {outside[0]:g} is not possible; allowed: accuracies above 0, up to 1, like 0.35.")
    if any(later <= earlier for earlier, later in itertools.pairwise(levels)):
        given = ",".join(f"{level:g}" for level in levels)
        raise UsageError(f"levels {given} do not rise; give each once, the lowest first.")


def level_name(level: float) -> str:
    """The file in ``seed<seed>/``; equal numbers give equal names, however they were written."""
    return f"level-{level!r}.safetensors"


def reached_in(history: Sequence[Epoch], level: float) -> int | None:
    """The first epoch with a source validation accuracy of at least ``level``; None: not reached."""
    return next((epoch.epoch for epoch in history if epoch.val_accuracy >= level), None)


def read_levels(directory: RunDirectory) -> tuple[float, ...]:
    """The levels the run was asked to keep; DataError when their record is damaged."""
    path = directory.path / RECORD_NAME
    if not path.exists():
        return ()
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(level, float) for level in value):
        raise DataError(f"{path} is damaged: it does not hold a list of levels.")
    return tuple(value)


def check_same_levels(directory: RunDirectory, seeds: Sequence[int], levels: Sequence[float]) -> None:
    """UsageError when the run was begun with other levels: their epochs may be over. Writes nothing."""
    begun = read_levels(directory)
    trained = any(directory.seed_path(seed, "state.safetensors").exists() for seed in seeds)
    if trained and begun != tuple(levels):
        raise UsageError(
            f"{directory.path} was begun with {_words(begun)}, not {_words(levels)}, and the epochs that "
            "reach a level are not computed again. Ask for the same, or give another --out."
        )


def record_levels(directory: RunDirectory, levels: Sequence[float]) -> None:
    if levels or read_levels(directory):
        write_json_atomic(directory.path / RECORD_NAME, list(levels))


def describe(history: Sequence[Epoch], levels: Sequence[float]) -> str:
    """``levels: 0.3 in epoch 2, 0.35 not reached``."""
    found = {level: reached_in(history, level) for level in levels}
    return "levels: " + ", ".join(
        f"{level:g} {'not reached' if epoch is None else f'in epoch {epoch}'}" for level, epoch in found.items()
    )


def _words(levels: Sequence[float]) -> str:
    return f"--levels {','.join(f'{level:g}' for level in levels)}" if levels else "no --levels"
