"""What ``d48dom segment`` keeps while it works: a part for each clip, and whose parts they are."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diving48_domains.instance_file import InstanceFile, decode_clip
from diving48_domains.instances import ClipInstances
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_path, locked, write_json_atomic

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A clip's part as :func:`encode_clip` gives it, and what was wrong with its video; or why it is left out."""

    part: bytes = b""
    damage: str = ""
    problem: str = ""


@contextlib.contextmanager
def open_parts(parts: Path, facts: dict[str, Any], force: bool) -> Iterator[None]:
    """Make the folder of parts, or find it begun by the same run; no other process works on it within the block.

    UsageError where another process does, or where the parts are of another run, which ``force`` removes.
    """
    try:
        parts.mkdir(exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{parts} is a file, where the parts of --out should gather; give another --out.") from None
    with locked(parts):
        if not is_begun_by(parts, facts):
            # A run killed between making the folder and naming itself leaves nothing in it, or the half of a name.
            if not force and not all(one.name.startswith(f".{RUN_FILE}.") for one in parts.iterdir()):
                raise UsageError(_other_parts(parts, facts))
            for one in parts.iterdir():
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
            write_json_atomic(parts / RUN_FILE, facts)
        yield


def is_begun_by(parts: Path, facts: dict[str, Any]) -> bool:
    """Are the parts of the run of these facts?"""
    return bool(_begun_with(parts) == facts)


def made_before(out: Path) -> dict[str, Any] | None:
    """What ``segment`` returns of a file that is there; None where there is none, or something else."""
    if not out.is_file():
        return None
    try:
        with InstanceFile(out) as file:
            count = len(file)
            return {
                "clips": count,
                "resumed": count,
                "was_there": True,
                "content_hash": file.content_hash,
                "facts": file.facts,
            }
    except DataError:
        return None


def check_same(out: Path, there: dict[str, Any], facts: dict[str, Any]) -> None:
    """UsageError unless the file of the facts ``there`` is of the run of these ``facts``."""
    decided = {"skipped", "partial"}  # by the videos
    differing = sorted(key for key in (there.keys() | facts.keys()) - decided if there.get(key) != facts.get(key))
    if differing == ["shard"]:
        raise UsageError(
            f"--out {out} exists and is of {_shard_name(there)}, this run of {_shard_name(facts)}; each shard needs an "
            "--out of its own. --force replaces it."
        )
    if differing:
        raise UsageError(
            f"--out {out} exists and is of another run: they differ in {', '.join(differing)}; give another name or "
            "add --force to replace it."
        )


def part_path(parts: Path, clip_id: str) -> Path:
    return parts / f"{clip_id}.part"


def note_path(parts: Path, clip_id: str) -> Path:
    return parts / f"{clip_id}.damage.json"


def read_part(parts: Path, clip_id: str) -> ClipInstances:
    path = part_path(parts, clip_id)
    clip = decode_clip(path.read_bytes(), str(path))
    if clip.clip_id != clip_id:
        raise DataError(f"{path} holds clip {clip.clip_id!r}; delete it and run again.")
    return clip


def write_part(parts: Path, clip_id: str, made: Made) -> None:
    if made.damage:  # first, so that a part whose video was damaged is never without its note
        write_json_atomic(note_path(parts, clip_id), made.damage)
    with atomic_path(part_path(parts, clip_id)) as partial:
        partial.write_bytes(made.part)


def _begun_with(parts: Path) -> Any:
    """The facts of the run that began the parts; None where nobody can tell."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((parts / RUN_FILE).read_text(encoding="utf-8"))
    return None


def _other_parts(parts: Path, facts: dict[str, Any]) -> str:
    begun = _begun_with(parts)
    if isinstance(begun, dict) and begun | {"shard": facts["shard"]} == facts:
        return (
            f"{parts} holds parts of {_shard_name(begun)}, this run is of {_shard_name(facts)}; each shard needs an "
            "--out of its own. --force starts over."
        )
    return (
        f"{parts} holds parts of a run with another segmenter, list or options; repeat that run to finish it, "
        "or add --force to start over."
    )


def _shard_name(facts: dict[str, Any]) -> str:
    return f"shard {facts['shard']}" if facts.get("shard") else "the whole list"
