"""The command ``tsgen``. Only click is imported until a subcommand runs."""

from __future__ import annotations

from typing import NoReturn

import click

import tsgen
from tsgen.common.cli import LazyGroup, run_command

COMMANDS = {
    "make": ("tsgen.commands:make", "Write a clip file of a domain."),
    "merge": ("tsgen.merge_commands:merge", "Join the slices of tsgen make --shard."),
    "verify": ("tsgen.commands:verify", "Make a file again from its recipe and compare every value."),
    "info": ("tsgen.commands:info", "Tell what a clip file holds."),
    "audit": ("tsgen.audit_commands:audit", "Measure the shortcuts a file leaves open."),
    "states": ("tsgen.audit_commands:states", "Count the different clips each class can show."),
    "show": ("tsgen.show_commands:show", "Draw clips of a file as a picture."),
    "import": ("tsgen.interop_commands:import_", "Read published frames (JPEG and labels.csv) into a clip file."),
    "compare-original": (
        "tsgen.originals_commands:compare_original",
        "Say how the authors' frames differ from our profiles.",
    ),
    "release": ("tsgen.release_commands:release", "Build the dataset release, or verify one."),
    "publish": ("tsgen.hub_commands:publish", "Publish a release on the Hugging Face Hub."),
    "download": ("tsgen.hub_commands:download", "Download a release, or what the authors published, and verify it."),
    "export": ("tsgen.interop_commands:export", "Write clips as Parquet, WebDataset, video or frames."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tsgen.__version__, "--version", prog_name="tsgen")
def group() -> None:
    """Temporal Shape: clips whose class lies in the motion alone.

    \b
    tsgen make --domain 5dot --n 5000 --out ts.h5
    tsgen info ts.h5
    tsgen show ts.h5 --out ts.png
    """


def main() -> NoReturn:
    run_command(group)
