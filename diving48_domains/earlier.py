"""What earlier builds left in a folder: is it whole, may another stand beside it, what does ``--force`` remove."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from diving48_domains.build_options import FORMS, BuildOptions, suffix_of
from diving48_domains.domains import DOMAINS
from diving48_domains.framestore import MERGED_SUFFIX, partial_path, shards_of
from diving48_domains.manifest import Manifest, key_hash, read_manifest
from tsgen.common.errors import UsageError
from tsgen.common.files import locked
from tsgen.common.shards import WHOLE, Shard

MANIFEST_FILE = "manifest.jsonl"
SHEET_FILE = "contact_sheet.png"
JOURNAL_SUFFIX = ".journal"
VIDEO_SUFFIXES = {suffix for codec, suffix, _ in FORMS.values() if codec}


def read_finished(manifest_path: Path, key: Mapping[str, Any], what: str) -> Manifest:
    """The manifest of a finished run. UsageError when it was made otherwise; ``what`` names what lies there."""
    there = read_manifest(manifest_path)
    if there.header.get("key") != key_hash(key):
        raise UsageError(f"{what} made from other data or with other options; add --force or another --out.")
    return there


def is_merged(whole: Path, key: Mapping[str, Any]) -> bool:
    """Lies there the manifest of the whole run, as :func:`~diving48_domains.merge.merge` leaves it? ``key``: its."""
    return whole.is_file() and read_manifest(whole).header.get("key") == key_hash(key)


def remove_packed(store: Path, shard: Shard) -> None:
    """Remove what earlier packs wrote for one store, finished or not, but the other shards of the same division.

    ``store``: its name as a whole, in a folder that exists. UsageError while another process packs what would go.
    """
    with locked(store.parent, wait=True):
        listings = [path for other, path in _listings(manifest_of(store)) if not _is_sibling(other, shard)]
        _check_unlocked(listings)
        for other, path in _parts(store):
            if not _is_sibling(other, shard):
                path.unlink(missing_ok=True)
        for path in sorted(listings, key=lambda one: one.suffix):  # journals before manifests
            path.unlink(missing_ok=True)


def manifest_of(store: Path) -> Path:
    """Where the manifest of a store of ``d48dom pack`` lies."""
    return store.with_name(f"{store.name.removesuffix('.h5')}.jsonl")


def check_outputs(manifest: Manifest, outputs: dict[str, Path], options: BuildOptions) -> None:
    """UsageError when a file that the manifest of a finished build speaks of is gone."""
    if options.form == "hdf5":
        needed = list(outputs.values())
    else:
        needed = [
            video_path(outputs[name], record.clip_id, name, options)
            for name in outputs
            for record in manifest.written()
        ]
    gone = [path for path in needed if not path.is_file()]
    if gone:
        raise UsageError(
            f"{gone[0]} is gone, {len(gone)} of the {len(needed)} files that the manifest lists; "
            f"{kept_hint(gone[0], gone[0].with_name(MANIFEST_FILE))}add --force to build them again."
        )


def kept_hint(store: Path, manifest: Path) -> str:
    """Where a store is gone whose shards a merge kept: how they are merged again."""
    if not shards_of(store, MERGED_SUFFIX):
        return ""
    return (
        f"its shards are kept as NAME{MERGED_SUFFIX}: take {MERGED_SUFFIX} off their names, remove {manifest.name} and "
        "what stores it tells of, and merge again; or "
    )


def video_path(folder: Path, clip_id: str, domain: str, options: BuildOptions) -> Path:
    """Where a clip's version goes in a form of videos."""
    return folder / f"{clip_id}{suffix_of(domain, options)}"


def check_beside(manifest: Path, shard: Shard) -> None:
    """UsageError when a whole run lies there and this is a shard, or the reverse, or shards of another count.

    ``manifest``: its name as a whole. Their files would lie beside each other, and a reader could not tell which are
    meant.
    """
    others = [path for other, path in _listings(manifest) if other.count != shard.count]
    if others:
        wanted = "a whole run" if shard.is_whole else f"shard {shard}"
        raise UsageError(
            f"{manifest.parent} holds {others[0].name}, of a run that was divided otherwise than {wanted}; `d48dom "
            "merge` makes shards whole; or add --force to replace it, or give another --out."
        )


