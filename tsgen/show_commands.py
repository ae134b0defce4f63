"""``tsgen show``: clips as pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsgen.common.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

HOLD_MS = 500  # the last frame of an animation stays, so that the eye finds the start


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The picture: .png, .gif or .webp.")
@click.option(
    "--kind",
    metavar="KIND",
    help="sheet (a row a clip; default for .png), strip (all frames, numbered), path (trajectories coloured by time) "
    "or animation (default for .gif and .webp).",
)
@click.option("--clip", "clips", multiple=True, type=int, metavar="ROW", help="Show this clip; may be repeated.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Only this class; may be repeated. Default: all, in a sheet of several files the first.",
)
@click.option("--per-class", default=1, show_default=True, type=int, help="Clips of each class.")
@click.option("--every", type=int, help="Show every k-th frame. Default: 2 in a sheet, else 1.")
@click.option("--scale", type=int, help="Enlarge by a whole factor. Default: sheet 1, strip 2, others 4.")
@click.option("--fps", default=10.0, show_default=True, type=float, help="Frames a second of an animation.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def show(
    files: tuple[Path, ...],
    out: Path,
    kind: str | None,
    clips: tuple[int, ...],
    classes: tuple[str, ...],
    per_class: int,
    every: int | None,
    scale: int | None,
    fps: float,
    force: bool,
) -> None:
    """Draw clips of one FILE, or of several to compare their domains.

    \b
    tsgen show ts.h5 --out sheet.png
    tsgen show ts.h5 --clip 3 --out clip3.gif
    tsgen show ts.h5 --kind path --out paths.png
    tsgen show 2dot.h5 5dot.h5 mnist.h5 mnist-bg.h5 --class circle --out domains.png
    """
    from tsgen.clipset import open_clips
    from tsgen.common.files import check_output_file
    from tsgen.preview import KINDS, choose_shots, kind_for, with_look

    for name, value in (("--per-class", per_class), ("--every", every), ("--scale", scale)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value} is not possible; allowed: 1 or more.")
    if not 1 <= fps <= 50:
        raise UsageError(f"--fps {fps:g} is not possible; allowed: 1..50.")
    chosen = kind_for(kind, out.suffix.lower())
    check_output_file(out, force)
    if not (classes or clips) and chosen is KINDS["sheet"] and len(files) > 1:
        with open_clips(files[0]) as clip_set:
            classes = clip_set.class_names[:1]
    reels = []
    for file in files:
        with open_clips(file) as clip_set:
            reels.append(choose_shots(clip_set, clips=clips, classes=classes, per_class=per_class))
    if len({reel.title for reel in reels}) < len(reels):
        reels = [replace(reel, title=file.stem) for reel, file in zip(reels, files, strict=True)]
    images = chosen.draw(reels, with_look(chosen, every, scale))
    save(images, out, fps)
    what = f", {len(images)} frames at {fps:g} fps" if len(images) > 1 else ""
    click.echo(f"wrote {out}: {images[0].width}x{images[0].height} px{what}")


def save(images: list[Image.Image], out: Path, fps: float, *, hold_ms: int = HOLD_MS) -> None:
    """Write images as one file: PNG holds one, GIF and WebP all of them. Lossless in every format."""
    from tsgen.common.files import atomic_path

    durations = [round(1000 / fps)] * len(images)
    durations[-1] += hold_ms
    with atomic_path(out) as partial, partial.open("wb") as handle:
        if out.suffix.lower() == ".png":
            images[0].save(handle, format="PNG", optimize=True)
        elif out.suffix.lower() == ".gif":
            images[0].save(handle, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
        else:
            pages = [image.convert("RGB") for image in images]
            pages[0].save(
                handle, "WEBP", save_all=True, append_images=pages[1:], duration=durations, loop=0, lossless=True
            )
