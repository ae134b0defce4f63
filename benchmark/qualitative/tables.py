"""Five clips of a class, and what the models made of them. Pure functions.

Main Tables 6 and 7, supplement Tables 5-7. Five clips are an example: every number stands beside the same one over all
clips of the class, and beside what chance gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.attributes import POPULATED, Count, bag_count, dive_ids, random_sets, set_count
from benchmark.config import MAX_SEED
from benchmark.paper.reproduce import EXAMPLES
from benchmark.predictions import TOP
from benchmark.qualitative.answers import DOMAINS, Answered, ModelAnswers
from tsgen.common.errors import DataError, UsageError
from tsgen.common.intervals import clopper_pearson

CLIPS = 5
MAX_CLIPS = 50
CLASS_STREAM, CLIP_STREAM = 0x6C, 0x6D  # separate these draws from each other and from any other use of a seed
SHAPE = ("S1", "S2")
"""The domains whose wrong answers are counted (Table 7)."""
RIGHT, NEAR, WRONG = "right", "wrong, right class among the best five", "wrong"
"""Of an answer. NEAR only where there are more than five classes."""
NO_ATTRIBUTES = "The classes are not the dives of Diving48, so their attributes are not known and are not counted."


@dataclass(frozen=True)
class Proportion:
    """``hits`` of ``n`` clips; the interval is exact (Clopper and Pearson), of 95 %."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.hits, self.n)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {"hits": self.hits, "n": self.n, "value": self.value, "low": low, "high": high}


@dataclass(frozen=True)
class Accuracy:
    """On some clips of one class in one domain. ``top5`` None: with five classes or fewer it would always be 1."""

    top1: Proportion
    top5: Proportion | None

    def to_json(self) -> dict[str, Any]:
        return {"top1": self.top1.to_json(), "top5": self.top5 and self.top5.to_json()}


@dataclass(frozen=True)
class Wrong:
    """The wrong answers on S1 and S2 to some clips of one class.

    ``classes``: the set, ascending. ``errors``: how many answers were wrong, of ``answers``. ``attributes``: those of
    the set that are right, the paper's count; ``every``: those of every wrong answer; None without any, or without
    attributes. ``p``: as many right or more if a set of that size were drawn at random; None where that is not known.
    """

    classes: tuple[int, ...]
    errors: int
    answers: int
    attributes: Count | None
    every: Count | None
    p: float | None

    def to_json(self) -> dict[str, Any]:
        counts = {
            name: one and {"correct": one.correct, "total": one.total, "chance": one.chance}
            for name, one in (("attributes", self.attributes), ("attributes_of_every_error", self.every))
        }
        return {"set": list(self.classes), "errors": self.errors, "answers": self.answers, **counts, "p": self.p}


@dataclass(frozen=True)
class ModelRow:
    """One model on one class. ``top``: domain -> the best classes for each drawn clip, best first.

    ``drawn`` and ``all_clips``: domain -> accuracy on the drawn clips, and on all of the class.
    """

    title: str
    top: dict[str, tuple[tuple[int, ...], ...]]
    drawn: dict[str, Accuracy]
    all_clips: dict[str, Accuracy]
    wrong: Wrong
    all_wrong: Wrong

    def answers(self, domain: str) -> tuple[int, ...]:
        """The first answer to each drawn clip."""
        return tuple(best[0] for best in self.top[domain])

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.title,
            "answers": {domain: [list(best) for best in of] for domain, of in self.top.items()},
            "drawn": {domain: one.to_json() for domain, one in self.drawn.items()},
            "all_clips": {domain: one.to_json() for domain, one in self.all_clips.items()},
            "misclassifications": self.wrong.to_json(),
            "misclassifications_of_all_clips": self.all_wrong.to_json(),
        }


