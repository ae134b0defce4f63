"""The domains' release: recipe and masks (section 3.3), and what became of every clip. Never a frame.

instances.h5                               masks and boxes of every clip that was built
manifests/<config>/<split>.jsonl           options, hashes, versions; then one line a clip (contract 2)
index/<config>/<split>.parquet             one row a clip
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diving48_domains.build_options import BuildOptions, options_of
from diving48_domains.clip_build import status_of
from diving48_domains.instance_file import InstanceFile, write_instances
from diving48_domains.instances import ClipInstances
from diving48_domains.manifest import FLAGS, OUTCOMES, STATUS, ClipRecord, Manifest, key_hash, read_manifest
from diving48_domains.manifest import write_manifest as write_lines
from diving48_domains.release.contents import (
    CLASS_LABEL,
    CLASS_NAMES,
    INSTANCES_FILE,
    MANIFEST_FOLDER,
    Contents,
    check_name,
    columns_table,
    index_file,
    refuse_paths,
    without_paths,
)
from diving48_domains.tracking import track
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard

DEFAULT_CONFIG = "domains"
COLUMNS: dict[str, tuple[str, str]] = {
    "clip_id": ("string", "id of the V2 lists"),
    "label": ("int64", "class id"),
    "class_name": ("string", "takeoff, somersaults, twists, position"),
    "group": ("string", "the video it was cut from"),
    "outcome": ("string", "written, dropped or failed"),
    "reason": ("string", "why it was dropped or failed"),
    "source_sha256": ("string", "SHA-256 of the video file that the masks belong to"),
    "num_frames": ("int32", "decoded frames of the video"),
    "fps": ("float64", "of the video, frames/s"),
    "stored_frames": ("int32", "frames a domain has of it"),
    **{f"frames_{name}": ("int32", f"stored frames of status {name}") for name in STATUS},
    "looked_at": ("int32", "frames in which divers were looked for"),
    "divers_found": ("int32", "masks in these frames, before any was chosen"),
    **{name: ("bool", says) for name, says in FLAGS.items()},
}
"""Column of the index -> (type, meaning)."""

_SHARDED = re.compile(r"(?P<split>.+?)(?:-(?P<index>\d{5})-of-(?P<count>\d{5}))?")


def collect(folder: Path, instances: Path, builds: Sequence[tuple[str, Path]]) -> None:
    """Put masks and manifests into ``folder``: nothing else of the files they come from, and no paths of the machine.

    ``builds``: (configuration, manifest of a build). Raises DataError when a file is not what it should be, UsageError
    when two manifests would be the same split of a configuration.
    """
    with InstanceFile(instances) as source:
        facts = without_paths(source.facts)
        write_instances(folder / INSTANCES_FILE, source, facts)
    for config, path in builds:
        manifest = read_manifest(path)
        header = dict(without_paths(manifest.header))
        shard = _shard(header, path)
        split = check_name("split", str(header.get("split")))
        target = shard.path(folder / MANIFEST_FOLDER / check_name("configuration", config) / f"{split}.jsonl")
        if target.exists():
            raise UsageError(
                f"--build {path}: configuration {config!r} has this part of {split!r} already; name another with "
                f"--build NAME={path}."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        write_lines(target, header, (replace(clip, reason=without_paths(clip.reason)) for clip in manifest.clips))


def describe(folder: Path) -> Contents:
    """Read all masks and manifests of a release folder of unknown origin, and check each clip against the other.

    Raises DataError where they do not belong together, or name paths of a machine.
    """
    with InstanceFile(folder / INSTANCES_FILE) as source:
        refuse_paths(source.facts, INSTANCES_FILE)
        parts = _parts(folder)
        splits: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for (config, split), paths in parts.items():
            manifests = [_manifest(folder / path, split, source.content_hash) for path in paths]
            _check_shards(manifests, paths, f"{config}, {split}")
            for manifest in manifests:
                options = options_of(manifest.header["parameters"])
                rows = [_row(clip, _instances_of(clip, source), options) for clip in manifest.clips]
                splits.setdefault((config, split), []).append({"header": manifest.header, "rows": rows})
        counts = {"clips": len(source), **_totals(source)}
        instances = {"file": INSTANCES_FILE, "content_hash": source.content_hash, **counts, "facts": source.facts}
    configs: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for (config, split), found in splits.items():
        rows = [row for part in found for row in part["rows"]]
        _check_once(rows, config, split)
        name = index_file(config, split)
        tables[name] = columns_table(rows, {key: kind for key, (kind, _) in COLUMNS.items()}, {"label": CLASS_LABEL})
        configs.setdefault(config, {})[split] = _facts(name, parts[config, split], rows, found[0]["header"])
    files = [INSTANCES_FILE, *(path for paths in parts.values() for path in paths)]
    return Contents({"instances": instances, "configs": configs}, tables, tuple(files))


def lines(manifest: Mapping[str, Any]) -> str:
    """The block ``release`` of the card."""
    found = manifest["instances"]
    out = [
        f"Release {manifest['version']}: masks of {found['divers']} divers in {found['frames']} frames of "
        f"{found['clips']} clips; content hash `{found['content_hash'][:16]}`. {_origin(found['facts'])}",
        "",
        "| config | split | clips | written | dropped | failed | frames stored | without a diver | domains |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for config, splits in manifest["configs"].items():
        for split, facts in splits.items():
            frames = facts["frames"]
            cells = [config, split, facts["n"], *(facts["outcomes"].get(name, 0) for name in OUTCOMES)]
            cells += [sum(frames.values()), frames["empty"] + frames["leaked"], ", ".join(facts["domains"])]
            out.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(out)


def _origin(facts: Mapping[str, Any]) -> str:
    """Who made the masks, as far as their file says; its words are not of this project and are cut to plain ones."""
    if facts.get("segmenter") == "ground truth":
        return "They are the exact ones of a mini-Diving48, not of real videos."
    segmenter = facts.get("segmenter")
    name = segmenter.get("name") if isinstance(segmenter, dict) else None
    plain = re.sub(r"[^A-Za-z0-9_. -]", "", str(name))[:60]
    return (
        f"They were found by the segmenter `{plain}`." if name and plain else "Their file does not say who made them."
    )


def _parts(folder: Path) -> dict[tuple[str, str], list[str]]:
    """(configuration, split) -> paths of its manifests, sorted. DataError for names that no release has."""
    parts: dict[tuple[str, str], list[str]] = {}
    for path in sorted((folder / MANIFEST_FOLDER).glob("*/*.jsonl")):
        key = check_name("configuration", path.parent.name), check_name("split", _stem(path.name)["split"])
        parts.setdefault(key, []).append(path.relative_to(folder).as_posix())
    if not parts:
        raise DataError(f"{MANIFEST_FOLDER}/ holds no manifest.")
    return parts


def _manifest(path: Path, split: str, content_hash: str) -> Manifest:
    manifest = read_manifest(path)
    header = manifest.header
    parameters = header.get("parameters")
    if (
        header.get("kind") != "domains"
        or not isinstance(parameters, dict)
        or not isinstance(header.get("outputs"), dict)
    ):
        raise DataError(f"{path} is no manifest of `d48dom build`: its kind is {header.get('kind')!a}.")
    if header.get("split") != split or parameters.get("split") != split:
        raise DataError(f"{path} is of the split {header.get('split')!a}.")
    if header.get("key") != key_hash(parameters):
        raise DataError(f"{path}: its parameters are not those that the domains were built with.")
    if parameters.get("instances_content_hash") != content_hash:
        raise DataError(
            f"{path}: built with instances {str(parameters.get('instances_content_hash'))[:16]!a}..., the instances "
            f"file has {content_hash[:16]}...; give the file of that build, or build again."
        )
    if tuple(header["outputs"]) != options_of(parameters).domains:
        raise DataError(f"{path}: lists other domains than its options ask for.")
    refuse_paths([header, [[one.clip_id, one.group, one.reason, one.source] for one in manifest.clips]], str(path))
    return manifest


def _shard(header: Mapping[str, Any], path: Path | str) -> Shard:
    parameters = header.get("parameters")
    shard = parameters.get("shard") if isinstance(parameters, dict) else None
    try:
        if isinstance(shard, list) and len(shard) == 2 and all(type(one) is int for one in shard):
            return Shard(*shard)
    except UsageError as problem:
        raise DataError(f"{path}: {problem}") from None
    raise DataError(f"{path} is no manifest of `d48dom build`: it does not say which part of the clips it has.")


def _check_shards(manifests: Sequence[Manifest], paths: Sequence[str], where: str) -> None:
    """DataError unless these are all shards of one build, each under the name of its own."""
    shards = [_shard(manifest.header, path) for manifest, path in zip(manifests, paths, strict=True)]
    count = shards[0].count
    if len(shards) != count or set(shards) != {Shard(index, count) for index in range(count)}:
        found = ", ".join(map(str, shards[:10]))
        raise DataError(f"{where}: has the shards {found}; give the manifests of all {count} of one build.")
    for shard, path in zip(shards, paths, strict=True):
        whole = Path(path).with_name(f"{_stem(path)['split']}.jsonl")
        if shard.path(whole) != Path(path):
            raise DataError(f"{path} holds shard {shard}.")
    settings = [{**manifest.header["parameters"], "shard": None} for manifest in manifests]
    if any(one != settings[0] for one in settings):
        raise DataError(f"{where}: its shards were built with different options; give those of one build.")


def _stem(path: str) -> re.Match[str]:
    match = _SHARDED.fullmatch(Path(path).stem)
    if match is None:
        raise DataError(f"{path!a} is no name of a manifest.")
    return match


def _check_once(rows: Sequence[Mapping[str, Any]], config: str, split: str) -> None:
    ids = [row["clip_id"] for row in rows]
    if len(set(ids)) != len(ids):
        raise DataError(f"{config}, {split}: {len(ids) - len(set(ids))} clips are in two shards.")


def _instances_of(clip: ClipRecord, source: InstanceFile) -> ClipInstances | None:
    if clip.clip_id in source:
        return source.read(clip.clip_id)
    if clip.outcome == "failed":
        return None
    raise DataError(f"clip {clip.clip_id!a} was {clip.outcome}, but {INSTANCES_FILE} does not hold it.")


def _row(clip: ClipRecord, found: ClipInstances | None, options: BuildOptions) -> dict[str, Any]:
    """A row of the index. DataError when the record says otherwise than the masks."""
    if clip.label >= len(CLASS_NAMES):
        raise DataError(f"clip {clip.clip_id!a}: label {clip.label} is no class of Diving48.")
    if found is not None and clip.outcome == "written":
        _check_status(clip, found, options)
    return {
        "clip_id": clip.clip_id,
        "label": clip.label,
        "class_name": CLASS_NAMES[clip.label],
        "group": clip.group,
        "outcome": clip.outcome,
        "reason": clip.reason,
        "source_sha256": clip.source_sha256,
        "num_frames": clip.num_frames,
        "fps": float(clip.fps),
        "stored_frames": len(clip.status),
        **{f"frames_{name}": clip.status.count(name) for name in STATUS},
        "looked_at": 0 if found is None else len(found.frame_indices),
        "divers_found": 0 if found is None else sum(map(len, found.frames)),
        **{name: name in clip.flags for name in FLAGS},
    }


def _check_status(clip: ClipRecord, found: ClipInstances, options: BuildOptions) -> None:
    where = f"clip {clip.clip_id!a}"
    if found.source_sha256 not in ("", clip.source_sha256):
        raise DataError(f"{where}: its masks are of another video file than the one it was built from.")
    indices = np.array(clip.frame_indices)
    places = np.searchsorted(found.frame_indices, indices)
    inside = places < len(found.frame_indices)
    if not inside.all() or (found.frame_indices[places] != indices).any():
        raise DataError(f"{where}: in some of its stored frames nobody was looked for.")
    status = status_of(track(found, options.shown), track(found, options.filled))[places]
    if tuple(status.tolist()) != clip.status:
        differing = int((status != np.array(clip.status)).sum())
        raise DataError(f"{where}: {differing} of {len(status)} frames have another status than their masks give.")


def _totals(source: InstanceFile) -> dict[str, int]:
    frames = divers = 0
    for clip in source:
        frames += len(clip.frames)
        divers += sum(map(len, clip.frames))
    return {"frames": frames, "divers": divers}


def _facts(
    index: str, paths: list[str], rows: Sequence[Mapping[str, Any]], header: Mapping[str, Any]
) -> dict[str, Any]:
    outcomes = [row["outcome"] for row in rows]
    return {
        "n": len(rows),
        "index": index,
        "manifests": paths,
        "outcomes": {name: outcomes.count(name) for name in OUTCOMES},
        "frames": {name: sum(row[f"frames_{name}"] for row in rows) for name in STATUS},
        "flags": {name: sum(row[name] for row in rows) for name in FLAGS},
        "domains": list(header["outputs"]),
        "mask_threshold": header["parameters"]["options"]["composition"]["mask_threshold"],
        "list_sha256": header["parameters"].get("list_sha256"),
    }
