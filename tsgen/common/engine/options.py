"""The options of every command that an engine can do: ``--engine`` and ``--address``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tsgen.common.engine import ENGINES, EngineOptions

ENGINE_HELP = f"Where the work is done: {', '.join(ENGINES)}."
ADDRESS_HELP = "Of a Ray cluster, HOST:PORT or auto, with --engine ray. Default: one of this machine alone."

Command = Callable[..., Any]


def engine_options(
    default: str | None = EngineOptions().name, about: str = ENGINE_HELP
) -> Callable[[Command], Command]:
    """Adds ``--engine`` and ``--address``, of which the command makes :class:`EngineOptions` with its ``--workers``.

    ``default`` None: the command is told that no engine was asked for; ``about`` says what it does then.
    """

    def add(command: Command) -> Command:
        command = click.option("--address", metavar="HOST:PORT", help=ADDRESS_HELP)(command)
        shown = default is not None
        return click.option("--engine", default=default, show_default=shown, metavar="NAME", help=about)(command)

    return add
