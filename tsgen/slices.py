"""A clip file made in slices: one of them here, or all of them by an engine and then joined.

A slice beside the result, whole and of the recipe, is what says that it is done: whichever command made it.
"""

from __future__ import annotations

import glob
import platform
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tsgen
from tsgen.clipset import open_clips
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_path, check_free_space, check_output_file
from tsgen.common.shards import MOST_SHARDS, Shard
from tsgen.digits import DigitSet
from tsgen.domains import Domain
from tsgen.generate import Generator, estimated_bytes_per_clip, write_clips
from tsgen.merge import check_slices, remove_slices, sealed_blocks, write_merged
from tsgen.recipe import Recipe, make_recipe

SLICE_CLIPS = 8192
"""Of a slice, where nobody says how many there are: a second or more of work, and little to do again."""


@dataclass(frozen=True)
class MadeSlice:
    """``made``: it was not there already."""

    path: Path
    recipe: Recipe
    made: bool


@dataclass(frozen=True)
class MadeOfSlices:
    """The whole file: its recipe, and how many slices were made and found finished."""

    recipe: Recipe
    made: int
    kept: int


@dataclass(frozen=True)
class _Job:
    """What every unit needs. ``probe``: a file beside ``out`` that is there for as long as the command runs."""

    recipe: Recipe
    digit_set: DigitSet | None
    out: Path
    probe: Path
    force: bool
    threads: int | None


def make_slice(
    domain: str | Domain,
    n: int,
    out: Path | str,
    shard: Shard,
    *,
    seed: int = 0,
    split: str = "train",
    digits: str | None = None,
    force: bool = False,
    threads: int | None = None,
    quiet: bool = False,
) -> MadeSlice:
    """Write one slice of what :func:`tsgen.generate.make` writes with the same arguments, to ``shard.path(out)``.

    A finished slice there is left alone; anything else is refused unless ``force``. Errors as of ``make``.
    """
    path = shard.path(Path(out))
    recipe, digit_set = make_recipe(domain, n, seed=seed, split=split, digits=digits)
    part = recipe.part(shard)
    if _is_finished(path, part, shard, force):
        return MadeSlice(path, part, made=False)
    check_output_file(path, force=True)
    check_free_space(path.parent, part.n * estimated_bytes_per_clip(part.domain), f"{part.n} clips")
    write_clips(path, part, Generator.of(recipe, digit_set), shard=shard, threads=threads, quiet=quiet)
    return MadeSlice(path, part, made=True)


def make_in_slices(
    domain: str | Domain,
    n: int,
    out: Path | str,
    engine: EngineOptions,
    *,
    shards: int | None = None,
    seed: int = 0,
    split: str = "train",
    digits: str | None = None,
    force: bool = False,
    threads: int | None = None,
    quiet: bool = False,
) -> MadeOfSlices:
    """The file that :func:`tsgen.generate.make` writes, made by an engine in ``shards`` slices beside ``out``.

    They are joined when all are there, and removed; slices that ``make_slice`` or an earlier run finished count.
    ``threads`` of a slice where this process makes them, one after the other; elsewhere a slice has one. Raises
    UnitsFailed where some slices failed, the others are kept; UsageError also where a process does not see the folder;
    errors as of ``make``.
    """
    from tqdm import tqdm

    out = Path(out).absolute()  # workers of a cluster stand elsewhere
    if out.is_file() and not force and (left := _slices_beside(out)):
        raise UsageError(
            f"--out {out} exists, and slices lie beside it ({len(left)}, like {left[0].name}): a command that is "
            "killed while it removes them leaves a whole file. Remove them, or add --force, which joins them again."
        )
    check_output_file(out, force)
    recipe, digit_set = make_recipe(domain, n, seed=seed, split=split, digits=digits)
    units = _units(recipe, shards)
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads} is not possible; allowed: 1 or more.")
    needed = 2 * n * estimated_bytes_per_clip(recipe.domain)
    needed -= sum(path.stat().st_size for path in _slices_beside(out, f"{len(units):05d}"))
    check_free_space(out.parent, needed, f"{n} clips of {recipe.domain.name} and their slices")
    made = 0
    with atomic_path(out) as unfinished:
        unfinished.touch()
        job = _Job(recipe, digit_set, out, unfinished, force, threads_of_unit(engine, len(units), threads))
        work = Work(partial(_make_unit, job))
        finished = results(run_units(work, units, engine), name=lambda shard: _unit_path(out, shard).name)
        name, silent = recipe.domain.name, True if quiet else None
        with tqdm(total=n, desc=name, unit="clip", unit_scale=True, disable=silent) as progress:
            for shard, is_new in finished:
                made += is_new
                progress.update(len(shard.rows(n)))
        paths = [_unit_path(out, shard) for shard in units]
        if len(paths) == 1:
            paths[0].replace(unfinished)
        else:
            write_merged(unfinished, check_slices(paths), quiet=quiet)
    remove_slices(paths)
    return MadeOfSlices(recipe, made=made, kept=len(units) - made)


