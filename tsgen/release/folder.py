"""The release folder as it is found: empty, unfinished, whole, or somebody else's. What may be removed from it."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_json_atomic
from tsgen.common.sums import NOT_CONTENT, SUMS_FILE
from tsgen.release.manifest import MANIFEST_FILE, read_manifest
from tsgen.release.plan import CONFIGS, PART_FILES, RELEASE_VERSION, Recipes, clip_file
from tsgen.vocabulary import SPLITS

MARKER_FILE = "UNFINISHED.json"
"""Lies in a folder from the first file to the last, and says what is being built."""

CARD_FILE, CROISSANT_FILE = "README.md", "croissant.json"
LICENSE_FILE, ATTRIBUTION_FILE = "LICENSE", "ATTRIBUTION.md"
TOP_FILES = (CARD_FILE, CROISSANT_FILE, LICENSE_FILE, ATTRIBUTION_FILE, MANIFEST_FILE)
MAX_MARKER_BYTES = 1 << 20
_PARTIAL = re.compile(r"\.(.+)\.partial-[^/]*")


def check_out(out: Path) -> None:
    """Refuse an ``out`` where no folder can be, or one that holds what no release has."""
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"--out {out} is not a folder; give the name of a new one.")
    if not out.exists():
        if not out.parent.is_dir():
            raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
        if not os.access(out.parent, os.W_OK):
            raise UsageError(f"--out {out}: no permission to write in {out.parent}.")
        return
    if not os.access(out, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write in it.")
    foreign = sorted(str(path.relative_to(out)) for path in _foreign(out))
    if foreign:
        listed = ", ".join(ascii(name)[1:-1] for name in foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise UsageError(
            f"--out {out} holds {len(foreign)} thing{'s' if len(foreign) > 1 else ''} that no release has: {listed}. "
            "Give the name of a new folder, or move them away."
        )


def check_same_recipe(out: Path, recipes: Recipes) -> None:
    """Refuse a folder whose release, whole or unfinished, is of other recipes or another version."""
    started = _started(out)
    if started is None:
        if not any(_own_files(out)):
            return
        started = _started(out)  # a shard that began meanwhile wrote the marker before all else
        if started is None:
            raise UsageError(
                f"--out {out} holds files of a release, but neither {MANIFEST_FILE} nor {MARKER_FILE} says of which; "
                "give another name, or add --force to replace them."
            )
    wanted = marker_of(recipes)
    if started != wanted:
        raise UsageError(
            f"--out {out} holds another release: {_difference(started, wanted)}. Give another name, or add --force to "
            "replace it."
        )


def write_marker(out: Path, recipes: Recipes) -> None:
    write_json_atomic(out / MARKER_FILE, marker_of(recipes))


def marker_of(recipes: Recipes) -> dict[str, Any]:
    """What identifies a release that is being built: its version and the digest of every recipe."""
    digests = {clip_file(config, split): recipe.digest for (config, split), recipe in recipes.items()}
    return {"version": RELEASE_VERSION, "recipe_digests": digests}


def remove_release(out: Path) -> None:
    """Remove every file that a release has, what makes it whole first, and the folders that this empties."""
    for path in _own_files(out):
        path.unlink()
    for config in CONFIGS:
        for name in PART_FILES.values():
            _remove_if_empty((out / name(config, SPLITS[0])).parent)
    for name in PART_FILES.values():
        _remove_if_empty((out / name("", "")).parent)


def clear_partials(out: Path) -> None:
    """Remove what processes that were killed had half written of a release's files, and nothing that only looks alike.

    Call it after :func:`check_out`, with the folder locked: no other process writes, no folder is a link.
    """
    for path in _partials(out):
        path.unlink()


def size_bytes(out: Path, recipes: Recipes | None = None) -> int:
    """Of a release's files in the folder; with ``recipes`` of those that belong to their clip files."""
    if recipes is None:
        return sum(path.stat().st_size for path in _own_files(out))
    paths = (out / name(*part) for part in recipes for name in PART_FILES.values())
    return sum(path.stat().st_size for path in paths if path.is_file())


def partial_of_marker() -> str:
    """How the name of a file begins that lies in the folder while a command runs; `clear_partials` knows it."""
    return f".{MARKER_FILE}.partial-"


def _known_files() -> Iterator[str]:
    yield from (SUMS_FILE, *TOP_FILES)
    yield from (name(config, split) for config in CONFIGS for split in SPLITS for name in PART_FILES.values())
    yield MARKER_FILE  # last, so that a removal that is interrupted leaves an unfinished release


def _own_files(out: Path) -> Iterator[Path]:
    return (path for name in _known_files() if (path := out / name).is_file() and not path.is_symlink())


def _partials(out: Path) -> Iterator[Path]:
    for final in (out / name for name in _known_files()):
        for path in final.parent.glob(f".{glob.escape(final.name)}.partial-*"):
            if path.is_file() and not path.is_symlink():
                yield path


def _foreign(out: Path) -> Iterator[Path]:
    known = set(_known_files())
    folders = {parent.as_posix() for name in known for parent in Path(name).parents}
    for root, inner, files in os.walk(out):
        here = Path(root).relative_to(out)
        ignored = NOT_CONTENT if Path(root) == out else ()
        inner[:] = [name for name in inner if name not in ignored]
        for name in [name for name in (*files, *inner) if name not in ignored]:
            path = here / name
            final = path.with_name(_final_name(name))  # partials come and go while other shards work
            is_known = path.as_posix() in folders if name in inner else final.as_posix() in known
            if not is_known or (out / path).is_symlink():
                yield out / path


def _final_name(name: str) -> str:
    """What a file half written will be called; other names as they are."""
    match = _PARTIAL.fullmatch(name)
    return match[1] if match else name


def _started(out: Path) -> dict[str, Any] | None:
    """The marker of the release in a folder, or what its manifest says in those terms; None without either."""
    marker = out / MARKER_FILE
    if marker.is_file() and marker.stat().st_size <= MAX_MARKER_BYTES:
        try:
            value = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) and isinstance(value.get("recipe_digests"), dict) else None
    try:
        manifest = read_manifest(out)
    except DataError:
        return None
    parts = [part for record in manifest["configs"].values() for part in record["splits"].values()]
    return {"version": manifest["version"], "recipe_digests": {part["file"]: part["recipe_digest"] for part in parts}}


def _difference(started: dict[str, Any], wanted: dict[str, Any]) -> str:
    if started.get("version") != wanted["version"]:
        return f"version {str(started.get('version'))[:40]!r} instead of {wanted['version']!r}"
    there, here = started["recipe_digests"], wanted["recipe_digests"]
    differing = [name for name in here if name in there and there[name] != here[name]]
    if differing:
        return f"{len(differing)} of its files have another recipe (size, seed or digits), the first is {differing[0]}"
    return f"it has {len(there)} clip files instead of {len(here)}"


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
