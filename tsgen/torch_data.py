"""Clips as PyTorch tensors (B, T, C, H, W): a map-style data set and an endless stream. The only module of tsgen that
imports torch.

Both give the same clips in the same order for every number of DataLoader workers, and whether workers are forked or
spawned: a clip is a function of (seed, domain, split, clip_id), and files are opened anew in every process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.clipfile import COLUMNS
from tsgen.clipset import ClipSet, open_clips
from tsgen.common.errors import UsageError, unknown_name
from tsgen.digits import DigitSet
from tsgen.domains import DOMAINS, Domain
from tsgen.generate import Generator
from tsgen.recipe import Recipe, make_recipe
from tsgen.sampling import sample_clips

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, get_worker_info
except ImportError as problem:
    raise UsageError("tsgen.torch_data needs PyTorch: pip install 'recur-attend-convolve[train]'") from problem

Item = tuple[Any, ...]
"""(clip, label, clip_id), followed by a dict of tensors where columns are asked for."""

Rows = tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]
DTYPES = (torch.uint8, torch.float32)


class TemporalShapes(Dataset[Item]):
    """Clips of a clip file, or of a domain without a file, by row.

    ``source`` a clip file (path), or a domain: a name in ``DOMAINS``, a TOML file or a record. Of a file, ``n`` takes
    the first n clips (all by default); of a domain, n clips are made whenever they are asked for, the same ones that
    ``tsgen make`` writes with this ``split``, ``seed`` and ``digits``.

    An item is (clip, label, clip_id): clip uint8 (T, 1, H, W), or float32 in [0, 1] with ``dtype=torch.float32``;
    label and clip_id int. With ``columns``, names in ``tsgen.clipfile.COLUMNS``, a dict of tensors follows: "boxes"
    float32 (T, 4) and "positions" float32 (T, 2), px, are the targets of the regression task.

    Raises UsageError for arguments that do not fit, DataError for a file that is not an intact clip file.
    """

    def __init__(
        self,
        source: Path | str | Domain,
        n: int | None = None,
        *,
        split: str | None = None,
        seed: int | None = None,
        digits: str | None = None,
        dtype: torch.dtype = torch.uint8,
        columns: Sequence[str] = (),
    ) -> None:
        _check_dtype(dtype)
        for name in columns:
            if name not in COLUMNS:
                raise unknown_name("column", name, COLUMNS)
        self._dtype = dtype
        self._columns = tuple(columns)
        self._rows: _FileRows | _GeneratedRows
        if _is_domain(source):
            if n is None:
                raise UsageError("a domain has no end: say how many clips with n, or use StreamingTemporalShapes.")
            recipe, digit_set = make_recipe(_domain(source), n, seed=seed or 0, split=split or "train", digits=digits)
            self._rows = _GeneratedRows(recipe, digit_set)
        else:
            assert not isinstance(source, Domain)
            self._rows = _FileRows(Path(source), n, split, seed, digits)
        self.class_names = self._rows.class_names

    def __len__(self) -> int:
        return self._rows.n

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class ids of all rows, int64 (N,), for samplers; no clip is drawn or decoded for it."""
        return self._rows.labels()

    def __getitem__(self, row: int) -> Item:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Item]:
        """A batch at once; the DataLoader calls this."""
        index = np.asarray(rows, dtype=np.int64)
        index = np.where(index < 0, index + len(self), index)
        if ((index < 0) | (index >= len(self))).any():
            raise IndexError(f"rows {list(rows)}: allowed are 0..{len(self) - 1}")
        frames, columns = self._rows.read(index)
        clips = _clip_tensor(frames, self._dtype)
        labels, clip_ids = columns["labels"].tolist(), columns["clip_id"].tolist()
        if not self._columns:
            return list(zip(clips, labels, clip_ids, strict=True))
        asked = [{name: torch.as_tensor(columns[name][at]) for name in self._columns} for at in range(len(index))]
        return list(zip(clips, labels, clip_ids, asked, strict=True))


