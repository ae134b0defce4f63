"""What the clip files of a release hold, every value read: the check of a file, and the clips that occur twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgen.audit.view import row_digests
from tsgen.clipfile import COLUMNS, ContentHash
from tsgen.clipset import ClipSet
from tsgen.common.errors import DataError
from tsgen.recipe import Recipe
from tsgen.vocabulary import SPLITS


@dataclass(frozen=True)
class Content:
    """A clip file of N clips. Digests are 16-byte values (N,): of all pixels, and of the drawn boxes in order."""

    content_hash: str
    n_of_class: dict[str, int]
    frame_digest: NDArray[np.void]
    path_digest: NDArray[np.void]


Contents = dict[tuple[str, str], Content]
"""Of the clip file of each (configuration, split)."""


def read_content(clip_set: ClipSet, recipe: Recipe) -> Content:
    """Read every value of a clip file. DataError when its recipe is not ``recipe``, or its values not the recorded."""
    if clip_set.recipe != recipe.to_json() or len(clip_set) != recipe.n:
        raise DataError(f"{clip_set.path} was made from another recipe.")
    leaves: list[bytes] = []
    for _, block in clip_set.blocks():
        leaves += [ContentHash.leaf(clip) for clip in block]
    columns = {name: clip_set.column(name) for name in COLUMNS}
    content = ContentHash(clip_set.recipe)
    content.update(leaves, columns)
    content_hash = content.hexdigest()
    if content_hash != clip_set.content_hash:
        raise DataError(f"{clip_set.path} was changed or damaged after it was made: its content hash is another.")
    counts = np.bincount(clip_set.labels, minlength=len(clip_set.class_names)).tolist()
    return Content(
        content_hash,
        dict(zip(clip_set.class_names, counts, strict=True)),
        np.frombuffer(b"".join(leaves), dtype="V16"),
        row_digests(np.nan_to_num(columns["boxes"], nan=-1).astype(np.int64)),
    )


def duplicates(contents: dict[str, Content]) -> dict[str, dict[str, int]]:
    """Clips of a configuration that occur twice, by split.

    ``repeated_in`` counts those that equal an earlier clip of their split; ``shared_frames`` ("val in train") those
    whose pixels all equal a clip's of another split, ``shared_paths`` those whose drawn boxes do, frame by frame.
    """
    pairs = [(SPLITS[later], SPLITS[earlier]) for later in range(len(SPLITS)) for earlier in range(later)]

    def shared(digest: dict[str, NDArray[np.void]]) -> dict[str, int]:
        return {f"{one} in {other}": int(np.isin(digest[one], digest[other]).sum()) for one, other in pairs}

    frames = {split: content.frame_digest for split, content in contents.items()}
    return {
        "repeated_in": {split: len(digest) - len(np.unique(digest)) for split, digest in frames.items()},
        "shared_frames": shared(frames),
        "shared_paths": shared({split: content.path_digest for split, content in contents.items()}),
    }
