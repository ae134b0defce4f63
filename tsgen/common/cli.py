"""How all three commands behave: lazy subcommands, did-you-mean, exit codes 2 and 3, a clean Ctrl-C."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import click

from tsgen.common.errors import RacError
from tsgen.common.names import printable

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, what shells expect


class LazyGroup(click.Group):
    """A group whose subcommands are ``{name: "package.module:command"}``, imported only when asked for.

    ``short_help`` of each stands beside it, so that ``--help`` imports none of them.
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._lazy and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._lazy, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"no such command {args[0]!r}.{hint} Commands: {', '.join(self._lazy)}.")
        return super().resolve_command(ctx, args)


def run_command(group: click.Group) -> NoReturn:
    """Run ``group`` as the process: every foreseen problem is one line on stderr and its exit code."""
    signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)
    try:
        result = group.main(standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except RacError as problem:
        # A file or a server may have had a say in the text.
        click.echo("error: " + "\n".join(map(printable, str(problem).split("\n"))), err=True)
        sys.exit(problem.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted: no half-written result is left behind; what can be gone on with is kept.", err=True)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except OSError as problem:  # a disk that fills up, a folder that may not be read: the user's to mend, no bug
        click.echo(f"error: {problem}", err=True)
        sys.exit(RacError.exit_code)
    # A command that raised click's Exit, as --help does, comes back as its exit code.
    sys.exit(result if isinstance(result, int) else 0)


def _raise_keyboard_interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