@dataclass(frozen=True)
class ClassTables:
    """Tables 6 and 7 of one class. ``asked``: how many clips were to be drawn; ``clip_ids``: those that were.

    ``dives``: each class in Diving48's vocabulary, None where the classes are others. ``chance``, ``chance_top5``:
    accuracy of answers drawn from all classes alike.
    """

    label: int
    class_names: tuple[str, ...]
    dives: tuple[int, ...] | None
    seed: int
    asked: int
    clip_ids: tuple[int, ...]
    clips_of_class: int
    chance: float
    chance_top5: float | None
    rows: tuple[ModelRow, ...]

    @property
    def paper_class(self) -> str | None:
        """The class as the paper numbers it, where its tables show it."""
        dive = None if self.dives is None else str(self.dives[self.label])
        return dive if dive in EXAMPLES else None

    @property
    def name(self) -> str:
        return self.class_names[self.label]

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Those that an answer can have."""
        return (RIGHT, WRONG) if self.chance_top5 is None else (RIGHT, NEAR, WRONG)

    def verdict(self, best: Sequence[int]) -> str:
        """RIGHT, NEAR or WRONG: of the best classes given to a clip, best first."""
        if best[0] == self.label:
            return RIGHT
        return NEAR if NEAR in self.verdicts and self.label in best else WRONG

    @property
    def fewer(self) -> str | None:
        """What is to be said where the class has fewer clips than were asked for."""
        n = len(self.clip_ids)
        clips = "1 clip" if n == 1 else f"{n} clips"
        return None if n == self.asked else f"The class has {clips}, fewer than the {self.asked} asked for."

    def to_json(self) -> dict[str, Any]:
        return {
            "class": self.label,
            "name": self.name,
            "seed": self.seed,
            "clips_asked": self.asked,
            "clip_ids": list(self.clip_ids),
            "clips_of_class": self.clips_of_class,
            "chance": self.chance,
            "chance_top5": self.chance_top5,
            "attributes": NO_ATTRIBUTES if self.dives is None else "counted",
            "models": [row.to_json() for row in self.rows],
        }


def draw_class(populated: Sequence[int], seed: int) -> int:
    """One of the classes with clips, all alike; the same seed gives the same class."""
    classes = sorted(populated)
    return classes[int(_order(len(classes), seed, CLASS_STREAM, 0)[0])]


def draw_clips(clip_ids: NDArray[np.int64], count: int, seed: int, label: int) -> NDArray[np.int64]:
    """int64 (min(count, N),): places in ``clip_ids`` int64 (N,) of clips drawn without repetition, in drawn order.

    The draw depends on the set of ids, ``seed`` and ``label``, not on the order of ids; fewer clips are the first of
    more. UsageError for a count or seed that is not possible.
    """
    if not 1 <= count <= MAX_CLIPS:
        raise UsageError(f"--clips {count} is not possible; allowed: 1..{MAX_CLIPS}.")
    by_id = np.argsort(clip_ids, kind="stable")
    chosen = by_id[_order(len(by_id), seed, CLIP_STREAM, label)[:count]]
    return chosen.astype(np.int64)


def class_tables(answered: Answered, label: int, *, clips: int = CLIPS, seed: int = 0) -> ClassTables:
    """Draw ``clips`` of the clips with ``label`` and tabulate them. UsageError for a class without clips."""
    check_class(answered, label)
    of_class = np.flatnonzero(answered.label == label)
    drawn = of_class[draw_clips(answered.clip_id[of_class], clips, seed, label)]
    ids = _dives(answered.class_names)
    num_classes = len(answered.class_names)
    return ClassTables(
        label=label,
        class_names=answered.class_names,
        dives=None if ids is None else tuple(ids.tolist()),
        seed=seed,
        asked=clips,
        clip_ids=tuple(answered.clip_id[drawn].tolist()),
        clips_of_class=len(of_class),
        chance=1 / num_classes,
        chance_top5=TOP / num_classes if num_classes > TOP else None,
        rows=tuple(_row(model, label, drawn, of_class, num_classes, ids) for model in answered.models),
    )


def check_class(answered: Answered, label: int) -> None:
    last = len(answered.class_names) - 1
    if not 0 <= label <= last:
        raise UsageError(f"--class {label} is not possible; allowed: 0..{last}, or all.")
    if label not in answered.populated:
        populated = ", ".join(map(str, answered.populated))
        raise UsageError(f"class {label} has no test clips; those with clips: {populated}.")


def wrong_answers(label: int, answers: NDArray[np.int64], ids: NDArray[np.int64] | None) -> Wrong:
    """Table 7: what the wrong ones of ``answers`` int64 (M,), on S1 and S2 together, have in common with ``label``.

    ``ids`` int64 (C,): the dive of each class, as of :func:`benchmark.attributes.dive_ids`; None: no attributes.
    """
    classes = tuple(sorted(set(answers.tolist()) - {label}))
    errors = int((answers != label).sum())
    if ids is None or not classes:
        return Wrong(classes, errors, len(answers), None, None, None)
    true, given = np.full(len(answers), ids[label]), ids[answers]
    populated = tuple(index for index in POPULATED if index in ids)
    # The exact law is that of sets drawn from all classes of the V2 lists.
    p = random_sets(true, given)[1] if populated == POPULATED else None
    counts = (set_count(true, given, populated), bag_count(true, given, populated))
    return Wrong(classes, errors, len(answers), *counts, p)


def _row(
    model: ModelAnswers,
    label: int,
    drawn: NDArray[np.int64],
    of_class: NDArray[np.int64],
    num_classes: int,
    ids: NDArray[np.int64] | None,
) -> ModelRow:
    return ModelRow(
        title=model.title,
        top={domain: tuple(tuple(best) for best in top[drawn].tolist()) for domain, top in model.top.items()},
        drawn={domain: _accuracy(model.top[domain][drawn], label, num_classes) for domain in DOMAINS},
        all_clips={domain: _accuracy(model.top[domain][of_class], label, num_classes) for domain in DOMAINS},
        wrong=wrong_answers(label, np.concatenate([model.top[domain][drawn, 0] for domain in SHAPE]), ids),
        all_wrong=wrong_answers(label, np.concatenate([model.top[domain][of_class, 0] for domain in SHAPE]), ids),
    )


def _accuracy(top: NDArray[np.int64], label: int, num_classes: int) -> Accuracy:
    """``top`` (n, K)."""
    first = Proportion(int((top[:, 0] == label).sum()), len(top))
    if num_classes <= TOP:
        return Accuracy(first, None)
    return Accuracy(first, Proportion(int((top == label).any(axis=1).sum()), len(top)))


def _dives(class_names: Sequence[str]) -> NDArray[np.int64] | None:
    try:
        return dive_ids(class_names)
    except DataError:
        return None


def _order(n: int, seed: int, stream: int, place: int) -> NDArray[np.int64]:
    """A random order of n things."""
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed {seed} is not possible; allowed: 0..2**63-1.")
    words = np.random.Philox(key=[seed, stream], counter=[0, 0, 0, place]).random_raw(n)
    return np.argsort(words, kind="stable")
