"""``d48dom segment``: a segmenter over the videos of a split, into one instances file (Section 4.2 of the paper).

Each clip is decoded, segmented and written as a part by itself; the parts become the file when all are there. So a run
that was killed goes on where it was and ends in the same bytes, shards run on machines that know nothing of one
another, and memory depends on neither the number nor the length of the videos.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diving48_domains.annotations import DivingFolder, open_folder
from diving48_domains.division import check_shard
from diving48_domains.instance_file import InstanceFile, encode_clip, write_instances
from diving48_domains.instances import ClipInstances
from diving48_domains.sampling import FRAMES_PER_CLIP, uniform_indices
from diving48_domains.segment_device import choose_device
from diving48_domains.segment_parts import (
    Made,
    check_same,
    is_begun_by,
    made_before,
    note_path,
    open_parts,
    part_path,
    read_part,
    write_part,
)
from diving48_domains.segmenter import require_torchvision
from diving48_domains.video import DamagedVideo, read_frames
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.engine.place import enter
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import check_output_file, locked, sha256_file
from tsgen.common.shards import WHOLE, Shard

if TYPE_CHECKING:
    from diving48_domains.segmenter.predict import Segmenter

# What happens to a clip whose video is missing or damaged.
ON_DAMAGE = {
    "error": "stop",
    "skip": "leave the clip out and list it",
    "keep": "use the frames before the damage and list the clip; leave it out if there are none",
}
MAX_FRAMES = 4096  # a clip, when they are counted: a video has at most some hundred, and more would be repetitions
MOST_AT_ONCE = 64  # frames: more are decoded in several passes over the clip, each of at most
AT_ONCE_BYTES = 64 << 20
PER_SHARD = ("shard", "skipped", "partial")  # facts that differ between the shards of one run


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """What is looked at, and how.

    ``split``: of the folder's lists; ``frames``: so many a clip, evenly spaced, or None for all; ``on_damage``: a key
    of :data:`ON_DAMAGE`; ``shard``: of the list in rising order of the ids; ``score_threshold`` and
    ``max_detections``: of the segmenter; ``device`` and ``threads`` (of the CPU, a process): they may change last bits.
    """

    split: str = "test"
    frames: int | None = FRAMES_PER_CLIP
    on_damage: str = "error"
    shard: Shard = WHOLE
    score_threshold: float = 0.05
    max_detections: int = 10
    device: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.frames is not None and not 1 <= self.frames <= MAX_FRAMES:
            raise UsageError(f"{self.frames} frames a clip; give 1 to {MAX_FRAMES}, or all.")
        if self.on_damage not in ON_DAMAGE:
            raise unknown_name("--on-damage", self.on_damage, ON_DAMAGE)


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs. ``device``: "cpu", "cuda" or "cuda:N", never "auto": one file, one kind of device."""

    folder: DivingFolder
    segmenter: Path
    options: SegmentOptions
    device: str


