"""What may be said of a number: rules by interval, never by the point alone."""

from __future__ import annotations

from benchmark.statistics.estimate import Estimate

DROPPED = "dropped"
NOT_DROPPED = "not dropped"
OPEN = "open"


def above_guessing(V: Estimate, chance: float, majority: float) -> bool:
    """The gate: V is above chance and above always answering the most frequent class, by its whole interval.

    Where it is not, rr and rr* mean nothing: a model that has learned nothing has rr = 1.
    """
    return V.low > max(chance, majority)


def asterisk(target_over_reference: Estimate | None) -> str:
    """Whether a low T / V may be read as a bias towards texture, from the interval of T / S1.

    The paper sets an asterisk on a low T / V that is not accompanied by T / S1 < 1: such a model drops everywhere, not
    where the texture is all that is left. "dropped": the interval is below 1, no asterisk. "not dropped": it is above
    1, an asterisk. "open": it holds 1 or does not exist, so T / S1 < 1 is not shown; an asterisk with a question mark.
    """
    if target_over_reference is None or target_over_reference.low <= 1 <= target_over_reference.high:
        return OPEN
    return DROPPED if target_over_reference.high < 1 else NOT_DROPPED
