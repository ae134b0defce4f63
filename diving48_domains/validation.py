"""Which clips of a training list are held out to validate with (section 4.2: a tenth of it)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsgen.common.errors import UsageError, unknown_name

SPLIT_RULES = {
    "random": "clips, whatever video they are cut from: the paper's way, near copies of a clip may be on both sides",
    "source": "whole source videos: no clip of a validation video is trained on",
}
VAL_STREAM = 48  # separates the draw of the validation clips from any other use of the seed


def check_rule(share: float, by: str, seed: int) -> None:
    """UsageError for a draw that cannot be made."""
    if by not in SPLIT_RULES:
        raise unknown_name("rule of the validation split", by, SPLIT_RULES)
    if not (math.isfinite(share) and 0 < share < 1):
        raise UsageError(f"the validation share lies between 0 and 1, got {share}.")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed} is not possible; allowed: 0..2**63-1.")


def held_out(groups: Sequence[str], share: float, by: str, seed: int) -> list[bool]:
    """Which clips of a list validate; ``groups``: the source video of each.

    ``random`` holds out ``floor(share * N)`` clips, 1502 of the 15027 of V2; ``source`` draws source videos until they
    have as many. UsageError when one side would be empty.
    """
    wanted = math.floor(share * len(groups) + 1e-9)  # 0.29 * 100 is a little less than 29 in floating point
    units: Sequence[Any] = groups if by == "source" else range(len(groups))
    sizes, held = Counter(units), 0
    names = sorted(sizes)
    words = np.random.Philox(key=[seed, VAL_STREAM]).random_raw(len(names))
    chosen: set[Any] = set()
    for place in np.argsort(words, kind="stable").tolist():
        if held >= wanted:
            break
        chosen.add(names[place])
        held += sizes[names[place]]
    is_val = [unit in chosen for unit in units]
    if not 0 < held < len(groups):
        raise UsageError(
            f"a share of {share:g} of {len(groups)} clips leaves {len(groups) - held} to train on and {held} to "
            "validate with; give another --val-share."
        )
    return is_val
