"""``d48dom pack``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import UsageError
from tsgen.common.shards import Shard


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A folder in Diving48's form.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Other videos: id,path,label,split as .csv or .jsonl."
)
@click.option("--classes", help="Of the manifest, with commas, in the order of their labels.  [default: sorted]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("d48_domains"), show_default=True, help="Folder.")
@click.option("--size", default="224x224", show_default=True, help="Width x height of the stored frames, px.")
@click.option("--frames", type=int, default=32, show_default=True, help="Evenly spaced frames a clip.")
@click.option("--by", default="index", show_default=True, help="Evenly spaced by index or by time.")
@click.option("--val-share", type=float, default=0.1, show_default=True, help="Of the training list, held out.")
@click.option("--val-by", default="random", show_default=True, help="Hold out clips (random) or whole videos (source).")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the draw of validation clips.")
@click.option("--on-bad-clip", default="error", show_default=True, help="No usable video: error, or drop and list it.")
@click.option("--shard", default="0/1", show_default=True, help="A part of every list: 2/8 is the third of eight.")
@click.option("--workers", type=int, help="Processes, 0 for none beside this one.  [default: one a core]")
@engine_options()
@click.option("--force", is_flag=True, help="Replace what an earlier pack wrote there.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def pack(
    data: Path | None,
    manifest: Path | None,
    classes: str | None,
    out: Path,
    size: str,
    frames: int,
    by: str,
    val_share: float,
    val_by: str,
    seed: int,
    on_bad_clip: str,
    shard: str,
    workers: int | None,
    engine: str,
    address: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Store clips as frames, decoded once, for `rac-bench run --data`.

    Of a folder in Diving48's form the training and validation clips, of a manifest all: split train, val, and a target
    domain for each other split. Without validation clips a share of the training clips is held out. Run again after an
    interruption, the same command goes on where it stopped and ends in the same bytes. `d48dom merge` joins shards.
    With --engine ray all machines need one common file system.
    """
    if (data is None) == (manifest is None):
        raise UsageError("give --data DIR for Diving48, or --manifest FILE for other videos, one of the two.")
    if classes is not None and manifest is None:
        raise UsageError("--classes goes with --manifest; those of Diving48 are known.")
    match = re.fullmatch(r"\s*(\d{1,4})x(\d{1,4})\s*", size)
    if match is None:
        raise UsageError(f"--size {size!r} is not possible; give it as in 224x224.")
    from diving48_domains.annotations import open_folder
    from diving48_domains.clip_list import read_clip_list
    from diving48_domains.pack import pack as pack_clips
    from diving48_domains.pack import pack_list
    from diving48_domains.pack_options import PackOptions

    options = PackOptions((int(match[2]), int(match[1])), frames, by, val_share, val_by, seed, on_bad_clip)
    where = EngineOptions(engine, workers, address)
    how: dict[str, Any] = {"engine": where, "shard": Shard.parse(shard), "force": force, "quiet": quiet or as_json}
    if manifest is not None:
        names = None if classes is None else [one.strip() for one in classes.split(",")]
        packed = pack_list(read_clip_list(manifest, names), out, options, **how)
    else:
        assert data is not None
        packed = pack_clips(open_folder(data), out, options, **how)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in packed]))
        return
    for one in packed:
        state = "was there already" if one.was_there else "written"
        click.echo(f"{one.path}: {state}, {one.clips} clips of {len(one.classes)} classes")
        click.echo(f"  {one.failed} left out, {one.short} shorter than {frames} frames")
        for line in one.warnings:
            click.echo(f"  warning: {line}")
