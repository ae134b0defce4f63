"""``d48dom build``: from videos and instances to the domains of a split, with a manifest that accounts for every clip.

Clips are made by processes side by side. A run that was killed goes on where it was, and ends in the same bytes. The
network is not needed here: instances come from a file, whoever made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diving48_domains.annotations import ClipEntry, DivingFolder
from diving48_domains.build_options import RESIZE_RULE, BuildOptions, check_encodable
from diving48_domains.clip_build import Job, Places, build_clip
from diving48_domains.division import check_shard
from diving48_domains.domains import DOMAINS
from diving48_domains.earlier import (
    JOURNAL_SUFFIX,
    MANIFEST_FILE,
    check_beside,
    check_outputs,
    is_merged,
    read_finished,
    remove_earlier,
    video_path,
)
from diving48_domains.instance_file import InstanceFile
from diving48_domains.jobs import ClipWork, check_videos, fill_stores, jobs_of, make_folder, work_off
from diving48_domains.manifest import (
    ClipRecord,
    Journal,
    Manifest,
    check_order,
    key_hash,
    read_manifest,
    write_manifest,
)
from diving48_domains.sampling import uniform_indices
from diving48_domains.storewriter import Place, Slots
from tsgen.common import VERSION
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import check_free_space, sha256_file
from tsgen.common.shards import WHOLE, Shard

TRUTH_FILE = "truth.h5"
FLUSH_VIDEOS = 16
MAX_FACTS = 20_000  # characters of the instances' own facts that a manifest repeats
RATIO = {"ffv1": 0.6, "mp4": 0.1, "mpeg4": 0.05}  # of the raw size, for the check of free space


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build wrote: the folder, one file or folder for each domain, the manifest and where it lies."""

    folder: Path
    outputs: dict[str, Path]
    manifest_path: Path
    manifest: Manifest
    was_there: bool


def truth_path(folder: DivingFolder) -> Path:
    """The ground truth of Mini-Diving48. UsageError for a folder that has none."""
    path = folder.root / TRUTH_FILE
    if not path.is_file():
        raise UsageError(
            f"{folder.root} has no {TRUTH_FILE}: only Mini-Diving48 has ground truth; give --instances FILE, as "
            "`d48dom segment` writes it."
        )
    return path


def build(
    folder: DivingFolder,
    split: str,
    instances: Path,
    out: Path,
    options: BuildOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    limit: int | None = None,
    shard: Shard = WHOLE,
    force: bool = False,
    quiet: bool = False,
) -> BuildReport:
    """Write the domains of a split into ``out/<split>/`` and return what was written.

    ``limit``: so many clips, evenly spread over the list (which is sorted by class); ``shard``: of these;
    :func:`~diving48_domains.merge.merge` joins them, and what was merged is there already. Raises UsageError when what
    is there was made otherwise (``force`` replaces it), DataError as :func:`~diving48_domains.clip_build.build_clip`
    does, and UnitsFailed when all are done but some, which ended their process. After any error or kill the same call
    goes on.
    """
    options = options or BuildOptions()
    target = out / split
    manifest_path = shard.path(target / MANIFEST_FILE)
    with InstanceFile(instances) as source:
        _check_joined(source)
        listed = _listed(folder, split, limit, shard)
        entries = [listed[row] for row in shard.rows(len(listed))]
        jobs = jobs_of(folder, entries)
        options = _with_size(options, listed, source)
        key = _key(folder, split, source, options, limit, shard)
        if not force and not shard.is_whole and is_merged(target / MANIFEST_FILE, key | {"shard": [0, 1]}):
            shard, key, manifest_path = WHOLE, key | {"shard": [0, 1]}, target / MANIFEST_FILE
        elif options.on_bad_clip == "error":
            _check_complete(folder, jobs, source)
        facts = source.facts
    outputs = {
        name: shard.path(target / f"{name}.h5") if options.form == "hdf5" else target / name for name in options.domains
    }
    folders = () if options.form == "hdf5" else tuple(outputs.values())
    if force:
        make_folder(target)
        remove_earlier(target, shard, [one.clip_id for one in entries], folders)
    elif manifest_path.exists():
        there = read_finished(manifest_path, key, f"{target} holds domains")
        check_outputs(there, outputs, options)
        _check_failed(target, there.clips, options)
        return BuildReport(target, outputs, manifest_path, there, True)
    else:
        check_beside(target / MANIFEST_FILE, shard)
    for place in (target, *folders):
        make_folder(place)
    run = _Run(jobs, instances, options, engine or EngineOptions(), quiet, split)
    journal = manifest_path.with_suffix(JOURNAL_SUFFIX)
    if options.form == "hdf5":
        hashes, clips = _into_stores(run, outputs, key, journal)
    else:
        hashes, clips = _into_videos(run, outputs, key, journal)
    _check_failed(target, clips, options)
    header = {
        "kind": "domains",
        "split": split,
        "key": key_hash(key),
        "parameters": key,
        "instances_facts": facts if len(str(facts)) <= MAX_FACTS else {"omitted": "too long"},
        "outputs": {
            name: {"file": path.name, "about": DOMAINS[name].title, **hashes.get(name, {})}
            for name, path in outputs.items()
        },
        "versions": _versions(),
    }
    write_manifest(manifest_path, header, clips)
    journal.unlink(missing_ok=True)
    return BuildReport(target, outputs, manifest_path, read_manifest(manifest_path), False)


