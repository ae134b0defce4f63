"""The exact interval of a proportion, for audits and accuracies alike."""

from __future__ import annotations

LEVEL = 0.95


def clopper_pearson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The Clopper-Pearson interval in [0, 1]: its coverage is at least ``level`` whatever the true value."""
    from scipy.special import betaincinv

    if not (n > 0 and 0 <= hits <= n):
        raise ValueError(f"{hits} hits of {n}")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high
