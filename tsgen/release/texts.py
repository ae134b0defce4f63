"""The attribution that a release carries. What it applies to is said in ``terms.py``."""

from __future__ import annotations

from importlib import resources


def attribution_text() -> str:
    """Who made the digits that come with tsgen."""
    return (resources.files("tsgen") / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
