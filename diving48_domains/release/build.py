"""From data to a release folder: whole, or not there at all. What it says of itself it says after reading it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.no_frames import refuse_frames
from diving48_domains.release.contents import Contents, made_with
from diving48_domains.release.kinds import KINDS, Kind, kind_named
from tsgen.common import VERSION
from tsgen.common.cards import fill_blocks, join_card, read_card, split_card
from tsgen.common.errors import DataError, RacError, UsageError
from tsgen.common.files import atomic_folder, check_free_space, write_json_atomic, write_text_atomic
from tsgen.common.hub.card import size_category
from tsgen.common.hub.reference import tag_of
from tsgen.common.licence import LICENCE, licence_text
from tsgen.common.sums import SUMS_FILE, write_sums
from tsgen.common.tables import require_pyarrow, write_table

CARD_FILE, LICENSE_FILE, RELEASE_FILE = "README.md", "LICENSE", "release.json"
TOP_FILES = (CARD_FILE, LICENSE_FILE, RELEASE_FILE)
SCHEMA_VERSION = 1
BLOCK = "release"
ABOUT = {
    "content_hash": "over the masks, whatever their order in the file and however HDF5 stores them",
    "made_with": "bytes of the files depend on these versions; values and content hashes do not",
}


@dataclass(frozen=True)
class ReleaseSummary:
    """What was written: ``rows`` of all indexes together, ``files`` with SHA256SUMS."""

    out: str
    kind: str
    version: str
    rows: int
    files: int
    size_bytes: int


def build_release(
    kind: str,
    out: Path,
    collect: Callable[[Path], None],
    *,
    needed_bytes: int = 0,
    version: str | None = None,
    force: bool = False,
) -> ReleaseSummary:
    """Write a release of a kind, one of KINDS, to the folder ``out``.

    ``collect(folder)`` puts the content into an empty folder; index, card, licence, manifest and sums are made of what
    lies there then. ``needed_bytes``: what the content takes, for the check of the disk. ``version``:
    MAJOR.MINOR.PATCH, None for the kind's own. An earlier release is replaced with ``force`` only, anything else never.

    Raises UsageError for requests that cannot be met, DataError for data that contradicts itself.
    """
    chosen = kind_named(kind)
    version = (tag_of(version) if version is not None else tag_of(chosen.version)).removeprefix("v")
    require_pyarrow()
    _check_out(out, force)
    check_free_space(out.parent, needed_bytes, f"the release of kind {kind}")
    try:
        with atomic_folder(out) as folder:
            contents = _filled(folder, collect, chosen)
            for name, table in contents.tables.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_table(table, folder / name)
            manifest = manifest_of(kind, contents, version)
            write_text_atomic(folder / LICENSE_FILE, licence_text())
            write_json_atomic(folder / RELEASE_FILE, manifest)
            write_text_atomic(folder / CARD_FILE, render_card(manifest))
            if not chosen.has_frames:
                refuse_frames(folder)
            sums = write_sums(folder)
            size = sum((folder / name).stat().st_size for name in (*sums, SUMS_FILE))
    except OSError as problem:
        raise DataError(f"writing {out} failed: {problem}. Is the disk full? Nothing of it was kept.") from problem
    return ReleaseSummary(str(out), kind, version, rows_of(manifest), len(sums) + 1, size)


def _filled(folder: Path, collect: Callable[[Path], None], kind: Kind) -> Contents:
    try:
        collect(folder)
        return kind.describe(folder)
    except RacError as problem:  # the folder has a name that nobody gave it, until it is whole
        raise type(problem)(str(problem).replace(f"{folder}{os.sep}", "")) from problem


def manifest_of(kind: str, contents: Contents, version: str) -> dict[str, Any]:
    """What release.json says: no dates and no paths, so that equal content by equal libraries is equal bytes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "name": KINDS[kind].name,
        "version": version,
        "generator_version": VERSION,
        "made_with": made_with(),
        "license": LICENCE,
        **contents.facts,
        "about": ABOUT,
    }


def render_card(manifest: Mapping[str, Any]) -> str:
    """The card of a release, from its manifest alone: equal manifests give equal bytes."""
    import yaml

    kind: Kind = KINDS[manifest["kind"]]
    head, body = split_card(read_card(kind.card))
    facts = yaml.safe_load(head)
    facts.pop("viewer", None)  # "false" where there is nothing to show
    facts["size_categories"] = [size_category(rows_of(manifest))]
    facts["configs"] = [
        {
            "config_name": config,
            **({"default": True} if place == 0 else {}),
            "data_files": [{"split": split, "path": part["index"]} for split, part in splits.items()],
        }
        for place, (config, splits) in enumerate(manifest["configs"].items())
    ]
    return join_card(facts, fill_blocks(body, {BLOCK: kind.lines(manifest)}))


def rows_of(manifest: Mapping[str, Any]) -> int:
    return sum(part["n"] for splits in manifest["configs"].values() for part in splits.values())


def _check_out(out: Path, force: bool) -> None:
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"--out {out} is not a folder; give the name of a new one.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write in {out.parent}.")
    if not out.exists() or not any(out.iterdir()):
        return
    is_release = all((out / name).is_file() for name in (*TOP_FILES, SUMS_FILE))
    if not is_release:
        raise UsageError(f"--out {out} holds what no release has; give the name of a new folder.")
    if not force:
        raise UsageError(f"--out {out} holds a release; give another name, or add --force to replace it.")
