"""What ``d48dom build`` and ``pack`` share: the clips of a call, are all there, and how they are worked off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diving48_domains.annotations import VIDEO_FOLDER, ClipEntry, DivingFolder, source_id
from diving48_domains.clip_build import Job
from diving48_domains.framestore import StorePlan
from diving48_domains.manifest import ClipRecord, check_order
from diving48_domains.storewriter import Place, Slots, StoreWriter, write_clip
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.engine.place import enter
from tsgen.common.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class ClipWork:
    """``make(job, places)``, after ``start(*arguments)`` once in every process that works.

    ``places``: name of a store -> where the clip's frames go; none where the clip becomes files of its own.
    """

    make: Callable[[Job, Mapping[str, Place]], ClipRecord]
    start: Callable[..., None]
    arguments: tuple[Any, ...]


def jobs_of(folder: DivingFolder, entries: Iterable[ClipEntry]) -> list[Job]:
    """A job for each clip of a list, those without a video too."""
    jobs = []
    for row, one in enumerate(entries):
        video = folder.find_video(one.clip_id) or folder.root / VIDEO_FOLDER / f"{one.clip_id}.mp4"
        source = video.relative_to(folder.root).as_posix()
        jobs.append(Job(row, one.clip_id, one.label, source_id(one.clip_id), video, source))
    return jobs


def check_videos(jobs: Sequence[Job], root: Path) -> None:
    """Before hours of work: has every clip of the list a video? DataError when not."""
    absent = [job.clip_id for job in jobs if not job.video.is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(jobs)} clips of the list have no video in {root}, the first is {absent[0]}; "
            "`d48dom audit` lists them; --on-bad-clip drop leaves them out."
        )


def make_folder(folder: Path) -> None:
    """With its parents. UsageError where a file is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} is a file; give another --out.") from None


def work_off(
    work: ClipWork,
    jobs: Sequence[Job],
    slots: Mapping[str, Slots],
    *,
    total: int,
    title: str,
    engine: EngineOptions,
    quiet: bool,
) -> Iterator[ClipRecord]:
    """The records of all jobs as they are finished, under a bar. ``total``: with those that earlier runs did.

    Processes of this machine write into the slots themselves. Several machines must not write into one file through a
    network file system: there the frames come back (for S1, S2 and T of 32 frames of 224x224 px 14 MB a clip) and are
    written here. UnitsFailed at the end for clips that ended their process.
    """
    if not jobs:
        return
    far = engine.name == "ray"
    todo = Work(_make_one, _begin, (work, dict(slots), Path.cwd() if far else None))
    done = total - len(jobs)
    with tqdm(total=total, initial=done, unit="clip", desc=title, disable=True if quiet else None) as bar:
        for job, (record, rows) in results(run_units(todo, jobs, engine), lambda job: job.clip_id):
            for name, frames in rows.items():
                if write_clip(slots[name], job.row, frames) != record.outputs[name]:
                    raise DataError(f"{job.clip_id}: its frames in {name} were damaged on their way; run it again.")
            bar.update()
            yield record


_mine: list[tuple[ClipWork, dict[str, Slots], bool]] = []
"""Of a process that works: what it does, and whether the frames travel."""


def _begin(work: ClipWork, slots: dict[str, Slots], driver_folder: Path | None) -> None:
    if driver_folder is not None:
        enter(driver_folder)
    work.start(*work.arguments)
    _mine[:] = [(work, slots, driver_folder is not None)]


def _make_one(job: Job) -> tuple[ClipRecord, dict[str, NDArray[np.uint8]]]:
    work, slots, far = _mine[0]
    if not far:
        return work.make(job, slots), {}
    rows = {name: np.empty(place.clip_shape, dtype=np.uint8) for name, place in slots.items()}
    record = work.make(job, rows)
    return record, rows if record.outcome == "written" else {}


def fill_stores(
    paths: Mapping[str, Path],
    jobs: Sequence[Job],
    frames: tuple[int, int, int],
    key: Mapping[str, Any],
    journal: Path,
    records: Callable[[list[Job], dict[str, Slots]], Iterator[ClipRecord]],
) -> tuple[dict[str, str], tuple[ClipRecord, ...]]:
    """Write what ``records`` makes of the unfinished jobs into stores of (T, H, W) ``frames``.

    Returns content hashes by name, and the record of every job in their order. The journal stays: whoever writes the
    manifest removes it after.
    """
    ids, labels, groups = zip(*((job.clip_id, job.label, job.group) for job in jobs), strict=True)
    with StoreWriter(paths, StorePlan(ids, labels, groups, *frames, key), journal) as writer:
        for record in records([jobs[row] for row in writer.todo()], writer.slots):
            writer.record(record)
        return writer.finish(), check_order(writer.journal.records, ids)
