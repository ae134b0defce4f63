"""``d48dom pack``: training and validation clips as stores of frames, so that training never decodes a video.

Section 3.3 and supplement: 32 uniformly sampled frames, resized to the training size; a tenth of the training list is
held out for validation. The test list goes through ``d48dom build`` instead, in every domain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diving48_domains.annotations import ClipEntry, DivingFolder, source_id
from diving48_domains.build_options import ON_BAD_CLIP, RESIZE_RULE
from diving48_domains.clip_build import resizer
from diving48_domains.framestore import StorePlan
from diving48_domains.manifest import ClipRecord, key_hash, read_manifest, write_manifest
from diving48_domains.sampling import FRAMES_PER_CLIP, indices_by_time, uniform_indices
from diving48_domains.storewriter import Slots, StoreWriter, write_clip
from diving48_domains.video import read_frames
from diving48_domains.workers import number_of_workers, run_jobs
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import sha256_file

TRAIN, VAL = "train", "val"
SPLIT_RULES = {
    "random": "clips, whatever video they are cut from: the paper's way, near copies of a clip may be on both sides",
    "source": "whole source videos: no clip of a validation video is trained on",
}
VAL_STREAM = 48  # separates the draw of the validation clips from any other use of the seed


@dataclass(frozen=True, slots=True)
class PackOptions:
    """``size``: (height, width) px; ``by``: frames evenly spaced by "index" or "time"; ``val_share``: of the training
    list, where the folder has no validation list of its own; ``val_by``: one of SPLIT_RULES; ``seed``: of that draw.
    """

    size: tuple[int, int] = (224, 224)
    num_frames: int = FRAMES_PER_CLIP
    by: str = "index"
    val_share: float = 0.1
    val_by: str = "random"
    seed: int = 42
    on_bad_clip: str = "error"

    def __post_init__(self) -> None:
        if not all(1 <= side <= 8192 for side in self.size):
            raise UsageError(f"a frame's height and width are 1 to 8192 px, got {self.size}.")
        if not 1 <= self.num_frames <= 4096:
            raise UsageError(f"1 to 4096 frames a clip can be stored, got {self.num_frames}.")
        if self.by not in ("index", "time"):
            raise unknown_name("by", self.by, ("index", "time"))
        if self.val_by not in SPLIT_RULES:
            raise unknown_name("rule of the validation split", self.val_by, SPLIT_RULES)
        if not (math.isfinite(self.val_share) and 0 < self.val_share < 1):
            raise UsageError(f"the validation share lies between 0 and 1, got {self.val_share}.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is not possible; allowed: 0..2**63-1.")
        if self.on_bad_clip not in ON_BAD_CLIP:
            raise unknown_name("policy for bad clips", self.on_bad_clip, ON_BAD_CLIP)


@dataclass(frozen=True, slots=True)
class Packed:
    """One store that was written, or was there. ``classes``: clips of each label, of those written."""

    path: Path
    clips: int
    failed: int
    short: int
    classes: dict[int, int]
    was_there: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "clips": self.clips,
            "failed": self.failed,
            "short": self.short,
            "clips_of_class": {str(label): count for label, count in sorted(self.classes.items())},
        }


@dataclass(frozen=True, slots=True)
class _Task:
    row: int
    entry: ClipEntry
    video: Path | None
    source: str


def split_entries(
    entries: Sequence[ClipEntry], options: PackOptions
) -> tuple[tuple[ClipEntry, ...], tuple[ClipEntry, ...]]:
    """Training and validation clips, each in the order of the list.

    ``random`` holds out ``floor(share * N)`` clips, 1502 of the 15027 of V2; ``source`` draws source videos until they
    have as many. UsageError when one side would be empty.
    """
    wanted = math.floor(options.val_share * len(entries))
    groups = [source_id(one.clip_id) for one in entries]
    units = sorted(set(groups)) if options.val_by == "source" else list(range(len(entries)))
    words = np.random.Philox(key=[options.seed, VAL_STREAM]).random_raw(len(units))
    order = [units[place] for place in np.argsort(words, kind="stable")]
    if options.val_by == "source":
        sizes, held = Counter(groups), 0
        chosen: set[Any] = set()
        for group in order:
            if held >= wanted:
                break
            chosen.add(group)
            held += sizes[group]
        is_val = [group in chosen for group in groups]
    else:
        chosen = set(order[:wanted])
        is_val = [row in chosen for row in range(len(entries))]
    train = tuple(one for one, held_out in zip(entries, is_val, strict=True) if not held_out)
    val = tuple(one for one, held_out in zip(entries, is_val, strict=True) if held_out)
    if not train or not val:
        raise UsageError(
            f"a share of {options.val_share:g} of {len(entries)} clips leaves {len(train)} to train on and {len(val)} "
            "to validate with; give another --val-share."
        )
    return train, val


def pack(
    folder: DivingFolder,
    out: Path,
    options: PackOptions | None = None,
    *,
    workers: int | None = None,
    force: bool = False,
    quiet: bool = False,
) -> list[Packed]:
    """Write ``out/train.h5`` and ``out/val.h5``, each with a manifest; after a kill the same call goes on.

    Where ``folder`` has a list of validation clips it is taken; else clips of the training list are held out.
    UsageError when what is there was made otherwise (``force`` replaces it), DataError for a clip without a usable
    video unless ``on_bad_clip`` is "drop".
    """
    options = options or PackOptions()
    entries = folder.entries(TRAIN)
    lists = {TRAIN: entries, VAL: folder.entries(VAL)} if VAL in folder.lists else None
    if lists is None:
        train, val = split_entries(entries, options)
        lists = {TRAIN: train, VAL: val}
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    out.mkdir(parents=True, exist_ok=True)
    return [_pack_one(folder, name, lists[name], out, options, workers, force, quiet) for name in lists]


def _pack_one(
    folder: DivingFolder,
    name: str,
    entries: Sequence[ClipEntry],
    out: Path,
    options: PackOptions,
    workers: int | None,
    force: bool,
    quiet: bool,
) -> Packed:
    path, manifest_path = out / f"{name}.h5", out / f"{name}.jsonl"
    journal = manifest_path.with_suffix(".journal")
    key = _key(folder, name, options)
    if force:
        for leftover in (path, path.with_name(path.name + ".partial"), manifest_path, journal):
            leftover.unlink(missing_ok=True)
    elif manifest_path.exists() and path.exists():
        there = read_manifest(manifest_path)
        if there.header.get("key") != key_hash(key):
            raise UsageError(f"{path} was made from other data or with other options; add --force or another --out.")
        failed = [one.clip_id for one in there.clips if one.outcome == "failed"]
        if failed and options.on_bad_clip == "error":
            raise UsageError(
                f"{path} was packed without {len(failed)} bad clips, the first is {failed[0]}; give --on-bad-clip drop "
                "to take it as it is, or --force to pack it anew."
            )
        return _report(path, there.clips, was_there=True)
    tasks = [_task(folder, row, entry) for row, entry in enumerate(entries)]
    absent = [task.entry.clip_id for task in tasks if task.video is None]
    if absent and options.on_bad_clip == "error":
        raise DataError(
            f"{len(absent)} of {len(tasks)} clips of the list have no video in {folder.root}, the first is "
            f"{absent[0]}; `d48dom audit` lists them; --on-bad-clip drop leaves them out."
        )
    ids = tuple(entry.clip_id for entry in entries)
    plan = StorePlan(
        ids, tuple(entry.label for entry in entries), tuple(map(source_id, ids)), options.num_frames, *options.size, key
    )
    with StoreWriter({name: path}, plan, journal) as writer:
        _write_all(writer, name, tasks, options, workers, quiet)
        hashes = writer.finish()
        clips = [writer.journal.records[clip_id] for clip_id in ids]
        header = {"kind": "pack", "split": name, "key": key_hash(key), "parameters": key, "content_hash": hashes[name]}
        write_manifest(manifest_path, header, clips)
        writer.done()
    return _report(path, clips, was_there=False)


def _key(folder: DivingFolder, name: str, options: PackOptions) -> dict[str, Any]:
    """Everything that decides what is written; names of files, never where they lie."""
    own_list = VAL in folder.lists
    return {
        "kind": "pack",
        "split": name,
        "list_sha256": sha256_file(folder.lists[name if own_list else TRAIN]),
        "validation": "a list of its own"
        if own_list
        else {"share": options.val_share, "by": options.val_by, "seed": options.seed},
        "resize_rule": RESIZE_RULE,
        "size": list(options.size),
        "num_frames": options.num_frames,
        "by": options.by,
    }


def _task(folder: DivingFolder, row: int, entry: ClipEntry) -> _Task:
    video = folder.find_video(entry.clip_id)
    return _Task(row, entry, video, video.relative_to(folder.root).as_posix() if video else "")


def _write_all(
    writer: StoreWriter, name: str, tasks: Sequence[_Task], options: PackOptions, workers: int | None, quiet: bool
) -> None:
    from tqdm import tqdm

    todo = [tasks[row] for row in writer.todo()]
    processes = number_of_workers(workers, len(todo))
    title = f"pack {name}"
    with tqdm(
        total=len(tasks), initial=len(tasks) - len(todo), desc=title, unit="clip", disable=True if quiet else None
    ) as progress:
        for _, record in run_jobs(_work, todo, processes, _start, (writer.slots[name], name, options)):
            writer.record(record)
            progress.update()


_worker: dict[str, Any] = {}


def _start(slots: Slots, name: str, options: PackOptions) -> None:
    _worker.update(slots=slots, name=name, options=options, resize=resizer(options.size))


def _work(task: _Task) -> ClipRecord:
    options: PackOptions = _worker["options"]
    entry, group = task.entry, source_id(task.entry.clip_id)
    try:
        if task.video is None:
            raise DataError(f"{entry.clip_id}: its video is absent.")
        video = read_frames(task.video, options.num_frames, by=options.by)
    except DataError as problem:
        if options.on_bad_clip == "error":
            raise
        return ClipRecord(entry.clip_id, entry.label, group, "failed", str(problem), source=task.source)
    chosen = _chosen(video.num_frames, video.times_s, options)
    resize: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = _worker["resize"]
    small = np.stack([resize(frame) for frame in video.frames])
    frames = small[np.searchsorted(video.indices, chosen)]
    fingerprint = write_clip(_worker["slots"], task.row, frames)
    return ClipRecord(
        entry.clip_id,
        entry.label,
        group,
        "written",
        row=task.row,
        source=task.source,
        source_sha256=sha256_file(task.video),
        num_frames=video.num_frames,
        fps=round(video.fps, 6),
        frame_indices=tuple(chosen.tolist()),
        status=("unseen",) * options.num_frames,
        flags=("short",) if video.num_frames < options.num_frames else (),
        outputs={_worker["name"]: fingerprint},
    )


def _chosen(num_frames: int, times_s: NDArray[np.float64], options: PackOptions) -> NDArray[np.int64]:
    """Numbers of the stored frames, rising, with repeats in short clips."""
    if options.by == "time":
        return indices_by_time(times_s, options.num_frames)
    return uniform_indices(num_frames, options.num_frames)


def _report(path: Path, clips: Sequence[ClipRecord], *, was_there: bool) -> Packed:
    written = [one for one in clips if one.outcome == "written"]
    return Packed(
        path,
        len(written),
        sum(one.outcome == "failed" for one in clips),
        sum("short" in one.flags for one in written),
        dict(Counter(one.label for one in written)),
        was_there,
    )
