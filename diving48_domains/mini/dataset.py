"""A whole mini-Diving48 on disk, in the form of the real one plus its truth.

    OUT/mini.json                      the recipe, and one row a clip: split, label, venue, fps, frames
    OUT/Diving48_V2_train.json, Diving48_V2_test.json, Diving48_vocab.json, mini_val|shift|swap.json
    OUT/rgb/<clip_id>.mp4
    OUT/truth.h5                       exact masks of every diver in every frame (an instances file)
    OUT/joints.h5                      joints in pixels and metres
    OUT/labels/train|val/images|masks  labelled frames, one colour an instance

Each clip is finished on its own: its video and its part of the truth are renamed into place, the marker last. A run
that was killed goes on where it stopped, and no byte depends on that, on how many workers there are or who ends first.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diving48_domains.annotations import LIST_FILES, VIDEO_FOLDER, VOCAB_FILE, ClipEntry, write_list, write_vocab
from diving48_domains.mini.config import SPLITS, MiniConfig
from diving48_domains.mini.parts import (
    LABELS_FOLDER,
    PARTS_FOLDER,
    Task,
    clip_rows,
    is_done,
    make_part,
    plan_tasks,
    write_clip_joints,
    write_truth,
)
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import check_free_space, locked, write_json_atomic

RECIPE_FILE = "mini.json"
TRUTH_FILE = "truth.h5"
JOINTS_FILE = "joints.h5"
FORMAT = "mini-diving48"
BYTES_PER_PIXEL = 0.2
"""Upper estimate of what a pixel of video takes on disk with its masks: 0.11 at 160x120, 0.2 at 64x48, less above."""
MEAN_FRAMES = 150


@dataclass(frozen=True)
class MiniSummary:
    """What :func:`write_mini` did: the folder, its recipe, clips made now and found from an earlier run."""

    out: Path
    config: MiniConfig
    made: int
    found: int


def write_mini(out: Path | str, config: MiniConfig, *, workers: int | None = None, quiet: bool = False) -> MiniSummary:
    """Write the data set of ``config`` to the folder ``out``, or finish the one begun there (section 3.3).

    ``workers`` processes, by default one a core, 0 for none beside this one. Raises UsageError when ``out`` holds
    anything else than this very recipe, another process writes to it, or the disk is too small; DataError when writing
    fails.
    """
    out = Path(out)
    engine = EngineOptions(workers=workers)
    if _begin(out, config):
        return MiniSummary(out, config, 0, sum(config.count(split) for split in SPLITS))
    with locked(out):
        return _make(out, config, engine, quiet)


def _make(out: Path, config: MiniConfig, engine: EngineOptions, quiet: bool) -> MiniSummary:
    tasks = plan_tasks(config)
    parts = out / PARTS_FOLDER
    parts.mkdir(exist_ok=True)
    open_tasks: list[Task] = [task for task in tasks if not is_done(parts, task)]
    try:
        _make_all(out, config, open_tasks, len(tasks), engine, quiet)
        _assemble(out, config, tasks)
    except OSError as problem:
        raise DataError(
            f"writing {out} failed: {problem}. Is the disk full? The finished clips are kept: run it again to go on."
        ) from problem
    return MiniSummary(out, config, len(open_tasks), len(tasks) - len(open_tasks))


def read_recipe(out: Path | str) -> tuple[MiniConfig, bool]:
    """The recipe of a mini folder and whether it is complete. DataError when ``out`` is no mini folder."""
    value = _read_mini_json(Path(out) / RECIPE_FILE)
    return MiniConfig.from_json(value["recipe"]), bool(value["complete"])


def read_clip_rows(out: Path | str) -> list[dict[str, Any]]:
    """What is known of each clip of a complete mini folder, in the order of the splits: see :func:`parts.clip_rows`."""
    value = _read_mini_json(Path(out) / RECIPE_FILE)
    if not value["complete"]:
        raise DataError(f"{out} is not complete; run the same `d48dom mini` again to finish it.")
    return list(value["clips"])


def _read_mini_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; a mini folder is made by `d48dom mini`.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is not JSON: {problem}") from problem
    if (
        not isinstance(value, dict)
        or value.get("format") != FORMAT
        or not {"recipe", "complete", "clips"} <= set(value)
    ):
        raise DataError(f"{path} does not describe a mini-Diving48.")
    return value


def _begin(out: Path, config: MiniConfig) -> bool:
    """Claim ``out`` for ``config``; True when the data set is already there and complete."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is not a directory; give another name.")
    if not out.exists() and not out.parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
    if out.is_dir() and any(not path.name.startswith(f".{RECIPE_FILE}.") for path in out.iterdir()):
        if not (out / RECIPE_FILE).is_file():
            raise UsageError(f"--out {out} holds other files; give an empty or a new folder.")
        former, complete = read_recipe(out)
        if former != config:
            differing = [
                f"{name} {former.to_json()[name]} there, {value} here"
                for name, value in config.to_json().items()
                if former.to_json()[name] != value
            ]
            raise UsageError(f"--out {out} holds another recipe ({'; '.join(differing)}); give another folder.")
        if complete:
            return True
    else:
        clips = sum(config.count(split) for split in SPLITS)
        needed = int(clips * MEAN_FRAMES * config.width * config.height * BYTES_PER_PIXEL)
        check_free_space(
            out if out.exists() else out.parent, needed, f"{clips} clips of {config.width}x{config.height}"
        )
        out.mkdir(exist_ok=True)
        write_json_atomic(out / RECIPE_FILE, _mini_json(config, None))
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            if getattr(config, f"labels_{split}"):
                (out / LABELS_FOLDER / split / kind).mkdir(parents=True, exist_ok=True)
    (out / VIDEO_FOLDER).mkdir(exist_ok=True)
    return False


def _mini_json(config: MiniConfig, rows: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {"format": FORMAT, "recipe": config.to_json(), "complete": rows is not None, "clips": rows or []}


def _make_all(out: Path, config: MiniConfig, tasks: list[Task], total: int, engine: EngineOptions, quiet: bool) -> None:
    from tqdm import tqdm

    with tqdm(
        total=total, initial=total - len(tasks), desc="mini", unit="clip", disable=True if quiet else None
    ) as progress:
        work = Work(partial(make_part, out, config))
        for _ in results(run_units(work, tasks, engine), lambda task: task.stem):
            progress.update()


def _assemble(out: Path, config: MiniConfig, tasks: list[Task]) -> None:
    """From the clips' parts the truth, the lists and, last of all, the word that the folder is complete."""
    parts = out / PARTS_FOLDER
    write_truth(parts, tasks, config, out / TRUTH_FILE)
    rows = list(clip_rows(parts, tasks, config))
    write_clip_joints(parts, tasks, rows, out / JOINTS_FILE)
    write_vocab(out / VOCAB_FILE)
    for split in SPLITS:
        entries = [
            ClipEntry(row["clip_id"], row["label"], 0, row["num_frames"]) for row in rows if row["split"] == split
        ]
        if entries:  # sorted by label, as the published lists are: whoever takes a prefix shall notice
            write_list(out / LIST_FILES[split], sorted(entries, key=lambda one: (one.label, one.clip_id)))
    write_json_atomic(out / RECIPE_FILE, _mini_json(config, rows))
    shutil.rmtree(parts)
