"""What earlier builds left in a folder: is it whole, may another stand beside it, what does ``--force`` remove."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from diving48_domains.build_options import FORMS, BuildOptions, suffix_of
from diving48_domains.domains import DOMAINS
from diving48_domains.framestore import partial_path, shards_of
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

    ``store``: its name as a whole. UsageError while another process packs what would go.
    """
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
            f"{gone[0]} is gone, {len(gone)} of the {len(needed)} files that the manifest lists; add --force to build "
            "them again."
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
            f"{manifest.parent} holds {others[0].name}, of a run that was divided otherwise than {wanted}; add --force "
            "to replace it, or give another --out."
        )


def remove_earlier(target: Path, shard: Shard, clip_ids: Iterable[str]) -> None:
    """Remove what earlier builds wrote here, in every form and domain, but the other shards of the same division.

    ``clip_ids``: of this run. Videos of clips that no list names, and files that no build writes, stay. The manifests
    go last: after a kill nothing looks finished that is not. UsageError while another process builds what would go.
    """
    found = list(_listings(target / MANIFEST_FILE))
    siblings = [path for other, path in found if _is_sibling(other, shard)]
    listings = [path for other, path in found if not _is_sibling(other, shard)]
    _check_unlocked(listings)
    (target / SHEET_FILE).unlink(missing_ok=True)
    keep = {clip_id for path in siblings for clip_id in _clip_ids(path)}
    ours = ({clip_id for path in listings for clip_id in _clip_ids(path)} | set(clip_ids)) - keep
    for name in DOMAINS:
        whole = target / f"{name}.h5"
        for other, path in _parts(whole):
            if not _is_sibling(other, shard):
                path.unlink(missing_ok=True)
        folder = target / name
        if folder.is_dir() and not folder.is_symlink():
            for video in list(folder.iterdir()):
                if video.stem in ours and video.suffix in VIDEO_SUFFIXES:
                    video.unlink()
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()
    for path in sorted(listings, key=lambda one: one.suffix):  # journals before manifests
        path.unlink(missing_ok=True)


def _is_sibling(other: Shard, shard: Shard) -> bool:
    return other.count == shard.count and other != shard


def _check_unlocked(listings: Iterable[Path]) -> None:
    for path in listings:
        if path.suffix == JOURNAL_SUFFIX:
            with locked(path):
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
    with path.open(errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and isinstance(value.get("clip_id"), str):
                yield value["clip_id"]
