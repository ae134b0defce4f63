"""The frames of drawn clips, from the stores of a data folder; only those clips are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.qualitative.answers import Answered
from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from diving48_domains.framestore import FrameStore

FRAMES = 4


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """One clip. ``frames``: domain -> uint8 (F, H, W, 3); ``indices``: their numbers in the decoded video."""

    name: str
    indices: tuple[int, ...]
    frames: dict[str, NDArray[np.uint8]]


class ClipStores:
    """The stores of the domains that the models answered, opened once.

    UsageError where ``folder`` is none or holds other clips than were answered; DataError for stores that are damaged.
    """

    def __init__(self, folder: Path, answered: Answered) -> None:
        from benchmark.submission.key_file import id_of_name
        from benchmark.video_data import store_paths
        from diving48_domains.framestore import open_store

        if not folder.is_dir():
            raise UsageError(f"--data {folder} is not a folder; give the one that the runs were trained on.")
        paths = store_paths(folder)
        missing = [domain for domain in answered.hashes if domain not in paths]
        if missing:
            raise UsageError(f"--data {folder} holds no {', '.join(missing)}; give the folder of the runs.")
        self.stores: dict[str, FrameStore] = {domain: open_store(paths[domain]) for domain in answered.hashes}
        others = [name for name, store in self.stores.items() if store.content_hash != answered.hashes[name]]
        if others:
            raise UsageError(
                f"--data {folder} holds other clips of {', '.join(others)} than the models answered; give the folder "
                "the runs were trained on."
            )
        self._rows = {
            domain: {id_of_name(name): row for row, name in enumerate(store.ids)}
            for domain, store in self.stores.items()
        }

    def read(self, clip_ids: Sequence[int], count: int = FRAMES) -> list[ClipFrames]:
        """``count`` frames of each clip, evenly spaced. DataError where one is missing or not as it was written."""
        return [self._clip(clip_id, count) for clip_id in clip_ids]

    def _clip(self, clip_id: int, count: int) -> ClipFrames:
        from diving48_domains.framestore import fingerprint

        missing = [domain for domain, rows in self._rows.items() if clip_id not in rows]
        if missing:
            raise DataError(f"clip {clip_id} is missing in the stores of {', '.join(missing)}; build them again.")
        rows = {domain: rows[clip_id] for domain, rows in self._rows.items()}
        first, row = next((self.stores[domain], row) for domain, row in rows.items())
        moments = evenly_spaced(first.clip_shape[0], count)
        frames = {}
        for domain, place in rows.items():
            store = self.stores[domain]
            clip = store.clip(place)
            if fingerprint(clip) != store.fingerprints[place].tobytes().hex():
                raise DataError(f"clip {store.ids[place]} of {domain} is damaged; build the store again.")
            frames[domain] = clip[moments]
        return ClipFrames(first.ids[row], tuple(first.frame_indices[row, moments].tolist()), frames)


def evenly_spaced(num_frames: int, count: int) -> NDArray[np.int64]:
    """int64 (min(count, T),): the middles of as many equal parts of a clip."""
    parts = min(count, num_frames)
    return ((2 * np.arange(parts) + 1) * num_frames) // (2 * parts)
