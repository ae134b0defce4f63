"""Small data folders of videos: stores of frames as d48dom pack and d48dom build write them, of drawn clips."""

from __future__ import annotations

import numpy as np

from diving48_domains.framestore import StorePlan
from diving48_domains.manifest import ClipRecord
from diving48_domains.storewriter import StoreWriter, write_clip

T, SIDE = 16, 32
NAMES = ("a", "b", "c")


def frames_of(label: int, number: int, *, textured: bool, size: int = SIDE) -> np.ndarray:
    """Noise with the class as a colour, or noise alone."""
    frames = np.random.default_rng(number).integers(0, 60, (T, size, size, 3), dtype=np.uint8)
    if not textured:
        frames[..., label] += 150
    return frames


def write_store(path, ids, *, size=SIDE, textured=False, names=NAMES, **settings):
    """A store of the domain that the file is named by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = tuple(row % len(names) for row in range(len(ids)))
    said = {"class_names": list(names), "resize_rule": "none", **settings}
    plan = StorePlan(tuple(ids), labels, tuple(ids), T, size, size, said)
    with StoreWriter({path.stem: path}, plan, path.with_suffix(".journal")) as writer:
        for row, clip_id in enumerate(ids):
            frames = frames_of(labels[row], sum(clip_id.encode()) + row, textured=textured, size=size)
            fingerprint = write_clip(writer.slots[path.stem], row, frames)
            writer.record(
                ClipRecord(
                    clip_id, labels[row], clip_id, "written", row=row, num_frames=T, frame_indices=tuple(range(T)),
                    status=("detected",) * T, outputs={path.stem: fingerprint},
                )
            )  # fmt: skip
        writer.finish()
        writer.done()


def ids_of(name: str, n: int) -> list[str]:
    return [f"{name}{number:03d}" for number in range(n)]
