"""What a release holds: the configurations, the sizes of their splits, the seed. No file is touched here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tsgen.common.errors import UsageError, unknown_name
from tsgen.domains import Domain, get_domain
from tsgen.recipe import MAX_CLIPS, MAX_SEED, Recipe
from tsgen.vocabulary import SPLITS

RELEASE_NAME = "temporal-shape"
RELEASE_VERSION = "1.0.0"
"""MAJOR: values of existing files changed. MINOR: files were added. PATCH: the same values, packed or described anew.
tests/tsgen/test_release_hashes.py holds the content hashes that belong to it."""

SIZES: dict[str, int] = {"train": 4000, "val": 1000, "test": 500}
"""Clips a split, as in section 4.1 of the paper. Every domain has all three, so that each can be source or target."""

CONFIGS: dict[str, tuple[str, str]] = {
    "2dot": ("2dot", "paper"),
    "5dot": ("5dot", "paper"),
    "mnist": ("mnist", "paper"),
    "mnist-bg": ("mnist-bg", "paper"),
    "2dot-strict": ("2dot", "strict"),
    "5dot-strict": ("5dot", "strict"),
    "mnist-strict": ("mnist", "strict"),
    "mnist-bg-strict": ("mnist-bg", "strict"),
    "2dot-order": ("2dot", "order"),
    "5dot-order": ("5dot", "order"),
    "mnist-order": ("mnist", "order"),
    "mnist-bg-order": ("mnist-bg", "order"),
}
"""Name of a configuration -> (domain, profile). A new one is one row, and a MINOR version."""

RELEASE_SEED = 0
RELEASE_DIGITS = "mnist"
PREVIEW_CONFIG = "preview"
"""Configuration of film strips in the card, beside those of CONFIGS."""

PREVIEW_CLIPS_PER_CLASS = 2
"""In each file: all strips of a split are 96, and a page of the Hub's viewer has 100 rows."""

Recipes = dict[tuple[str, str], Recipe]
"""(configuration, split) -> recipe of that clip file."""


@dataclass(frozen=True)
class Plan:
    """What is to be built. The default is the release; anything else says in its manifest how it departs from it.

    ``configs`` rows of CONFIGS in their order; ``sizes`` clips of each of SPLITS, 1 or more.
    """

    configs: tuple[str, ...] = tuple(CONFIGS)
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    seed: int = RELEASE_SEED

    def __post_init__(self) -> None:
        for name in self.configs:
            if name not in CONFIGS:
                raise unknown_name("configuration", name, CONFIGS)
        if not self.configs or len(set(self.configs)) < len(self.configs):
            raise UsageError(f"configurations {self.configs} are none or given twice; allowed: {', '.join(CONFIGS)}.")
        object.__setattr__(self, "configs", tuple(name for name in CONFIGS if name in self.configs))
        if tuple(self.sizes) != SPLITS:
            raise UsageError(f"sizes are given for {', '.join(self.sizes)}; needed: {', '.join(SPLITS)}.")
        for split, n in self.sizes.items():
            if type(n) is not int or not 1 <= n <= MAX_CLIPS:
                raise UsageError(f"{n} clips in {split} are not possible; allowed: 1..{MAX_CLIPS}.")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed {self.seed} is not possible; allowed: 0..2**63-1.")

    @property
    def parts(self) -> list[tuple[str, str]]:
        """(configuration, split) of every clip file, in the order they are made."""
        return [(config, split) for config in self.configs for split in SPLITS]

    def departures(self, digits_source: str | None) -> list[str]:
        """How a folder built from this differs from the release of this version; empty: not at all.

        ``digits_source`` as a recipe names it; None where no digits are shown.
        """
        found = []
        if self.configs != tuple(CONFIGS):
            found.append(f"only the configurations {', '.join(self.configs)}")
        if self.sizes != SIZES:
            found.append(f"sizes {size_text(self.sizes)} instead of {size_text(SIZES)}")
        if self.seed != RELEASE_SEED:
            found.append(f"seed {self.seed} instead of {RELEASE_SEED}")
        if digits_source not in (None, RELEASE_DIGITS):
            found.append(f"digits {digits_source} instead of {RELEASE_DIGITS}")
        return found


def domain_of(config: str) -> Domain:
    return get_domain(*CONFIGS[config])


def clip_file(config: str, split: str) -> str:
    return f"data/{config}/{split}.h5"


def index_file(config: str, split: str) -> str:
    return f"index/{config}/{split}.parquet"


def preview_file(config: str, split: str) -> str:
    return f"preview/{config}/{split}.parquet"


def strips_file(config: str, split: str) -> str:
    return f"preview/{config}/{split}.h5"


PART_FILES = {"file": clip_file, "index": index_file, "preview": preview_file, "strips": strips_file}
"""What belongs to each (configuration, split): kind, as the manifest calls it -> name of the file."""


def size_text(sizes: dict[str, Any]) -> str:
    return "/".join(str(sizes[split]) for split in SPLITS)


def parse_sizes(text: str) -> dict[str, int]:
    """``"40,10,10"`` -> clips of train, val and test."""
    parts = text.split(",")
    if len(parts) != len(SPLITS) or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"sizes {text!r} are not three whole numbers, those of {', '.join(SPLITS)}, like 40,10,10.")
    return {split: int(part) for split, part in zip(SPLITS, parts, strict=True)}
