"""``d48dom publish``: recipes and masks of Diving48 domains to the Hugging Face Hub, never the frames of its videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.command import publish_options, run_publish

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".gif")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".npy", ".npz")
ARCHIVES = (".tar", ".gz", ".zip", ".7z")  # may hold either
FREE_HDF5_FORMATS = ("diving48-instances",)


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


def refuse_frames(folder: Path) -> None:
    """UsageError when ``folder`` holds what may be frames: pictures, videos, archives, HDF5 files other than masks."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _may_hold_frames(path)]
    if found:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:3])
        raise UsageError(
            f"{folder} has {len(found)} files that may hold frames, as {names}. The videos of Diving48 are not ours to "
            "publish; add --with-frames where all of them are procedural (mini-Diving48) or your own."
        )


def _may_hold_frames(path: Path) -> bool:
    if path.suffix.lower() in VIDEOS + PICTURES + ARCHIVES:
        return True
    if path.suffix.lower() not in {".h5", ".hdf5"}:
        return False
    from tsgen.common.h5guard import open_guarded

    try:
        with open_guarded(path) as file:
            return file.attrs.get("format") not in FREE_HDF5_FORMATS
    except DataError:
        return True
