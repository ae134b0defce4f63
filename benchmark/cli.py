"""``rac-bench``: train, evaluate and score. Commands are imported when called: help needs no torch."""

from __future__ import annotations

import click

import tsgen
from tsgen.common.cli import LazyGroup, run_command

COMMANDS = {
    "run": ("benchmark.commands:run", "Train on a source domain, evaluate on the targets, print rr with intervals."),
    "sweep": ("benchmark.sweep_commands:sweep", "Train a grid of models, h, sources and seeds, like the paper's."),
    "score": ("benchmark.commands:score", "Recompute the table of a run directory from its predictions."),
    "params": ("benchmark.commands:params", "Count the parameters of a model family."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tsgen.__version__, prog_name="rac-bench")
def cli() -> None:
    """Does a video model understand motion? Robustness ratios with intervals."""


def main() -> None:
    run_command(cli)
