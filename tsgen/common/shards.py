"""A slice i of n of a command's work, for machines that know nothing of one another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tsgen.common.errors import UsageError

MOST_SHARDS = 99_999
"""Five digits in the names of files."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Slice ``index`` of ``count``, counted from 0 as SLURM's and Kubernetes' arrays are; (0, 1) is the whole."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MOST_SHARDS:
            raise UsageError(
                f"shard {self.index}/{self.count} is not possible: shards are counted from 0, so n of them are 0/n to "
                f"n-1/n, and at most {MOST_SHARDS}."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"2/8"``: the third of eight."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None:
            raise UsageError(f"--shard {text!r} is no shard; give i/n, from 0/n to n-1/n, like 2/8.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    def rows(self, num_rows: int) -> range:
        """The rows of a list that go to this shard: a contiguous run, sizes differing by at most one."""
        return range(num_rows * self.index // self.count, num_rows * (self.index + 1) // self.count)

    def path(self, file: Path) -> Path:
        """``S1.h5`` -> ``S1-00002-of-00008.h5``; the path itself where this is the whole. UsageError without a name."""
        return self._beside(file, file.stem, file.suffix)

    def folder(self, folder: Path) -> Path:
        """As :meth:`path` for a folder, whose name has no suffix: ``v1.0`` -> ``v1.0-00002-of-00008``."""
        return self._beside(folder, folder.name, "")

    def _beside(self, path: Path, stem: str, suffix: str) -> Path:
        if self.is_whole:
            return path
        if path.name in ("", ".."):
            raise UsageError(f"{path} ends in no name, to which that of shard {self} would be added; give one.")
        return path.with_name(f"{stem}-{self.index:05d}-of-{self.count:05d}{suffix}")


WHOLE = Shard()
