"""Errors that a command turns into one clear line and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RacError(Exception):
    """A problem the user can act on: the message names what was received, what is allowed and what to do."""

    exit_code = 1


class UsageError(RacError):
    """The request is wrong: an unknown name, a number out of range, an output that exists. Exit code 2."""

    exit_code = 2


class DataError(RacError):
    """The data is wrong: damaged, hostile, of another version or of another content. Exit code 3."""

    exit_code = 3


def unknown_name(kind: str, received: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that is in no table, with the nearest name that is."""
    names = list(allowed)
    near = difflib.get_close_matches(received.lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(f"unknown {kind} {received!r}.{hint} Allowed: {', '.join(names)}.")
