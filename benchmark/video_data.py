"""Diving48, and any videos like it, as stores of frames that ``d48dom pack`` and ``d48dom build`` wrote.

A data folder holds ``train.h5`` and ``val.h5``, packed from the training list, and in ``test`` a store for each target
domain: ``O.h5`` to ``B.h5`` of a test list, or one for each test split of a manifest. Domains of other splits have
folders of their own: ``shift/O.h5`` is the target ``O-shift``. Videos are never decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import VIDEO_SOURCE, VIDEO_TARGETS, RunConfig
from benchmark.data import Clips, DataFacts, DataPlan, Say
from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from diving48_domains.framestore import FrameStore

SPLITS = ("train", "val")
TEST = "test"
"""The split that is evaluated on; mini-Diving48 has others: shift and swap."""
SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")
"""Of the name of a file that holds a part of a store."""
SAME_PIXELS = ("size", "resize_rule")
"""Settings that the stores of one study must share: else a domain would differ by its resampling."""


@dataclass(frozen=True)
class StoreFile:
    """A store of a data folder, opened once; ``digest`` is its content hash."""

    domain: str
    split: str
    n: int
    digest: str
    path: Path
    digits: None = None

    def ensure(self, say: Say) -> None:
        """Stores are made by d48dom: one that is missing was refused when the run was planned."""

    def load(self, say: Say) -> Clips:
        """All clips, memory-mapped where the store is one file without gaps. DataError when frames are damaged."""
        from diving48_domains.framestore import open_store

        store = open_store(self.path)
        if store.content_hash != self.digest:
            raise DataError(f"{self.path} has changed since the run was begun; build it again, or begin a new run.")
        say(f"checking {len(store)} {self.domain} {self.split} clips: {self.path}")
        store.verify()
        return clips_of(store, self.domain, self.split)


def clips_of(store: FrameStore, domain: str, split: str) -> Clips:
    """The clips of a store; those of videos are names, so ids are made of them, as in answer keys."""
    import numpy as np

    from benchmark.submission.key_file import id_of_name

    names = class_names(store.settings)
    if store.labels.min() < 0 or store.labels.max() >= len(names):
        raise DataError(f"{domain} {split}: a label is outside 0..{len(names) - 1}.")
    rows = store.places[:, 1]
    whole = len(store.blocks) == 1 and np.array_equal(rows, np.arange(len(store.blocks[0])))
    facts = DataFacts(
        domain=domain,
        split=split,
        profile="",
        seed=0,
        n=len(store),
        recipe_digest=store.content_hash,
        content_hash=store.content_hash,
        generator_version=str(store.settings.get("version", "")),
        digits_source=None,
        digits_sha256=None,
    )
    frames = store.blocks[0] if whole else store.gather(range(len(store)))
    return Clips(frames, store.labels, np.array([id_of_name(each) for each in store.ids], dtype=np.int64), names, facts)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the store's settings, else those of Diving48."""
    from benchmark.submission.key_file import DIVE_NAMES

    names = settings.get("class_names")
    if names is None:
        return DIVE_NAMES
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) < 2:
        raise DataError("the class names of a store are a list of two or more texts; build it again.")
    return tuple(names)


def store_paths(folder: Path) -> dict[str, Path]:
    """``train``, ``val`` and the targets -> their stores: the paper's domains in its order, then the others by name.

    A store in shards has the path it would have as one file. DataError where two stores would be one target.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*/*.h5")):
        path = file.with_name(f"{SHARD.sub('', file.stem)}.h5")
        name = path.stem if path.parent.name == TEST else f"{path.stem}-{path.parent.name}"
        if found.setdefault(name, path) != path:
            raise DataError(f"{found[name]} and {path} would both be the target {name}; rename the folder of one.")
    names = sorted(found, key=lambda name: (VIDEO_TARGETS.index(name) if name in VIDEO_TARGETS else len(found), name))
    return {name: folder / f"{name}.h5" for name in SPLITS} | {name: found[name] for name in names}


def open_folder(folder: Path) -> dict[str, FrameStore]:
    """``train``, ``val`` and every target -> its store. DataError listing all that are missing or do not fit."""
    from diving48_domains.framestore import open_store

    if not folder.is_dir():
        raise UsageError(f"--data {folder} is not a folder; give the one that d48dom pack and d48dom build wrote to.")
    stores, problems = {}, []
    paths = store_paths(folder)
    for name, path in paths.items():
        try:
            stores[name] = open_store(path)
        except DataError as problem:
            problems.append(str(problem))
    if len(paths) == len(SPLITS):
        problems.append(f"{folder / TEST}: no target domain")
    if problems:
        raise DataError(
            "\n  ".join([f"{folder} does not hold the stores of a study (d48dom pack, d48dom build):", *problems])
        )
    problems = [*_unlike(stores, paths), *_other_clips(stores, paths), *_shared_clips(stores)]
    if problems:
        raise DataError("\n  ".join([f"the stores of {folder} do not belong together:", *problems]))
    return stores


def _unlike(stores: Mapping[str, FrameStore], paths: Mapping[str, Path]) -> list[str]:
    """Stores of other frames or classes than those trained on, or of another domain than their name says."""
    first, problems = stores["train"], []
    for name, store in stores.items():
        if store.clip_shape != first.clip_shape or class_names(store.settings) != class_names(first.settings):
            problems.append(f"{name} holds clips of {store.clip_shape}, train of {first.clip_shape}, or other classes")
        problems += [
            f"{key} of {name} is {store.settings.get(key)!r}, of train {first.settings.get(key)!r}"
            for key in SAME_PIXELS
            if store.settings.get(key) != first.settings.get(key)
        ]
        if store.settings.get("domain") != paths[name].stem:
            problems.append(f"{paths[name]} says it is {store.settings.get('domain')!r}")
    return problems


def _other_clips(stores: Mapping[str, FrameStore], paths: Mapping[str, Path]) -> list[str]:
    """The paper's domains of one folder show the same clips: else their ratios would compare lists."""
    first: dict[Path, str] = {}
    problems = []
    for name in stores:
        if paths[name].stem in VIDEO_TARGETS:
            reference = first.setdefault(paths[name].parent, name)
            if stores[name].ids != stores[reference].ids:
                problems.append(f"{name} has other clips than {reference}")
    return problems


