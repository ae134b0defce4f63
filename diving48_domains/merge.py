"""``d48dom merge``: the shards of a build or a pack as the one run that they are parts of, byte for byte.

The frames are copied by the very writer that an unsharded run fills, so a merge that was killed goes on where it was.
Nothing of the shards is touched before the manifest of the whole, the last thing written, is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diving48_domains.build_options import options_of
from diving48_domains.earlier import JOURNAL_SUFFIX, MANIFEST_FILE, manifest_of, video_path
from diving48_domains.framestore import MERGED_SUFFIX, FrameStore, open_part, shards_of
from diving48_domains.manifest import ClipRecord, write_manifest
from diving48_domains.shard_runs import ShardedRun, check_stores, plan_of, read_run, sharded_names, to_merge_again
from diving48_domains.storewriter import StoreWriter, write_clip
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file
from tsgen.common.shards import Shard


@dataclass(frozen=True, slots=True)
class Merged:
    """A run that is whole now: its manifest, stores (or folders of videos), and of how many shards it was made."""

    manifest: Path
    outputs: tuple[Path, ...]
    shards: int
    clips: int
    written: int

    def to_json(self) -> dict[str, Any]:
        return {
            "manifest": str(self.manifest),
            "outputs": [str(path) for path in self.outputs],
            "shards": self.shards,
            "clips": self.clips,
            "clips written": self.written,
        }


def merge(folder: Path, *, remove: bool = False, quiet: bool = False) -> list[Merged]:
    """Join all shards in ``folder`` and the folders in it; after a kill the same call goes on.

    The shards are kept as ``NAME.merged`` unless ``remove``, which takes such ones of earlier merges too, after reading
    every frame of their wholes: they may be the last copy. Where all are merged nothing else is done. UsageError where
    nothing was built or packed, or where there is no room; DataError where shards are missing, unfinished, damaged or
    of different runs, or a whole is: in any of the runs, and before a byte is written, but for frames of shards, which
    are looked at as they are copied.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that d48dom build or d48dom pack wrote shards into.")
    places = [folder, *sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())]
    names = [(place, name) for place in places for name in sharded_names(place)]
    leftover = [one for place in places for one in _kept(place)] if remove else []
    if not names and not leftover and not any(_has_whole(place) for place in places):
        raise UsageError(
            f"{folder} holds no shards of d48dom build or d48dom pack (like manifest-00000-of-00008.jsonl); give the "
            "folder that they wrote into."
        )
    runs = [read_run(place / name) for place, name in names]
    for run in runs:
        check_stores(run, frames=remove)
    checked = {run.manifest: run for run in runs}
    for manifest in sorted({one.manifest for one in leftover}):
        stores = sorted({one.whole for one in leftover if one.manifest == manifest} - {manifest})
        _check_tells(checked.get(manifest) or _checked_whole(manifest, stores, quiet), stores)
    done = [_merge(run, quiet) for run in runs]
    for run in runs:
        _retire(run, remove)
    for one in leftover:
        one.path.unlink(missing_ok=True)
    return done


