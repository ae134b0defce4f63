"""The command ``d48dom``."""

from __future__ import annotations

from typing import NoReturn

import click

from tsgen.common import VERSION
from tsgen.common.cli import LazyGroup, run_command

COMMANDS = {
    "classes": ("diving48_domains.commands:classes", "List the 48 dive classes and their attributes."),
    "audit": ("diving48_domains.data_commands:audit", "Check the lists and videos of a Diving48 folder."),
    "mini": ("diving48_domains.mini_commands:mini", "Write a procedural Diving48 with ground truth."),
    "train": ("diving48_domains.train_commands:train", "Train a segmenter on labelled frames."),
    "evaluate": ("diving48_domains.train_commands:evaluate", "Measure a segmenter on labelled frames."),
    "segment": ("diving48_domains.segment_commands:segment", "Find the divers in the videos of a split."),
    "merge-instances": ("diving48_domains.segment_commands:merge_instances", "Merge the shards of d48dom segment."),
    "import-instances": (
        "diving48_domains.segment_commands:import_instances",
        "Bring masks of another origin into an instances file.",
    ),
    "build": ("diving48_domains.build_commands:build", "Write the domains S1, S2, T and the controls."),
    "truth": ("diving48_domains.truth_commands:truth", "Measure what leaks into T and is missing from S1."),
    "download": ("diving48_domains.originals_commands:download", "Fetch what the authors published of Diving48."),
    "release": ("diving48_domains.release_commands:release", "Write or verify a release: masks, frames, or mini."),
    "publish": ("diving48_domains.hub_commands:publish", "Publish recipes and masks on the Hugging Face Hub."),
    "pack": ("diving48_domains.pack_commands:pack", "Store clips as frames for rac-bench."),
    "merge": ("diving48_domains.merge_commands:merge", "Join the shards of build and pack."),
    "preview": ("diving48_domains.preview_commands:preview", "Show a clip in all domains."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", prog_name="d48dom")
def group() -> None:
    """Diving48: segment the divers, build the shape and texture domains S1, S2, T and their controls."""


def main() -> NoReturn:
    run_command(group)