def _shared_clips(stores: Mapping[str, FrameStore]) -> list[str]:
    """Clips are trained on, chosen by, or tested with: one thing each."""
    tested = {clip_id for name, store in stores.items() if name not in SPLITS for clip_id in store.ids}
    roles = {"train": set(stores["train"].ids), "val": set(stores["val"].ids), "the test domains": tested}
    return [
        f"{len(shared)} clips are in {one} and in {other}, like {min(shared)}"
        for one, other in combinations(roles, 2)
        if (shared := roles[one] & roles[other])
    ]


def check_model_takes(config: RunConfig, stores: Mapping[str, FrameStore]) -> None:
    """UsageError unless the model can be built for the clips of ``stores``: before hours of training, not after.

    Models from outside are built when they are trained: some are downloaded for that.
    """
    from benchmark.models import count_parameters, get_model_family
    from benchmark.models.specs import ClipShape

    family = get_model_family(config.model)
    if family is not None:
        train = stores["train"]
        shape = ClipShape.of((len(train), *train.clip_shape))
        try:
            count_parameters(family.spec_of(config.hidden), shape, len(class_names(train.settings)))
        except UsageError as problem:
            raise UsageError(f"{config.model} cannot be trained on these clips: {problem}") from problem


def plan_videos(config: RunConfig, folder: Path) -> DataPlan:
    """The stores of a run. Sizes are the folder's: UsageError when the config asks for others, or for a model that
    cannot take such clips.
    """
    stores = open_folder(folder)
    paths, held = store_paths(folder), targets_of(stores)
    absent = [name for name in config.targets if name not in held]
    if absent:
        raise UsageError(
            f"{folder} does not hold {', '.join(absent)}, which the run was configured for; it holds {', '.join(held)}."
        )

    def file(name: str, domain: str, split: str) -> StoreFile:
        return StoreFile(domain, split, len(stores[name]), stores[name].content_hash, paths[name])

    plan = DataPlan(
        train=file("train", VIDEO_SOURCE, "train"),
        val=file("val", VIDEO_SOURCE, "val"),
        targets=tuple(file(name, name, "test") for name in config.targets),
    )
    wanted = (config.n_train, config.n_val, config.n_target)
    found = (plan.train.n, plan.val.n, plan.targets[0].n)
    if wanted != found:
        raise UsageError(
            f"{folder} holds {found[0]} training, {found[1]} validation and {found[2]} test clips, the run was "
            f"configured for {wanted[0]}, {wanted[1]} and {wanted[2]}; begin a new one."
        )
    check_model_takes(config, stores)
    return plan


def targets_of(stores: Mapping[str, FrameStore]) -> tuple[str, ...]:
    """The target domains of a data folder, in their order."""
    return tuple(name for name in stores if name not in SPLITS)


def settings_of(stores: Mapping[str, FrameStore]) -> dict[str, Any]:
    """What a config takes from a data folder: its targets, ``n_train``, ``n_val`` and ``n_target``, of the first."""
    targets = targets_of(stores)
    return {
        "target_domains": targets,
        "n_train": len(stores["train"]),
        "n_val": len(stores["val"]),
        "n_target": len(stores[targets[0]]),
    }
