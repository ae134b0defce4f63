"""``d48dom preview``: look at a clip in all domains before building thousands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diving48_domains.build_commands import composition_options, data_and_instances, options_from
from diving48_domains.domains import DOMAINS
from tsgen.common.errors import UsageError


@click.command()
@click.argument("clip")
@click.option("--data", type=click.Path(path_type=Path), help="A folder in Diving48's form.")
@click.option("--instances", help="An instances file of `d48dom segment`, or `truth` for Mini-Diving48's own masks.")
@composition_options("15")
@click.option("--out", type=click.Path(path_type=Path), help="The sheet, a PNG.  [default: CLIP.png]")
@click.option("--animation", type=click.Path(path_type=Path), help="Also a moving picture: .gif, .png or .webp.")
@click.option("--columns", type=int, default=8, show_default=True, help="Frames in the sheet.")
@click.option("--width", type=int, default=160, show_default=True, help="Of a frame in the pictures, px.")
@click.option("--force", is_flag=True, help="Replace pictures that exist.")
def preview(
    clip: str,
    data: Path | None,
    instances: str | None,
    out: Path | None,
    animation: Path | None,
    columns: int,
    width: int,
    force: bool,
    **composition: Any,
) -> None:
    """Show CLIP in all domains, with boxes; the rim of each frame tells its status."""
    if not 1 <= columns <= 64 or not 16 <= width <= 2000:
        raise UsageError(f"--columns {columns} is 1 to 64 and --width {width} 16 to 2000 px.")
    from diving48_domains.clip_build import Job, look_at
    from diving48_domains.instance_file import InstanceFile
    from diving48_domains.preview import (
        ANIMATIONS,
        class_name,
        clip_animation,
        clip_sheet,
        save_animation,
        save_image,
    )
    from tsgen.common.files import check_output_file

    if composition.get("frames") == "all":
        raise UsageError("--frames all is for builds; a preview shows a number of frames.")
    if composition.get("domains") is None:
        composition["domains"] = ",".join(name for name in DOMAINS if name != "C")  # C looks as O does
    options = options_from(**composition)
    out = out or Path(f"{clip}.png")
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the sheet is a PNG.")
    check_output_file(out, force)
    if animation is not None:
        check_output_file(animation, force)
        if animation.suffix.lower() not in ANIMATIONS or animation == out:
            raise UsageError(
                f"--animation {animation}: allowed are {', '.join(ANIMATIONS)}, and another name than --out."
            )
    folder, source = data_and_instances(data, instances)
    labels = {one.clip_id: one.label for split in folder.splits for one in folder.entries(split)}
    if clip not in labels:
        raise UsageError(f"no list of {folder.root} names the clip {clip!r}; the first is {next(iter(labels))!r}.")
    video = folder.video(clip)
    job = Job(0, clip, labels[clip], "", video, video.relative_to(folder.root).as_posix())
    with InstanceFile(source) as opened:
        seen = look_at(job, opened, options, f"{clip}: {class_name(labels[clip])}")
    save_image(clip_sheet(seen, options, columns, width), out)
    click.echo(f"{out}: {len(set(options.domains)) + 1} rows, {len(seen.frames)} frames looked at")
    counts = {name: seen.status.count(name) for name in ("detected", "interpolated", "empty", "leaked")}
    click.echo("  frames: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if animation is not None:
        save_animation(clip_animation(seen, options, width), animation, min(seen.fps, 50.0))
        click.echo(f"{animation}: {len(seen.frames)} pictures")
