"""Proof by doing it again: a clip file against what its recorded recipe gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsgen.clipfile import CLIPS, COLUMNS, ContentHash, FileFacts
from tsgen.clipset import open_clips
from tsgen.common.errors import DataError
from tsgen.digits import DigitSet, load_digits
from tsgen.generate import Generator
from tsgen.recipe import Recipe

BLOCK_CLIPS = 256


@dataclass(frozen=True)
class Verification:
    """What differs. ``clips`` maps each dataset to the number of clips in which it differs, ``first`` to the first one.

    ``facts`` lists the attributes that contradict the recipe; ``content_hash`` tells whether the recorded hash is that
    of the regenerated content.
    """

    file: str
    n: int
    clips: dict[str, int]
    first: dict[str, int]
    facts: tuple[str, ...]
    content_hash: bool

    @property
    def is_identical(self) -> bool:
        return not self.clips and not self.facts and self.content_hash

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "identical": self.is_identical}

    def to_text(self) -> str:
        if self.is_identical:
            return f"{self.file}: identical. All {self.n} clips and every parameter were made again from the recipe."
        lines = [f"{self.file}: DIFFERENT from what its recipe gives."]
        for name, count in self.clips.items():
            lines.append(f"  {name}: differs in {count} of {self.n} clips, first in row {self.first[name]}")
        lines += [f"  attribute {name} contradicts the recipe" for name in self.facts]
        if not self.content_hash:
            lines.append("  the recorded content hash is not that of the recipe's content")
        return "\n".join(lines)


def verify_file(path: Path | str, digits: str | None = None) -> Verification:
    """Regenerate the file at ``path`` in memory and compare. ``digits`` as in :func:`tsgen.digits.load_digits`; the
    embedded ones are found without it.

    Raises DataError when the file cannot be read, was not made by this version, or needs other digits than those found.
    """
    with open_clips(path) as clip_set:
        recipe = Recipe.from_json(clip_set.recipe)
        if recipe.n != len(clip_set) or clip_set.clip_shape != FileFacts.of_recipe(recipe).clip_shape:
            raise DataError(
                f"{path} holds {len(clip_set)} clips of {clip_set.clip_shape}, "
                f"its recipe makes {recipe.n} of {FileFacts.of_recipe(recipe).clip_shape}."
            )
        digit_set = _digits_of(recipe, digits, path)
        generator = Generator.of(recipe, digit_set)
        content = ContentHash(recipe.to_json())
        stored = {name: clip_set.column(name) for name in COLUMNS}
        differs: dict[str, list[int]] = {name: [] for name in (CLIPS, *COLUMNS)}
        for start, block in clip_set.blocks(BLOCK_CLIPS):
            rows = slice(start, start + len(block))
            frames, columns = generator.clips(recipe.first + np.arange(rows.start, rows.stop))
            content.update([ContentHash.leaf(clip) for clip in frames], columns)
            unequal = {CLIPS: (frames != block).any(axis=(1, 2, 3))}
            for name, values in columns.items():
                same = (values == stored[name][rows]) | (np.isnan(values) & np.isnan(stored[name][rows]))
                unequal[name] = ~same.reshape(len(block), -1).all(axis=1)
            for name, flags in unequal.items():
                differs[name] += (start + np.flatnonzero(flags)).tolist()
        facts = FileFacts.of_recipe(recipe)
        names = ("domain", "profile", "split", "seed", "class_names", "digits_source", "digits_sha256")
        return Verification(
            file=str(path),
            n=len(clip_set),
            clips={name: len(rows) for name, rows in differs.items() if rows},
            first={name: rows[0] for name, rows in differs.items() if rows},
            facts=tuple(name for name in names if getattr(clip_set, name) != getattr(facts, name)),
            content_hash=content.hexdigest() == clip_set.content_hash,
        )


def _digits_of(recipe: Recipe, source: str | None, path: Path | str) -> DigitSet | None:
    if not recipe.domain.has_digits:
        return None
    if source is None and str(recipe.digits_source).startswith("embedded"):
        source = "embedded"
    digit_set = load_digits(source, recipe.split, recipe.domain.width_px)
    if digit_set.sha256 != recipe.digits_sha256:
        raise DataError(
            f"{path} was made with digits {recipe.digits_source!r} (sha256 {str(recipe.digits_sha256)[:16]}...), but "
            f"{digit_set.source!r} (sha256 {digit_set.sha256[:16]}...) was found; name the right ones with --digits."
        )
    return digit_set
