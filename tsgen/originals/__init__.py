"""The frames the authors published (doi:10.7910/DVN/EDVAIY): bring them, read them, compare them with our profiles."""

from __future__ import annotations

from tsgen.originals.archive import DOI, PublishedSet, download_original, find_sets, named_domain
from tsgen.originals.compare import Comparison, compare_original

__all__ = [
    "DOI",
    "Comparison",
    "PublishedSet",
    "compare_original",
    "download_original",
    "find_sets",
    "named_domain",
]