def check_sees(probe: Path, folder: Path) -> None:
    """UsageError where this process, of another machine perhaps, has another folder of that name or none."""
    if not probe.exists():
        raise UsageError(
            f"machine {platform.node()!r} does not see what this command writes in {folder}: with --engine ray all "
            "machines of the cluster need the folder in common, by the same name; give --out on a shared file system."
        )


def threads_of_unit(engine: EngineOptions, num_units: int, threads: int | None) -> int | None:
    """``threads`` (None: one a core) where units are done one after the other in this process, 1 where side by side."""
    return threads if engine.name != "ray" and engine.number_of_workers(num_units) <= 1 else 1


def _units(recipe: Recipe, shards: int | None) -> list[Shard]:
    count = min(-(-recipe.n // SLICE_CLIPS), MOST_SHARDS) if shards is None else shards
    if not 1 <= count <= min(recipe.n, MOST_SHARDS):
        raise UsageError(f"--shards {count} is not possible; allowed: 1..{min(recipe.n, MOST_SHARDS)}.")
    return [Shard(index, count) for index in range(count)]


def _slices_beside(out: Path, count: str = "?????") -> list[Path]:
    # By the folder's list: on a network file system, having looked for a name before it is there hides it for a minute.
    return sorted(out.parent.glob(f"{glob.escape(out.stem)}-?????-of-{count}{glob.escape(out.suffix)}"))


def _unit_path(out: Path, shard: Shard) -> Path:
    """Of a slice. The only one of all has a name of its own too: a killed command must leave nothing but that."""
    return out.with_name(f"{out.stem}-00000-of-00001{out.suffix}") if shard.is_whole else shard.path(out)


def _make_unit(job: _Job, shard: Shard) -> bool:
    """Whether the slice had to be made."""
    check_sees(job.probe, job.out.parent)
    part, path = job.recipe.part(shard), _unit_path(job.out, shard)
    if _is_finished(path, part, shard, job.force):
        return False
    check_output_file(path, force=True)
    generator = Generator.of(job.recipe, job.digit_set)
    write_clips(path, part, generator, shard=shard, threads=job.threads, quiet=True)
    return True


def _is_finished(path: Path, recipe: Recipe, shard: Shard, force: bool) -> bool:
    """Whether the slice is there, every value of it; UsageError where something else is, unless ``force``."""
    if not path.exists():
        return False
    try:
        with open_clips(path) as clip_set:
            if clip_set.recipe != recipe.to_json() or clip_set.shard != shard:
                raise DataError(f"{path} is not slice {shard} of this recipe.")
            if clip_set.generator_version != tsgen.__version__:
                raise DataError(f"{path} was made by tsgen {clip_set.generator_version}; this is {tsgen.__version__}.")
            if shard.is_whole:
                clip_set.check_content()
            else:
                for _ in sealed_blocks(clip_set):
                    pass
    except DataError as problem:
        if not force and path.is_file():
            raise UsageError(
                f"{path} is there already, and is not what this command makes: {problem} "
                "Give another name, or add --force to replace it."
            ) from problem
        return False
    return True
