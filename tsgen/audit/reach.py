"""How far a classifier gets without the order of frames.

One classifier for all (100 extremely randomised trees), fitted on 70 % of the clips and measured on the others. Clips
that show the same set of places, in whatever order, fall on the same side: a repeated clip is not recognised, and a
trajectory and its own reversal do not tell about each other. Everything drawn at random has a fixed seed.

What is reached is a lower bound: the information is there. A low value says that this classifier does not find it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.audit.features import EDITS, Features, random_place, sequence_features, set_features, without_order
from tsgen.audit.view import View, row_digests
from tsgen.common.errors import UsageError
from tsgen.common.intervals import clopper_pearson

LEAK_MARGIN = 0.05
HELD_OUT = 0.3
FEWEST_CLIPS = 50
TREES = 100


@dataclass(frozen=True)
class Measure:
    """A row of the audit. ``kind``: what it means if a classifier gets far with it.

    "static"      one frame or no motion at all: a shortcut;
    "order-free"  every frame but not their order: accuracy on the file does not prove use of temporal order;
    "control"     fitted on intact clips, tested on changed ones: how far a reader of the order falls;
    "reference"   with the order.
    """

    kind: str
    says: str
    fit: Callable[[View], Features]
    test: Callable[[View], Features] | None = None  # None: as ``fit``
    leaf: int = 1  # fewest clips in a leaf; few coarse features need more


def _place(view: View, frame: int) -> Features:
    return _chosen_corner(view)[:, frame].astype(np.float32)


def _random_place(view: View) -> Features:
    return random_place(_chosen_corner(view)).astype(np.float32)


def _middle_place(view: View) -> Features:
    return _place(view, view.corner.shape[1] // 2)


def _ink(view: View) -> Features:
    ink = view.ink[view.chosen]
    blank = view.blank[view.chosen].sum(axis=1, dtype=np.float32)
    return np.concatenate([np.sort(ink, axis=1), blank[:, None]], axis=1)


def _look(view: View) -> Features:
    return view.look[view.chosen].astype(np.float32)


def _set(view: View) -> Features:
    return set_features(_chosen_corner(view))


def _sequence(view: View, edit: str) -> Features:
    return sequence_features(EDITS[edit](_chosen_corner(view)))


def _chosen_corner(view: View) -> NDArray[np.int64]:
    return view.corner[view.chosen]


_INTACT = partial(_sequence, edit="intact")
_SHUFFLED = partial(_sequence, edit="shuffled")

MEASURES: dict[str, Measure] = {
    "first frame": Measure("static", "place of the entity in the first frame", partial(_place, frame=0), leaf=5),
    "middle frame": Measure("static", "place in the middle frame", _middle_place, leaf=5),
    "last frame": Measure("static", "place in the last frame", partial(_place, frame=-1), leaf=5),
    "random frame": Measure("static", "place in one frame, drawn for each clip", _random_place, leaf=5),
    "ink": Measure("static", "grey level of the frames, sorted, and how many are blank", _ink),
    "look": Measure("static", "digit and grain of the noise", _look, leaf=5),
    "set of places": Measure("order-free", "where the entity was, without when", _set),
    "shuffled": Measure("order-free", "frames in random order, in fitting and testing", _SHUFFLED),
    "time-max": Measure("order-free", "maximum of each pixel over time", lambda view: view.brightest),
    "time-mean": Measure("order-free", "mean of each pixel over time", lambda view: view.mean),
    "to shuffled": Measure("control", "fitted intact, tested in random order", _INTACT, _SHUFFLED),
    "to reversed": Measure("control", "fitted intact, tested backwards", _INTACT, partial(_sequence, edit="reversed")),
    "to frozen": Measure(
        "control", "fitted intact, tested with the middle frame held", _INTACT, partial(_sequence, edit="frozen")
    ),
    "intact": Measure("reference", "the path in its order", _INTACT),
}
"""The rows of the audit, by name. A new one is one row."""


@dataclass(frozen=True)
class Reached:
    """What one measure reached on the held-out clips: ``hits`` of ``clips``, with an exact 95 % interval.

    ``verdict`` against the better of chance and majority, plus 5 points: "leak": the interval lies above it;
    "none": below; "open": across, more clips would tell. Empty for controls and the reference, which leak nothing.
    """

    name: str
    kind: str
    says: str
    hits: int
    clips: int
    accuracy: float
    low: float
    high: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Reach:
    """All measures of a file. ``chance`` 1 / classes that occur; ``majority`` of always naming the commonest class."""

    fitted: int
    held_out: int
    chance: float
    majority: float
    rows: tuple[Reached, ...]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "rows": [row.to_json() for row in self.rows]}


def require_sklearn() -> None:
    """Refuse, before anything is read, what cannot be measured without scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            "what a classifier reaches is measured with scikit-learn, which is not installed: "
            "pip install 'recur-attend-convolve[audit]', or leave that part out with --no-reach."
        )


def measure_reach(view: View) -> Reach | str:
    """All rows of :data:`MEASURES`, or the reason why they cannot be measured: too few clips or classes."""
    labels = view.labels[view.chosen]
    if len(labels) < FEWEST_CLIPS:
        return f"{len(labels)} clips are too few to fit classifiers, at least {FEWEST_CLIPS} are needed"
    held_out = split(view.corner[view.chosen])
    counts = np.bincount(labels[~held_out])
    if (counts > 0).sum() < 2 or not held_out.any():
        return "one class, or one set of places, is all there is to fit classifiers on"
    if view.corner.shape[1] < 3:
        return f"{view.corner.shape[1]} frames are too few to have an order, at least 3 are needed"
    chance = 1 / len(np.unique(labels))
    majority = float((labels[held_out] == counts.argmax()).mean())
    threshold = max(chance, majority) + LEAK_MARGIN
    fitted: dict[Any, Any] = {}
    rows = []
    for name, measure in MEASURES.items():
        train = measure.fit(view)
        if measure.fit not in fitted:
            fitted[measure.fit] = _fit(train[~held_out], labels[~held_out], measure.leaf)
        test = train if measure.test is None else measure.test(view)
        hits = int((fitted[measure.fit].predict(test[held_out]) == labels[held_out]).sum())
        total = int(held_out.sum())
        low, high = clopper_pearson(hits, total)
        verdict = ""
        if measure.kind in {"static", "order-free"}:
            verdict = "leak" if low > threshold else "none" if high <= threshold else "open"
        rows.append(Reached(name, measure.kind, measure.says, hits, total, hits / total, low, high, verdict))
    return Reach(int((~held_out).sum()), int(held_out.sum()), chance, majority, tuple(rows))


def split(corner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which clips are held out, bool (N,): about 30 %, the same ones for every order of the clips in the file.

    ``corner`` int64 (N, T, 2). Clips with the same set of places are all held out or all fitted.
    """
    digests = row_digests(without_order(corner))
    groups, which = np.unique(digests, return_inverse=True)  # digests are random bits: sorting them draws
    clips_before = np.cumsum(np.bincount(which, minlength=len(groups)))[which]
    return np.asarray(clips_before <= HELD_OUT * len(corner))


def _fit(features: Features, labels: NDArray[np.int64], leaf: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(TREES, min_samples_leaf=leaf, random_state=0, n_jobs=2)
    trees.fit(features, labels)
    trees.n_jobs = 1  # votes are added in one order: no tie is broken by a race
    return trees
