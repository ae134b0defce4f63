"""joints.h5: where every joint of every diver is, in pixels and in metres.

``px`` float32 (rows, 21, 2) in the frame's pixels (they may lie outside it), ``metres`` float32 (rows, 21, 3) in the
choreography's world. A row is one diver in one frame: all frames of a clip's first diver, then those of the second.
Clip i's rows are ``clips/start[i]`` to ``clips/start[i + 1]``; ``clips/id`` and ``clips/num_divers`` say whose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini.skeleton import JOINTS
from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.h5write import create_hdf5

AXES = {"px": 2, "metres": 3}


class JointsHead(NamedTuple):
    """Whose joints: D = ``num_divers`` over T = ``num_frames`` of one clip."""

    clip_id: str
    num_divers: int
    num_frames: int


def table_names() -> set[str]:
    """All groups and tables that a joints file has, and no other."""
    return {*AXES, "clips", "clips/id", "clips/num_divers", "clips/start"}


def write_joints(path: Path, heads: Sequence[JointsHead], clips: Iterable[NDArray[np.float32]]) -> None:
    """Write the file, whole or not at all; ``clips``: for each head the joints (D, T, 21, 5), pixels before metres."""
    starts = np.cumsum([0, *(head.num_divers * head.num_frames for head in heads)]).astype(np.int64)
    rows, num_joints = int(starts[-1]), len(JOINTS)
    with atomic_path(path) as partial, create_hdf5(partial) as (file, sink):
        for name, axes in AXES.items():
            chunks = (min(1024, rows), num_joints, axes)
            file.create_dataset(name, (rows, num_joints, axes), "<f4", chunks=chunks, compression="gzip", shuffle=True)
        for start, joints in zip(starts[:-1], clips, strict=True):
            flat = joints.reshape(-1, num_joints, sum(AXES.values()))
            file["px"][start : start + len(flat)] = flat[..., : AXES["px"]]
            file["metres"][start : start + len(flat)] = flat[..., AXES["px"] :]
            sink.check()
        # Assignment (file["clips/id"] = ...) would date the group, and equal content would not be equal bytes.
        file.create_dataset("clips/id", data=np.array([head.clip_id.encode() for head in heads]))
        file.create_dataset("clips/num_divers", data=np.array([head.num_divers for head in heads], dtype="<i4"))
        file.create_dataset("clips/start", data=starts)
        file.attrs["joints"] = ",".join(JOINTS)


def read_joints(path: Path | str, clip_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixels (D, T, 21, 2) and metres (D, T, 21, 3) of a clip. DataError for another clip or a damaged file."""
    path = Path(path)
    with open_guarded(path) as file, reading(path):
        ids = [one.decode() for one in file["clips/id"][...].tolist()]
        if clip_id not in ids:
            raise DataError(f"{path} holds no clip {clip_id!r}; it holds {len(ids)} clips.")
        place = ids.index(clip_id)
        start, end = file["clips/start"][place : place + 2].tolist()
        divers = int(file["clips/num_divers"][place])
        px, metres = (
            file[name][start:end].reshape(divers, -1, len(JOINTS), axes).astype(np.float32, copy=False)
            for name, axes in AXES.items()
        )
    return px, metres
