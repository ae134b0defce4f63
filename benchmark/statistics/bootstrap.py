"""Ratios and differences by a bootstrap over seeds and clips: other intervals than those of ``ratios`` and ``paired``.

Both factors are drawn anew, with replacement and independently of each other (crossed, Owen's pigeonhole bootstrap): a
replicate is the ratio of accuracies under the drawn weights, and the interval lies between their percentiles. Those of
the log are the same. Known of it: a seed drawn S times out of S has its variance times (S - 1) / S and percentiles
instead of a t quantile, so few seeds that differ much are covered too rarely; the interaction of seeds and clips is
counted three times, so outcomes that are mostly chance are covered too often. docs/scoring.md has the numbers.

Random numbers: Philox, a counter-based generator, its raw output only, so that the same seed gives the same interval
with any release of NumPy; the first replicates are the same whatever their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.estimate import CLIPS, SEEDS_AND_CLIPS, Correct, Estimate, Floats
from benchmark.statistics.ratios import robustness_ratio
from tsgen.common.intervals import LEVEL

REPLICATES = 2000
SEED_STREAM, REFERENCE_STREAM, TARGET_STREAM, OTHER_SEED_STREAM = range(4)
CHUNK = 250  # replicates at once: weights of 250 x N float64 stay in the cache's reach


def bootstrap_ratio(
    reference: Correct,
    target: Correct,
    same_clips: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate | None:
    """Target over reference, both bool (S, N) of the same seeds: rr with V, T / S1 with S1 as the reference.

    ``same_clips``: column i is the same clip in both, so both get the same weights. Where an accuracy is 0 or 1 nothing
    varies and the exact bounds of ``robustness_ratio`` are returned. None where the reference has no hit.
    """
    if reference.ndim != 2 or target.ndim != 2 or len(reference) != len(target):
        raise ValueError(f"expected (S, N) of the same S, got {reference.shape} and {target.shape}")
    if same_clips and reference.shape != target.shape:
        raise ValueError(f"the same clips need the same shape, got {reference.shape} and {target.shape}")
    means = float(reference.mean()), float(target.mean())
    if not (0 < means[0] < 1 and 0 < means[1] < 1):
        return robustness_ratio(reference, target, level)
    S = len(reference)
    seed_weights = _of_seeds(seed, SEED_STREAM, replicates, S)
    if same_clips:
        below, above = _replicates([reference, target], seed_weights, seed, REFERENCE_STREAM)
    else:
        (below,) = _replicates([reference], seed_weights, seed, REFERENCE_STREAM)
        (above,) = _replicates([target], seed_weights, seed, TARGET_STREAM)
    ratios = np.divide(above, below, out=np.full(replicates, np.inf), where=below > 0)
    return _between(means[1] / means[0], ratios, level, CLIPS if S == 1 else SEEDS_AND_CLIPS)


def bootstrap_difference(
    a: Correct, b: Correct, replicates: int = REPLICATES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Accuracy of A minus that of B, bool (S_a, N) and (S_b, N): the clips are the same, the seeds are not."""
    of_a, of_b = _of_models(a, b, replicates, seed, REFERENCE_STREAM)
    return _between(float(a.mean()) - float(b.mean()), of_a - of_b, level, _variance(a, b))


def bootstrap_ratio_of_ratios(
    val_a: Correct,
    target_a: Correct,
    val_b: Correct,
    target_b: Correct,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate | None:
    """rr of A over rr of B; A and B share the clips of both sets. None where one of the four accuracies is 0."""
    means = [float(each.mean()) for each in (val_a, target_a, val_b, target_b)]
    if min(means) == 0:
        return None
    V_a, V_b = _of_models(val_a, val_b, replicates, seed, REFERENCE_STREAM)
    T_a, T_b = _of_models(target_a, target_b, replicates, seed, TARGET_STREAM)
    above, below = T_a * V_b, V_a * T_b
    ratios = np.divide(above, below, out=np.full(replicates, np.inf), where=below > 0)
    value = means[1] * means[2] / (means[0] * means[3])
    return _between(value, ratios, level, _variance(val_a, val_b))


def _of_models(a: Correct, b: Correct, replicates: int, seed: int, stream: int) -> tuple[Floats, Floats]:
    """Accuracies (B,) of two models, under the same draws of clips and draws of seeds of their own."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"expected (S, N) of the same N, got {a.shape} and {b.shape}")
    (of_a,) = _replicates([a], _of_seeds(seed, SEED_STREAM, replicates, len(a)), seed, stream)
    (of_b,) = _replicates([b], _of_seeds(seed, OTHER_SEED_STREAM, replicates, len(b)), seed, stream)
    return of_a, of_b


def _of_seeds(seed: int, stream: int, replicates: int, S: int) -> Floats:
    return _weights(seed, stream, replicates, S) if S > 1 else np.ones((replicates, 1))


def _between(value: float, replicates: Floats, level: float, variance: str) -> Estimate:
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(value, float(low), float(high), variance)


def _variance(a: Correct, b: Correct) -> str:
    return SEEDS_AND_CLIPS if min(len(a), len(b)) > 1 else CLIPS


def _replicates(blocks: list[Correct], seed_weights: Floats, seed: int, stream: int) -> list[Floats]:
    """Weighted accuracies (B,) of each block (S, N); all blocks show the same clips."""
    S, N = blocks[0].shape
    values = np.stack(blocks).astype(np.float64).transpose(0, 2, 1)  # (K, N, S)
    parts = []
    for start in range(0, len(seed_weights), CHUNK):
        rows = seed_weights[start : start + CHUNK]  # (b, S)
        of_seed = _weights(seed, stream, len(rows), N, start) @ values  # (K, b, S)
        parts.append((of_seed * rows).sum(axis=-1) / (S * N))
    return list(np.concatenate(parts, axis=1))


def _weights(seed: int, stream: int, replicates: int, n: int, start: int = 0) -> Floats:
    """(B, n): how often each of ``n`` is drawn in ``n`` draws; rows ``start`` and on of the stream."""
    words = -(-n // 8) * 4  # a row takes whole blocks of the generator, of four 64-bit words, two draws each
    generator = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=start * words // 4)
    raw: NDArray[np.uint64] = generator.random_raw(replicates * words)
    halves = raw.astype("<u8").view("<u4").reshape(replicates, 2 * words)[:, :n].astype(np.uint64)
    drawn = (halves * np.uint64(n)) >> np.uint64(32)  # uniform on 0..n-1 up to n / 2^32
    cells = drawn.astype(np.int64) + n * np.arange(replicates)[:, None]
    return np.bincount(cells.ravel(), minlength=replicates * n).reshape(replicates, n).astype(np.float64)