def remove_earlier(target: Path, shard: Shard, clip_ids: Collection[str], folders: Collection[Path] = ()) -> None:
    """Remove what earlier builds wrote here, in every form and domain, but the other shards of the same division.

    ``target``: a folder that exists; ``clip_ids``, ``folders``: of this run, which stay, empty or not. Videos of clips
    that no list names, and files that no build writes, stay. The manifests go last: after a kill nothing looks finished
    that is not. Shards may begin at once: one removes what was there, the next finds it gone. UsageError while another
    process builds what would go.
    """
    with locked(target, wait=True):
        found = list(_listings(target / MANIFEST_FILE))
        siblings = [path for other, path in found if _is_sibling(other, shard)]
        listings = [path for other, path in found if not _is_sibling(other, shard)]
        _check_unlocked(listings)
        (target / SHEET_FILE).unlink(missing_ok=True)
        named = _named_until(listings) | dict.fromkeys(clip_ids, math.inf)
        for clip_id in {clip_id for path in siblings for clip_id in _clip_ids(path)}:
            named.pop(clip_id, None)
        for name in DOMAINS:
            for other, path in _parts(target / f"{name}.h5"):
                if not _is_sibling(other, shard):
                    path.unlink(missing_ok=True)
            folder = target / name
            if folder.is_dir() and not folder.is_symlink():
                _remove_videos(folder, named, shard)
                if folder not in folders:
                    with contextlib.suppress(OSError):  # something else lies in it
                        folder.rmdir()
        for path in sorted(listings, key=lambda one: one.suffix):  # journals before manifests
            path.unlink(missing_ok=True)


def _named_until(listings: Iterable[Path]) -> dict[str, float]:
    """Clips that earlier runs named, and when (ns) the last of them did."""
    named: dict[str, float] = {}
    for path in listings:
        with contextlib.suppress(FileNotFoundError):
            time = path.stat().st_mtime_ns
            for clip_id in _clip_ids(path):
                named[clip_id] = max(time, named.get(clip_id, time))
    return named


def _remove_videos(folder: Path, named: Mapping[str, float], shard: Shard) -> None:
    for video in list(folder.iterdir()):
        if video.stem not in named or video.suffix not in VIDEO_SUFFIXES:
            continue
        with contextlib.suppress(FileNotFoundError):
            # A video is older than what names it; a younger one is another shard's that runs now.
            if shard.is_whole or video.stat().st_mtime_ns <= named[video.stem]:
                video.unlink()


def _is_sibling(other: Shard, shard: Shard) -> bool:
    return other.count == shard.count and other != shard


def _check_unlocked(listings: Iterable[Path]) -> None:
    for path in listings:
        if path.suffix == JOURNAL_SUFFIX:
            with contextlib.suppress(FileNotFoundError), locked(path):
                pass


def _parts(path: Path) -> Iterator[tuple[Shard, Path]]:
    """The files of one domain, finished or not."""
    for one in (path, partial_path(path)):
        if one.is_file():
            yield WHOLE, one
        yield from shards_of(path, one.name.removeprefix(path.name)).items()


def _listings(manifest: Path) -> Iterator[tuple[Shard, Path]]:
    """The manifests of finished runs and the journals of unfinished ones."""
    for path in (manifest, manifest.with_suffix(JOURNAL_SUFFIX)):
        if path.is_file():
            yield WHOLE, path
        yield from shards_of(path).items()


def _clip_ids(path: Path) -> Iterator[str]:
    """The clips a manifest or journal names, as far as it can be read: a damaged one must not stop --force."""
    with contextlib.suppress(FileNotFoundError), path.open(errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and isinstance(value.get("clip_id"), str):
                yield value["clip_id"]
