"""``d48dom pack``: clips as stores of frames, so that training never decodes a video.

Section 3.3 and supplement: 32 uniformly sampled frames, resized to the training size; a tenth of the training list is
held out for validation. Diving48's test list goes through ``d48dom build`` instead, in every domain; a manifest of
other videos names its target domains, and all of it is packed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diving48_domains.annotations import DivingFolder
from diving48_domains.build_options import RESIZE_RULE
from diving48_domains.clip_build import Job, stored, write_rows
from diving48_domains.clip_list import SHARD, TRAIN, VAL, ClipList, listing
from diving48_domains.copies import refuse_copies
from diving48_domains.division import check_shard
from diving48_domains.earlier import (
    JOURNAL_SUFFIX,
    check_beside,
    is_merged,
    kept_hint,
    manifest_of,
    read_finished,
    remove_packed,
)
from diving48_domains.jobs import ClipWork, check_videos, fill_stores, jobs_of, make_folder, work_off
from diving48_domains.manifest import ClipRecord, key_hash, write_manifest
from diving48_domains.pack_options import Packed, PackOptions
from diving48_domains.storewriter import Place, Slots
from diving48_domains.validation import held_out
from diving48_domains.video import read_frames
from tsgen.common.engine import EngineOptions, UnitsFailed
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file
from tsgen.common.shards import WHOLE, Shard

TARGETS_FOLDER = "test"


@dataclass(frozen=True, slots=True)
class _Part:
    """One store of a call, or a shard of it. ``key``: everything that decides what is written; names of files, never
    where they lie. ``whole``: where the store lies as a whole; ``jobs``: of the whole list until :meth:`cut`.
    """

    name: str
    whole: Path
    jobs: tuple[Job, ...]
    key: dict[str, Any]
    shard: Shard

    @property
    def path(self) -> Path:
        return self.shard.path(self.whole)

    @property
    def manifest(self) -> Path:
        return self.shard.path(manifest_of(self.whole))

    @property
    def is_finished(self) -> bool:
        return self.path.exists() and self.manifest.exists()

    def cut(self) -> _Part:
        """With the clips of its shard alone."""
        rows = self.shard.rows(len(self.jobs))
        return replace(self, jobs=tuple(replace(self.jobs[row], row=place) for place, row in enumerate(rows)))


def pack(
    folder: DivingFolder,
    out: Path,
    options: PackOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    shard: Shard = WHOLE,
    force: bool = False,
    quiet: bool = False,
) -> list[Packed]:
    """Write ``out/train.h5`` and ``out/val.h5``, each with a manifest; after a kill the same call goes on.

    Where ``folder`` has a list of validation clips it is taken; else clips of the training list are held out.
    ``shard``: of each list after that draw; :func:`~diving48_domains.merge.merge` joins them.
    UsageError when what is there was made otherwise (``force`` replaces it), DataError for a clip without a usable
    video unless ``on_bad_clip`` is "drop", UnitsFailed when all are packed but those that ended their process.
    """
    options = options or PackOptions()
    own = VAL in folder.lists
    lists = {name: jobs_of(folder, folder.entries(name)) for name in ((TRAIN, VAL) if own else (TRAIN,))}
    parts = [
        _part(out, name, jobs, options, {"list_sha256": sha256_file(folder.lists[name if own else TRAIN])}, own, shard)
        for name, jobs in _with_val(lists, options, shard).items()
    ]

    def check(parts: Sequence[_Part], unfinished: Sequence[_Part]) -> Sequence[_Part]:
        for part in unfinished if options.on_bad_clip == "error" else ():
            check_videos(part.cut().jobs, folder.root)
        return parts

    return _pack_parts(parts, options, engine, force, quiet, check)


def pack_list(
    clips: ClipList,
    out: Path,
    options: PackOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    shard: Shard = WHOLE,
    force: bool = False,
    quiet: bool = False,
) -> list[Packed]:
    """As :func:`pack`, of the videos of a manifest: ``train.h5``, ``val.h5`` and ``test/<split>.h5`` of each target.

    A file that is in two splits byte for byte is an error too; under "drop" it stays where it is tested with, or
    chosen by, and is left out of what comes before. Stores in ``out/test`` that the manifest does not name are refused;
    ``force`` removes those that an earlier pack wrote. UsageError where a store's own manifest would replace this one.
    """
    options = options or PackOptions()
    if options.val_by == "source" and VAL not in clips.splits and not clips.has_sources:
        raise UsageError(f"--val-by source needs a field 'source' in {clips.path}: the video that a clip is cut from.")
    label = {name: number for number, name in enumerate(clips.class_names)}
    lists = {
        name: [
            Job(row, one.clip_id, label[one.label], one.source or one.clip_id, one.path, one.origin)
            for row, one in enumerate(rows)
        ]
        for name, rows in clips.splits.items()
    }
    own, names = VAL in clips.splits, list(clips.class_names)
    parts = [
        _part(out, name, jobs, options, {"rows_sha256": clips.rows_sha256(listed), "class_names": names}, own, shard)
        for name, jobs in _with_val(lists, options, shard).items()
        for listed in [name if name in clips.splits else TRAIN]
    ]

    def check(parts: Sequence[_Part], unfinished: Sequence[_Part]) -> Sequence[_Part]:
        absent = [job for part in unfinished for job in part.cut().jobs if not job.video.is_file()]
        if absent and options.on_bad_clip == "error":
            head = f"{len(absent)} clips of {clips.path} have no video; --on-bad-clip drop leaves them out:"
            raise DataError(listing(head, [f"{job.clip_id}: {job.source}" for job in absent]))
        # Of the whole lists: a copy of this shard's clip may lie in any other.
        kept = refuse_copies({part.name: part.jobs for part in parts}, options.on_bad_clip == "drop", quiet)
        return [replace(part, jobs=kept[part.name]) for part in parts]

    stale = _other_targets(out / TARGETS_FOLDER, clips.targets, force)
    _check_kept(clips.path, [*(path for part in parts for path in (part.path, part.whole)), *stale])
    packed = _pack_parts(parts, options, engine, force, quiet, check, stale)
    if not shard.is_whole:
        return packed
    train, *others = [
        replace(one, absent=tuple(name for name in clips.class_names if label[name] not in one.classes))
        for one in packed
    ]
    if not clips.has_sources:
        return [train, *others]
    of_train = [sum(count for video, count in one.videos.items() if video in train.videos) for one in others]
    return [train, *(replace(one, of_train=count) for one, count in zip(others, of_train, strict=True))]


def _with_val(lists: dict[str, list[Job]], options: PackOptions, shard: Shard) -> dict[str, list[Job]]:
    """Training and validation clips first, each in the order of its list; held out where there is no such list.

    UsageError where a shard of one of them would be empty.
    """
    drawn = _drawn(lists, options)
    smallest = min(drawn, key=lambda name: len(drawn[name]))
    check_shard(shard, smallest, len(drawn[smallest]))
    return drawn


def _drawn(lists: dict[str, list[Job]], options: PackOptions) -> dict[str, list[Job]]:
    train = lists.pop(TRAIN)
    if VAL in lists:
        return {TRAIN: train, VAL: lists.pop(VAL), **lists}
    is_val = held_out([job.group for job in train], options.val_share, options.val_by, options.seed)
    sides = {
        name: [job for job, held in zip(train, is_val, strict=True) if held == (name == VAL)] for name in (TRAIN, VAL)
    }
    return {name: [replace(job, row=row) for row, job in enumerate(jobs)] for name, jobs in sides.items()} | lists


def _part(
    out: Path,
    name: str,
    jobs: Sequence[Job],
    options: PackOptions,
    facts: dict[str, Any],
    own_val: bool,
    shard: Shard,
) -> _Part:
    drawn = {"share": options.val_share, "by": options.val_by, "seed": options.seed}
    validation = {"validation": "a list of its own" if own_val else drawn} if name in (TRAIN, VAL) else {}
    key = {
        "kind": "pack",
        "split": name,
        **facts,
        **validation,
        "resize_rule": RESIZE_RULE,
        "size": list(options.size),
        "num_frames": options.num_frames,
        "by": options.by,
        **({} if shard.is_whole else {"shard": [shard.index, shard.count]}),
    }
    folder = out if name in (TRAIN, VAL) else out / TARGETS_FOLDER
    return _Part(name, folder / f"{name}.h5", tuple(jobs), key, shard)


def _other_targets(folder: Path, names: Sequence[str], force: bool) -> list[Path]:
    """The stores of earlier packs that ``force`` removes. UsageError where there are others.

    Whoever trains on the folder takes every store of it for a target: none may be of another manifest. Shards of a
    target that the manifest names are looked at with the target.
    """
    found = []
    for path in sorted([*folder.glob("*.h5"), *folder.glob("*.h5.partial")]):
        name = path.name.removesuffix(".partial").removesuffix(".h5")
        beside = path.with_name(f"{name}.jsonl")
        is_packed = beside.exists() or beside.with_suffix(JOURNAL_SUFFIX).exists()
        if SHARD.sub("", name) in names:
            continue
        if not (force and is_packed):
            hint = "add --force to remove it, or give another --out" if is_packed else "give another --out"
            raise UsageError(f"{path} is no split of this manifest, and would be a target domain beside them; {hint}.")
        found.append(path.with_name(f"{name}.h5"))
    return found


def _check_kept(manifest: Path, stores: Sequence[Path]) -> None:
    """Beside each store lies a .jsonl of its name, that is written, or removed with it: it must not be the user's."""
    for store in stores:
        for path in (store, store.with_suffix(".jsonl")):
            if path.exists() and path.samefile(manifest):
                raise UsageError(
                    f"--manifest {manifest} is in the place of {path}, which pack writes itself; move the manifest, or "
                    "give another --out."
                )


