"""From a run's config to clips in memory. Source and target data have different types: ``fit`` takes only the first.

Clip files are made once and kept in a cache; the name of a file contains the digest of its recipe, and its content
hash is recomputed whenever it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.config import VIDEO_SOURCE
from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.config import RunConfig

Say = Callable[[str], None]
"""Takes a line for the user."""

DATA_DIR_VARIABLE = "RAC_DATA_DIR"


@dataclass(frozen=True)
class DataFacts:
    """Which data a number was computed on; ``content_hash`` and ``recipe_digest`` are SHA-256, hex."""

    domain: str
    split: str
    profile: str
    seed: int
    n: int
    recipe_digest: str
    content_hash: str
    generator_version: str
    digits_source: str | None
    digits_sha256: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips uint8 (N, T, H, W), in colour (N, T, H, W, 3); labels int64 (N,), clip_id int64 (N,). Read only."""

    clips: NDArray[np.uint8]
    labels: NDArray[np.int64]
    clip_id: NDArray[np.int64]
    class_names: tuple[str, ...]
    facts: DataFacts

    def __post_init__(self) -> None:
        if not len(self.clips) == len(self.labels) == len(self.clip_id) == self.facts.n:
            raise DataError(
                f"{self.facts.domain} {self.facts.split}: {len(self.clips)} clips, {len(self.labels)} labels, "
                f"{len(self.clip_id)} ids, {self.facts.n} promised."
            )


@dataclass(frozen=True, eq=False)
class SourceData:
    """All that training and checkpoint selection may see: the train and validation split of one domain."""

    train: Clips
    val: Clips

    def __post_init__(self) -> None:
        splits = (self.train.facts.split, self.val.facts.split)
        if splits != ("train", "val") or self.train.facts.domain != self.val.facts.domain:
            raise ValueError(f"source data are the train and val split of one domain, not {splits}")


@dataclass(frozen=True, eq=False)
class TargetData:
    """Clips of a domain that is evaluated once, after training."""

    clips: Clips

    def __post_init__(self) -> None:
        if self.clips.facts.split != "test":
            raise ValueError(f"target data are a test split, not {self.clips.facts.split!r}")


@dataclass(frozen=True)
class ClipFile:
    """A clip file of the cache: how to make it and where it lies. ``digest`` is that of its recipe."""

    domain: str
    n: int
    seed: int
    split: str
    digits: str | None
    digest: str
    path: Path

    def ensure(self, say: Say) -> None:
        """Make the file if it is not there."""
        if self.path.exists():
            return
        self._make(say, force=False)

    def load(self, say: Say) -> Clips:
        """All clips, verified against recipe and content hash; a damaged file is made anew, with a message."""
        self.ensure(say)
        try:
            return self.read()
        except DataError as problem:
            say(f"cached clips are not usable: {problem} Making them anew.")
            self._make(say, force=True)
            return self.read()

    def _make(self, say: Say, *, force: bool) -> None:
        import tsgen

        say(f"making {self.n} {self.domain} {self.split} clips: {self.path}")
        recipe = tsgen.make(
            self.domain, self.n, self.path, seed=self.seed, split=self.split, digits=self.digits, force=force
        )
        if recipe.digest != self.digest:
            self.path.unlink()
            raise DataError(f"the digits changed while clips of {self.domain} were made; run again.")

    def read(self) -> Clips:
        """All clips of the file as it is. DataError when recipe or content hash are not what they should be."""
        import tsgen
        from tsgen.recipe import Recipe

        with tsgen.open_clips(self.path) as file:
            if Recipe.from_json(file.recipe).digest != self.digest:
                raise DataError(f"{self.path} was made from another recipe than its name says.")
            file.check_content()
            facts = DataFacts(
                domain=file.domain,
                split=file.split,
                profile=file.profile,
                seed=file.seed,
                n=len(file),
                recipe_digest=self.digest,
                content_hash=file.content_hash,
                generator_version=file.generator_version,
                digits_source=file.digits_source,
                digits_sha256=file.digits_sha256,
            )
            return Clips(file.clips(), file.labels, file.clip_id, file.class_names, facts)


class DataFile(Protocol):
    """Clips that a run needs, not read yet: a clip file of the cache, or a store of video frames.

    ``digest`` names the exact clips, SHA-256 in hex, and is known before they are read.
    """

    @property
    def domain(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def digits(self) -> str | None: ...
    @property
    def digest(self) -> str: ...
    @property
    def path(self) -> Path: ...
    def ensure(self, say: Say) -> None: ...
    def load(self, say: Say) -> Clips: ...


@dataclass(frozen=True)
class DataPlan:
    """The files of one run."""

    train: DataFile
    val: DataFile
    targets: tuple[DataFile, ...]

    @property
    def files(self) -> tuple[DataFile, ...]:
        return (self.train, self.val, *self.targets)

    def digests(self) -> dict[str, str]:
        """``domain/split`` -> digest of the recipe: equal for equal data, cheap to know in advance."""
        return {f"{file.domain}/{file.split}": file.digest for file in self.files}

    def load_source(self, say: Say) -> SourceData:
        return SourceData(self.train.load(say), self.val.load(say))

    def load_targets(self, say: Say) -> list[TargetData]:
        return [TargetData(file.load(say)) for file in self.targets]


def plan_data(config: RunConfig, digits: str | None, directory: Path) -> DataPlan:
    """The files ``config`` needs, none of them made or read yet. "auto" digits are resolved here, once, loudly.

    ``directory``: the cache of clip files, a release of them, or for videos the data folder.
    """
    if config.source == VIDEO_SOURCE:
        from benchmark.video_data import plan_videos

        return plan_videos(config, directory)

    from benchmark.release_data import is_release, plan_release

    if is_release(directory):
        return plan_release(config, digits, directory)

    from tsgen.digits import resolve_source
    from tsgen.domains import get_domain
    from tsgen.recipe import make_recipe

    partitions = ("train", "test") if get_domain(config.source).has_digits else ("test",)
    resolved = resolve_source(digits, partitions)

    def file(domain: str, n: int, split: str) -> ClipFile:
        digest = make_recipe(domain, n, seed=config.data_seed, split=split, digits=resolved)[0].digest
        name = f"{domain}-{split}-n{n}-seed{config.data_seed}-{digest[:16]}.h5"
        return ClipFile(domain, n, config.data_seed, split, resolved, digest, directory / name)

    return DataPlan(
        train=file(config.source, config.n_train, "train"),
        val=file(config.source, config.n_val, "val"),
        targets=tuple(file(domain, config.n_target, "test") for domain in config.targets),
    )


def data_directory(chosen: Path | None, say: Say = lambda line: None) -> Path:
    """``chosen``, else $RAC_DATA_DIR, else the user's cache; created if need be.

    Both may be a release: a folder, returned as it is, or ``hf:USER/NAME@vX``, downloaded and verified.
    """
    import platformdirs

    from benchmark.release_data import is_release, release_folder

    from_environment = os.environ.get(DATA_DIR_VARIABLE)
    named = chosen or (Path(from_environment) if from_environment else None)
    if named is not None and is_release(named):
        return release_folder(named, say)
    directory = named or platformdirs.user_cache_path("rac-bench") / "clips"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        where = "--data-dir" if chosen else DATA_DIR_VARIABLE
        raise UsageError(f"{where} {directory} cannot be created: {problem}.") from problem
    return directory
