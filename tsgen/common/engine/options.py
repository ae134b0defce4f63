"""The options of every command that an engine can do: ``--engine`` and ``--address``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tsgen.common.engine import ENGINES, EngineOptions

ENGINE_HELP = f"Where the work is done: {', '.join(ENGINES)}."
ADDRESS_HELP = "Of a Ray cluster, HOST:PORT or auto, with --engine ray. Default: one of this machine alone."


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--engine`` and ``--address``; the command passes them to :func:`chosen_engine` with its ``--workers``."""
    command = click.option("--address", metavar="HOST:PORT", help=ADDRESS_HELP)(command)
    return click.option("--engine", default=EngineOptions().name, show_default=True, metavar="NAME", help=ENGINE_HELP)(
        command
    )


def chosen_engine(engine: str, address: str | None, workers: int | None) -> EngineOptions:
    """UsageError for an unknown engine, and for an address or a number of workers it cannot use."""
    return EngineOptions(engine, workers, address)
