"""The licence of what this distribution generates, for the folders that carry it."""

from __future__ import annotations

from importlib import metadata

from tsgen.common.errors import DataError

LICENCE = "Apache-2.0"
DISTRIBUTION = "recur-attend-convolve"


def licence_text() -> str:
    """The text of LICENCE, from the installed distribution. DataError when it is not there."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        text = None
    if not text or "Apache License" not in text:
        raise DataError(f"the licence text of {DISTRIBUTION} is not installed with it; install it with pip.")
    return text
