"""A release of labelled diver frames: those that `d48dom mini` renders, never frames of real videos.

labels/<split>/images|masks/*.png          the form that `d48dom train --labels` takes
data/<split>.parquet                       the same pictures, a row a frame
mini.json                                  the recipe they come from
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diving48_domains.instance_file import InstanceFile
from diving48_domains.labels import LabelledFrame, read_labels
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini.dataset import RECIPE_FILE, TRUTH_FILE
from diving48_domains.mini.parts import LABELS_FOLDER, plan_tasks
from diving48_domains.pasting import paste_union
from diving48_domains.release.contents import Contents, columns_table
from diving48_domains.release.mini import recipe_of
from tsgen.common.errors import DataError, UsageError

CONFIG = "frames"
SPLITS = ("train", "val")
COLUMNS: dict[str, tuple[str, str]] = {
    "frame_id": ("string", "name of the files, without suffix"),
    "image": ("picture", "the frame, RGB"),
    "mask": ("picture", "black, with one colour a diver"),
    "clip_id": ("string", "the clip of mini-Diving48 it was taken from"),
    "group": ("string", "the source video of the clip: keep groups apart"),
    "frame": ("int32", "number of the frame in the clip, from 0"),
    "width": ("int32", "px"),
    "height": ("int32", "px"),
    "divers": ("int32", "colours of the mask"),
    "diver_pixels": ("int32", "pixels of the mask that are not black"),
}
_STEM = re.compile(r"(?P<clip>[A-Za-z0-9_-]{1,128})_(?P<frame>\d{6})")
_PICTURES = {"image": {"_type": "Image"}, "mask": {"_type": "Image"}}


def collect(folder: Path, data: Path) -> None:
    """Copy the labelled frames of the mini-Diving48 ``data`` and its recipe.

    Frames must be those that the recipe labels, with the masks of the truth beside it. Raises UsageError for a folder
    that is no mini-Diving48 or has no labels, DataError for frames that are not its own.
    """
    config, clips = recipe_of(data)
    if not config.labels_train + config.labels_val:
        raise UsageError(f"{data} has no labelled frames; make some with `d48dom mini --labels 290+13`.")
    found = _frames(data, config, clips)
    _check_masks(data, [frame for frames in found.values() for frame in frames])
    shutil.copyfile(data / RECIPE_FILE, folder / RECIPE_FILE)
    for split, frames in found.items():
        for kind in ("images", "masks"):
            target = folder / LABELS_FOLDER / split / kind
            target.mkdir(parents=True)
            for frame in frames:
                name = f"{frame.stem}.png"
                shutil.copyfile(data / LABELS_FOLDER / split / kind / name, target / name)


def describe(folder: Path) -> Contents:
    """Read all frames and masks of a release of unknown origin; names, numbers and sizes must be those of its recipe.

    Raises DataError otherwise. That the pixels are the recipe's is shown by making them again.
    """
    config, clips = recipe_of(folder)
    files = [RECIPE_FILE]
    configs: dict[str, Any] = {CONFIG: {}}
    tables: dict[str, Any] = {}
    for split, frames in _frames(folder, config, clips).items():
        rows = [_row(folder, split, frame) for frame in frames]
        name = f"data/{split}.parquet"
        tables[name] = columns_table(rows, {key: kind for key, (kind, _) in COLUMNS.items()}, _PICTURES)
        configs[CONFIG][split] = {
            "n": len(rows),
            "index": name,
            "divers": sum(row["divers"] for row in rows),
            "groups": len({row["group"] for row in rows}),
        }
        kinds = ("images", "masks")
        files += [f"{LABELS_FOLDER}/{split}/{kind}/{frame.stem}.png" for kind in kinds for frame in frames]
    return Contents({"recipe": config.to_json(), "configs": configs}, tables, tuple(files))


def lines(manifest: Mapping[str, Any]) -> str:
    """The block ``release`` of the card."""
    recipe = manifest["recipe"]
    out = [
        f"Release {manifest['version']}: ours, rendered; {recipe['width']}x{recipe['height']} px, classes "
        f"`{recipe['classes']}`, seed {recipe['seed']}, of the first {100 * recipe['labelled_share']:.0f} % of a dive.",
        "",
        "| split | frames | divers | source videos |",
        "|---|---:|---:|---:|",
    ]
    for split, facts in manifest["configs"][CONFIG].items():
        out.append(f"| {split} | {facts['n']} | {facts['divers']} | {facts['groups']} |")
    return "\n".join(out)


def place_of(stem: str) -> tuple[str, int]:
    """Clip and number of a labelled frame, from its name. DataError for another name."""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise DataError(f"{stem!a} is not the name of a labelled frame of `d48dom mini`.")
    return match["clip"], int(match["frame"])


def _frames(
    folder: Path, config: MiniConfig, clips: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[LabelledFrame, ...]]:
    """Split -> frames, sorted by name. DataError unless they are as many of each clip as the recipe labels."""
    found = {}
    ids = {(row["split"], row["index"]): row["clip_id"] for row in clips}
    for split in SPLITS:
        if not getattr(config, f"labels_{split}"):
            continue
        place = folder / LABELS_FOLDER / split
        try:
            frames = read_labels(place)
        except UsageError as problem:
            raise DataError(str(problem)) from problem
        wanted = {ids[t.split, t.index]: t.num_labelled for t in plan_tasks(config) if t.labelled_for == split}
        if Counter(place_of(frame.stem)[0] for frame in frames) != wanted:
            raise DataError(f"{place} holds other frames than its recipe labels; make it again with `d48dom mini`.")
        for frame in frames:
            if frame.image.suffix != ".png" or frame.masks.shape[1:] != (config.height, config.width):
                raise DataError(f"{frame.image}: not a PNG of {config.width}x{config.height} px, as its recipe says.")
        found[split] = frames
    return found


def _check_masks(data: Path, frames: list[LabelledFrame]) -> None:
    """DataError unless every mask is the exact one of its clip and frame."""
    with InstanceFile(data / TRUTH_FILE) as truth:
        for frame in frames:
            clip_id, number = place_of(frame.stem)
            clip = truth.read(clip_id)
            if number >= len(clip.frames):
                raise DataError(f"{frame.image}: {clip_id} has {len(clip.frames)} frames.")
            painted = paste_union(clip.frames[number], clip.height, clip.width) > 0
            if not np.array_equal(painted, frame.masks.any(axis=0)):
                raise DataError(
                    f"{frame.image}: its mask is not the one of {TRUTH_FILE}; these frames are not of {data}."
                )


def _row(folder: Path, split: str, frame: LabelledFrame) -> dict[str, Any]:
    clip_id, number = place_of(frame.stem)
    frame.read_image()  # as a picture, whole
    height, width = frame.masks.shape[1:]
    name = f"{frame.stem}.png"
    place = folder / LABELS_FOLDER / split
    return {
        "frame_id": frame.stem,
        "image": {"bytes": (place / "images" / name).read_bytes(), "path": name},
        "mask": {"bytes": (place / "masks" / name).read_bytes(), "path": name},
        "clip_id": clip_id,
        "group": frame.group,
        "frame": number,
        "width": width,
        "height": height,
        "divers": len(frame.masks),
        "diver_pixels": int(frame.masks.sum()),
    }
