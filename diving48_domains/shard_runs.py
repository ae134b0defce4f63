"""The shards of a build or a pack that lie in a folder: are all there, of one run, and what the whole of them is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diving48_domains.build_options import options_of
from diving48_domains.earlier import JOURNAL_SUFFIX, MANIFEST_FILE
from diving48_domains.framestore import MERGED_SUFFIX, StorePlan, complete, content_hash, open_part, shards_of
from diving48_domains.manifest import ClipRecord, Manifest, key_hash, read_manifest
from diving48_domains.storewriter import tables_of
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

KINDS = ("domains", "pack")


@dataclass(frozen=True, slots=True)
class ShardedRun:
    """The shards of one run. ``manifest``: of the whole, there or not; ``joined``: what it holds, or shall hold, but
    for the content hashes; ``paths``, ``parts``: of the shards' manifests that are still there, in order; ``stores``:
    name -> the whole store; ``folders``: name -> its videos. One of the two is empty.
    """

    manifest: Path
    joined: Manifest
    paths: dict[Shard, Path]
    parts: dict[Shard, Manifest]
    stores: dict[str, Path]
    folders: dict[str, Path]


def sharded_names(place: Path) -> list[str]:
    """Names of the manifests, as wholes, of which shards or journals of shards lie here."""
    pattern = re.compile(rf"(.+)-(\d{{5}})-of-(\d{{5}})(\.jsonl|{re.escape(JOURNAL_SUFFIX)})", re.ASCII)
    matches = (pattern.fullmatch(path.name) for path in place.iterdir())
    return sorted({f"{match[1]}.jsonl" for match in matches if match and int(match[2]) < int(match[3])})


def read_run(manifest: Path) -> ShardedRun:
    """All that is to be known before merging; DataError where it cannot be."""
    paths = dict(sorted(shards_of(manifest).items(), key=lambda one: one[0].index))
    # A kill may have come between the manifest and the removal of its journal.
    unfinished = [shard for shard in shards_of(manifest.with_suffix(JOURNAL_SUFFIX)) if shard not in paths]
    if unfinished:
        named = ", ".join(sorted(map(str, unfinished))[:10])
        raise DataError(f"{manifest.parent}: shard {named} is unfinished; run the command that makes it again.")
    if not manifest.is_file():
        complete(paths, manifest)
    parts = {shard: _read_part(path) for shard, path in paths.items()}
    if manifest.is_file():
        joined = _read_part(manifest)
    else:
        joined = Manifest(_whole_header(list(parts.values())), _whole_clips(list(parts.values())))
    for shard, part in parts.items():
        _check_part(joined, part, shard, paths[shard], manifest)
    ids = {one.clip_id for one in joined.clips}
    if len(ids) != len(joined.clips):
        raise DataError(
            f"{manifest.parent}: {len(joined.clips) - len(ids)} clips are in two shards of {manifest.stem}."
        )
    stores, folders = _outputs(manifest, joined.header)
    return ShardedRun(manifest, joined, paths, parts, stores, folders)


def _read_part(path: Path) -> Manifest:
    try:
        found = read_manifest(path)
    except DataError as problem:
        raise DataError(f"{problem} If d48dom did not write {path.name}, move it away.") from None
    kind = found.header.get("kind")
    if kind not in KINDS:
        raise DataError(f"{path} is none of d48dom build or d48dom pack: its kind is {kind!r:.40}; move it away.")
    return found


def _whole_header(parts: Sequence[Manifest]) -> dict[str, Any]:
    """That of the unsharded run, with the content hashes of the first shard in their places."""
    header = dict(parts[0].header)
    header["parameters"] = _whole_parameters(header)
    header["key"] = key_hash(header["parameters"])
    if header.get("kind") == "domains":
        header["versions"] = _versions(parts)
    return header


def _whole_parameters(header: Mapping[str, Any]) -> dict[str, Any]:
    parameters = header.get("parameters")
    given = dict(parameters) if isinstance(parameters, dict) else {}
    if header.get("kind") == "domains":
        return {**given, "shard": [0, 1]}
    return {name: value for name, value in given.items() if name != "shard"}


def _versions(parts: Sequence[Manifest]) -> dict[str, str]:
    """Of the packages; where machines differ, all of them."""
    found: dict[str, list[str]] = {}
    for part in parts:
        versions = part.header.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(name, []).append(str(version))
    return {name: ", ".join(dict.fromkeys(each)) for name, each in found.items()}


def _whole_clips(parts: Sequence[Manifest]) -> tuple[ClipRecord, ...]:
    clips: list[ClipRecord] = []
    for part in parts:
        clips += _moved(part.clips, len(clips))
    return tuple(clips)


def _moved(clips: Sequence[ClipRecord], rows: int) -> list[ClipRecord]:
    return [one if one.row is None else replace(one, row=one.row + rows) for one in clips]


def _check_part(joined: Manifest, part: Manifest, shard: Shard, path: Path, whole: Path) -> None:
    """DataError unless ``part`` is this shard of the joined run."""
    header, parameters = part.header, part.header.get("parameters")
    if not isinstance(parameters, dict) or header.get("key") != key_hash(parameters):
        raise DataError(f"{path} is damaged: its key is not that of its parameters.")
    if parameters.get("shard") != [shard.index, shard.count]:
        raise DataError(f"{path} holds shard {parameters.get('shard')!s:.20}, not {shard}.")
    ours = joined.header.get("parameters")
    theirs = _whole_parameters(header)
    if not isinstance(ours, dict) or header.get("kind") != joined.header.get("kind") or ours != theirs:
        differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)) if ours else []
        raise DataError(
            f"{path} is of another run than {whole.name if whole.is_file() else 'the first shard'}: they differ in "
            f"{', '.join(differing) or 'kind'}. Remove what does not belong there."
        )
    rows = shard.rows(len(joined.clips))
    if tuple(_moved(part.clips, rows.start)) != joined.clips[rows.start : rows.stop]:
        raise DataError(
            f"{path} holds {len(part.clips)} clips, of which some are not those that shard {shard} of "
            f"{len(joined.clips)} clips has; make it again."
        )


def _outputs(manifest: Path, header: Mapping[str, Any]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Name -> store and name -> folder of videos, of the whole run."""
    if header["kind"] == "pack":
        if header.get("split") != manifest.stem:
            raise DataError(f"{manifest} is of the split {header.get('split')!r:.60}; it was renamed.")
        return {manifest.stem: manifest.with_suffix(".h5")}, {}
    names, options = header.get("outputs"), options_of(header["parameters"])
    if manifest.name != MANIFEST_FILE or not isinstance(names, dict) or set(names) != set(options.domains):
        raise DataError(f"{manifest} is none that this d48dom build writes; it was renamed or edited.")
    if options.form == "hdf5":
        return {name: manifest.with_name(f"{name}.h5") for name in names}, {}
    return {}, {name: manifest.with_name(name) for name in names}