def segment(
    data: Path,
    segmenter: Path,
    out: Path,
    options: SegmentOptions,
    *,
    engine: EngineOptions | None = None,
    gpus: float | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the instances file ``out`` and return what a report needs: facts, content hash, numbers of clips.

    Parts gather in ``<out>.parts`` meanwhile; a run with the same arguments goes on from there, and takes a finished
    file as it is. Raises UsageError when file or parts are of other arguments, or another process works on the parts,
    DamagedVideo for a damaged video with ``on_damage="error"``, and UnitsFailed when all parts are there but some,
    whose clips ended their process. ``engine``: one process by default; ``gpus``: those that a worker takes under ray,
    0 to 1, None for what the device needs.
    """
    there = None if force else made_before(out)
    check_output_file(out, force or there is not None)
    engine = engine or EngineOptions(workers=1)
    folder = open_folder(data)
    listed = sorted(entry.clip_id for entry in folder.entries(options.split))
    require_torchvision()
    check_shard(options.shard, options.split, len(listed))
    clip_ids = [listed[row] for row in options.shard.rows(len(listed))]
    device, gpus = choose_device(options.device, engine, gpus)
    task, parts = Task(folder, segmenter, options, device), out.with_name(f"{out.name}.parts")
    # Under ray this machine may have no GPU; it needs the network's facts alone.
    loaded = _load(task, "cpu" if engine.name == "ray" else device)
    facts = _facts(loaded, task, listed)
    if there is not None:
        check_same(out, there["facts"], facts)
        if is_begun_by(parts, facts):  # killed before they were removed
            with locked(parts):
                shutil.rmtree(parts)
        return there
    work = Work(_make, _start, (task,), cpus=options.threads, gpus=gpus)
    if engine.name == "ray":
        work = replace(work, start=_start_far, arguments=(task, Path.cwd(), _environment(task)))
    with open_parts(parts, facts, force):
        if engine.name != "ray":
            _worker[:] = [(task, loaded)]
        return _fill(out, facts, clip_ids, parts, work, engine)


def _fill(
    out: Path, facts: dict[str, Any], clip_ids: list[str], parts: Path, work: Work[str, Made], engine: EngineOptions
) -> dict[str, Any]:
    """The parts that are missing, the file of all, and the end of the parts."""
    waiting = [clip_id for clip_id in clip_ids if not part_path(parts, clip_id).is_file()]
    try:
        problems = _run_all(work, parts, waiting, len(clip_ids), engine)
    finally:
        _worker.clear()
    found = [clip_id for clip_id in clip_ids if part_path(parts, clip_id).is_file()]
    facts["skipped"] = [{"clip_id": clip_id, "problem": problems[clip_id]} for clip_id in sorted(problems)]
    facts["partial"] = [
        {"clip_id": clip_id, "problem": json.loads(note_path(parts, clip_id).read_text(encoding="utf-8"))}
        for clip_id in found
        if note_path(parts, clip_id).is_file()
    ]
    content_hash = write_instances(out, (read_part(parts, clip_id) for clip_id in found), facts)
    shutil.rmtree(parts)
    resumed = len(clip_ids) - len(waiting)
    return {
        "clips": len(found),
        "resumed": resumed,
        "was_there": False,
        "content_hash": content_hash,
        "facts": facts,
    }


def segment_clip(segmenter: Segmenter, clip_id: str, path: Path, options: SegmentOptions) -> tuple[ClipInstances, str]:
    """The instances of one clip and what was wrong with its video (empty when nothing).

    Raises DamagedVideo for what ``options.on_damage`` does not keep.
    """
    on_damage = "keep" if options.on_damage == "keep" else "error"
    if options.frames is not None and options.frames <= MOST_AT_ONCE:
        video = read_frames(path, options.frames, on_damage=on_damage)
        wanted, found = video.indices, list(segmenter.instances(video.frames))
    else:
        video, found = read_frames(path, [0], on_damage=on_damage), []
        count = video.num_frames
        wanted = np.arange(count) if options.frames is None else np.unique(uniform_indices(count, options.frames))
        at_once = max(1, AT_ONCE_BYTES // video.frames.nbytes)
        for start in range(0, len(wanted), at_once):
            frames = read_frames(path, wanted[start : start + at_once], on_damage=on_damage).frames
            found.extend(segmenter.instances(frames))
    height, width = video.size
    clip = ClipInstances(clip_id, height, width, wanted.astype(np.int64), tuple(found), sha256_file(path))
    return clip, video.message


def merge_instances(paths: Sequence[Path], out: Path, *, force: bool = False) -> dict[str, Any]:
    """Merge the shards of one run into the file that a run without shards writes, bit for bit; returns its facts.

    Raises DataError when the files differ in segmenter or parameters, or when a clip of the list is missing or twice.
    """
    check_output_file(out, force)
    if not paths:
        raise UsageError("no files to merge; give the shards.")
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(InstanceFile(path)) for path in paths]
        common = [{key: value for key, value in file.facts.items() if key not in PER_SHARD} for file in files]
        for file, facts in zip(files, common, strict=True):
            differing = sorted(key for key in facts.keys() | common[0].keys() if facts.get(key) != common[0].get(key))
            if differing:
                raise DataError(
                    f"{file.path} and {files[0].path} differ in {', '.join(differing)}; only shards of one run, with "
                    "one segmenter and the same parameters, can be merged."
                )
        where: dict[str, InstanceFile] = {}
        skipped: dict[str, Any] = {}
        for file in files:
            for clip_id in file.clip_ids:
                if clip_id in where:
                    raise DataError(f"clip {clip_id!r} is both in {where[clip_id].path} and in {file.path}.")
                where[clip_id] = file
            skipped |= _by_clip(file, "skipped")
        known = sorted({*where, *skipped})
        expected = common[0].get("list")
        if isinstance(expected, dict) and expected.get("sha256") != _hash_of_ids(known):
            shards = ", ".join(str(file.facts.get("shard")) for file in files)
            raise DataError(
                f"the files hold {len(known)} of {expected.get('num_clips')} listed clips (shards {shards}); give all "
                "shards, each once."
            )
        partial = {clip_id: row for file in files for clip_id, row in _by_clip(file, "partial").items()}
        facts = common[0] | {
            "shard": None,
            "skipped": [skipped[clip_id] for clip_id in sorted(skipped)],
            "partial": [partial[clip_id] for clip_id in sorted(partial)],
        }
        content_hash = write_instances(out, (where[clip_id].read(clip_id) for clip_id in sorted(where)), facts)
    return {"clips": len(where), "content_hash": content_hash, "facts": facts}


def _by_clip(file: InstanceFile, key: str) -> dict[str, Any]:
    rows = file.facts.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "clip_id" in row for row in rows):
        raise DataError(f"{file.path}: its list of {key} clips is damaged.")
    return {str(row["clip_id"]): row for row in rows}


def _hash_of_ids(clip_ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(clip_ids)).encode()).hexdigest()


def _facts(segmenter: Segmenter, task: Task, listed: list[str]) -> dict[str, Any]:
    options = task.options
    return {
        "source": "segmenter",
        "segmenter": {"name": segmenter.name, "sha256": segmenter.sha256},
        "parameters": asdict(segmenter.options),
        "frames": "all" if options.frames is None else options.frames,
        "on_damage": options.on_damage,
        "environment": _environment(task),
        "list": {"split": options.split, "num_clips": len(listed), "sha256": _hash_of_ids(listed)},
        "shard": None if options.shard.is_whole else str(options.shard),
        "skipped": [],
        "partial": [],
    }


def _environment(task: Task) -> dict[str, Any]:
    import torch

    return {"torch": torch.__version__, "device": task.device.partition(":")[0], "threads": task.options.threads}


def _load(task: Task, device: str) -> Segmenter:
    from diving48_domains.segmenter.network import DetectOptions
    from diving48_domains.segmenter.predict import load_segmenter

    choice = DetectOptions(score_threshold=task.options.score_threshold, max_detections=task.options.max_detections)
    return load_segmenter(task.segmenter, options=choice, device=device, threads=task.options.threads)


def _make_part(task: Task, segmenter: Segmenter, clip_id: str) -> Made:
    try:
        path = task.folder.video(clip_id)
        clip, damage = segment_clip(segmenter, clip_id, path, task.options)
    except DataError as problem:
        if task.options.on_damage == "error":
            text = str(problem).rstrip(".")
            raise DataError(f"{text}. Give --on-damage skip or keep to go on without it.") from problem
        if not isinstance(problem, DamagedVideo) and task.folder.find_video(clip_id) is not None:
            raise
        return Made(problem=_without_folder(str(problem), task.folder))
    return Made(encode_clip(clip), _without_folder(damage, task.folder))


def _without_folder(text: str, folder: DivingFolder) -> str:
    """Equal runs write equal files wherever the videos lie."""
    return text.replace(f"{folder.root}{os.sep}", "")


_worker: list[tuple[Task, Segmenter]] = []
"""Of a process that works: its task and its network, loaded once."""


def _start(task: Task) -> None:
    if not (_worker and _worker[0][0] == task):
        _worker[:] = [(task, _load(task, task.device))]


def _start_far(task: Task, driver_folder: Path, environment: dict[str, Any]) -> None:
    """UsageError where this machine would give other last bits than the file says."""
    enter(driver_folder)
    here = _environment(task)
    if here != environment:
        raise UsageError(
            f"the machine {platform.node()} has {here}, the one that writes the file {environment}; all machines of "
            "--engine ray need the same installation."
        )
    _start(task)


def _make(clip_id: str) -> Made:
    return _make_part(*_worker[0], clip_id)


def _run_all(
    work: Work[str, Made], parts: Path, waiting: list[str], total: int, engine: EngineOptions
) -> dict[str, str]:
    """All parts that are missing, written here alone; returns the clips left out and why."""
    from tqdm import tqdm

    problems: dict[str, str] = {}
    if not waiting:
        return problems
    with tqdm(total=total, initial=total - len(waiting), desc="segment", unit="clip", disable=None) as progress:
        for clip_id, made in results(run_units(work, waiting, engine)):
            if made.problem:
                problems[clip_id] = made.problem
                progress.set_postfix(left_out=len(problems))
            else:
                write_part(parts, clip_id, made)
            progress.update()
    return problems