@dataclass(frozen=True, slots=True)
class _Run:
    """The clips of one call and how they are worked off."""

    jobs: list[Job]
    instances: Path
    options: BuildOptions
    engine: EngineOptions
    quiet: bool
    title: str

    def records(
        self, jobs: list[Job], slots: dict[str, Slots], folders: dict[str, Path] | None = None
    ) -> Iterator[ClipRecord]:
        """As clips are finished, in any order."""
        work = ClipWork(_make, _start_worker, (self.instances, self.options, folders))
        how: dict[str, Any] = {"title": self.title, "engine": self.engine, "quiet": self.quiet}
        try:
            yield from work_off(work, jobs, slots, total=len(self.jobs), **how)
        finally:
            source = _worker.pop("source", None)  # where this process worked itself
            if source is not None:
                source.close()


_worker: dict[str, Any] = {}


def _start_worker(instances: Path, options: BuildOptions, folders: dict[str, Path] | None) -> None:
    _worker.update(source=InstanceFile(instances), options=options, folders=folders)


def _make(job: Job, places: Mapping[str, Place]) -> ClipRecord:
    folders = _worker["folders"]
    where = Places(places if folders is None else None, folders)
    return build_clip(job, _worker["source"], _worker["options"], where)


def _into_stores(
    run: _Run, outputs: dict[str, Path], key: dict[str, Any], journal: Path
) -> tuple[dict[str, dict[str, str]], tuple[ClipRecord, ...]]:
    size, num_frames = run.options.size, run.options.num_frames
    assert size is not None and num_frames is not None
    hashes, clips = fill_stores(outputs, run.jobs, (num_frames, *size), key, journal, run.records)
    return {name: {"content_hash": value} for name, value in hashes.items()}, clips


def _into_videos(
    run: _Run, outputs: dict[str, Path], key: dict[str, Any], path: Path
) -> tuple[dict[str, dict[str, str]], tuple[ClipRecord, ...]]:
    ids = [job.clip_id for job in run.jobs]
    if run.options.size and run.options.num_frames:
        raw = len(ids) * len(outputs) * run.options.num_frames * run.options.size[0] * run.options.size[1] * 3
        there = sum(map(_bytes_of, outputs.values()))
        needed = max(int(raw * RATIO[run.options.form]) - there, 0)
        check_free_space(path.parent, needed, f"{len(ids)} clips in {len(outputs)} domains")
    journal = Journal(path, key)
    try:
        todo = [job for job in run.jobs if not _is_done(journal.records.get(job.clip_id), outputs, run.options)]
        for record in run.records(todo, {}, outputs):
            journal.add(record)
            if journal.pending >= FLUSH_VIDEOS:
                journal.flush()
    finally:
        journal.flush()
        journal.close()
    return {}, check_order(journal.records, ids)


