"""Clips out of a release folder instead of the cache: the same recipes, nothing made, every value checked.

A run on a release has the digests of a run on clips made here from the same recipe, so that the one can go on where
the other stopped, and their numbers mean the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data import ClipFile, Clips, DataPlan, Say
from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.reference import is_reference
from tsgen.digits import AUTO, EMBEDDED, EMBEDDED_SOURCE

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from tsgen.recipe import Recipe

MANIFEST_FILE = "release.json"


@dataclass(frozen=True)
class ReleasedFile:
    """A clip file of a release: the recipe and content hash its manifest states, and the release's source of digits."""

    recipe: Recipe
    content_hash: str
    digits: str | None
    path: Path

    @property
    def domain(self) -> str:
        return self.recipe.domain.name

    @property
    def split(self) -> str:
        return self.recipe.split

    @property
    def n(self) -> int:
        return self.recipe.n

    @property
    def digest(self) -> str:
        return self.recipe.digest

    def ensure(self, say: Say) -> None:
        """Nothing is made: DataError when the file is not there."""
        if not self.path.is_file():
            raise DataError(f"{self.path} is not there, so the release is not whole; download or build it again.")

    def load(self, say: Say) -> Clips:
        """All clips, verified against the recipe and the content hash of the manifest."""
        self.ensure(say)
        recipe = self.recipe
        clips = ClipFile(self.domain, self.n, recipe.seed, self.split, self.digits, self.digest, self.path).read()
        if clips.facts.content_hash != self.content_hash:
            raise DataError(f"{self.path} has other values than {MANIFEST_FILE} of its release states.")
        return clips


def is_release(folder: Path) -> bool:
    """Whether ``folder`` is a release, or names one on the Hub."""
    return is_reference(folder.as_posix()) or (folder / MANIFEST_FILE).is_file()


def release_folder(folder: Path, say: Say, *, offline: bool = False) -> Path:
    """``folder`` itself, or the verified download that ``hf:USER/NAME@vX`` means."""
    if not is_reference(folder.as_posix()):
        return folder
    from tsgen.common.hub.download import resolve

    return resolve(folder.as_posix(), offline=offline, say=say)


def plan_release(config: RunConfig, digits: str | None, folder: Path) -> DataPlan:
    """The files of the release in ``folder`` that ``config`` needs; none of them is read yet.

    UsageError when the release has other clips than ``config`` asks for: their number, seed, domain or digits.
    """
    from tsgen.release.manifest import read_manifest

    manifest = read_manifest(folder)

    def file(domain: str, n: int, split: str) -> ReleasedFile:
        return _file(manifest, folder, domain, {"n": n, "seed": config.data_seed}, split, digits)

    return DataPlan(
        train=file(config.source, config.n_train, "train"),
        val=file(config.source, config.n_val, "val"),
        targets=tuple(file(domain, config.n_target, "test") for domain in config.targets),
    )


def _file(
    manifest: dict[str, Any], folder: Path, domain: str, asked: dict[str, int], split: str, digits: str | None
) -> ReleasedFile:
    from tsgen.domains import get_domain
    from tsgen.release.manifest import recipe_of

    if domain not in manifest["configs"]:
        raise UsageError(f"the release {folder} has no {domain}; it has {', '.join(manifest['configs'])}.")
    recipe = recipe_of(manifest, domain, split)
    part = manifest["configs"][domain]["splits"][split]
    if recipe.domain != get_domain(domain):
        raise UsageError(f"{domain} of the release {folder} is not this version's; use the release that fits, or none.")
    for name, wanted in asked.items():
        if getattr(recipe, name) != wanted:
            raise UsageError(
                f"the release {folder} has {domain} {split} with {name} {getattr(recipe, name)}, asked for is "
                f"{wanted}; leave the release out, and the clips are made here."
            )
    shown = EMBEDDED if manifest["digits_source"] == EMBEDDED_SOURCE else manifest["digits_source"]
    if recipe.digits_source and digits not in (None, AUTO, shown):
        raise UsageError(f"the release {folder} shows digits of {shown}, not of {digits}; leave --digits out.")
    if recipe.digest != part["recipe_digest"]:
        raise DataError(f"{folder / MANIFEST_FILE}: the digest of {domain} {split} is not that of its recipe.")
    return ReleasedFile(recipe, part["content_hash"], shown, folder / part["file"])
