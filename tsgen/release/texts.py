"""The files about a release: licence, attribution and card, from its manifest alone. Croissant also needs the hashes.

Equal manifests give equal texts, by which they are verified.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from importlib import resources
from typing import Any

from tsgen.common.licence import licence_text
from tsgen.digits import EMBEDDED_SOURCE
from tsgen.release.card import CARD_WIDTH, render_card
from tsgen.release.folder import ATTRIBUTION_FILE, CARD_FILE, LICENSE_FILE
from tsgen.release.terms import terms_of


def texts_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """File -> its text. DataError where the manifest names what this version does not know."""
    return {
        LICENSE_FILE: license_of(manifest),
        ATTRIBUTION_FILE: attribution_of(manifest),
        CARD_FILE: render_card(manifest),
    }


def license_of(manifest: Mapping[str, Any]) -> str:
    """The text of the licence, before it the terms of the digits where they have others that are no known licence."""
    terms = terms_of(manifest)
    if not terms.name:
        return licence_text()
    return (
        f"{_wrapped(terms.digits)}\n\nAll else in this release is under the Apache License, which follows.\n\n"
        f"{'-' * CARD_WIDTH}\n\n{licence_text()}"
    )


def attribution_of(manifest: Mapping[str, Any]) -> str:
    """Who made the digits that this release shows."""
    terms = terms_of(manifest)
    if manifest["digits_source"] == EMBEDDED_SOURCE:
        shipped = (resources.files("tsgen") / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
        about = next(part for part in shipped.split("\n## ") if part.startswith("uci_digits"))
        return f"# Attribution\n\n{_wrapped(terms.digits)}\n{about.partition(chr(10))[2].rstrip()}\n"
    source = f"\n\nSource: {terms.source}." if terms.source else ""
    return f"# Attribution\n\n{_wrapped(terms.digits)}{source}\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, CARD_WIDTH, break_long_words=False, break_on_hyphens=False)
