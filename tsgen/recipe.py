"""The recipe of a clip file: everything that determines its content, and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.shards import Shard
from tsgen.domainfile import resolve_domain
from tsgen.domains import Domain
from tsgen.vocabulary import SPLITS

if TYPE_CHECKING:
    from tsgen.digits import DigitSet

STREAM_VERSION = 1
"""Raised whenever the same recipe would give other bytes."""

MAX_CLIPS = 10**9
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Recipe:
    """What a clip file holds: clips ``first`` to ``first`` + ``n`` - 1 of the stream (``seed``, ``domain``, ``split``).

    ``digits_source`` and ``digits_sha256`` name the digit bitmaps where the domain shows digits, else None. ``first``
    is 0 but for a slice of a larger file.
    """

    domain: Domain
    n: int
    seed: int
    split: str
    digits_source: str | None = None
    digits_sha256: str | None = None
    first: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)
        if not 1 <= self.n <= MAX_CLIPS:
            raise UsageError(f"n = {self.n} clips is not possible; allowed: 1..{MAX_CLIPS}.")
        if not 0 <= self.first <= MAX_CLIPS - self.n:
            raise UsageError(
                f"clips {self.first}..{self.first + self.n - 1} are not possible; allowed: 0..{MAX_CLIPS - 1}."
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed {self.seed} is not possible; allowed: 0..2**63-1.")

    def part(self, shard: Shard) -> Recipe:
        """Slice i of n of these clips."""
        if shard.count > self.n:
            raise UsageError(f"{self.n} clips cannot be cut into {shard.count} slices; allowed: 1..{self.n}.")
        rows = shard.rows(self.n)
        return replace(self, n=len(rows), first=self.first + rows.start)

    def to_json(self) -> dict[str, Any]:
        """What the digest and the content hash cover; ``first`` only where it is not 0, as they are older than it."""
        return {
            "stream_version": STREAM_VERSION,
            "domain": self.domain.to_json(),
            "n": self.n,
            "seed": self.seed,
            "split": self.split,
            "digits_source": self.digits_source,
            "digits_sha256": self.digits_sha256,
            "class_names": list(self.domain.motion_profile.class_names),
            **({"first": self.first} if self.first else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """The recipe recorded in a file; DataError when it is not one of this version."""
        if "imported" in value:
            raise DataError("the file was imported, not made by tsgen: it has no recipe and cannot be made again.")
        if value.get("stream_version") != STREAM_VERSION:
            raise DataError(
                f"the recipe has stream version {value.get('stream_version')!r}, this tsgen makes {STREAM_VERSION}; "
                "use the tsgen release that wrote the file."
            )
        try:
            domain = Domain(**value["domain"])
            return cls(
                domain,
                int(value["n"]),
                int(value["seed"]),
                str(value["split"]),
                value["digits_source"],
                value["digits_sha256"],
                int(value.get("first", 0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError, UsageError) as problem:
            raise DataError(f"the recipe recorded in the file is damaged: {problem}") from problem

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON form, hex."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def make_recipe(
    domain: str | Domain, n: int, *, seed: int = 0, split: str = "train", digits: str | None = None
) -> tuple[Recipe, DigitSet | None]:
    """The recipe for a request, and the digit bitmaps it needs (None for domains without digits).

    ``domain`` a name in ``DOMAINS``, a TOML file or a record; ``digits`` a source as in
    :func:`tsgen.digits.load_digits`.
    """
    record = resolve_domain(domain) if isinstance(domain, str) else domain
    recipe = Recipe(record, n, seed, split)  # refuses bad numbers before digits are fetched
    if not record.has_digits:
        return recipe, None
    from tsgen.digits import load_digits

    digit_set = load_digits(digits, split, record.width_px)
    return Recipe(record, n, seed, split, digit_set.source, digit_set.sha256), digit_set
