"""The files of each (configuration, split): made where they are missing, in any order, by any process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tsgen.clipset import open_clips
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.errors import DataError
from tsgen.common.shards import Shard
from tsgen.common.tables import write_table
from tsgen.digits import PARTITION_OF_SPLIT, DigitSet
from tsgen.generate import Generator, write_clips
from tsgen.recipe import Recipe
from tsgen.release.contents import Content, Contents, read_content
from tsgen.release.extras import THIS_VERSION, clip_file_problems
from tsgen.release.folder import partial_of_marker
from tsgen.release.plan import PART_FILES, Recipes, clip_file, index_file, preview_file, strips_file
from tsgen.release.strips import strips_of, viewer_columns, write_strips
from tsgen.release.tables import index_table, preview_table
from tsgen.slices import check_sees, threads_of_unit

NOISE_COST = 5
"""Of a clip with noise, in clips without."""

Part = tuple[str, str]
Say = Callable[[str], None]
DigitSets = dict[tuple[str, int], DigitSet]
"""By partition and width, px."""


@dataclass(frozen=True)
class _Job:
    """What every unit needs. ``probe``: a file in ``out`` that is there for as long as the command runs."""

    out: Path
    recipes: Recipes
    digit_sets: DigitSets
    threads: int | None
    probe: Path


@dataclass(frozen=True)
class _MadePart:
    """``problem``: why the clip file that was there was made again, if one was."""

    content: Content
    made: bool
    problem: str


def parts_of(recipes: Recipes, shard: Shard) -> Recipes:
    """The clip files of a shard: each, the costliest first, goes to the shard that has least to do by then."""
    loads = [0] * shard.count
    mine = {}
    for part in _costliest_first(recipes):
        least = loads.index(min(loads))
        loads[least] += _cost(recipes[part])
        if least == shard.index:
            mine[part] = recipes[part]
    return mine


def _costliest_first(recipes: Recipes) -> list[Part]:
    return sorted(recipes, key=lambda part: -_cost(recipes[part]))


def _cost(recipe: Recipe) -> int:
    return recipe.n * (NOISE_COST if recipe.domain.has_noise else 1)


def make_parts(
    out: Path,
    recipes: Recipes,
    digit_sets: DigitSets,
    *,
    workers: int | None,
    engine: EngineOptions | None,
    say: Say,
    quiet: bool,
) -> tuple[Contents, int]:
    """Make every clip file that is not there as it should be, and the tables of all. What they hold; how many made.

    Without ``engine`` one after the other, each in ``workers`` threads. Raises UnitsFailed where some could not be made
    and the others were, UsageError where a process does not see the folder.
    """
    from tqdm import tqdm

    engine = engine or EngineOptions("serial")
    found: Contents = {}
    made = 0
    total = sum(recipe.n for recipe in recipes.values())
    with (
        tempfile.NamedTemporaryFile(prefix=partial_of_marker(), dir=out) as probe,
        tqdm(total=total, desc="release", unit="clip", unit_scale=True, disable=True if quiet else None) as progress,
    ):
        threads = threads_of_unit(engine, len(recipes), workers)
        job = _Job(out.absolute(), recipes, digit_sets, threads, Path(probe.name).absolute())
        # Side by side the costliest come first, so that no process ends with one of them alone.
        units = list(recipes) if engine.name == "serial" else _costliest_first(recipes)
        work = Work(partial(_make_part, job))
        for part, result in results(run_units(work, units, engine), name=lambda part: clip_file(*part)):
            if result.problem:
                say(f"{result.problem} It is made again.")
            found[part] = result.content
            made += result.made
            progress.update(recipes[part].n)
    return found, made


def _make_part(job: _Job, part: Part) -> _MadePart:
    check_sees(job.probe, job.out)
    recipe, path = job.recipes[part], job.out / clip_file(*part)
    for name in PART_FILES.values():
        (job.out / name(*part)).parent.mkdir(parents=True, exist_ok=True)
    content, problem = _kept(path, recipe)
    made = content is None
    if made:
        _make(path, recipe, _digits_of(recipe, job.digit_sets), job.threads)
    with open_clips(path) as clip_set:
        content = content or read_content(clip_set, recipe)
        write_table(index_table(clip_set), job.out / index_file(*part))
        strips = strips_of(clip_set)
        write_table(preview_table(strips, clip_set, part[0]), job.out / preview_file(*part))
        write_strips(viewer_columns(strips, clip_set, part[0]), job.out / strips_file(*part))
    return _MadePart(content, made, problem)


def _digits_of(recipe: Recipe, digit_sets: DigitSets) -> DigitSet | None:
    if not recipe.domain.has_digits:
        return None
    return digit_sets[PARTITION_OF_SPLIT[recipe.split], recipe.domain.width_px]


def _make(path: Path, recipe: Recipe, digit_set: DigitSet | None, threads: int | None) -> None:
    try:
        write_clips(path, recipe, Generator.of(recipe, digit_set), threads=threads, quiet=True)
    except DataError as problem:
        raise DataError(f"{problem} The clip files before it were kept; the same command goes on.") from problem


def _kept(path: Path, recipe: Recipe) -> tuple[Content | None, str]:
    """What an earlier build left, if every value of it is right, and nothing else is in it; or what is wrong."""
    if not path.exists():
        return None, ""
    try:
        with open_clips(path) as clip_set:
            content = read_content(clip_set, recipe)
        problems = clip_file_problems(path, recipe, content.content_hash, THIS_VERSION)
    except DataError as problem:
        problems = [str(problem)]
    return (None, problems[0]) if problems else (content, "")
