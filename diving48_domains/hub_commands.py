"""``d48dom publish``: recipes and masks of Diving48 domains to the Hugging Face Hub, never the frames of its videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diving48_domains.no_frames import refuse_frames
from tsgen.common.hub.command import publish_options, run_publish


@click.command()
@publish_options
@click.option(
    "--with-frames", is_flag=True, help="FOLDER has frames that may be published: procedural ones (mini), or yours."
)
def publish(folder: Path, repo: str, with_frames: bool, **options: Any) -> None:
    """Publish the finished release in FOLDER as a dataset on the Hugging Face Hub.

    \b
    d48dom publish release --repo USER/NAME --dry-run

    The videos of Diving48 show people and belong to others: what is published are recipes, manifests and masks, from
    which `d48dom build` makes the domains out of one's own copy. A folder with frames is refused. One commit makes the
    repo hold the files of FOLDER and no others, every hash is read back, and the tag of the version is set last.
    """
    if not with_frames:
        refuse_frames(folder)
    run_publish(folder, repo, **options)
