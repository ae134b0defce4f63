"""What wrong answers on Diving48 still got right: takeoff, somersault, twist, position (section 4.2). Pure functions.

The attributes that a wrong answer shares with the true class are counted in two ways. The *set count* is the paper's
(Table 7): for each true class every class given by mistake counts once, however often it was given. The *bag count*
takes every error. Two yardsticks stand beside both:

* chance: wrong classes drawn uniformly from the other classes with clips. It asks more of a model than luck.
* the null of exchanged errors: the wrong answers are exchanged among the errors at random, so that each answer stays as
  frequent as it was, but never onto a clip of its own class, because that would be no error. It asks whether *which*
  clip got *which* wrong answer carries the attributes. p is one-sided: as many attributes right, or more.

:mod:`benchmark.exchange` says how the null is sampled.

Answers may be lists of the best K classes. An error is then a clip whose class is in none of the K places, all K of its
classes are wrong answers, and the null exchanges whole lists, because the classes of one list go together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.exchange import exchanged_errors, exchanged_lists
from diving48_domains.vocabulary import ATTRIBUTES, DIVE_CLASSES, EMPTY_IN_V2
from tsgen.common.errors import DataError, UsageError
from tsgen.common.intervals import clopper_pearson

Classes = NDArray[np.int64]

N_CLASSES, N_ATTRIBUTES = len(DIVE_CLASSES), len(ATTRIBUTES)
POPULATED: tuple[int, ...] = tuple(index for index in range(N_CLASSES) if index != EMPTY_IN_V2)
"""The classes with clips in the V2 lists."""

PERMUTATIONS = 2000
MAX_PERMUTATIONS = 10**6
_BATCH = 250
"""Samples counted at a time: 250 tables of 48 x 48 are 5 MB."""

_VALUES = np.array(DIVE_CLASSES)
MATCHES = (_VALUES[:, None] == _VALUES[None]).astype(np.int64)
"""int64 (48, 48, 4): 1 where two classes share an attribute."""
_MATCHES_OF_PAIR = MATCHES.reshape(-1, N_ATTRIBUTES)


@cache
def chance_shares(populated: tuple[int, ...] = POPULATED) -> NDArray[np.float64]:
    """float64 (48, 4): which share of the other populated classes has the attribute of a class."""
    if len(populated) < 2:
        raise DataError(f"among {len(populated)} classes with clips no answer can be wrong.")
    others = [[other for other in populated if other != each] for each in range(N_CLASSES)]
    return np.stack([MATCHES[each, rest].mean(axis=0) for each, rest in enumerate(others)])


@dataclass(frozen=True)
class Count:
    """``correct`` of ``total`` attributes; ``chance``: the share that random wrong classes would have right."""

    correct: int
    total: int
    chance: float

    @property
    def share(self) -> float:
        return self.correct / self.total


@dataclass(frozen=True)
class Null:
    """Shares under exchanged errors: mean, 2.5 and 97.5 % quantiles, and the one-sided p of what was observed."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ValueRow:
    """The clips whose true class has one value of an attribute."""

    value: str
    clips: int
    class_correct: int
    attribute_correct: int


@dataclass(frozen=True)
class AttributeRow:
    """One attribute. ``correct``: over all clips, exact interval; ``of_errors``: over the errors, None without any.

    Of lists: clips of which one of the K classes has the attribute right, and all classes of the errors. These are not
    independent, so ``errors_interval`` is None.
    """

    name: str
    correct: int
    interval: tuple[float, float]
    of_errors: Count | None
    errors_interval: tuple[float, float] | None
    null: Null | None
    values: tuple[ValueRow, ...]


@dataclass(frozen=True)
class AttributeReport:
    """Of one model on one domain, with the best ``top`` classes. Counts and nulls are None where nothing was wrong."""

    clips: int
    top: int
    errors: int
    attributes: tuple[AttributeRow, ...]
    bag: Count | None
    bag_null: Null | None
    set: Count | None
    set_null: Null | None
    permutations: int
    seed: int


def dive_ids(class_names: Sequence[str]) -> Classes:
    """int64 (C,): the index in the vocabulary of each class name, in any order and number of them.

    A name is the four attributes as the dataset spells them, with anything between: ``Back_15som_05Twis_FREE``,
    ``back 15som 05twis free``. DataError where a name is of no dive or two are of the same.
    """
    index = {tuple(value.lower() for value in dive): number for number, dive in enumerate(DIVE_CLASSES)}
    ids = []
    for name in class_names:
        number = index.get(tuple(re.findall(r"[a-z0-9]+", name.lower())))
        if number is None:
            raise DataError(
                f"class {name!r} is not one of Diving48; its names are takeoff, somersault, twist and position, like "
                f"{'_'.join(DIVE_CLASSES[0])}. See `d48dom classes`."
            )
        ids.append(number)
    if len(set(ids)) != len(ids):
        raise DataError(f"two of the {len(ids)} class names are of the same dive.")
    return np.array(ids, dtype=np.int64)