def _pack_parts(
    parts: Sequence[_Part],
    options: PackOptions,
    engine: EngineOptions | None,
    force: bool,
    quiet: bool,
    check: Callable[[Sequence[_Part], Sequence[_Part]], Sequence[_Part]],
    stale: Sequence[Path] = (),
) -> list[Packed]:
    """``check``: of all parts and those unfinished, before anything is removed or written; returns the parts as they
    are to be written. ``stale``: what ``force`` removes beside them.
    """
    if not force:
        parts = [_merged(part) for part in parts]
    there = {part.name: _clips_there(part, options) for part in parts if part.is_finished and not force}
    unfinished = [part for part in parts if part.name not in there]
    for part in unfinished if not force else ():
        check_beside(manifest_of(part.whole), part.shard)
    if unfinished:
        parts = check(parts, unfinished)
    parts = [part.cut() for part in parts]
    for part in parts:
        _check_refused(part, there.get(part.name, ()))
        make_folder(part.path.parent)
    if force:
        for path in stale:
            remove_packed(path, WHOLE)
        for part in parts:
            remove_packed(part.whole, part.shard)
    done, failed = [], []
    for part in parts:
        try:
            clips = there[part.name] if part.name in there else _write(part, options, engine or EngineOptions(), quiet)
            done.append(_report(part, clips, part.name in there))
        except UnitsFailed as problem:  # the other stores need not wait for it
            failed.append(str(problem))
    if failed:
        raise UnitsFailed("\n".join(failed))
    return done


