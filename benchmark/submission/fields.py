"""Members of JSON objects of unknown origin: what each may be, in words and as a test; every problem is noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.submission.layout import RECORD_NAME, SCHEMA_VERSION, Problem, shown

_REQUIRED = object()


@dataclass(frozen=True)
class Kind:
    """What a value may be, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


def is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable() and bool(value.strip())


def is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def is_list(value: Any, least: int, most: int, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and least <= len(value) <= most and all(map(holds, value))


def are_different(values: list[Any]) -> bool:
    return len(set(values)) == len(values)


class Fields:
    """The members of a JSON object, taken one by one; what is wrong is noted as a problem of ``file``."""

    def __init__(self, value: dict[str, Any], where: str, problems: list[Problem], file: str = RECORD_NAME) -> None:
        self._left = dict(value)
        self._file = file
        self._where = where
        self._problems = problems

    def take(self, name: str, kind: Kind, default: Any = _REQUIRED) -> Any:
        """The value, or None when it is missing or not of ``kind``."""
        if name not in self._left:
            if default is _REQUIRED:
                self._note(f"{self._where}{name} is missing; it must be {kind.allowed}.")
                return None
            return default
        value = self._left.pop(name)
        if not kind.holds(value):
            self._note(f"{self._where}{name} is {shown(value)}; it must be {kind.allowed}.")
            return None
        return value

    def finish(self) -> None:
        for name in self._left:
            self._note(f"{self._where}{shown(name)} is no field of schema version {SCHEMA_VERSION}; remove it.")

    def _note(self, text: str) -> None:
        self._problems.append(Problem(self._file, text))
