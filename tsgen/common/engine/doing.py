"""What every process that works does with a unit."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from tsgen.common.engine import Result, Unit, UnitError, Work
from tsgen.common.errors import DataError, RacError, UsageError

_begun: list[str] = []
"""The token of the work this process has started for: a process may see several, one after the other."""


class StartFailed(Exception):  # noqa: N818 - carries the error, is none itself
    """``problem`` is what ``start`` raised: no unit is to blame, and the next process would meet it too."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(problem)
        self.problem = problem


def perform(token: str, work: Work[Unit, Result], unit: Unit) -> tuple[Result | None, Exception | None]:
    """The result of a unit or its problem, either of which can be sent back. ``token`` is the work's own."""
    try:
        if _begun != [token]:
            if work.start is not None:
                work.start(*work.arguments)
            _begun[:] = [token]
    except (Exception, SystemExit) as problem:
        return None, StartFailed(sendable(problem))
    try:
        return work.run(unit), None
    except (Exception, SystemExit) as problem:
        return None, sendable(problem)


def sendable(problem: BaseException) -> Exception:
    """The problem itself where it is foreseen and can be pickled, else one that tells all of it in words."""
    if isinstance(problem, (RacError, OSError)):
        try:
            pickle.loads(pickle.dumps(problem))
        except Exception:
            return _type_alike(problem)
        return problem
    what = "".join(traceback.format_exception_only(problem)).strip()
    # The last frame is that of the one who caught it.
    frames = traceback.format_tb(problem.__traceback__ and problem.__traceback__.tb_next)
    return UnitError(what + "\n" + "".join(frames).rstrip() if frames else what)


def _type_alike(problem: Exception) -> Exception:
    """Another of the same exit code, made of its text alone."""
    kinds: tuple[Any, ...] = (UsageError, DataError, OSError)
    return next((kind(str(problem)) for kind in kinds if isinstance(problem, kind)), UnitError(str(problem)))
