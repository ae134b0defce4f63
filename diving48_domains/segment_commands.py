"""``d48dom segment``, ``merge-instances`` and ``import-instances``: everything that writes an instances file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import UsageError
from tsgen.common.files import check_output_file
from tsgen.common.shards import Shard

_PATH = click.Path(path_type=Path)
_OUT = click.option("--out", required=True, type=_PATH, help="The instances file to write (.h5).")
_FORCE = click.option("--force", is_flag=True, help="Replace --out, and parts begun with other arguments.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
SHOWN_PROBLEMS = 10
GPUS_HELP = (
    "With --engine ray, GPUs that a worker takes, 0 to 1.  [default: 1 for --device cuda, 0 for cpu; --device auto is "
    "cuda where the cluster has a GPU]"
)


@click.command()
@click.option("--data", required=True, type=_PATH, help="Folder in Diving48's form: V2 lists beside rgb/.")
@click.option("--segmenter", required=True, type=_PATH, help="Folder of a segmenter (d48dom train).")
@_OUT
@click.option("--split", default="test", show_default=True, help="Which list: train, test, val, shift or swap.")
@click.option("--frames", default="32", show_default=True, help="Frames a clip, evenly spaced, or all.")
@click.option(
    "--shard",
    default="0/1",
    show_default=True,
    help="A part of the list: 2/8 is the third of eight; each needs an --out of its own.",
)
@click.option("--on-damage", default="error", show_default=True, help="Damaged videos: error, skip or keep.")
@click.option("--score-threshold", default=0.05, show_default=True, help="Keep detections with a higher score.")
@click.option("--max-detections", default=10, show_default=True, help="At most so many a frame, best first.")
@click.option("--workers", type=int, help="Processes; each loads the segmenter.  [default: 1; ray: as the cluster has]")
@engine_options()
@click.option("--gpus", type=float, help=GPUS_HELP)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="CPU threads a process.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@_FORCE
@_JSON
def segment(
    data: Path,
    segmenter: Path,
    out: Path,
    frames: str,
    shard: str,
    workers: int | None,
    engine: str,
    address: str | None,
    gpus: float | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the divers in the videos of a split; a run that was interrupted goes on where it was.

    The same command again takes a finished file as it is. Shards (--shard) are joined by `d48dom merge-instances`. With
    --engine ray all machines need one common file system and the same installation.
    """
    from diving48_domains.segment import SegmentOptions
    from diving48_domains.segment import segment as run

    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}.")
    where = EngineOptions(engine, 1 if workers is None and engine != "ray" else workers, address)
    choice = SegmentOptions(frames=_frames(frames), shard=Shard.parse(shard), **options)
    _report(out, run(data, segmenter, out, choice, engine=where, gpus=gpus, force=force), as_json)


@click.command()
@click.argument("parts", nargs=-1, required=True, type=_PATH)
@_OUT
@_FORCE
@_JSON
def merge_instances(parts: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Merge the shards of one run (d48dom segment --shard) into one file."""
    from diving48_domains.segment import merge_instances as run

    _report(out, run(parts, out, force=force), as_json)


@click.command()
@click.argument("source", type=_PATH)
@_OUT
@click.option("--kind", default="auto", show_default=True, help="instances, coco or png; auto goes by what is there.")
@_FORCE
@_JSON
def import_instances(source: Path, out: Path, kind: str, force: bool, as_json: bool) -> None:
    """Bring masks of another origin (COCO JSON, colour pictures) into an instances file."""
    from diving48_domains.instance_file import write_instances
    from diving48_domains.sources import open_masks

    check_output_file(out, force)
    masks = open_masks(source, kind)
    try:
        content_hash = write_instances(out, masks, masks.facts)
    finally:
        masks.close()
    _report(out, {"clips": len(masks.clip_ids), "content_hash": content_hash, "facts": masks.facts}, as_json)


def _report(out: Path, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, indent=1))
        return
    facts = result["facts"]
    skipped, partial = facts.get("skipped", []), facts.get("partial", [])
    there = ", was there already" if result.get("was_there") else ""
    click.echo(f"{out}: {result['clips']} clips, content {result['content_hash'][:16]}{there}")
    for title, rows in (("left out", skipped), ("cut short by damage", partial)):
        if rows:
            click.echo(f"{len(rows)} clips {title}:")
        for row in rows[:SHOWN_PROBLEMS]:
            click.echo(f"  {row['clip_id']}: {row['problem']}")
        if len(rows) > SHOWN_PROBLEMS:
            click.echo(f"  and {len(rows) - SHOWN_PROBLEMS} more (--json lists all)")


def _frames(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"--frames {text}: give a number or all.")
    return int(text)
