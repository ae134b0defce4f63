"""Diving48, and any videos like it, as stores of frames that ``d48dom pack`` and ``d48dom build`` wrote.

A data folder holds ``train.h5`` and ``val.h5``, packed from the training list, and in ``test`` a store for each domain
of the test list, ``O.h5`` to ``B.h5``. Videos are never decoded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import VIDEO_SOURCE, VIDEO_TARGETS, RunConfig
from benchmark.data import Clips, DataFacts, DataPlan, Say
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from diving48_domains.framestore import FrameStore

SPLITS = ("train", "val")
TEST = "test"
"""The split that is evaluated on; mini-Diving48 has others: shift and swap."""
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
    names = settings.get("class_names")
    if names is None:
        return tuple("_".join(dive) for dive in DIVE_CLASSES)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) < 2:
        raise DataError("the class names of a store are a list of two or more texts; build it again.")
    return tuple(names)


def store_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.h5" if name in SPLITS else folder / TEST / f"{name}.h5"


def open_folder(folder: Path) -> dict[str, FrameStore]:
    """``train``, ``val`` and every domain -> its store. DataError listing all that are missing or do not fit."""
    from diving48_domains.framestore import open_store

    if not folder.is_dir():
        raise UsageError(f"--data {folder} is not a folder; give the one that d48dom pack and d48dom build wrote to.")
    stores, problems = {}, []
    for name in (*SPLITS, *VIDEO_TARGETS):
        try:
            stores[name] = open_store(store_path(folder, name))
        except DataError as problem:
            problems.append(str(problem))
    if problems:
        raise DataError(
            "\n  ".join([f"{folder} does not hold the stores of a study (d48dom pack, d48dom build):", *problems])
        )
    first = stores["train"]
    for name, store in stores.items():
        if store.clip_shape != first.clip_shape or class_names(store.settings) != class_names(first.settings):
            problems.append(f"{name} holds clips of {store.clip_shape}, train of {first.clip_shape}, or other classes")
        problems += [
            f"{key} of {name} is {store.settings.get(key)!r}, of train {first.settings.get(key)!r}"
            for key in SAME_PIXELS
            if store.settings.get(key) != first.settings.get(key)
        ]
    problems += [
        f"{store_path(folder, name)} says it is {store.settings.get('domain')!r}"
        for name, store in stores.items()
        if store.settings.get("domain") != name
    ]
    reference = stores[VIDEO_TARGETS[0]]
    problems += [
        f"{name} has other clips than {VIDEO_TARGETS[0]}"
        for name in VIDEO_TARGETS[1:]
        if stores[name].ids != reference.ids
    ]
    shared = set(first.ids) & (set(stores["val"].ids) | set(reference.ids))
    if shared:
        problems.append(f"{len(shared)} clips are in train and in val or the test domains, like {min(shared)}")
    chosen_on = set(stores["val"].ids) & set(reference.ids)
    if chosen_on:
        problems.append(f"{len(chosen_on)} clips are in val and in the test domains, like {min(chosen_on)}")
    if problems:
        raise DataError("\n  ".join([f"the stores of {folder} do not belong together:", *problems]))
    return stores


def plan_videos(config: RunConfig, folder: Path) -> DataPlan:
    """The stores of a run. Sizes are the folder's: UsageError when the config asks for others."""
    stores = open_folder(folder)

    def file(name: str, domain: str, split: str) -> StoreFile:
        return StoreFile(domain, split, len(stores[name]), stores[name].content_hash, store_path(folder, name))

    plan = DataPlan(
        train=file("train", VIDEO_SOURCE, "train"),
        val=file("val", VIDEO_SOURCE, "val"),
        targets=tuple(file(name, name, "test") for name in VIDEO_TARGETS),
    )
    wanted = (config.n_train, config.n_val, config.n_target)
    found = (plan.train.n, plan.val.n, plan.targets[0].n)
    if wanted != found:
        raise UsageError(
            f"{folder} holds {found[0]} training, {found[1]} validation and {found[2]} test clips, the run was "
            f"configured for {wanted[0]}, {wanted[1]} and {wanted[2]}; begin a new one."
        )
    return plan


def sizes(stores: Mapping[str, FrameStore]) -> dict[str, int]:
    """``n_train``, ``n_val`` and ``n_target`` of a data folder, for its config."""
    return {"n_train": len(stores["train"]), "n_val": len(stores["val"]), "n_target": len(stores[VIDEO_TARGETS[0]])}
