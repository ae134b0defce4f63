"""What ``d48dom build`` and ``pack`` share: the clips of a call, are all there, and how they are worked off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diving48_domains.annotations import VIDEO_FOLDER, ClipEntry, DivingFolder, source_id
from diving48_domains.clip_build import Job
from diving48_domains.framestore import StorePlan
from diving48_domains.manifest import ClipRecord, check_order
from diving48_domains.storewriter import Slots, StoreWriter
from diving48_domains.workers import number_of_workers, run_jobs
from tsgen.common.errors import DataError, UsageError


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
    work: Callable[[Job], ClipRecord],
    jobs: Sequence[Job],
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    *,
    total: int,
    title: str,
    workers: int | None,
    quiet: bool,
) -> Iterator[ClipRecord]:
    """``work`` of every job as :func:`run_jobs` does it, under a bar. ``total``: with those that earlier runs did."""
    processes = number_of_workers(workers, len(jobs))
    done = total - len(jobs)
    with tqdm(total=total, initial=done, unit="clip", desc=title, disable=True if quiet else None) as bar:
        for _, record in run_jobs(work, jobs, processes, start, arguments):
            bar.update()
            yield record


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
