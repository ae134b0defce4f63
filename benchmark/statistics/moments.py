"""Means, variances and covariances of accuracies when seeds and clips are two crossed random factors.

With c_i the mean of clip i over the seeds, t_s the accuracy of seed s, and e the interaction left over (two-way
analysis of variance),

    clips = var(c_i) / N,   seeds = var(t_s) / S,   mixed = var(e) / (S N),   Var(mean) = clips + max(seeds - mixed, 0),

where ``mixed`` is contained in both terms and must count once. Two accuracies of the same seeds have covariances of the
same three kinds: that of the seeds always, the other two where they show the same clips. Everything follows from whole
numbers (hits of each clip, hits of each seed, hits both have), so nothing is lost by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmark.statistics.estimate import Correct, Floats

Rows = NDArray[np.int64]
SharedClips = tuple[Rows, Rows]
MAX_SEEDS = 255  # hits of a clip are counted in one byte


@dataclass(frozen=True, eq=False)
class Moments:
    """Of K blocks of outcomes, each (..., S, N_k) of the same seeds: ``mean`` (..., K), the others (..., K, K).

    ``clips`` and ``seeds`` contain ``mixed`` (see the module). ``linked``: the blocks show some of the same clips.
    """

    mean: Floats
    clips: Floats
    seeds: Floats
    mixed: Floats
    S: int
    N: tuple[int, ...]
    linked: bool

    @property
    def covariance(self) -> Floats:
        """(..., K, K) of the means: clips plus what the seeds add, the latter made positive semidefinite."""
        values, vectors = np.linalg.eigh(self.seeds - self.mixed)
        between = (vectors * np.maximum(values, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
        return np.asarray(self.clips + between)


def moments(blocks: Sequence[Correct], shared: SharedClips | None = None) -> Moments:
    """``shared``: of two blocks, the rows (int64) of each that show the same clip, in the same order."""
    shapes = [block.shape for block in blocks]
    if any(len(shape) < 2 or shape[:-1] != shapes[0][:-1] or 0 in shape[-2:] for shape in shapes):
        raise ValueError(f"expected (..., S, N) of the same S, got {' and '.join(map(str, shapes))}")
    S, N = shapes[0][-2], tuple(shape[-1] for shape in shapes)
    if shared is not None and len(blocks) != 2:
        raise ValueError(f"shared clips are those of two blocks, got {len(blocks)}")
    if S > MAX_SEEDS:
        raise ValueError(f"expected at most {MAX_SEEDS} seeds, got {S}")
    of_clip = [block.sum(axis=-2, dtype=np.uint8).astype(np.int64) for block in blocks]
    of_seed = [np.count_nonzero(block, axis=-1).astype(np.int64) for block in blocks]
    lead, K = shapes[0][:-2], len(blocks)
    clips, seeds, mixed = (np.zeros((*lead, K, K)) for _ in range(3))
    for k in range(K):
        for m in range(k + 1):
            pair = (..., [k, m], [m, k])
            if S > 1:
                seeds[pair] = (_covariance(of_seed[k], of_seed[m]) / (N[k] * N[m] * S))[..., None]
            if k == m:
                both = (blocks[k], blocks[k], of_clip[k], of_clip[k], of_seed[k], of_seed[k])
            elif shared is None:
                continue
            else:
                both = _restricted(blocks, of_clip, shared)
            x, y, clip_x, clip_y, seed_x, seed_y = both
            n = x.shape[-1]
            scale = n / (N[k] * N[m])
            clips[pair] = (_covariance(clip_x, clip_y) * (scale / S**2))[..., None] if n > 1 else 0.25 * (k == m)
            if S > 1 and n > 1:
                mixed[pair] = (_interaction(x, y, clip_x, clip_y, seed_x, seed_y) * (scale / S))[..., None]
    mean = np.stack([hits.sum(axis=-1) / (S * n) for hits, n in zip(of_seed, N, strict=True)], axis=-1)
    return Moments(mean, clips, seeds, mixed, S, N, shared is not None and len(shared[0]) > 0)


def shared_clips(first: Rows, second: Rows) -> SharedClips:
    """The rows at which two lists of clip ids (int64, none twice in a list) hold the same clip."""
    _, rows, others = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return rows.astype(np.int64), others.astype(np.int64)


def spread(of: Moments, weights: Floats) -> tuple[Floats, Floats]:
    """Variance of the weighted sum of the means, and Satterthwaite's degrees of freedom. ``weights`` (..., K).

    Of linked blocks it must be a difference; its variance is ``guarded``.
    """
    if of.linked:
        n = min(of.N)
        parts = [(guarded(_form(of.clips, weights), n, (n * of.S) ** 2, np.abs(weights.prod(axis=-1))), n - 1)]
    else:
        parts = [(of.clips[..., k, k] * weights[..., k] ** 2, n - 1) for k, n in enumerate(of.N)]
    between, mixed = _form(of.seeds, weights), _form(of.mixed, weights)
    variance = sum((part for part, _ in parts), np.zeros(())) + np.maximum(between - mixed, 0.0)
    # `mixed` has many degrees of freedom, so all the uncertainty of the difference is that of `between`.
    squares = sum((part**2 / max(dof, 1) for part, dof in parts), between**2 / max(of.S - 1, 1))
    least = min(max(dof, 1) for dof in (*(dof for _, dof in parts), of.S - 1 if of.S > 1 else np.inf))
    return np.asarray(variance), degrees_of_freedom(variance, squares, least)


def degrees_of_freedom(variance: Any, squares: Any, least: Any = 0) -> Floats:
    """Satterthwaite: ``squares`` is the sum of part^2 / its degrees of freedom. Infinite where nothing varies.

    A sum has at least as many as its worst part (``least``), which the formula does not know when a part is taken off.
    """
    variance, squares = np.broadcast_arrays(np.asarray(variance, float), np.asarray(squares, float))
    dof = np.divide(variance**2, squares, out=np.full(variance.shape, np.inf), where=squares > 0)
    return np.asarray(np.maximum(dof, least))


def guarded(clips: Any, n: int, outcomes: Any, unit: Any) -> Floats:
    """Variance of the clips for a difference of two accuracies of ``n`` clips shown to both, made fit for few outcomes.

    Two that answer alike on every clip would have none. Bonett and Price add two outcomes, one for each side (of
    ``outcomes``: n^2 times the seeds of the one times those of the other); and since seeds that all agree say no more
    than one of them, the sum is at least two clips of n. ``unit``: square of the weight of an accuracy.
    """
    return np.asarray(np.maximum(clips + 2 * unit / outcomes, 2 * unit / n**2))


def half_width(variance: Any, dof: Any, level: float) -> Floats:
    """t times the standard error."""
    return np.asarray(special.stdtrit(dof, (1 + level) / 2) * np.sqrt(variance))


def _form(matrix: Floats, weights: Floats) -> Floats:
    return np.asarray(np.maximum(np.einsum("...k,...km,...m->...", weights, matrix, weights), 0.0))


def _covariance(x: Rows, y: Rows) -> Floats:
    """Of whole numbers along the last axis, with n - 1."""
    n = x.shape[-1]
    products = np.einsum("...i,...i->...", x, y)
    return np.asarray((n * products - x.sum(axis=-1) * y.sum(axis=-1)) / (n * (n - 1)))


def _interaction(x: Correct, y: Correct, clip_x: Rows, clip_y: Rows, seed_x: Rows, seed_y: Rows) -> Floats:
    """Covariance of what is left of two (..., S, n) when the means of clips and seeds are taken off."""
    S, n = x.shape[-2:]
    both = np.count_nonzero(x & y, axis=(-2, -1))
    of_clips, of_seeds = np.einsum("...i,...i->...", clip_x, clip_y), np.einsum("...s,...s->...", seed_x, seed_y)
    total = seed_x.sum(axis=-1) * seed_y.sum(axis=-1)
    return np.asarray((S * n * both - n * of_clips - S * of_seeds + total) / (S * n * (S - 1) * (n - 1)))


def _restricted(
    blocks: Sequence[Correct], of_clip: Sequence[Rows], shared: SharedClips
) -> tuple[Correct, Correct, Rows, Rows, Rows, Rows]:
    """The second block and the first on the clips that both show."""
    y, x = (block[..., rows] for block, rows in zip(blocks, shared, strict=True))
    clip_y, clip_x = (hits[..., rows] for hits, rows in zip(of_clip, shared, strict=True))
    seed_x, seed_y = (np.count_nonzero(part, axis=-1).astype(np.int64) for part in (x, y))
    return x, y, clip_x, clip_y, seed_x, seed_y