def set_count(true: Classes, predicted: Classes, populated: tuple[int, ...] = POPULATED) -> Count | None:
    """The paper's: every (true class, wrong class) once. int64 (N,) and (N,) or (N, K); None where nothing is wrong."""
    return _count(np.unique(_pairs(*_errors(true, predicted)), axis=1), populated)


def bag_count(true: Classes, predicted: Classes, populated: tuple[int, ...] = POPULATED) -> Count | None:
    """Every wrong answer once."""
    return _count(_pairs(*_errors(true, predicted)), populated)


def random_sets(true: Classes, predicted: Classes) -> tuple[float, float]:
    """(expected, p) of the set count's ``correct`` if every set of wrong classes were drawn at random.

    Exact: for each true class all subsets of the other populated classes of the observed size are equally likely, and
    classes are independent. p: as many attributes right, or more. For a handful of clips, as in Table 7.
    """
    pairs = np.unique(_pairs(*_errors(true, predicted)), axis=1)
    distribution = np.ones(1)
    for each in np.unique(pairs[0]).tolist():
        others = [other for other in POPULATED if other != each]
        size = int((pairs[0] == each).sum())
        distribution = np.convolve(distribution, _subset_sums(MATCHES[each, others].sum(axis=1), size))
    observed = int(_MATCHES_OF_PAIR[pairs[0] * N_CLASSES + pairs[1]].sum())
    return float(distribution @ np.arange(len(distribution))), min(float(distribution[observed:].sum()), 1.0)


