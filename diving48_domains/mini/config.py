"""The recipe of a mini-Diving48: which dives, how many, and how strongly the venue gives the class away.

The dial ``rho`` is the texture bias with a known answer. A clip's venue is, with probability ``rho``, a function of its
class (or of one attribute of its class), and otherwise uniform over the same venues. Train, val and test share ``rho``;
``shift`` has rho = 0; ``swap`` has the same ``rho`` and the function permuted so that no class keeps its venue.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini.venue import NUM_VENUES
from diving48_domains.vocabulary import ATTRIBUTES, DIVE_CLASSES, EMPTY_IN_V2
from tsgen.common.errors import DataError, UsageError, unknown_name

STREAM_VERSION = 1
"""Raised whenever the same recipe would give other clips."""

CLASS_SETS: dict[str, tuple[int, ...]] = {
    "mini8": (8, 15, 17, 19, 25, 34, 39, 41),
    "mini12": (2, 8, 15, 17, 19, 23, 25, 31, 34, 39, 41, 45),
    "full47": tuple(index for index in range(len(DIVE_CLASSES)) if index != EMPTY_IN_V2),
}
"""Name -> class ids of the real vocabulary, so that attribute metrics run unchanged."""

SPLITS: tuple[str, ...] = ("train", "val", "test", "shift", "swap")
"""Position = the number of the split's random stream."""

VENUE_KEYS: tuple[str, ...] = ("class", *ATTRIBUTES)

PUBLISHED_LABELS = (290, 13)
"""How many labelled frames the authors' segmenter was trained and validated on (section 3.3)."""

PUBLISHED_SHARE = 2 / 3
"""They come from the first two thirds of a dive only: none shows a diver under water."""

MOST_LABELS_A_CLIP = 10
MAX_CLIPS = 99_999
MAX_SEED = 2**63 - 1
SIZE_LIMITS_PX = (32, 1920)

STREAMS: tuple[str, ...] = ("labels", "venues", "binding", "dives", "camera", "scene", "timing", "noise", "frames")
"""What is drawn independently of everything else; position = the number in the stream's key."""


@dataclass(frozen=True)
class MiniConfig:
    """Everything that determines the content of a mini data set, and nothing else.

    ``classes`` a name in CLASS_SETS; ``train`` .. ``swap`` numbers of clips; ``rho`` 0 to 1; ``venue_by`` what the
    venue is a function of: the class or one attribute; ``width``, ``height`` px, even (H.264); ``labels_train``
    and ``labels_val`` labelled frames for the segmenter, from the first ``labelled_share`` of a clip. Raises
    UsageError for values that are not possible.
    """

    classes: str = "mini8"
    train: int = 400
    val: int = 80
    test: int = 80
    shift: int = 80
    swap: int = 80
    rho: float = 0.8
    venue_by: str = "class"
    seed: int = 0
    width: int = 160
    height: int = 120
    labels_train: int = PUBLISHED_LABELS[0]
    labels_val: int = PUBLISHED_LABELS[1]
    labelled_share: float = PUBLISHED_SHARE

    def __post_init__(self) -> None:
        if self.classes not in CLASS_SETS:
            raise unknown_name("class set", str(self.classes), CLASS_SETS)
        if self.venue_by not in VENUE_KEYS:
            raise unknown_name("venue key", str(self.venue_by), VENUE_KEYS)
        for name in (*SPLITS, "labels_train", "labels_val", "seed", "width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"{name} = {value!r} is not possible; allowed: a whole number.")
        for split in SPLITS:
            if not 0 <= self.count(split) <= MAX_CLIPS:
                raise UsageError(f"{split} = {self.count(split)} clips is not possible; allowed: 0..{MAX_CLIPS}.")
        if not sum(self.count(split) for split in SPLITS):
            raise UsageError("all splits are empty; ask for at least one clip.")
        if not 0 <= self.rho <= 1:  # also catches nan
            raise UsageError(f"rho = {self.rho} is not possible; allowed: 0 (no bias) to 1 (the venue is the class).")
        object.__setattr__(self, "rho", float(self.rho))
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed {self.seed} is not possible; allowed: 0..2**63-1.")
        least, most = SIZE_LIMITS_PX
        if any(not least <= side <= most or side % 2 for side in (self.width, self.height)):
            raise UsageError(
                f"size {self.width}x{self.height} is not possible; allowed: even sides of {least} to {most} px."
            )
        self._check_labels()

    def _check_labels(self) -> None:
        if self.labels_train < 0 or self.labels_val < 0:
            raise UsageError(
                f"{self.labels_train}+{self.labels_val} labelled frames is not possible; allowed: 0 or more."
            )
        if not 0 < self.labelled_share <= 1:
            raise UsageError(f"labelled_share = {self.labelled_share} is not possible; allowed: above 0, up to 1.")
        object.__setattr__(self, "labelled_share", float(self.labelled_share))
        clips = clips_needed(self.labels_train) + clips_needed(self.labels_val)
        if clips > self.train:
            raise UsageError(
                f"{self.labels_train}+{self.labels_val} labelled frames need {clips} training clips "
                f"({MOST_LABELS_A_CLIP} frames a clip, other clips to validate than to train on), there are "
                f"{self.train}; ask for fewer labelled frames or more training clips."
            )

    def count(self, split: str) -> int:
        """How many clips ``split`` has."""
        value = getattr(self, checked_split(split))
        assert isinstance(value, int)
        return value

    @property
    def class_ids(self) -> tuple[int, ...]:
        return CLASS_SETS[self.classes]

    def to_json(self) -> dict[str, Any]:
        return {"stream_version": STREAM_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: object) -> MiniConfig:
        """The recipe recorded in a folder; DataError when it is not one of this version."""
        if not isinstance(value, dict) or value.get("stream_version") != STREAM_VERSION:
            found = value.get("stream_version") if isinstance(value, dict) else value
            raise DataError(f"the mini recipe has stream version {found!r}; this d48dom makes {STREAM_VERSION}.")
        rest = {name: part for name, part in value.items() if name != "stream_version"}
        known = {one.name for one in fields(cls)}
        if set(rest) != known:
            raise DataError(f"the mini recipe has the fields {sorted(rest)}; expected: {sorted(known)}.")
        try:
            return cls(**rest)
        except (TypeError, UsageError) as problem:
            raise DataError(f"the mini recipe is damaged: {problem}") from problem


def checked_split(split: str) -> str:
    """``split`` itself; UsageError when there is no such split."""
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return split


def clips_needed(labelled_frames: int) -> int:
    """How many clips so many labelled frames take at least."""
    return -(-labelled_frames // MOST_LABELS_A_CLIP)


def default_labels(train: int) -> tuple[int, int]:
    """The published 290 + 13 labelled frames, or as many in that spirit as ``train`` clips give."""
    wanted, validation = PUBLISHED_LABELS
    val_clips = 0 if train < 2 else 1 if train < 16 else 2
    most = MOST_LABELS_A_CLIP
    return min(wanted, most * (train - val_clips)), min(validation, most * val_clips)


def stream(config: MiniConfig, split: str, purpose: str, *index: int) -> np.random.Generator:
    """The random numbers of one purpose at one place: independent of all others and of how many clips there are."""
    key = (SPLITS.index(checked_split(split)), STREAMS.index(purpose), *index)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=config.seed, spawn_key=key)))