def _merged(part: _Part) -> _Part:
    """The whole, where the shard was merged into it. UsageError where that is gone."""
    key = {name: value for name, value in part.key.items() if name != "shard"}
    if part.shard.is_whole or not is_merged(manifest_of(part.whole), key):
        return part
    if not part.whole.is_file():
        manifest = manifest_of(part.whole)
        raise UsageError(
            f"{part.whole} is gone, which {manifest.name} tells of; {kept_hint(part.whole, manifest)}add --force to "
            "pack it again."
        )
    return replace(part, key=key, shard=WHOLE)


def _clips_there(part: _Part, options: PackOptions) -> Sequence[ClipRecord]:
    clips = read_finished(part.manifest, part.key, f"{part.path} was").clips
    failed = [one.clip_id for one in clips if one.outcome == "failed"]
    if failed and options.on_bad_clip == "error":
        raise UsageError(
            f"{part.path} was packed without {len(failed)} bad clips, the first is {failed[0]}; give --on-bad-clip "
            "drop to take it as it is, or --force to pack it anew."
        )
    return clips


def _check_refused(part: _Part, clips: Sequence[ClipRecord]) -> None:
    """A split that was added later may hold what an earlier run stored elsewhere."""
    for job, clip in zip(part.jobs, clips, strict=False):
        if job.refused and clip.outcome == "written":
            raise UsageError(f"{part.path} holds {job.clip_id}: {job.refused}; add --force to pack it without.")


def _write(part: _Part, options: PackOptions, engine: EngineOptions, quiet: bool) -> Sequence[ClipRecord]:
    def records(jobs: list[Job], slots: dict[str, Slots]) -> Iterator[ClipRecord]:
        how: dict[str, Any] = {"title": f"pack {part.path.stem}", "engine": engine, "quiet": quiet}
        return work_off(ClipWork(_make, _start, (options,)), jobs, slots, total=len(part.jobs), **how)

    journal = part.manifest.with_suffix(JOURNAL_SUFFIX)
    frames = (options.num_frames, *options.size)
    hashes, clips = fill_stores({part.name: part.path}, part.jobs, frames, part.key, journal, records)
    _check_refused(part, clips)
    facts = {"kind": "pack", "split": part.name, "key": key_hash(part.key), "parameters": part.key}
    write_manifest(part.manifest, {**facts, "content_hash": hashes[part.name]}, clips)
    journal.unlink(missing_ok=True)
    return clips


_worker: dict[str, Any] = {}


def _start(options: PackOptions) -> None:
    _worker.update(options=options)


def _make(job: Job, places: Mapping[str, Place]) -> ClipRecord:
    options: PackOptions = _worker["options"]
    try:
        sha256 = job.sha256()
        video = read_frames(job.video, options.num_frames, by=options.by)
    except DataError as problem:
        if options.on_bad_clip == "error":
            raise
        return job.record("failed", str(problem))
    chosen = stored(video, options.num_frames, options.by)
    repeats = np.bincount(chosen, minlength=len(video.indices)).tolist()
    outputs = write_rows(
        job.row, lambda names: ({names[0]: frame} for frame in video.frames), repeats, options.size, places
    )
    return job.record(
        "written",
        row=job.row,
        source_sha256=sha256,
        num_frames=video.num_frames,
        fps=round(video.fps, 6),
        frame_indices=tuple(video.indices[chosen].tolist()),
        status=("unseen",) * options.num_frames,
        flags=("short",) if video.num_frames < options.num_frames else (),
        outputs=outputs,
    )


def _report(part: _Part, clips: Sequence[ClipRecord], was_there: bool) -> Packed:
    written = [one for one in clips if one.outcome == "written"]
    return Packed(
        part.path,
        len(written),
        sum(one.outcome == "failed" for one in clips),
        sum("short" in one.flags for one in written),
        dict(Counter(one.label for one in written)),
        dict(Counter(one.group for one in written)),
        was_there,
    )
