"""Under which terms a release may be used, in the words of its card: decided by where its digits come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsgen.common.errors import DataError
from tsgen.digits import EMBEDDED_SOURCE, MNIST

APACHE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
CC_BY_URL = "https://creativecommons.org/licenses/by/4.0/"


@dataclass(frozen=True)
class Terms:
    """``identifiers``: of the Hub's list, the clips' first. ``name``: what "other" among them is called there, else
    empty. ``urls``: of the licences that can be given. ``digits``: a paragraph on the digits. ``source``: where they
    come from, an address where there is one; None: no digits."""

    identifiers: tuple[str, ...]
    name: str
    urls: tuple[str, ...]
    digits: str
    source: str | None

    @property
    def front_matter(self) -> dict[str, Any]:
        """The fields that the Hub reads."""
        ids = self.identifiers
        named = {"license_name": self.name, "license_link": "LICENSE"} if "other" in ids else {}
        return {"license": ids[0] if len(ids) == 1 else list(ids), **named}


_DOTS = "Configs with dots show no digit and are under Apache-2.0 without exception."

TERMS: dict[str | None, Terms] = {
    None: Terms(("apache-2.0",), "", (APACHE_URL,), "No config of this release shows digits.", None),
    EMBEDDED_SOURCE: Terms(
        ("apache-2.0", "cc-by-4.0"),
        "",
        (APACHE_URL, CC_BY_URL),
        "The digits are the 1797 scans of UCI's Optical Recognition of Handwritten Digits, under CC BY 4.0, enlarged "
        "from 8x8 px: whoever passes on configs with digits credits them as ATTRIBUTION.md says. They are not MNIST's, "
        f"and look coarser. {_DOTS}",
        "https://doi.org/10.24432/C50P49",
    ),
    MNIST: Terms(
        ("other",),
        "apache-2.0-with-contested-mnist-digits",
        (APACHE_URL,),
        "The digits are MNIST's (Y. LeCun, C. Cortes, C. J. C. Burges), halved to 14x14 px. Their licence is "
        "contested: it is given as MIT on one hub and as CC BY-SA 3.0 elsewhere, so nothing is promised about them "
        f"here. Check which terms apply before you pass on configs with digits. {_DOTS}",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    "custom": Terms(
        ("other",),
        "apache-2.0-with-digits-of-the-builder",
        (APACHE_URL,),
        "The digits come from files of whoever built this release, under terms that this card does not know. Ask "
        f"before you pass on configs with digits. {_DOTS}",
        "digits of the builder's own",
    ),
}
"""By the digit source that a manifest names; None: no digits."""


def terms_of(manifest: Mapping[str, Any]) -> Terms:
    """The terms of a release. DataError for a digit source that is not in :data:`TERMS`."""
    source = manifest["digits_source"]
    if source not in TERMS:
        known = ", ".join(str(one) for one in TERMS)
        raise DataError(f"the manifest names the digit source {source!r}; known: {known}.")
    return TERMS[source]
