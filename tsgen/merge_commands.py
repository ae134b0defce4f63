"""``tsgen merge``: the slices that ``tsgen make --shard`` wrote, joined."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from tsgen.commands import size_text


@click.command()
@click.argument("slices", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HDF5 file to write.")
@click.option("--remove", is_flag=True, help="Remove the slices when the file is written.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def merge(slices: tuple[Path, ...], out: Path, remove: bool, force: bool, as_json: bool) -> None:
    """Join SLICES, all those of one `tsgen make --shard`, to the file that make writes without it.

    \b
    tsgen make --domain 5dot --n 100000 --out ts.h5 --shard 0/8     # and so on, up to 7/8
    tsgen merge ts-*-of-00008.h5 --out ts.h5

    Every slice is checked by its hashes, without unpacking it. Exit code 3, with all the reasons, when a slice is
    missing, damaged, there twice or of another run. A part of the slices is never joined: make a file of fewer clips.
    With --remove the same command finishes one that was killed while it removed the slices.
    """
    begun = time.perf_counter()
    from tsgen.merge import merge as merge_files

    joined, content_hash = merge_files(slices, out, force=force, remove=remove)
    seconds = time.perf_counter() - begun
    recipe, size_bytes = joined.recipe, out.stat().st_size
    if as_json:
        facts = {"out": str(out), "bytes": size_bytes, "seconds": round(seconds, 3), "content_hash": content_hash}
        click.echo(
            json.dumps({**facts, "slices": len(joined.heads), "kept": joined.were_joined, "recipe": recipe.to_json()})
        )
        return
    what = f"{recipe.n} clips of {recipe.domain.name} ({recipe.domain.profile}, {recipe.split}, seed {recipe.seed})"
    if joined.were_joined:
        click.echo(f"{out} is whole already and left alone; {len(joined.heads)} slices beside it were removed: {what}")
    else:
        click.echo(f"merged {len(joined.heads)} slices into {out}: {what}, {size_text(size_bytes)}, {seconds:.1f} s")
    click.echo(f"content hash: {content_hash}")
