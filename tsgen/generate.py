"""From a recipe to a clip file: the only loop over a data set.

Blocks of clips are drawn, compressed and hashed by worker threads (kernels and deflate run without the interpreter
lock) while this thread writes finished blocks in order. Memory stays at a few blocks, however many clips are made, and
no byte depends on the number of threads or the size of a block.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsgen.clipfile import COMPRESSION_LEVEL, ClipWriter, ContentHash, FileFacts, column_values
from tsgen.common.engine import usable_cores
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_path, check_free_space, check_output_file
from tsgen.common.h5write import create_hdf5
from tsgen.common.shards import WHOLE, Shard
from tsgen.deflate import deflate
from tsgen.domains import Domain
from tsgen.recipe import Recipe, make_recipe
from tsgen.sampling import check_domain_fits, sample_clips, stream_key

if TYPE_CHECKING:
    from tsgen.digits import DigitSet

BLOCK_CLIPS = 1024  # = the rows of a column chunk, so that each is compressed once
DRAWN_BYTES = 1 << 21  # of frames drawn before they are compressed: little enough to stay in a cache


@dataclass(frozen=True)
class Block:
    """Finished clips: deflated, with the leaves of the content hash and the rows of every column."""

    compressed: list[bytes]
    leaves: list[bytes]
    columns: dict[str, NDArray[Any]]


class Generator:
    """Makes clips of one recipe at any place of its stream."""

    def __init__(
        self, recipe: Recipe, bitmaps: NDArray[np.uint8] | None, digit_labels: NDArray[np.int64] | None
    ) -> None:
        from tsgen.raster import Rasterizer  # numba

        check_domain_fits(recipe.domain)
        self._recipe = recipe
        self._num_digits = 0 if bitmaps is None else len(bitmaps)
        self._digit_labels = np.empty(0, np.int64) if digit_labels is None else digit_labels
        key = stream_key(recipe.domain, recipe.split, recipe.seed)
        self._rasterizer = Rasterizer(recipe.domain, key, bitmaps)

    @classmethod
    def of(cls, recipe: Recipe, digit_set: DigitSet | None) -> Generator:
        """With the digits of :func:`tsgen.recipe.make_recipe`. It serves every slice of the recipe."""
        return cls(recipe, None, None) if digit_set is None else cls(recipe, digit_set.bitmaps, digit_set.labels)

    def clips(self, index: NDArray[np.int64]) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Frames uint8 (N, T, H, W) and columns of the clips at ``index`` int64 (N,)."""
        domain = self._recipe.domain
        specs = sample_clips(domain, self._recipe.split, self._recipe.seed, index, self._num_digits)
        frames = np.empty((len(index), domain.num_frames, domain.size_px, domain.size_px), dtype=np.uint8)
        self._rasterizer(specs, frames)
        return frames, column_values(specs, domain, self._digit_labels)

    def block(self, start: int, stop: int) -> Block:
        """Clips start..stop-1 of the stream, compressed."""
        domain = self._recipe.domain
        specs = sample_clips(domain, self._recipe.split, self._recipe.seed, np.arange(start, stop), self._num_digits)
        together = max(1, DRAWN_BYTES // (domain.num_frames * domain.size_px**2))
        frames = np.empty((together, domain.num_frames, domain.size_px, domain.size_px), dtype=np.uint8)
        compressed: list[bytes] = []
        leaves: list[bytes] = []
        for first in range(0, len(specs), together):
            some = specs.rows(first, first + together)
            self._rasterizer(some, frames[: len(some)])
            compressed += deflate(frames[: len(some)], COMPRESSION_LEVEL)
            for clip in frames[: len(some)]:
                leaves.append(ContentHash.leaf(clip))
        return Block(compressed, leaves, column_values(specs, domain, self._digit_labels))


def make(
    domain: str | Domain,
    n: int,
    out: Path | str,
    *,
    seed: int = 0,
    split: str = "train",
    digits: str | None = None,
    force: bool = False,
    threads: int | None = None,
    block_clips: int = BLOCK_CLIPS,
    quiet: bool = False,
) -> Recipe:
    """Write ``n`` clips of ``domain`` to the clip file ``out`` (section 3.2). Returns the recipe.

    ``domain`` a name in ``DOMAINS`` or a record; ``split`` train, val or test; ``digits`` where digit bitmaps come from
    (:func:`tsgen.digits.load_digits`), of no effect on dot domains. The file appears when it is complete; an existing
    one is refused unless ``force``. Progress is shown on a terminal unless ``quiet``.

    Raises UsageError for requests that cannot be met, DataError for bad digit files or a disk that fills up.
    """
    out = Path(out)
    check_output_file(out, force)
    recipe, digit_set = make_recipe(domain, n, seed=seed, split=split, digits=digits)
    check_free_space(out.parent, n * estimated_bytes_per_clip(recipe.domain), f"{n} clips of {recipe.domain.name}")
    write_clips(out, recipe, Generator.of(recipe, digit_set), threads=threads, block_clips=block_clips, quiet=quiet)
    return recipe


def write_clips(
    out: Path,
    recipe: Recipe,
    generator: Generator,
    *,
    shard: Shard = WHOLE,
    threads: int | None = None,
    block_clips: int = BLOCK_CLIPS,
    quiet: bool = False,
) -> None:
    """Write the clip file of a recipe, at once; one that exists is replaced. ``shard``: the slice that it is, if one.

    Raises UsageError for a number of threads that is none, DataError for a disk that fills up.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads} is not possible; allowed: 1 or more.")
    facts = FileFacts.of_recipe(recipe, shard)
    with atomic_path(out) as partial:
        try:
            _write(partial, recipe, facts, generator, threads or usable_cores(), block_clips, quiet)
        except (OSError, RuntimeError) as problem:
            # HDF5 reports a full disk as either; nothing else in the loop touches the operating system.
            raise DataError(f"writing {out} failed: {problem}. Is the disk full? Nothing was kept.") from problem


def estimated_bytes_per_clip(domain: Domain) -> int:
    """An upper estimate of the file size a clip, for the disk check: noise hardly compresses, dots do."""
    clip_bytes = domain.num_frames * domain.size_px**2
    if domain.has_noise:
        return clip_bytes * 3 // 4
    digit_bytes = domain.num_frames * domain.width_px**2 if domain.has_digits else 0
    return 1500 + clip_bytes // 50 + digit_bytes


def _write(
    partial: Path,
    recipe: Recipe,
    facts: FileFacts,
    generator: Generator,
    threads: int,
    block_clips: int,
    quiet: bool,
) -> None:
    from tqdm import tqdm

    with (
        create_hdf5(partial) as (file, sink),
        tqdm(
            total=recipe.n,
            desc=recipe.domain.name,
            unit="clip",
            unit_scale=True,
            disable=True if quiet else None,
        ) as progress,
    ):
        writer = ClipWriter(file, facts)
        for block in _in_order(generator, recipe, threads, block_clips):
            writer.write(block.compressed, block.leaves, block.columns)
            sink.check()
            progress.update(len(block.compressed))
        writer.finish()


def _in_order(generator: Generator, recipe: Recipe, threads: int, block_clips: int) -> Iterator[Block]:
    """All blocks in order, ``threads`` of them in the making and at most two more waiting to be taken."""
    end = recipe.first + recipe.n
    starts = iter(range(recipe.first, end, block_clips))
    pending: deque[Future[Block]] = deque()
    # Workers need the interpreter for a moment between two kernels. By default they would get it after 5 ms, in which
    # this thread writes a thousand clips while they stand idle.
    usual_interval = sys.getswitchinterval()
    sys.setswitchinterval(min(usual_interval, 0.0005))
    with ThreadPoolExecutor(threads, thread_name_prefix="tsgen") as pool:
        try:
            while True:
                while len(pending) < threads + 2 and (start := next(starts, None)) is not None:
                    pending.append(pool.submit(generator.block, start, min(start + block_clips, end)))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            sys.setswitchinterval(usual_interval)
            for waiting in pending:
                waiting.cancel()
