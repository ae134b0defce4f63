"""The command ``d48dom``."""

from __future__ import annotations

from typing import NoReturn

import click

from tsgen.common import VERSION
from tsgen.common.cli import LazyGroup, run_command

COMMANDS = {"classes": ("diving48_domains.commands:classes", "List the 48 dive classes and their attributes.")}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", prog_name="d48dom")
def group() -> None:
    """Diving48: its classes and attributes. Segmentation and the domains S1, S2 and T are not in this version."""


def main() -> NoReturn:
    run_command(group)
