"""Numbers as they stand in tables."""

from __future__ import annotations

from benchmark.statistics import Estimate

MAX_PRINTED = 10  # an interval of rr that reaches so far says nothing, in however many digits


def value_text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def interval_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]" if estimate.high < MAX_PRINTED else f"[{estimate.low:.3f}, ∞)"


def points_text(estimate: Estimate | None) -> str:
    """Of a difference of accuracies: with its sign."""
    return "-" if estimate is None else f"{estimate.value:+.3f}"


def points_interval_text(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"