def _has_whole(place: Path) -> bool:
    return any(one.name == MANIFEST_FILE or one.with_suffix(".h5").is_file() for one in place.glob("*.jsonl"))


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file of a shard that an earlier merge kept, the file that it went into and the manifest that tells of that."""

    path: Path
    whole: Path
    manifest: Path


def _kept(place: Path) -> Iterator[_Kept]:
    pattern = re.compile(rf"(.+)-(\d{{5}})-of-(\d{{5}})(\.jsonl|\.h5){re.escape(MERGED_SUFFIX)}", re.ASCII)
    found = [(path, match) for path in sorted(place.iterdir()) if (match := pattern.fullmatch(path.name))]
    wholes = {path: place / f"{match[1]}{match[4]}" for path, match in found if int(match[2]) < int(match[3])}
    for path, whole in wholes.items():
        own = manifest_of(whole) if whole.suffix == ".h5" else whole
        # A store of a pack has a manifest of its own, those of a build have one together.
        yield _Kept(path, whole, own if own.is_file() or own in wholes.values() else place / MANIFEST_FILE)


def _checked_whole(manifest: Path, stores: Sequence[Path], quiet: bool) -> ShardedRun:
    """What was merged into ``manifest``. DataError unless it is there and undamaged."""
    if not manifest.is_file():
        raise DataError(f"{manifest} is gone. {to_merge_again(manifest, stores)}")
    run = read_run(manifest)
    check_stores(run, frames=True)
    if run.folders:
        _check_videos(run, quiet)
    return run


def _check_tells(run: ShardedRun, kept: Sequence[Path]) -> None:
    """DataError where the ``kept`` shards are of stores that this run has not: it is not the one they went into."""
    strange = sorted(set(kept) - set(run.stores.values()))
    if strange:
        raise DataError(
            f"{run.manifest} does not tell of {strange[0].name}, of which shards are kept as NAME{MERGED_SUFFIX}: they "
            "are of another run. Move them away, or remove them."
        )


def _merge(run: ShardedRun, quiet: bool) -> Merged:
    if not run.manifest.is_file():
        if run.stores:
            header = _into_stores(run, quiet)
        else:
            _check_videos(run, quiet)
            header = dict(run.joined.header)
        write_manifest(run.manifest, header, run.joined.clips)
    run.manifest.with_suffix(JOURNAL_SUFFIX).unlink(missing_ok=True)
    count = next(iter(run.parts)).count
    outputs = tuple((run.stores or run.folders).values())
    return Merged(run.manifest, outputs, count, len(run.joined.clips), len(run.joined.written()))


def _into_stores(run: ShardedRun, quiet: bool) -> dict[str, Any]:
    """Write the whole stores; returns the header that tells of them."""
    clips, journal = run.joined.clips, run.manifest.with_suffix(JOURNAL_SUFFIX)
    with StoreWriter(run.stores, plan_of(run.joined, run.manifest), journal) as writer:
        if any(clips[row] != record for row, record in _recorded(writer, clips)):
            raise UsageError(f"{journal} is of a merge of other shards; remove it to begin anew.")
        todo = set(writer.todo())
        bar = tqdm(total=len(clips), initial=len(clips) - len(todo), unit="clip", disable=True if quiet else None)
        with bar:
            for shard in run.parts:
                _copy(run, shard, writer, [row for row in shard.rows(len(clips)) if row in todo], bar)
        hashes = writer.finish()
    header = dict(run.joined.header)
    if header["kind"] == "pack":
        return {**header, "content_hash": hashes[run.manifest.stem]}
    files = {name: {"file": path.name, "content_hash": hashes[name]} for name, path in run.stores.items()}
    return {**header, "outputs": {name: {**header["outputs"][name], **files[name]} for name in files}}


def _recorded(writer: StoreWriter, clips: Sequence[ClipRecord]) -> Iterator[tuple[int, ClipRecord]]:
    rows = {one.clip_id: row for row, one in enumerate(clips)}
    return ((rows[clip_id], record) for clip_id, record in writer.journal.records.items())


def _copy(run: ShardedRun, shard: Shard, writer: StoreWriter, rows: list[int], bar: Any) -> None:
    """These rows of the whole from their shard. DataError for frames that are not those that were written."""
    clips = run.joined.clips
    sources: dict[str, tuple[FrameStore, dict[str, int]]] = {}
    if any(clips[row].outcome == "written" for row in rows):
        opened = {name: open_part(shard.path(path)) for name, path in run.stores.items()}
        sources = {name: (one, {clip_id: n for n, clip_id in enumerate(one.ids)}) for name, one in opened.items()}
    for row in rows:
        clip = clips[row]
        for name, (store, places) in sources.items() if clip.outcome == "written" else ():
            if write_clip(writer.slots[name], row, store.clip(places[clip.clip_id])) != clip.outputs[name]:
                raise DataError(
                    f"{shard.path(run.stores[name])}: the frames of {clip.clip_id} are damaged; make that shard again "
                    "with --force."
                )
        writer.record(clip)
        bar.update()


def _check_videos(run: ShardedRun, quiet: bool) -> None:
    """DataError for a video that is gone or not the one that was written."""
    options = options_of(run.joined.header["parameters"])
    for clip in tqdm(run.joined.written(), unit="clip", disable=True if quiet else None):
        for name, folder in run.folders.items():
            path = video_path(folder, clip.clip_id, name, options)
            if path.parent != folder or not path.is_file() or sha256_file(path) != clip.outputs.get(name):
                raise DataError(f"{path} is gone or damaged; make its shard again with --force.")


def _retire(run: ShardedRun, remove: bool) -> None:
    """The shards' files out of the readers' way, the manifests last: they are what a repeated call goes by."""
    for path in shards_of(run.manifest.with_suffix(JOURNAL_SUFFIX)).values():
        path.unlink(missing_ok=True)
    stores = [path for whole in run.stores.values() for path in shards_of(whole).values()]
    for path in (*stores, *run.paths.values()):
        if remove:
            path.unlink(missing_ok=True)
        else:
            path.replace(path.with_name(f"{path.name}{MERGED_SUFFIX}"))