def label_at(config: MiniConfig, split: str, index: int) -> int:
    """Class id of clip ``index``: every run of as many clips as classes holds each class once, in random order."""
    classes = np.array(config.class_ids)
    run, place = divmod(index, len(classes))
    return int(stream(config, split, "labels", run).permutation(classes)[place])


def venue_keys(config: MiniConfig) -> tuple[object, ...]:
    """The distinct values that the venue is a function of, in class order: class ids or an attribute's values."""
    return tuple(dict.fromkeys(_key_of(config, label) for label in config.class_ids))


def venues_in_use(config: MiniConfig) -> NDArray[np.int64]:
    """The venues (V,) of this recipe: as many as there are keys, at most NUM_VENUES.

    Bound and unbound clips draw from the same ones, so that rho changes how venue and class go together and not which
    venues there are.
    """
    count = min(NUM_VENUES, len(venue_keys(config)))
    return stream(config, "train", "binding").permutation(NUM_VENUES)[:count].astype(np.int64)


def bound_venue(config: MiniConfig, split: str, label: int) -> int:
    """The venue that goes with ``label`` in ``split``; in ``swap`` another one than elsewhere, for every label."""
    keys, venues = venue_keys(config), venues_in_use(config)
    place = keys.index(_key_of(config, label))
    if checked_split(split) == "swap" and len(venues) > 1:
        place += int(stream(config, "swap", "binding").integers(1, len(venues)))
    return int(venues[place % len(venues)])


def venue_at(config: MiniConfig, split: str, index: int) -> int:
    """The venue of clip ``index``.

    All draws are made whatever ``rho`` is: turning the dial changes the venue of some clips and no other clip.
    """
    random = stream(config, split, "venues", index)
    draw, uniform = random.random(), int(random.choice(venues_in_use(config)))
    rho = 0.0 if checked_split(split) == "shift" else config.rho
    return bound_venue(config, split, label_at(config, split, index)) if draw < rho else uniform


def _key_of(config: MiniConfig, label: int) -> object:
    return label if config.venue_by == "class" else getattr(DIVE_CLASSES[label], config.venue_by)
