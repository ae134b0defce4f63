"""``d48dom merge``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Remove the shards when the whole is there; else they are NAME.merged.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def merge(folder: Path, remove: bool, as_json: bool, quiet: bool) -> None:
    """Join the shards of `d48dom build --shard` and `d48dom pack --shard` in FOLDER and the folders in it.

    All shards must be there and of one run; every clip's frames are checked. The result is, byte for byte, that of one
    run without shards, and needs as much room again. Run again after an interruption, it goes on where it stopped.
    Shards of `d48dom segment` are joined by `d48dom merge-instances`.
    """
    from diving48_domains.merge import merge as join

    done = join(folder, remove=remove, quiet=quiet or as_json)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in done]))
        return
    if not done:
        click.echo(f"{folder}: no shards left to merge")
    for one in done:
        names = ", ".join(path.name for path in one.outputs)
        click.echo(f"{one.manifest.parent}: {names} of {one.shards} shards, {one.written} of {one.clips} clips written")
