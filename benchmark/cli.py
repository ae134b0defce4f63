"""``rac-bench``: train, evaluate and score. Commands are imported when called: help needs no torch."""

from __future__ import annotations

import click

import tsgen
from tsgen.common.cli import LazyGroup, run_command

COMMANDS = {
    "run": ("benchmark.commands:run", "Train on a source domain, evaluate on the targets, print rr with intervals."),
    "sweep": ("benchmark.sweep_commands:sweep", "Train a grid of models, h, sources and seeds, like the paper's."),
    "score": ("benchmark.submission_commands:score", "Compute the table of a run or a submission from predictions."),
    "predict": ("benchmark.submission_commands:predict", "Write a submission from runs, or by evaluating a model."),
    "merge": ("benchmark.merge_commands:merge", "Join the parts of predict --shard, or sweeps of one protocol."),
    "validate": ("benchmark.submission_commands:validate", "List every problem of a submission."),
    "key": ("benchmark.key_commands:key", "Write the answer key of clips that tsgen did not make, like Diving48's."),
    "compare": ("benchmark.compare_commands:compare", "Two entries on the clips they share: differences, rr, tests."),
    "report": ("benchmark.report_commands:report", "Runs and sweeps as one page, tables and figures."),
    "leaderboard": ("benchmark.report_commands:leaderboard", "Static pages that rank entries by rr."),
    "probe": ("benchmark.probe_commands:probe", "What a trained model loses on shuffled, frozen or altered clips."),
    "match": ("benchmark.match_commands:match", "Which settings of the families are comparable."),
    "reproduce": ("benchmark.reproduce_commands:reproduce", "Recompute the paper's tables from its own numbers."),
    "attributes": ("benchmark.attributes_commands:attributes", "What the wrong answers on Diving48 still got right."),
    "calibrate": ("benchmark.calibrate_commands:calibrate", "Set T/S1 and T/V against a texture bias that is known."),
    "qualitative": (
        "benchmark.qualitative_commands:qualitative",
        "Random clips of a class, what each model answered, and the frames.",
    ),
    "params": ("benchmark.commands:params", "Count the parameters of a model family."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tsgen.__version__, prog_name="rac-bench")
def cli() -> None:
    """Does a video model understand motion? Robustness ratios with intervals."""


def main() -> None:
    run_command(cli)
