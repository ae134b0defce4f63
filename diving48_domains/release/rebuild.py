"""Clips of a release made again: rendered ones from their recipe, domains from one's own videos with the masks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diving48_domains.annotations import VIDEO_FOLDER, ClipEntry, open_folder, write_list
from diving48_domains.build import build
from diving48_domains.build_options import options_of
from diving48_domains.instance_file import InstanceFile, decode_clip, encode_clip
from diving48_domains.instances import ClipInstances
from diving48_domains.labels import read_picture
from diving48_domains.manifest import ClipRecord, read_manifest
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini.dataset import JOINTS_FILE, TRUTH_FILE
from diving48_domains.mini.joints_file import read_joints
from diving48_domains.mini.parts import LABELS_FOLDER, PARTS_FOLDER, Task, make_part, plan_tasks
from diving48_domains.release.contents import INSTANCES_FILE
from diving48_domains.release.mini import recipe_of
from diving48_domains.sampling import uniform_indices
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file


@dataclass(frozen=True)
class Rebuilt:
    """``clips``: how many were made again; ``problems``: what differs, apart from encoded files; ``encoded``: clips of
    which encoded files alone differ, as other versions of the encoder make them."""

    clips: int
    problems: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()


def rebuild_clips(folder: Path, data: Path | None, number: int | None, workers: int | None, quiet: bool) -> Rebuilt:
    """Render ``number`` clips, evenly spread (None: all), of a mini-Diving48 and compare masks, joints and videos."""
    config, rows = recipe_of(folder)
    tasks = [replace(task, labelled_for="", num_labelled=0) for task in plan_tasks(config)]
    chosen = _spread(tasks, number)
    ids = {(row["split"], row["index"]): str(row["clip_id"]) for row in rows}
    problems: list[str] = []
    encoded: list[str] = []
    with tempfile.TemporaryDirectory() as place, InstanceFile(folder / TRUTH_FILE) as truth:
        for task in _made(Path(place), config, chosen, workers, quiet):
            clip_id = ids[task.split, task.index]
            part = Path(place) / PARTS_FOLDER / task.stem
            video = f"{VIDEO_FOLDER}/{clip_id}.mp4"
            made = decode_clip(part.with_suffix(".instances").read_bytes(), part.name)
            if _masks(made) != _masks(truth.read(clip_id)):
                problems.append(f"{TRUTH_FILE}: the recipe gives other masks for clip {clip_id}.")
            joints = np.load(part.with_suffix(".npy"), allow_pickle=False)
            if not np.array_equal(joints, np.concatenate(read_joints(folder / JOINTS_FILE, clip_id), axis=-1)):
                problems.append(f"{JOINTS_FILE}: the recipe gives other joints for clip {clip_id}.")
            if sha256_file(Path(place) / video) != sha256_file(folder / video):
                encoded.append(video)
    return Rebuilt(len(chosen), tuple(problems), tuple(encoded))


def rebuild_frames(folder: Path, data: Path | None, number: int | None, workers: int | None, quiet: bool) -> Rebuilt:
    """Render ``number`` labelled clips (None: all) and compare frames and masks, pixel by pixel.

    Frames are decoded from compressed videos, so they depend on the encoder; masks do not.
    """
    config, _ = recipe_of(folder)
    chosen = _spread([task for task in plan_tasks(config) if task.labelled_for], number)
    problems: list[str] = []
    encoded: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        for _ in _made(Path(place), config, chosen, workers, quiet):
            pass
        for path in sorted((Path(place) / LABELS_FOLDER).rglob("*.png")):
            name = path.relative_to(place).as_posix()
            if not (folder / name).is_file():
                problems.append(f"{name}: the recipe labels this frame, the release has it not.")
            elif not np.array_equal(read_picture(path), read_picture(folder / name)):
                (encoded if path.parent.name == "images" else problems).append(f"{name}")
    return Rebuilt(len(chosen), tuple(problems), tuple(encoded))


def rebuild_domains(folder: Path, data: Path | None, number: int | None, workers: int | None, quiet: bool) -> Rebuilt:
    """Build ``number`` clips (None: all) of each manifest from the videos in ``data`` with the released masks, and
    compare what the manifest says of them: frames, statuses and the fingerprint of every domain."""
    if data is None:
        raise UsageError("the videos are not in the release; name the folder with yours, --data DIVING48.")
    diving = open_folder(data)
    clips = 0
    problems: list[str] = []
    encoded: list[str] = []
    for path in sorted(folder.glob("manifests/*/*.jsonl")):
        manifest = read_manifest(path)
        header = manifest.header
        split, name = str(header["split"]), path.relative_to(folder).as_posix()
        chosen = _spread([clip for clip in manifest.clips if clip.outcome == "written"], number)
        absent = [clip.clip_id for clip in chosen if diving.find_video(clip.clip_id) is None]
        if absent:
            raise DataError(f"{data} has no video of {len(absent)} of {len(chosen)} clips of {name}, as {absent[0]}.")
        if not chosen:
            continue
        options = options_of(header["parameters"])
        with tempfile.TemporaryDirectory() as place:
            listed = Path(place) / "list.json"
            write_list(listed, [ClipEntry(clip.clip_id, clip.label) for clip in chosen])
            report = build(
                replace(diving, lists={split: listed}),
                split,
                folder / INSTANCES_FILE,
                Path(place) / "out",
                options,
                engine=EngineOptions(workers=workers),
                quiet=quiet,
            )
        for mine, theirs in zip(chosen, report.manifest.clips, strict=True):
            is_encoded = options.form != "hdf5"
            differing = _differing(mine, theirs)
            if differing == ["outputs"] and is_encoded:
                encoded.append(f"{name}, clip {mine.clip_id}")
            elif differing:
                problems.append(f"{name}: clip {mine.clip_id} comes out otherwise: {', '.join(differing)}.")
        clips += len(chosen)
    return Rebuilt(clips, tuple(problems), tuple(encoded))


def _differing(mine: ClipRecord, theirs: ClipRecord) -> list[str]:
    """Fields of the record, but for where the clip lies."""
    one, other = mine.to_json(), theirs.to_json()
    return [name for name in one if name not in ("row", "source") and one[name] != other[name]]


def _made(place: Path, config: MiniConfig, tasks: Sequence[Task], workers: int | None, quiet: bool) -> Iterator[Task]:
    """The parts of clips under ``place``, each as it is finished."""
    from tqdm import tqdm

    for name in (PARTS_FOLDER, VIDEO_FOLDER):
        (place / name).mkdir()
    finished = run_units(Work(partial(make_part, place, config)), tasks, EngineOptions(workers=workers))
    with tqdm(total=len(tasks), desc="rebuild", unit="clip", disable=True if quiet else None) as bar:
        for task, _ in results(finished, lambda task: task.stem):
            yield task
            bar.update()


def _masks(clip: ClipInstances) -> bytes:
    """All of a clip but the hash of its video, which depends on the encoder."""
    return encode_clip(replace(clip, source_sha256=""))


def _spread(items: Sequence[Any], number: int | None) -> list[Any]:
    if number is None or number >= len(items):
        return list(items)
    return [items[place] for place in uniform_indices(len(items), number).tolist()]