def plan_of(manifest: Manifest, path: Path) -> StorePlan:
    """Of the stores that a manifest tells of."""
    parameters = manifest.header["parameters"]
    try:
        chosen = parameters if manifest.header["kind"] == "pack" else parameters["options"]
        height, width = chosen["size"]
        return StorePlan(
            tuple(one.clip_id for one in manifest.clips),
            tuple(one.label for one in manifest.clips),
            tuple(one.group for one in manifest.clips),
            chosen["num_frames"],
            height,
            width,
            parameters,
        )
    except (KeyError, TypeError, ValueError, UsageError) as problem:
        raise DataError(f"{path} tells of no store that could be: {problem}") from None


def _told_hash(header: Mapping[str, Any], name: str) -> Any:
    """The content hash of a store by its manifest."""
    outputs = header if header["kind"] == "pack" else header["outputs"].get(name)
    return outputs.get("content_hash") if isinstance(outputs, dict) else None


def _check_store(path: Path, name: str, manifest: Manifest, told_by: Path, advice: str, frames: bool = False) -> None:
    """DataError where the store is not the one that the manifest tells of; ``advice``: what is to be done then."""
    plan = plan_of(manifest, told_by)
    try:
        tables = tables_of(plan, name, manifest.clips)
    except (KeyError, ValueError, IndexError, TypeError) as problem:
        raise DataError(f"{told_by} is damaged: its clips do not fit a store: {problem!r}.") from None
    told = content_hash(plan, {**plan.settings, "domain": name}, tables)
    if _told_hash(manifest.header, name) != told:
        raise DataError(f"{told_by} is damaged: its clips do not give the content hash of {name} that it tells.")
    if not path.is_file():
        raise DataError(f"{path} is gone, which {told_by.name} tells of. {advice}")
    if not manifest.written():
        return  # no reader opens a store without a clip
    try:
        store = open_part(path)
        if frames:
            store.verify()
    except DataError as problem:
        raise DataError(f"{path.name} cannot be used: {problem} {advice}") from None
    if store.content_hash != told or store.clip_shape != plan.shape[1:]:
        raise DataError(f"{path} is not the store that {told_by.name} tells of. {advice}")


def to_merge_again(manifest: Path, stores: Sequence[Path]) -> str:
    """What is to be done where the whole is gone or damaged, and its shards are still there."""
    files = ", ".join(one.name for one in (manifest, *stores))
    return (
        f"Its shards are still there, those that were merged as NAME{MERGED_SUFFIX}: take {MERGED_SUFFIX} off their "
        f"names, remove what is there of {files}, and merge again."
    )


def check_stores(run: ShardedRun, *, frames: bool = False) -> None:
    """DataError where manifests and stores do not agree. The frames of shards are hashed when they are copied;
    ``frames``: hash those of a whole that is there.
    """
    if run.manifest.is_file():
        advice = to_merge_again(run.manifest, list(run.stores.values()))
        for name, path in run.stores.items():
            _check_store(path, name, run.joined, run.manifest, advice, frames)
        return
    for shard, part in run.parts.items():
        for name, path in run.stores.items():
            _check_store(shard.path(path), name, part, run.paths[shard], "Make that shard again.")
