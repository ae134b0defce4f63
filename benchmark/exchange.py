"""The null of exchanged errors: the same wrong answers, but on other clips. Pure functions.

The arrangements without a hit cannot be drawn directly, so a chain exchanges the answers of random pairs of errors,
each with probability 1/2 and only where no hit arises; its steady state is uniform. As Besag and Clifford (1989) do, it
runs from the observed answers back to a common start and from there forth to every sample, which makes p exact for any
number of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SWEEPS = 40
"""Rounds of the chain; in each every error meets one other."""

Ints = NDArray[np.int64]
_Hits = Callable[[NDArray[np.integer], Ints], NDArray[np.bool_]]


def exchanged_errors(
    true: Ints, wrong: Ints, samples: int, rng: np.random.Generator, sweeps: int = SWEEPS
) -> NDArray[np.uint8]:
    """uint8 (E, samples): each column holds the wrong answers int64 (E,) in another order, none on its own class."""

    def hits(answers: NDArray[np.integer], of: Ints) -> NDArray[np.bool_]:
        return np.asarray(answers == of[:, None])

    return np.asarray(_chain(true, wrong.astype(np.uint8), hits, samples, rng, sweeps))


def exchanged_lists(
    true: Ints, contains: NDArray[np.bool_], samples: int, rng: np.random.Generator, sweeps: int = SWEEPS
) -> NDArray[np.int32]:
    """int32 (E, samples): which error's whole list of wrong answers each error gets, none with its own class.

    ``contains`` bool (E, C): the classes in each list.
    """

    def hits(lists: NDArray[np.integer], of: Ints) -> NDArray[np.bool_]:
        return np.asarray(contains[lists, of[:, None]])

    return np.asarray(_chain(true, np.arange(len(true), dtype=np.int32), hits, samples, rng, sweeps))


def _chain(
    true: Ints, observed: NDArray[np.integer], hits: _Hits, samples: int, rng: np.random.Generator, sweeps: int
) -> NDArray[np.integer]:
    E, half = len(true), len(true) // 2
    pairings = [rng.permutation(E)[: 2 * half].reshape(2, half) for _ in range(sweeps)]
    start = observed[:, None].copy()
    for pairing in reversed(pairings):
        _exchange(start, true, pairing, hits, rng)
    answers = np.repeat(start, samples, axis=1)
    for pairing in pairings:
        _exchange(answers, true, pairing, hits, rng)
    return answers


def _exchange(answers: NDArray[np.integer], true: Ints, pairing: Ints, hits: _Hits, rng: np.random.Generator) -> None:
    one, other = pairing  # (E // 2,) rows of ``answers`` (E, samples)
    of_one, of_other = answers[one], answers[other]
    coins = np.frombuffer(rng.bytes((of_one.size + 7) // 8), dtype=np.uint8)
    swap = np.unpackbits(coins, count=of_one.size).view(np.bool_).reshape(of_one.shape)
    swap &= ~(hits(of_one, true[other]) | hits(of_other, true[one]))
    answers[one] = np.where(swap, of_other, of_one)
    answers[other] = np.where(swap, of_one, of_other)