class StreamingTemporalShapes(IterableDataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Endless batches of a domain, made on the fly: clip_id start, start + 1, ... in order, without end.

    Use it as ``DataLoader(stream, batch_size=None, num_workers=W)``: the stream makes whole batches itself,
    (clips uint8 (B, T, 1, H, W) or float32 in [0, 1], labels int64 (B,), clip_ids int64 (B,)). Worker w of W makes the
    batches w, w + W, w + 2W, ...; as the DataLoader asks its workers in turn, batch k holds the clips
    start + k*B .. start + (k+1)*B - 1 for every W. To go on after batch k, pass ``start`` = start + (k+1)*B.

    In distributed training, process ``rank`` of ``world_size`` takes every world_size-th batch, beginning at its rank.
    """

    def __init__(
        self,
        domain: str | Domain,
        batch_size: int = 64,
        *,
        seed: int = 0,
        split: str = "train",
        digits: str | None = None,
        start: int = 0,
        dtype: torch.dtype = torch.uint8,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_dtype(dtype)
        for name, value, least in (("batch_size", batch_size, 1), ("start", start, 0), ("world_size", world_size, 1)):
            if value < least:
                raise UsageError(f"{name} {value} is not possible; allowed: {least} or more.")
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not possible; allowed: 0..{world_size - 1}.")
        recipe, digit_set = make_recipe(domain, batch_size, seed=seed, split=split, digits=digits)
        self._rows = _GeneratedRows(recipe, digit_set)
        self._batch_size = batch_size
        self._start = start
        self._dtype = dtype
        self._rank, self._world_size = rank, world_size
        self.class_names = self._rows.class_names

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        batch = self._rank + self._world_size * number
        while True:
            first = self._start + batch * self._batch_size
            frames, columns = self._rows.read(np.arange(first, first + self._batch_size))
            labels, clip_ids = torch.as_tensor(columns["labels"]), torch.as_tensor(columns["clip_id"])
            yield _clip_tensor(frames, self._dtype), labels, clip_ids
            batch += self._world_size * workers


class _FileRows:
    """The first n clips of a file. Opened once a process: HDF5 handles must not cross a fork, nor be pickled."""

    def __init__(self, path: Path, n: int | None, split: str | None, seed: int | None, digits: str | None) -> None:
        self._path = path.absolute()
        self._open: tuple[int, ClipSet] | None = None
        if digits is not None:
            raise UsageError(f"digits={digits!r} has no effect on the clip file {path}; leave it out.")
        with open_clips(path) as clip_set:
            for name, wanted, found in (("split", split, clip_set.split), ("seed", seed, clip_set.seed)):
                if wanted is not None and wanted != found:
                    raise UsageError(f"{path} has {name} {found!r}, not {wanted!r}.")
            if n is not None and not 1 <= n <= len(clip_set):
                raise UsageError(f"n = {n} clips are not possible; {path} holds {len(clip_set)}.")
            self.n = n or len(clip_set)
            self.class_names = clip_set.class_names
            clip_set.labels  # noqa: B018  # checks their range
            self._columns = {name: clip_set.column(name, 0, self.n) for name in COLUMNS}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def labels(self) -> NDArray[np.int64]:
        return self._columns["labels"]

    def read(self, index: NDArray[np.int64]) -> Rows:
        frames = self._clip_set().rows(index.tolist())
        return frames, {name: values[index] for name, values in self._columns.items()}

    def _clip_set(self) -> ClipSet:
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), open_clips(self._path))
        return self._open[1]


class _GeneratedRows:
    """Clips of a recipe, made when asked for. The generator is built once a process."""

    def __init__(self, recipe: Recipe, digit_set: DigitSet | None) -> None:
        self._recipe = recipe
        self._bitmaps = None if digit_set is None else digit_set.bitmaps
        self._digit_labels = None if digit_set is None else digit_set.labels
        self._generator: Generator | None = None
        self.n = recipe.n
        self.class_names: tuple[str, ...] = tuple(recipe.to_json()["class_names"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generator": None}

    def labels(self) -> NDArray[np.int64]:
        recipe, index = self._recipe, np.arange(self.n)
        num_digits = 0 if self._bitmaps is None else len(self._bitmaps)
        return sample_clips(recipe.domain, recipe.split, recipe.seed, index, num_digits).label

    def read(self, index: NDArray[np.int64]) -> Rows:
        if self._generator is None:
            self._generator = Generator(self._recipe, self._bitmaps, self._digit_labels)
        return self._generator.clips(index)


def _is_domain(source: Path | str | Domain) -> bool:
    return isinstance(source, Domain) or str(source) in DOMAINS or str(source).endswith(".toml")


def _domain(source: Path | str | Domain) -> str | Domain:
    return source if isinstance(source, Domain) else str(source)


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype} is not possible; allowed: {', '.join(map(str, DTYPES))}.")


def _clip_tensor(frames: NDArray[np.uint8], dtype: torch.dtype) -> torch.Tensor:
    """uint8 (N, T, H, W) -> (N, T, 1, H, W); float32 is scaled to [0, 1]."""
    clips = torch.from_numpy(frames).unsqueeze(2)
    return clips if dtype == torch.uint8 else clips.to(dtype) / 255
