"""What a clip file holds beyond its labels: repeats now; the shortcut audit grows here."""

from __future__ import annotations

from tsgen.clipfile import ClipSet, ContentHash


def count_repeated_clips(clip_set: ClipSet) -> int:
    """Clips whose frames equal those of an earlier clip of the file. The paper samples with replacement: they occur."""
    seen: set[bytes] = set()
    for _, block in clip_set.blocks():
        seen.update(ContentHash.leaf(clip) for clip in block)
    return len(clip_set) - len(seen)