def _bytes_of(folder: Path) -> int:
    total = 0
    for one in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # other shards write here too
            total += one.stat().st_size
    return total


def _is_done(record: ClipRecord | None, outputs: dict[str, Path], options: BuildOptions) -> bool:
    """Was the clip finished by an earlier run, and are its videos still there?"""
    if record is None or record.outcome != "written":
        return record is not None
    return all(video_path(path, record.clip_id, name, options).is_file() for name, path in outputs.items())


def check_limit(limit: int | None) -> None:
    """UsageError for a limit that no list has."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is a number of clips, 1 or more, got {limit}.")


def _listed(folder: DivingFolder, split: str, limit: int | None, shard: Shard) -> tuple[ClipEntry, ...]:
    check_limit(limit)
    entries = folder.entries(split)
    if limit is not None:
        entries = tuple(entries[row] for row in sorted(set(uniform_indices(len(entries), limit).tolist())))
    check_shard(shard, split, len(entries))
    return entries


def _check_joined(source: InstanceFile) -> None:
    """UsageError for one shard's instances: all shards of a build are made from one file, that of the whole list."""
    shard = source.facts.get("shard")
    if shard is not None:
        raise UsageError(
            f"{source.path} holds shard {shard!s:.20} of a segmented list; join all of them with `d48dom "
            "merge-instances` and give the file of the whole."
        )


def _with_size(options: BuildOptions, entries: tuple[ClipEntry, ...], source: InstanceFile) -> BuildOptions:
    """A store has one frame size; "native" is that of the whole list's first clip, and others are refused.

    Videos keep sizes of their own; the first clip's tells early whether the codec can hold them.
    """
    if options.size is not None:
        return options
    first = next((one.clip_id for one in entries if one.clip_id in source), None)
    if first is None and options.form != "hdf5":
        return options
    if first is None:
        raise DataError(f"{source.path} holds no clip of this list (the first is {entries[0].clip_id}).")
    clip = source.read(first)
    if options.form != "hdf5":
        check_encodable(options, (clip.height, clip.width))
        return options
    return dataclasses.replace(options, size=(clip.height, clip.width))


def _check_failed(target: Path, clips: Sequence[ClipRecord], options: BuildOptions) -> None:
    """UsageError where an earlier run under another policy left clips out, which this one must not."""
    failed = [one.clip_id for one in clips if one.outcome == "failed"]
    if failed and options.on_bad_clip == "error":
        raise UsageError(
            f"{target} is without {len(failed)} bad clips, the first is {failed[0]}; give --on-bad-clip drop to take "
            "it as it is, or --force to build it anew."
        )


def _check_complete(folder: DivingFolder, jobs: list[Job], source: InstanceFile) -> None:
    """Before hours of work: does every clip of the list have a video and instances?"""
    check_videos(jobs, folder.root)
    unknown = [job.clip_id for job in jobs if job.clip_id not in source]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(jobs)} clips of the list are not in {source.path}, the first is {unknown[0]}; "
            "run `d48dom segment` on this list; --on-bad-clip drop leaves them out."
        )


def _key(
    folder: DivingFolder,
    split: str,
    source: InstanceFile,
    options: BuildOptions,
    limit: int | None,
    shard: Shard,
) -> dict[str, Any]:
    """Everything that decides what is written; names of files, never where they lie."""
    return {
        "split": split,
        "list_sha256": sha256_file(folder.lists[split]),
        "instances_content_hash": source.content_hash,
        "limit": limit,
        "shard": [shard.index, shard.count],
        "resize_rule": RESIZE_RULE,
        "size": list(options.size) if options.size else None,
        # Of the policy for bad clips their records tell: a run that met one may go on with another policy.
        "options": _plain(dataclasses.asdict(dataclasses.replace(options, on_bad_clip="error"))),
    }


def _plain(value: Any) -> Any:
    """Tuples as JSON reads them back, so that keys compare equal."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _versions() -> dict[str, str]:
    packages = ("numpy", "numba", "pillow", "h5py", "av")
    return {"d48dom": VERSION, "python": platform.python_version(), **{name: version(name) for name in packages}}
