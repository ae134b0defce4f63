"""The texts of licence and attribution that a release carries. What they apply to is said in ``terms.py``."""

from __future__ import annotations

from importlib import metadata, resources

from tsgen.common.errors import DataError

CLIPS_LICENCE = "Apache-2.0"
DISTRIBUTION = "recur-attend-convolve"


def licence_text() -> str:
    """The text of CLIPS_LICENCE, from the installed distribution. DataError when it is not there."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        text = None
    if not text or "Apache License" not in text:
        raise DataError(f"the licence text of {DISTRIBUTION} is not installed with it; install it with pip.")
    return text


def attribution_text() -> str:
    """Who made the digits that come with tsgen."""
    return (resources.files("tsgen") / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
