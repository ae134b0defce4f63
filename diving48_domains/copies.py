"""The same video file under two names: a leak from training into a test that no list shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tqdm import tqdm

from diving48_domains.clip_build import Job
from diving48_domains.clip_list import TRAIN, VAL, listing
from tsgen.common.errors import DataError

ROLES = {TRAIN: 0, VAL: 1}
TARGET = 2


def refuse_copies(lists: Mapping[str, Sequence[Job]], drop: bool, quiet: bool) -> dict[str, tuple[Job, ...]]:
    """The jobs of each split, those refused whose file is, byte for byte, in one that comes later.

    Training comes before validation, validation before all targets: what is tested with stays whole. Copies within a
    split and between targets leak nothing. DataError naming them unless ``drop``. Files are hashed only where one of
    another role has as many bytes.
    """
    found = [
        (ROLES.get(name, TARGET), name, job, job.video.stat().st_size)
        for name, jobs in lists.items()
        for job in jobs
        if job.video.is_file()
    ]
    roles_of: dict[int, set[int]] = {}
    for role, _, _, size in found:
        roles_of.setdefault(size, set()).add(role)
    alike = [one for one in found if len(roles_of[one[3]]) > 1]
    hashes = [
        job.sha256()
        for _, _, job, _ in tqdm(alike, desc="look for copies", unit="clip", disable=True if quiet else None)
    ]
    latest: dict[str, tuple[int, str, str]] = {}
    for (role, name, job, _), sha256 in zip(alike, hashes, strict=True):
        if sha256 not in latest or latest[sha256][0] < role:
            latest[sha256] = (role, name, job.clip_id)
    refused = {
        (name, job.row): f"its video {job.source} is, byte for byte, that of {other} in {split}"
        for (role, name, job, _), sha256 in zip(alike, hashes, strict=True)
        for later, split, other in [latest[sha256]]
        if role < later
    }
    if refused and not drop:
        named = [f"{lists[name][row].clip_id} in {name}: {why}" for (name, row), why in refused.items()]
        head = (
            f"{len(named)} clips are also in a split that they must not be in; remove one of the two, or let "
            "--on-bad-clip drop leave these out:"
        )
        raise DataError(listing(head, named))
    return {
        name: tuple(replace(job, refused=refused.get((name, job.row), "")) for job in jobs)
        for name, jobs in lists.items()
    }
