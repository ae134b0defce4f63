"""What a release could carry beside its values: more files, other texts, attributes, bytes that no reader looks at.

The hashes say nothing of it, as a forger writes them anew. Here it is compared with what this version writes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import tsgen
from tsgen.clipfile import ClipWriter, FileFacts
from tsgen.common.errors import DataError
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.sums import SUMS_FILE
from tsgen.recipe import Recipe
from tsgen.release.croissant import croissant_of
from tsgen.release.folder import CARD_FILE, CROISSANT_FILE, TOP_FILES
from tsgen.release.manifest import ABOUT, MANIFEST_FILE, licenses_of, made_with
from tsgen.release.plan import PART_FILES, RELEASE_VERSION, Plan
from tsgen.release.texts import texts_of

THIS_VERSION = {"version": RELEASE_VERSION, "generator_version": tsgen.__version__}
"""What a manifest says that this tsgen wrote."""

HASH_ATTRIBUTE = "content_hash"
MEANING = "meaning"
END_OF_FILE_AT = {0: 40, 1: 44, 2: 28, 3: 28}
"""Version of an HDF5 superblock -> where it holds the end of the file, 8 bytes (HDF5 file format, II.A)."""

SIZES_AT = {0: 13, 1: 13, 2: 9, 3: 9}
"""Version of the superblock -> where it says how many bytes an address has."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,40}")


def is_known(manifest: Mapping[str, Any]) -> bool:
    """Whether this tsgen is the one that wrote the release, and so knows what else than values it holds."""
    return all(manifest[name] == value for name, value in THIS_VERSION.items())


def file_problems(sums: Mapping[str, str], plan: Plan) -> list[str]:
    """Files that are listed and no part of this release, and those of its parts that are not listed."""
    parts = {name(config, split) for config, split in plan.parts for name in PART_FILES.values()}
    wanted = parts | set(TOP_FILES)
    return [
        *(f"{name}: no release has such a file." for name in sorted(set(sums) - wanted)),
        *(f"{name}: not listed in {SUMS_FILE}; this release has it." for name in sorted(wanted - set(sums))),
    ]


def text_problems(folder: Path, manifest: Mapping[str, Any], sums: Mapping[str, str]) -> list[str]:
    """How the files about the others, and the manifest's own statements, differ from those of this version.

    Of a release of another version that cannot be told: one line says so.
    """
    if not is_known(manifest):
        mine, theirs = (RELEASE_VERSION, tsgen.__version__), (manifest["version"], manifest["generator_version"])
        texts = ", ".join(name for name in TOP_FILES if name != MANIFEST_FILE)
        return [
            f"{MANIFEST_FILE}: is of version {theirs[0][:40]!r} by generator {theirs[1][:40]!r}; this tsgen writes "
            f"{mine[0]!r} and is {mine[1]!r}. That {texts} and the licences are those of that version was not shown: "
            "verify it with the tsgen that wrote it."
        ]
    try:
        return [*_statements(manifest), *_texts(folder, manifest, sums)]
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as problem:
        return [f"{MANIFEST_FILE}: the card cannot be made from it: {str(problem)[:200]}"]


def _statements(manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, expected in (("licenses", licenses_of(manifest["digits_source"])), ("about", ABOUT)):
        if manifest.get(name) != expected:
            yield f"{MANIFEST_FILE}: {name} is {str(manifest.get(name))[:80]!r}; expected {str(expected)[:80]!r}."
    libraries = manifest["made_with"]
    if set(libraries) != set(made_with()) or not all(_VERSION.fullmatch(str(each)) for each in libraries.values()):
        yield f"{MANIFEST_FILE}: made_with is {str(libraries)[:80]!r}; expected versions of {', '.join(made_with())}."


def _texts(folder: Path, manifest: Mapping[str, Any], sums: Mapping[str, str]) -> Iterator[str]:
    expected = texts_of(manifest)
    if all((folder / name).is_file() for name in sums):
        files = {name: (digest, (folder / name).stat().st_size) for name, digest in sums.items() if name != CARD_FILE}
        expected[CROISSANT_FILE] = json.dumps(croissant_of(manifest, files), indent=1, allow_nan=False) + "\n"
    for name, text in expected.items():
        data = text.encode()
        if (folder / name).is_file() and not _holds(folder / name, data):
            yield f"{name}: is not the one that this manifest gives."


def _holds(path: Path, data: bytes) -> bool:
    if path.stat().st_size != len(data):  # before anything is read
        return False
    return path.read_bytes() == data


def clip_file_problems(path: Path, recipe: Recipe, content_hash: str, manifest: Mapping[str, Any]) -> list[str]:
    """What a clip file says of itself otherwise than ``tsgen make`` does, and bytes behind its end."""
    expected = _attributes_of(recipe, content_hash, str(manifest["generator_version"]))
    return _structure_problems(path, expected, "clip file", compare_meaning=is_known(manifest))


def strip_file_problems(path: Path, meanings: Mapping[str, str], manifest: Mapping[str, Any]) -> list[str]:
    """The same of a file of film strips. ``meanings`` by column."""
    expected: dict[str, dict[str, Any]] = {"/": {}, **{name: {MEANING: text} for name, text in meanings.items()}}
    return _structure_problems(path, expected, "strip file", compare_meaning=is_known(manifest))


def _attributes_of(recipe: Recipe, content_hash: str, generator_version: str) -> dict[str, dict[str, Any]]:
    """Dataset, or "/" for the file -> its attributes, as the writer lays out a file without clips."""
    with h5py.File(io.BytesIO(), "w") as file:
        ClipWriter(file, FileFacts.of_recipe(recipe))
        found = {name: dict(file[name].attrs) for name in ("/", *file)}
    found["/"] |= {HASH_ATTRIBUTE: content_hash, "generator_version": generator_version}
    return found


def _structure_problems(
    path: Path, expected: Mapping[str, Mapping[str, Any]], kind: str, *, compare_meaning: bool
) -> list[str]:
    try:
        with open_guarded(path) as file, reading(path):
            strange = sorted(set(file) - set(expected))
            if strange:
                return [f"{path} holds what no {kind} has: {', '.join(map(ascii, strange[:5]))}."]
            found = {name: dict(file[name].attrs) for name in expected if name in file}
            end = _end_of_file(path)
    except DataError as problem:
        return [str(problem)]
    problems = []
    for name, attributes in found.items():
        for key in sorted(set(attributes) | set(expected[name])):
            mine, theirs = attributes.get(key), expected[name].get(key)
            is_free = key == MEANING and not compare_meaning and isinstance(mine, str)
            if not is_free and not _is_equal(mine, theirs):
                problems.append(
                    f"{path}: attribute {key!a} of {name} is {str(mine)[:60]!r}; expected {str(theirs)[:60]!r}."
                )
    size = path.stat().st_size
    if size != end:
        problems.append(f"{path}: has {size} bytes; by its own account it ends after {end}.")
    return problems


def _is_equal(mine: Any, theirs: Any) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    one, other = np.asarray(mine), np.asarray(theirs)
    return one.shape == other.shape and one.dtype.kind == other.dtype.kind and bool((one == other).all())


def _end_of_file(path: Path) -> int | None:
    """Where an HDF5 file ends, as its superblock says; None for one of a kind that nothing here writes."""
    with path.open("rb") as handle:
        head = handle.read(64)
    version = head[8]
    if version not in END_OF_FILE_AT or head[SIZES_AT[version]] != 8:
        return None
    place = END_OF_FILE_AT[version]
    return int.from_bytes(head[place : place + 8], "little")
