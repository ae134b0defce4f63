"""From a plan to a release folder. Every file appears when it is whole, SHA256SUMS last of all.

A build that ended early goes on: clip files whose values are those of the recipe are kept, all else is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.clipset import open_clips
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import check_free_space, locked, sha256_file, write_json_atomic, write_text_atomic
from tsgen.common.sums import SUMS_FILE, check_sums, hash_folder, read_sums, write_sums
from tsgen.common.tables import require_pyarrow, write_table
from tsgen.digits import PARTITION_OF_SPLIT, DigitSet, load_digits, resolve_source
from tsgen.generate import estimated_bytes_per_clip, make
from tsgen.recipe import Recipe
from tsgen.release.contents import Content, Contents, read_content
from tsgen.release.croissant import croissant_of
from tsgen.release.extras import THIS_VERSION, clip_file_problems
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
from tsgen.release.plan import PART_FILES, Plan, Recipes, clip_file, domain_of, index_file, preview_file, strips_file
from tsgen.release.strips import strips_of, viewer_columns, write_strips
from tsgen.release.tables import index_table, preview_table
from tsgen.release.texts import texts_of

PART_BYTES = 1 << 20  # of the tables of a clip file, for the disk check

Say = Callable[[str], None]


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


def build_release(
    out: Path | str,
    plan: Plan | None = None,
    *,
    digits: str | None = None,
    workers: int | None = None,
    force: bool = False,
    say: Say | None = None,
    quiet: bool = False,
) -> ReleaseSummary:
    """Build the release that ``plan`` describes in the folder ``out``, or go on where an earlier build ended.

    ``digits`` as in :func:`tsgen.digits.load_digits`; ``workers`` threads, of no effect on any value; bytes of HDF5
    files are equal too, but for a rare chunk (docs/release.md, "Building"). A folder of another recipe is refused; with
    ``force`` an earlier release in it, whole or not, is replaced. What is no part of a release is never removed.

    Raises UsageError for requests that cannot be met, DataError for bad digits or a disk that fills up.
    """
    out, plan, say = Path(out), plan or Plan(), say or (lambda line: None)
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} is not possible; allowed: 1 or more.")
    require_pyarrow()
    check_out(out)
    source = resolve_source(digits) if any(domain_of(name).has_digits for name in plan.configs) else None
    recipes = _recipes(plan, source)
    out.mkdir(exist_ok=True)
    with locked(out):
        try:
            clear_partials(out)
            if not force:
                check_same_recipe(out, recipes)
                if _is_whole(out, workers):
                    say(f"{out} holds this release already, and every file has its hash.")
                    return _summary(out, read_manifest(out), made=0)
            needed = sum(r.n * estimated_bytes_per_clip(r.domain) + PART_BYTES for r in recipes.values())
            check_free_space(out, max(0, needed - size_bytes(out)), f"the release of {len(recipes)} clip files")
            if force:
                remove_release(out)
            write_marker(out, recipes)
            (out / SUMS_FILE).unlink(missing_ok=True)
            found, made = _make_parts(out, recipes, source, workers, say, quiet)
            manifest = manifest_of(out, plan, recipes, found)
            _finish(out, manifest, workers)
        except OSError as problem:
            raise DataError(
                f"writing {out} failed: {problem}. Is the disk full? What is whole was kept; the same command goes on."
            ) from problem
    return _summary(out, manifest, made)


def _is_whole(out: Path, workers: int | None) -> bool:
    try:
        return not check_sums(out, workers=workers)
    except DataError:
        return False


def _make_parts(
    out: Path, recipes: Recipes, source: str | None, workers: int | None, say: Say, quiet: bool
) -> tuple[Contents, int]:
    """Make every clip file that is not there as it should be, and the tables of all. What they hold; how many made."""
    from tqdm import tqdm

    found: Contents = {}
    made = 0
    total = sum(recipe.n for recipe in recipes.values())
    with tqdm(total=total, desc="release", unit="clip", unit_scale=True, disable=True if quiet else None) as bar:
        for (config, split), recipe in recipes.items():
            for name in PART_FILES.values():
                (out / name(config, split)).parent.mkdir(parents=True, exist_ok=True)
            path = out / clip_file(config, split)
            content = _kept(path, recipe, say)
            if content is None:
                _make(path, recipe, source, workers)
                made += 1
            with open_clips(path) as clip_set:
                found[config, split] = content or read_content(clip_set, recipe)
                write_table(index_table(clip_set), out / index_file(config, split))
                strips = strips_of(clip_set)
                write_table(preview_table(strips, clip_set, config), out / preview_file(config, split))
                write_strips(viewer_columns(strips, clip_set, config), out / strips_file(config, split))
            bar.update(recipe.n)
    return found, made


def _make(path: Path, recipe: Recipe, source: str | None, workers: int | None) -> None:
    options: dict[str, Any] = {"seed": recipe.seed, "split": recipe.split, "digits": source, "threads": workers}
    try:
        make(recipe.domain, recipe.n, path, **options, force=True, quiet=True)
    except DataError as problem:
        raise DataError(f"{problem} The clip files before it were kept; the same command goes on.") from problem


def _kept(path: Path, recipe: Recipe, say: Say) -> Content | None:
    """What an earlier build left, if every value of it is right, and nothing else is in it."""
    if not path.exists():
        return None
    try:
        with open_clips(path) as clip_set:
            content = read_content(clip_set, recipe)
        problems = clip_file_problems(path, recipe, content.content_hash, THIS_VERSION)
    except DataError as problem:
        problems = [str(problem)]
    if problems:
        say(f"{problems[0]} It is made again.")
    return None if problems else content


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


def _recipes(plan: Plan, source: str | None) -> Recipes:
    """The recipe of every clip file, in the order they are made; each partition of the digits is read once."""
    loaded: dict[tuple[str, int], DigitSet] = {}
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
    return recipes
