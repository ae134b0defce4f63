"""Slices of one recipe become the file that a single ``tsgen make`` writes: the same values, and the same content hash.

What is written are the packed bytes as they came. They are hashed, not inflated: this is the part of a run on many
machines that one does alone. Memory stays at a few blocks, however large the slices are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tsgen.clipfile import COLUMNS, ClipWriter, ContentHash, FileFacts, PackedHash
from tsgen.clipset import ClipSet, open_clips
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_path, check_free_space, check_output_file
from tsgen.common.h5write import create_hdf5
from tsgen.common.shards import Shard
from tsgen.generate import BLOCK_CLIPS, Block
from tsgen.recipe import Recipe

MOST_NAMED = 20


@dataclass(frozen=True)
class SliceHead:
    """What a slice says of itself, not checked against its values yet."""

    path: Path
    shard: Shard
    recipe: Recipe
    content_hash: str
    generator_version: str


@dataclass(frozen=True)
class Slices:
    """All slices of ``recipe``, in order; ``were_joined``: only those that a killed merge had not removed yet."""

    recipe: Recipe
    heads: tuple[SliceHead, ...]
    were_joined: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(head.path.stat().st_size for head in self.heads)


def merge(
    paths: Iterable[Path | str],
    out: Path | str,
    *,
    force: bool = False,
    remove: bool = False,
    quiet: bool = False,
) -> tuple[Slices, str]:
    """Join all slices of one recipe, in any order, to the clip file ``out``. What was joined, and its content hash.

    The file appears when it is complete and every slice was as it was made; ``remove`` the slices then, and those that
    a killed merge left beside the whole. Raises UsageError for an ``out`` that cannot be, DataError with every reason
    why these are not all slices of one recipe.
    """
    out, files = Path(out), [Path(path) for path in paths]
    if out.resolve() in [path.resolve() for path in files]:
        raise UsageError(f"--out {out} is one of the slices; give another name.")
    if remove and (left := _left_of(out, files)) is not None:
        remove_slices(files)
        return left
    check_output_file(out, force)
    slices = check_slices(files)
    check_free_space(out.parent, slices.size_bytes, str(out))
    with atomic_path(out) as partial:
        content_hash = write_merged(partial, slices, quiet=quiet)
    if remove:
        remove_slices(files)
    return slices, content_hash


def _left_of(out: Path, files: Sequence[Path]) -> tuple[Slices, str] | None:
    """The slices that a merge to ``out`` had still to remove; None unless ``out`` is their whole, every value of it."""
    try:
        heads = [_head(path) for path in files if path.exists()]
        if not heads or not out.is_file():
            return None
        with open_clips(out) as whole:
            recipe = Recipe.from_json(whole.recipe)
            theirs = all(
                (head.recipe, head.generator_version) == (recipe.part(head.shard), whole.generator_version)
                for head in heads
            )
            if not theirs or not whole.shard.is_whole or len(whole) != recipe.n:
                return None
            whole.check_content()
            return Slices(recipe, tuple(heads), were_joined=True), whole.content_hash
    except (DataError, UsageError):
        return None


def remove_slices(paths: Iterable[Path]) -> None:
    """Remove them, and what processes and machines that were lost had half written of them."""
    slices = set(paths)
    for path in slices:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in slices}:
        for partial in folder.glob(".*.partial-*"):
            if folder / partial.name[1:].rpartition(".partial-")[0] in slices and partial.is_file():
                partial.unlink(missing_ok=True)


def check_slices(paths: Sequence[Path]) -> Slices:
    """The slices at ``paths`` in order, by what they say of themselves. DataError with every reason why they are not
    all slices of one recipe.
    """
    heads, problems = [], []
    for path in paths:
        try:
            heads.append(_head(path))
        except DataError as problem:
            problems.append(str(problem))
    problems += _contradictions(heads) if heads else []
    if problems:
        raise _not_merged(problems)
    heads.sort(key=lambda head: head.shard.index)
    last = heads[-1].recipe
    return Slices(replace(heads[0].recipe, n=last.first + last.n), tuple(heads))


def write_merged(partial: Path, slices: Slices, *, quiet: bool = False) -> str:
    """Write the whole to ``partial``. Returns its content hash; DataError naming every slice that is damaged."""
    from tqdm import tqdm

    problems: list[str] = []
    n = slices.recipe.n
    facts = replace(FileFacts.of_recipe(slices.recipe), generator_version=slices.heads[0].generator_version)
    try:
        with (
            create_hdf5(partial) as (file, sink),
            tqdm(total=n, desc="merge", unit="clip", unit_scale=True, disable=True if quiet else None) as progress,
        ):
            writer = ClipWriter(file, facts)
            for head in slices.heads:
                try:
                    with open_clips(head.path) as clip_set:
                        if (len(clip_set), clip_set.content_hash) != (head.recipe.n, head.content_hash):
                            raise DataError(f"{head.path} was replaced while it was read.")
                        for block in sealed_blocks(clip_set):
                            writer.write(block.compressed, block.leaves, block.columns)
                            sink.check()
                            progress.update(len(block.compressed))
                except DataError as problem:  # the others are read too, so that all that are damaged are named
                    problems.append(str(problem))
            if problems:
                raise _not_merged(problems)
            return writer.finish()
    except (OSError, RuntimeError) as problem:
        raise DataError(f"merging failed: {problem}. Is the disk full? The slices were kept.") from problem


def sealed_blocks(clip_set: ClipSet) -> Iterator[Block]:
    """The clips of a slice as they are stored, and DataError after the last where the slice is not as it was made.

    Nothing is inflated: stored clips, and the leaves that were taken of the same frames, are compared with the hashes
    of their making. That finds accidents. Where somebody forged them, the result's values have not its content hash,
    as ``tsgen info`` finds.
    """
    content, packed = ContentHash(clip_set.recipe), PackedHash()
    for start, stop in pairwise((*range(0, len(clip_set), BLOCK_CLIPS), len(clip_set))):
        columns = {name: clip_set.column(name, start, stop) for name in COLUMNS}
        block = Block(clip_set.packed(start, stop), clip_set.leaves(start, stop), columns)
        content.update(block.leaves, columns)
        packed.update(block.compressed)
        yield block
    if (content.hexdigest(), packed.hexdigest()) != (clip_set.content_hash, clip_set.packed_hash):
        raise DataError(
            f"{clip_set.path} was changed or damaged after it was made: its hashes are others. Make it again with "
            f"--shard {clip_set.shard} --force."
        )


def _head(path: Path) -> SliceHead:
    with open_clips(path) as clip_set:
        try:
            recipe = Recipe.from_json(clip_set.recipe)
        except DataError as problem:
            raise DataError(f"{path}: {problem}") from problem
        if recipe.to_json() != clip_set.recipe:
            raise DataError(f"{path}: its recipe is not as this tsgen writes it.")
        shape = FileFacts.of_recipe(recipe).clip_shape
        if (len(clip_set), clip_set.clip_shape) != (recipe.n, shape):
            raise DataError(
                f"{path} holds {len(clip_set)} clips of {clip_set.clip_shape}, its recipe makes {recipe.n} of {shape}."
            )
        if clip_set.shard.is_whole:
            raise DataError(f"{path} is no slice: it was made without --shard.")
        return SliceHead(path, clip_set.shard, recipe, clip_set.content_hash, clip_set.generator_version)


def _contradictions(heads: list[SliceHead]) -> list[str]:
    """Why these are not all slices of one recipe, each once."""
    facts = [_common_facts(head) for head in heads]
    usual = facts[[str(each) for each in facts].index(Counter(map(str, facts)).most_common(1)[0][0])]
    problems = [
        f"{head.path} is of another run: {', '.join(differing)}."
        for head, mine in zip(heads, facts, strict=True)
        if (differing := [f"{key} {mine[key]} instead of {usual[key]}" for key in mine if mine[key] != usual[key]])
    ]
    count = usual["slices"]
    by_index: dict[int, list[SliceHead]] = {}
    for head, mine in zip(heads, facts, strict=True):
        if mine == usual:
            by_index.setdefault(head.shard.index, []).append(head)
    for index, several in sorted(by_index.items()):
        if len(several) > 1:
            problems.append(f"{' and '.join(str(head.path) for head in several)} are both slice {index}/{count}.")
    missing = [f"{index}/{count}" for index in range(count) if index not in by_index]
    if missing:
        are = f"slice {missing[0]} is" if len(missing) == 1 else f"slices {_listed(missing)} are"
        problems.append(f"{are} missing: made with the same command and --shard, like --shard {missing[0]}.")
    return problems or _misplaced(heads)


def _misplaced(heads: list[SliceHead]) -> list[str]:
    """Slices of other clips than theirs by the number of all: the whole ends where the last slice does."""
    last = max(heads, key=lambda head: head.shard.index).recipe
    whole = last.first + last.n
    problems = []
    for head in heads:
        due, first = head.shard.rows(whole), head.recipe.first
        if (first, first + head.recipe.n) != (due.start, due.stop):
            problems.append(
                f"{head.path} holds clips {first}..{first + head.recipe.n - 1}; slice {head.shard} of {whole} clips is "
                f"{due.start}..{due.stop - 1}. They were made with different --n."
            )
    return problems


def _common_facts(head: SliceHead) -> dict[str, Any]:
    """What all slices of a run have in common, one value each."""
    recipe = {name: value for name, value in head.recipe.to_json().items() if name not in ("n", "first", "domain")}
    return {
        "slices": head.shard.count,
        "generator_version": head.generator_version,
        "domain": head.recipe.domain.name,
        **head.recipe.domain.to_json(),
        **recipe,
    }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _not_merged(problems: Sequence[str]) -> DataError:
    more = f"\n  ... and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    return DataError("nothing was merged:" + "".join(f"\n  {problem}" for problem in problems[:MOST_NAMED]) + more)
