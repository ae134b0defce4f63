"""A release of mini-Diving48: a folder in its own form, so that every command takes it as data, with an index.

Videos are rendered and may be passed on. Labelled frames are a release of their own (``frames``).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diving48_domains.annotations import LIST_FILES, VIDEO_FOLDER, VOCAB_FILE, open_folder, source_id
from diving48_domains.instance_file import InstanceFile, table_names
from diving48_domains.mini.clip import draw_clip
from diving48_domains.mini.config import SPLITS, MiniConfig
from diving48_domains.mini.dataset import JOINTS_FILE, RECIPE_FILE, TRUTH_FILE, read_clip_rows, read_recipe
from diving48_domains.mini.joints_file import read_joints
from diving48_domains.mini.joints_file import table_names as table_names_of_joints
from diving48_domains.mini.parts import plan_tasks
from diving48_domains.no_frames import strangers_in
from diving48_domains.release.contents import (
    CLASS_LABEL,
    CLASS_NAMES,
    Contents,
    check_present,
    columns_table,
    count_by,
    index_file,
    refuse_paths,
)
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file

CONFIG = "clips"
MAX_RECIPE_BYTES = 128 << 20
ROW_FIELDS = ("clip_id", "split", "index", "label", "venue", "fps", "num_frames", "num_divers", "labelled_for")
COLUMNS: dict[str, tuple[str, str]] = {
    "clip_id": ("string", "id, and name of the video"),
    "label": ("int64", "class id"),
    "class_name": ("string", "takeoff, somersaults, twists, position"),
    "venue": ("int32", "number of the venue"),
    "group": ("string", "clips of one group share venue, bystanders and light"),
    "fps": ("int32", "frames/s"),
    "num_frames": ("int32", "frames of the video"),
    "num_divers": ("int32", "1, or 2 who dive together"),
    "video": ("string", "path of the video in this folder"),
    "video_sha256": ("string", "SHA-256 of the video"),
    "frames_with_diver": ("int32", "frames in which at least one pixel shows a diver"),
}


def collect(folder: Path, data: Path) -> None:
    """Copy videos, lists, recipe and truth of the mini-Diving48 ``data``: nothing else that lies there.

    Raises UsageError for a folder that is no mini-Diving48, DataError for one that is unfinished or damaged.
    """
    config, rows = recipe_of(data)
    (folder / VIDEO_FOLDER).mkdir()
    names = [RECIPE_FILE, VOCAB_FILE, TRUTH_FILE, JOINTS_FILE, *_lists(config)]
    names += [_video(str(row["clip_id"])) for row in rows]
    check_present(data, names)
    for name in names:
        shutil.copyfile(data / name, folder / name)


def describe(folder: Path) -> Contents:
    """Read everything of a mini-Diving48 of unknown origin and check it against its recipe, but for the pixels.

    Raises DataError where lists, truth, joints, videos and recipe do not say the same.
    """
    config, rows = recipe_of(folder)
    files = [RECIPE_FILE, VOCAB_FILE, TRUTH_FILE, JOINTS_FILE, *_lists(config)]
    files += [_video(row["clip_id"]) for row in rows]
    check_present(folder, files)
    _check_lists(folder, config, rows)
    records = _records(folder, rows)
    configs: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    kinds = {name: kind for name, (kind, _) in COLUMNS.items()}
    with InstanceFile(folder / TRUTH_FILE) as truth:
        content_hash = truth.content_hash
    for split in SPLITS:
        mine = [record for record, row in zip(records, rows, strict=True) if row["split"] == split]
        if not mine:
            continue
        name = index_file(CONFIG, split)
        tables[name] = columns_table(mine, kinds, {"label": CLASS_LABEL})
        configs.setdefault(CONFIG, {})[split] = {
            "n": len(mine),
            "index": name,
            "list": LIST_FILES[split],
            "frames": sum(record["num_frames"] for record in mine),
            "n_of_class": count_by(mine, "class_name"),
        }
    facts = {"recipe": config.to_json(), "truth_content_hash": content_hash, "configs": configs}
    return Contents(facts, tables, tuple(files))


def recipe_of(folder: Path) -> tuple[MiniConfig, list[dict[str, Any]]]:
    """The recipe of a finished mini-Diving48, and its clips as mini.json lists them, checked against the recipe.

    Raises UsageError when ``folder`` has no recipe, DataError when it is not finished, or lists other clips.
    """
    if not (folder / RECIPE_FILE).is_file():
        raise UsageError(
            f"{folder} has no {RECIPE_FILE}, so it is no mini-Diving48 of `d48dom mini`. Frames of the real Diving48 "
            "show people and are not ours to release; of these, --kind domains releases recipe and masks."
        )
    if (folder / RECIPE_FILE).stat().st_size > MAX_RECIPE_BYTES:
        raise DataError(f"{folder / RECIPE_FILE} is larger than {MAX_RECIPE_BYTES} bytes; refused.")
    config, _ = read_recipe(folder)
    rows = read_clip_rows(folder)
    path = folder / RECIPE_FILE
    tasks = plan_tasks(config)
    if len(rows) != len(tasks):
        raise DataError(f"{path} lists {len(rows)} clips; its recipe gives {len(tasks)}.")
    for row, task in zip(rows, tasks, strict=True):
        if not isinstance(row, dict) or set(row) != set(ROW_FIELDS):
            raise DataError(f"{path}: a clip has the fields {', '.join(ROW_FIELDS)}.")
        plan = draw_clip(config, task.split, task.index)
        expected = (plan.clip_id, task.split, task.index, plan.label, plan.venue, plan.fps, plan.num_frames)
        found = tuple(row[name] for name in ROW_FIELDS)
        if found != (*expected, len(plan.dives), task.labelled_for):
            raise DataError(
                f"{path}: clip {task.index} of {task.split} is {found[0]!a:.100}, not what the recipe gives."
            )
    refuse_paths(rows, str(path))
    return config, rows


def lines(manifest: Mapping[str, Any]) -> str:
    """The block ``release`` of the card."""
    recipe = manifest["recipe"]
    out = [
        f"Release {manifest['version']}: classes `{recipe['classes']}`, rho {recipe['rho']:g} by {recipe['venue_by']}, "
        f"{recipe['width']}x{recipe['height']} px, seed {recipe['seed']}; content hash of the truth "
        f"`{manifest['truth_content_hash'][:16]}`.",
        "",
        "| split | clips | frames | classes | list |",
        "|---|---:|---:|---:|---|",
    ]
    for split, facts in manifest["configs"][CONFIG].items():
        classes = len(facts["n_of_class"])
        out.append(f"| {split} | {facts['n']} | {facts['frames']} | {classes} | `{facts['list']}` |")
    return "\n".join(out)


def _video(clip_id: str) -> str:
    return f"{VIDEO_FOLDER}/{clip_id}.mp4"


def _lists(config: MiniConfig) -> list[str]:
    return [LIST_FILES[split] for split in SPLITS if config.count(split)]


def _check_lists(folder: Path, config: MiniConfig, rows: Sequence[Mapping[str, Any]]) -> None:
    diving = open_folder(folder)  # checks the vocabulary too
    for split in SPLITS:
        listed = {one.clip_id: one.label for one in diving.entries(split)} if config.count(split) else {}
        if listed != {row["clip_id"]: row["label"] for row in rows if row["split"] == split}:
            raise DataError(f"{LIST_FILES[split]} lists other clips or labels than {RECIPE_FILE}.")


def _records(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the index, from truth, joints and videos. DataError where they differ from the recipe's clips."""
    records = []
    with InstanceFile(folder / TRUTH_FILE) as truth:
        for name, known in ((TRUTH_FILE, table_names()), (JOINTS_FILE, table_names_of_joints())):
            if strange := strangers_in(folder / name, known):
                raise DataError(f"{name} holds what no such file has: {', '.join(strange[:5])}.")
        if truth.clip_ids != tuple(row["clip_id"] for row in rows):
            raise DataError(f"{TRUTH_FILE} holds other clips than {RECIPE_FILE}.")
        refuse_paths(truth.facts, TRUTH_FILE)
        for row in rows:
            clip = truth.read(row["clip_id"])
            where = f"clip {row['clip_id']}"
            if not np.array_equal(clip.frame_indices, np.arange(row["num_frames"])):
                raise DataError(f"{where}: {TRUTH_FILE} has {len(clip.frames)} frames of {row['num_frames']}.")
            joints, _ = read_joints(folder / JOINTS_FILE, row["clip_id"])
            if joints.shape[:2] != (row["num_divers"], row["num_frames"]):
                raise DataError(f"{where}: {JOINTS_FILE} has {joints.shape[:2]} divers and frames.")
            digest = sha256_file(folder / _video(row["clip_id"]))
            if digest != clip.source_sha256:
                raise DataError(f"{where}: its video is not the one that {TRUTH_FILE} belongs to.")
            records.append(
                {
                    **{name: row[name] for name in ("clip_id", "label", "venue", "fps", "num_frames", "num_divers")},
                    "class_name": CLASS_NAMES[row["label"]],
                    "group": source_id(row["clip_id"]),
                    "video": _video(row["clip_id"]),
                    "video_sha256": digest,
                    "frames_with_diver": sum(bool(frame) for frame in clip.frames),
                }
            )
    return records