def analyse(
    true: Classes,
    predicted: Classes,
    *,
    populated: tuple[int, ...] = POPULATED,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> AttributeReport:
    """Class ids int64 (N,) in the order of the vocabulary, answers also as (N, K), the best first.

    The same seed gives the same report.

    ``populated``: the classes with clips, among which chance draws. DataError for a clip of another class.
    """
    if not 1 <= permutations <= MAX_PERMUTATIONS:
        raise UsageError(f"{permutations} permutations are not possible; allowed: 1..{MAX_PERMUTATIONS}.")
    if seed < 0:
        raise UsageError(f"seed {seed} is not possible; allowed: 0 or more.")
    _check(true, predicted, populated)
    chance = chance_shares(populated)
    answers = predicted.reshape(len(true), -1)  # (N, K)
    wrong_true, wrong = _errors(true, answers)
    E, K = wrong.shape
    nulls = _nulls(wrong_true, wrong, permutations, np.random.default_rng(seed)) if E else {}
    right = MATCHES[true[:, None], answers].any(axis=1)  # (N, 4)
    missed = MATCHES[wrong_true[:, None], wrong].sum(axis=(0, 1))  # (4,)
    rows = []
    for number, name in enumerate(ATTRIBUTES):
        correct = int(right[:, number].sum())
        of_errors = None
        if E:
            of_errors = Count(int(missed[number]), E * K, float(chance[wrong_true, number].mean()))
        rows.append(
            AttributeRow(
                name=name,
                correct=correct,
                interval=clopper_pearson(correct, len(true)),
                of_errors=of_errors,
                errors_interval=None
                if of_errors is None or K > 1
                else clopper_pearson(of_errors.correct, of_errors.total),
                null=nulls.get(name),
                values=_value_rows(number, true, answers),
            )
        )
    return AttributeReport(
        clips=len(true),
        top=K,
        errors=E,
        attributes=tuple(rows),
        bag=bag_count(true, predicted, populated),
        bag_null=nulls.get("bag"),
        set=set_count(true, predicted, populated),
        set_null=nulls.get("set"),
        permutations=permutations,
        seed=seed,
    )


def _nulls(true: Classes, wrong: Classes, samples: int, rng: np.random.Generator) -> dict[str, Null]:
    """Null of each attribute's bag count by its name, and of all four as "bag" and "set". ``wrong`` (E, K)."""
    lists = wrong.astype(np.uint8)
    if wrong.shape[1] == 1:
        drawn = exchanged_errors(true, wrong[:, 0], samples, rng)
        bag, set_, set_total = _counts_of(true, lambda columns: drawn[:, columns, None], samples)
    else:
        contains = np.zeros((len(wrong), N_CLASSES), dtype=np.bool_)
        np.put_along_axis(contains, wrong, True, axis=1)
        places = exchanged_lists(true, contains, samples, rng)
        bag, set_, set_total = _counts_of(true, lambda columns: lists[places[:, columns]], samples)
    (seen_bag,), (seen_set,), (seen_total,) = _counts_of(true, lambda columns: lists[:, None], 1)
    answers = wrong.size
    nulls = {name: _null(bag[:, a] / answers, bag[:, a] >= seen_bag[a]) for a, name in enumerate(ATTRIBUTES)}
    nulls["bag"] = _null(bag.sum(axis=1) / (N_ATTRIBUTES * answers), bag.sum(axis=1) >= seen_bag.sum())
    # Shares are compared by products: quotients of whole numbers that are equal need not be equal as floats.
    as_many = set_ * seen_total >= seen_set * set_total
    nulls["set"] = _null(set_ / set_total, as_many)
    return nulls


def _null(shares: NDArray[np.float64], as_many: NDArray[np.bool_]) -> Null:
    low, high = np.quantile(shares, (0.025, 0.975))
    p = (1 + int(as_many.sum())) / (1 + len(shares))
    return Null(float(shares.mean()), float(low), float(high), p)


def _counts_of(
    true: Classes, answers_of: Callable[[slice], NDArray[np.uint8]], samples: int
) -> tuple[Classes, Classes, Classes]:
    """For each of R samples: bag counts (R, 4), set counts (R,) and their totals (R,).

    ``answers_of``: uint8 (E, r, K) of a range of r samples.
    """
    bags, sets, totals = [], [], []
    pairs = N_CLASSES**2
    for start in range(0, samples, _BATCH):
        batch = answers_of(slice(start, min(start + _BATCH, samples))).astype(np.int64)  # (E, r, K)
        r = batch.shape[1]
        codes = np.arange(r)[:, None] * pairs + true[:, None, None] * N_CLASSES + batch
        tables = np.bincount(codes.ravel(), minlength=r * pairs).reshape(r, pairs)
        bags.append(tables @ _MATCHES_OF_PAIR)
        sets.append((tables > 0) @ _MATCHES_OF_PAIR.sum(axis=1))
        totals.append(N_ATTRIBUTES * (tables > 0).sum(axis=1))
    return np.concatenate(bags), np.concatenate(sets), np.concatenate(totals)


def _errors(true: Classes, predicted: Classes) -> tuple[Classes, Classes]:
    """True classes (E,) and answers (E, K) of the clips whose class is in none of the K places."""
    answers = predicted.reshape(len(true), -1)
    wrong = (answers != true[:, None]).all(axis=1)
    return true[wrong], answers[wrong]


def _pairs(true: Classes, wrong: Classes) -> Classes:
    """(2, E * K): a true and a wrong class in each column."""
    return np.stack([np.repeat(true, wrong.shape[1]), wrong.ravel()])


def _count(pairs: Classes, populated: tuple[int, ...]) -> Count | None:
    """Of (2, P) pairs of a true and a wrong class."""
    true, wrong = pairs
    if not len(true):
        return None
    return Count(
        int(MATCHES[true, wrong].sum()), N_ATTRIBUTES * len(true), float(chance_shares(populated)[true].mean())
    )


def _subset_sums(weights: Classes, size: int) -> NDArray[np.float64]:
    """Distribution of the sum of ``size`` of the weights, drawn without replacement."""
    # ways[k, s]: share of the ways to have drawn k with the sum s; kept as probabilities so that nothing overflows.
    ways = np.zeros((size + 1, size * N_ATTRIBUTES + 1))
    ways[0, 0] = 1.0
    for seen, weight in enumerate(weights.tolist()):
        left = len(weights) - seen
        taken = np.arange(size + 1)
        take = np.clip((size - taken) / left, 0.0, 1.0)[:, None]
        drawn = np.zeros_like(ways)
        drawn[1:, weight:] = (ways * take)[:-1, : ways.shape[1] - weight]
        ways = ways * (1 - take) + drawn
    return np.asarray(ways[size])


def _value_rows(attribute: int, true: Classes, answers: Classes) -> tuple[ValueRow, ...]:
    rows = []
    for value in dict.fromkeys(_VALUES[:, attribute].tolist()):
        of_value = _VALUES[true, attribute] == value
        if of_value.any():
            mine, theirs = true[of_value, None], answers[of_value]
            right = int(MATCHES[mine, theirs, attribute].any(axis=1).sum())
            rows.append(ValueRow(str(value), len(mine), int((mine == theirs).any(axis=1).sum()), right))
    return tuple(rows)


def _check(true: Classes, predicted: Classes, populated: tuple[int, ...]) -> None:
    if true.ndim != 1 or predicted.ndim not in (1, 2) or len(true) != len(predicted) or not predicted.size:
        raise ValueError(f"expected (N,) and (N,) or (N, K), N > 0; got {true.shape} and {predicted.shape}")
    strange = sorted(set(true.tolist()) - set(populated))
    if strange:
        names = ", ".join(f"{index} ({'_'.join(DIVE_CLASSES[index])})" for index in strange)
        raise DataError(f"clips are labelled with classes that have no clip in the V2 lists: {names}.")
