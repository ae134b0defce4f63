"""The profiles: which classes a data set has and by what law they move. A domain says how that looks.

``paper``      the text of the paper; the default.
``dataverse``  the published data with its quirks, only for comparison with old results.
``strict``     the five shapes with start, visited area and frame count matched across classes.
``order``      a path against its own reversal: nothing but temporal order tells the classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from tsgen.common.errors import unknown_name
from tsgen.vocabulary import CLASS_NAMES


@dataclass(frozen=True)
class Profile:
    """What a profile changes.

    ``motion`` names a row of ``sampling.MOTIONS``. ``clips_per_draw`` consecutive clips share their random choices.
    ``balanced_classes``: classes as evenly as n allows, else drawn independently. ``dots_are_transposed``: a dot's x is
    the row. ``dots_vanish``: a dot whose x or y truncates to 0 is not drawn in that frame. ``promises``: rows of
    ``tsgen audit`` that tell nothing about the class, by construction; "splits": no path occurs in two of them.
    """

    motion: str
    class_names: tuple[str, ...] = CLASS_NAMES
    clips_per_draw: int = 1
    balanced_classes: bool = True
    dots_are_transposed: bool = False
    dots_vanish: bool = False
    promises: tuple[str, ...] = ()


PROFILES: dict[str, Profile] = {
    "paper": Profile("published"),
    "dataverse": Profile("published", balanced_classes=False, dots_are_transposed=True, dots_vanish=True),
    # The enclosing circle of the exact path is matched as well; cutting it to whole pixels adds up to a pixel to those
    # of paths with many points on the rim, which the audit sees.
    "strict": Profile("shapes", promises=("blank", "places", "start", "first frame", "ink", "look", "splits")),
    "order": Profile(
        "order",
        class_names=("forward", "reversed"),
        clips_per_draw=2,
        promises=(
            *("blank", "enclosing circle", "extent", "places", "start", "end", "mean place"),
            *("first frame", "last frame", "ink", "look", "set of places", "shuffled", "time-max", "time-mean"),
            "splits",
        ),
    ),
}


def get_profile(name: str) -> Profile:
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
