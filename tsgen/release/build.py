"""From a plan to a release folder. Every file appears when it is whole, SHA256SUMS last of all.

A build that ended early goes on: clip files whose values are those of the recipe are kept, all else is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import check_free_space, locked, sha256_file, write_json_atomic, write_text_atomic
from tsgen.common.shards import Shard
from tsgen.common.sums import SUMS_FILE, check_sums, hash_folder, read_sums, write_sums
from tsgen.common.tables import require_pyarrow
from tsgen.digits import PARTITION_OF_SPLIT, load_digits, resolve_source
from tsgen.generate import estimated_bytes_per_clip
from tsgen.recipe import Recipe
from tsgen.release.croissant import croissant_of
from tsgen.release.folder import (
    CARD_FILE,
    CROISSANT_FILE,
    MARKER_FILE,
    check_out,
    check_same_recipe,
    clear_partials,
    remove_release,
    size_bytes,
    write_marker,
)
from tsgen.release.manifest import MANIFEST_FILE, manifest_of, read_manifest
from tsgen.release.parts import DigitSets, Say, make_parts, parts_of
from tsgen.release.plan import Plan, Recipes, domain_of
from tsgen.release.texts import texts_of

PART_BYTES = 1 << 20  # of the tables of a clip file, for the disk check


@dataclass(frozen=True)
class ReleaseSummary:
    """What a build did. ``made`` and ``kept`` count clip files; ``departures`` as in the manifest."""

    out: str
    version: str
    departures: tuple[str, ...]
    files: int
    size_bytes: int
    clips: int
    made: int
    kept: int


@dataclass(frozen=True)
class ShardSummary:
    """What a shard of a build did: of its clip files, how many it made and how many were there."""

    out: str
    shard: str
    clips: int
    made: int
    kept: int


def build_release(
    out: Path | str,
    plan: Plan | None = None,
    *,
    digits: str | None = None,
    workers: int | None = None,
    engine: EngineOptions | None = None,
    force: bool = False,
    say: Say | None = None,
    quiet: bool = False,
) -> ReleaseSummary:
    """Build the release that ``plan`` describes in the folder ``out``, or go on where an earlier build ended.

    ``digits`` as in :func:`tsgen.digits.load_digits`; ``workers`` threads, of no effect on any value; bytes of HDF5
    files are equal too, but for a rare chunk (docs/release.md, "Building"). With an ``engine`` clip files are made side
    by side. A folder of another recipe is refused; with ``force`` an earlier release in it, whole or not, is replaced.
    What is no part of a release is never removed.

    Raises UsageError for requests that cannot be met, DataError for bad digits or a disk that fills up, UnitsFailed
    where some files could not be made and the others were.
    """
    out, say = Path(out), say or _say_nothing
    plan, recipes, digit_sets = _prepared(out, plan, digits, workers)
    with locked(out), _going_on(out):
        clear_partials(out)
        if not force:
            check_same_recipe(out, recipes)
            if _is_whole(out, workers):
                say(f"{out} holds this release already, and every file has its hash.")
                return _summary(out, read_manifest(out), made=0)
        _check_space(out, recipes)
        if force:
            remove_release(out)
        _begin(out, recipes)
        found, made = make_parts(out, recipes, digit_sets, workers=workers, engine=engine, say=say, quiet=quiet)
        manifest = manifest_of(out, plan, recipes, found)
        _finish(out, manifest, workers)
    return _summary(out, manifest, made)


def build_shard(
    out: Path | str,
    shard: Shard,
    plan: Plan | None = None,
    *,
    digits: str | None = None,
    workers: int | None = None,
    say: Say | None = None,
    quiet: bool = False,
) -> ShardSummary:
    """Make the clip files of ``shard``, and what belongs to each, in a folder where other shards may be at work.

    The folder stays unfinished: :func:`build_release` with the same arguments checks what all of them made, makes what
    is missing, and finishes it. Errors as there.
    """
    out, say = Path(out), say or _say_nothing
    plan, recipes, digit_sets = _prepared(out, plan, digits, workers)
    mine = parts_of(recipes, shard)
    clips = sum(recipe.n for recipe in mine.values())
    with locked(out, shared=True), _going_on(out):
        check_same_recipe(out, recipes)
        if _is_whole(out, workers):
            say(f"{out} holds the whole release already, and every file has its hash.")
            return ShardSummary(str(out), str(shard), clips, made=0, kept=len(mine))
        _check_space(out, mine)
        _begin(out, recipes)
        _, made = make_parts(out, mine, digit_sets, workers=workers, engine=None, say=say, quiet=quiet)
    return ShardSummary(str(out), str(shard), clips, made, len(mine) - made)


def _prepared(out: Path, plan: Plan | None, digits: str | None, workers: int | None) -> tuple[Plan, Recipes, DigitSets]:
    """All that can be refused before anything is written; then the folder is there."""
    plan = plan or Plan()
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} is not possible; allowed: 1 or more.")
    require_pyarrow()
    check_out(out)
    source = resolve_source(digits) if any(domain_of(name).has_digits for name in plan.configs) else None
    recipes, digit_sets = _recipes(plan, source)
    out.mkdir(exist_ok=True)
    return plan, recipes, digit_sets


@contextlib.contextmanager
def _going_on(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise DataError(
            f"writing {out} failed: {problem}. Is the disk full? What is whole was kept; the same command goes on."
        ) from problem


def _check_space(out: Path, recipes: Recipes) -> None:
    needed = sum(r.n * estimated_bytes_per_clip(r.domain) + PART_BYTES for r in recipes.values())
    check_free_space(out, max(0, needed - size_bytes(out, recipes)), f"the release of {len(recipes)} clip files")


def _begin(out: Path, recipes: Recipes) -> None:
    write_marker(out, recipes)
    (out / SUMS_FILE).unlink(missing_ok=True)


def _say_nothing(line: str) -> None:
    pass


def _is_whole(out: Path, workers: int | None) -> bool:
    try:
        return not check_sums(out, workers=workers)
    except DataError:
        return False


def _finish(out: Path, manifest: dict[str, Any], workers: int | None) -> None:
    """The files about the others, in an order that leaves the folder unfinished until the last of them."""
    write_json_atomic(out / MANIFEST_FILE, manifest)
    for name, text in texts_of(manifest).items():
        write_text_atomic(out / name, text)
    (out / CROISSANT_FILE).unlink(missing_ok=True)
    (out / MARKER_FILE).unlink()  # the manifest says from here on what the folder is
    sums = hash_folder(out, workers=workers)
    described = {name: (digest, (out / name).stat().st_size) for name, digest in sums.items() if name != CARD_FILE}
    write_json_atomic(out / CROISSANT_FILE, croissant_of(manifest, described))
    sums[CROISSANT_FILE] = sha256_file(out / CROISSANT_FILE)
    write_sums(out, sums)


def _summary(out: Path, manifest: dict[str, Any], made: int) -> ReleaseSummary:
    parts = [part for record in manifest["configs"].values() for part in record["splits"].values()]
    return ReleaseSummary(
        out=str(out),
        version=manifest["version"],
        departures=tuple(manifest["departures"]),
        files=len(read_sums(out / SUMS_FILE)) + 1,
        size_bytes=size_bytes(out),
        clips=sum(part["n"] for part in parts),
        made=made,
        kept=len(parts) - made,
    )


def _recipes(plan: Plan, source: str | None) -> tuple[Recipes, DigitSets]:
    """The recipe of every clip file, in the order they are made, and the digits; each partition is read once."""
    loaded: DigitSets = {}
    recipes = {}
    for config, split in plan.parts:
        domain = domain_of(config)
        digit_set = None
        if domain.has_digits:
            key = PARTITION_OF_SPLIT[split], domain.width_px
            digit_set = loaded.get(key) or loaded.setdefault(key, load_digits(source, split, domain.width_px))
        facts = (None, None) if digit_set is None else (digit_set.source, digit_set.sha256)
        recipes[config, split] = Recipe(domain, plan.sizes[split], plan.seed, split, *facts)
    sources = {recipe.digits_source for recipe in recipes.values()} - {None}
    if len(sources) > 1:
        raise DataError(f"train and test digits are of different sources: {', '.join(sorted(map(str, sources)))}.")
    return recipes, loaded
