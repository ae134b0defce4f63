"""What can be released, a row a kind. Another kind is a module beside these and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.release import frames, masks, mini
from diving48_domains.release.contents import Contents
from diving48_domains.release.rebuild import Rebuilt, rebuild_clips, rebuild_domains, rebuild_frames
from tsgen.common.errors import unknown_name


@dataclass(frozen=True)
class Kind:
    """``card``: name in ``tsgen.common.cards``; ``name``: of the dataset; ``has_frames``: whether pictures are part of
    it, which are then rendered ones; ``needs_data``: whether clips are made again from videos that are not in it.

    ``describe``: everything in a folder, read and checked; ``lines``: the block ``release`` of the card from a
    manifest; ``rebuild(folder, data, number, workers, quiet)``: make clips again and compare.
    """

    card: str
    name: str
    version: str
    has_frames: bool
    needs_data: bool
    describe: Callable[[Path], Contents]
    lines: Callable[[Mapping[str, Any]], str]
    rebuild: Callable[..., Rebuilt]


KINDS: dict[str, Kind] = {
    "domains": Kind(
        "diving48_domains",
        "diving48-domains",
        "1.0.0",
        has_frames=False,
        needs_data=True,
        describe=masks.describe,
        lines=masks.lines,
        rebuild=rebuild_domains,
    ),
    "frames": Kind(
        "diver_frames",
        "diver-frames",
        "1.0.0",
        has_frames=True,
        needs_data=False,
        describe=frames.describe,
        lines=frames.lines,
        rebuild=rebuild_frames,
    ),
    "mini": Kind(
        "mini_diving48",
        "mini-diving48",
        "1.0.0",
        has_frames=True,
        needs_data=False,
        describe=mini.describe,
        lines=mini.lines,
        rebuild=rebuild_clips,
    ),
}


def kind_named(name: str) -> Kind:
    """UsageError for a name that is not in KINDS."""
    if name not in KINDS:
        raise unknown_name("kind", name, KINDS)
    return KINDS[name]
