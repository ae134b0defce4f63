"""Temporal Shape: a bit-exact generator of clips whose class lies in motion alone (section 3.2).

``tsgen.make(...)`` writes a clip file, ``tsgen.open_clips(path)`` opens one. Importing this package imports
neither NumPy nor numba; the names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tsgen.common import VERSION as __version__  # noqa: N811

if TYPE_CHECKING:
    from tsgen.clipset import ClipSet, open_clips
    from tsgen.domains import DOMAINS, Domain
    from tsgen.generate import make
    from tsgen.recipe import Recipe
    from tsgen.torch_data import StreamingTemporalShapes, TemporalShapes

_WHERE = {
    "ClipSet": "tsgen.clipset",
    "open_clips": "tsgen.clipset",
    "DOMAINS": "tsgen.domains",
    "Domain": "tsgen.domains",
    "make": "tsgen.generate",
    "Recipe": "tsgen.recipe",
    "StreamingTemporalShapes": "tsgen.torch_data",
    "TemporalShapes": "tsgen.torch_data",
}
__all__ = [
    "DOMAINS",
    "ClipSet",
    "Domain",
    "Recipe",
    "StreamingTemporalShapes",
    "TemporalShapes",
    "__version__",
    "make",
    "open_clips",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'tsgen' has no attribute {name!r}")
