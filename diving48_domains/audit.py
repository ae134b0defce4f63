"""What lies in a Diving48 folder: its lists checked against each other, every listed video decoded once and hashed."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diving48_domains.annotations import VIDEO_FOLDER, VIDEO_SUFFIXES, ClipEntry, DivingFolder, source_id
from diving48_domains.decoding import require_av
from diving48_domains.sampling import FRAMES_PER_CLIP
from diving48_domains.video import DamagedVideo, read_frames
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.engine import EngineOptions, Work, results, run_units
from tsgen.common.files import sha256_file

USUAL_RATES = (25.0, 30.0, 60.0)
"""Frames/s of the published clips."""
RATE_TOLERANCE = 0.005  # 29.97 is 30
JITTER_LIMIT = 0.5
"""A step of time this share longer or shorter than the median step makes the rate variable."""

PROBLEMS: dict[str, str] = {
    "missing": "listed, but no file",
    "unreadable": "not one frame decodes",
    "partial": "decodes up to some damage",
    "short": f"fewer than {FRAMES_PER_CLIP} frames, so frames repeat",
    "odd rate": f"mean rate is none of {', '.join(f'{rate:g}' for rate in USUAL_RATES)} frames/s",
    "variable rate": "frames are not evenly spaced in time",
    "other size": "frames differ in size from most clips",
    "other count": "decodes to another number of frames than the list says",
    "duplicate": "another listed clip has the same bytes",
    "in several lists": "listed in more than one split",
    "spanning group": "its source video is in train and in another list",
}
DAMAGE = ("missing", "unreadable", "partial")
FAIL_ON: dict[str, tuple[str, ...]] = {"none": (), "damage": DAMAGE, "any": tuple(PROBLEMS)}


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """One video as decoded. ``outcome``: "ok", "partial", or a reason of decoding.REASONS; ``jitter``: the largest
    deviation of a time step from the median step, as a share of it; sizes in px, ``fps`` 0 where nothing decodes."""

    file: str
    num_bytes: int
    sha256: str
    outcome: str
    message: str
    num_frames: int
    fps: float
    height: int
    width: int
    jitter: float


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. ``lists``: split -> its entries; ``videos``: clip id -> facts, None where no file is;
    ``problems``: a key of PROBLEMS -> the clips, sorted; ``unlisted``: videos in no list (the archive has 1 407)."""

    root: Path
    lists: dict[str, tuple[ClipEntry, ...]]
    videos: dict[str, VideoFacts | None]
    problems: dict[str, tuple[str, ...]]
    unlisted: int

    def failing(self, fail_on: str) -> tuple[str, ...]:
        """The kinds of problem found among those that ``fail_on`` (a key of FAIL_ON) names."""
        return tuple(kind for kind in FAIL_ON[fail_on] if self.problems.get(kind))

    def class_counts(self, split: str) -> list[int]:
        """Clips a class, 48 numbers in index order."""
        counts = Counter(entry.label for entry in self.lists[split])
        return [counts[label] for label in range(len(DIVE_CLASSES))]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "d48dom-audit-1",
            "lists": {
                split: {
                    "clips": len(entries),
                    "class_counts": self.class_counts(split),
                    "groups": len(_groups(entries)),
                }
                for split, entries in self.lists.items()
            },
            "problems": {kind: list(self.problems.get(kind, ())) for kind in PROBLEMS},
            "unlisted_videos": self.unlisted,
            "videos": {clip: facts and asdict(facts) for clip, facts in self.videos.items()},
        }

    def text(self, most: int = 5) -> str:
        """For reading: lists, what the videos are like, then each kind of problem with its first ``most`` clips."""
        lines = []
        for split, entries in self.lists.items():
            counts = [count for count in self.class_counts(split) if count]
            lines.append(
                f"{split:<6} {len(entries)} clips, {len(_groups(entries))} source videos, {len(counts)} classes of "
                f"{min(counts)} to {max(counts)} clips"
            )
        known = [facts for facts in self.videos.values() if facts and facts.num_frames]
        if known:
            frames = np.array([facts.num_frames for facts in known])
            rates = _tally(f"{facts.fps:.3g}" for facts in known)
            sizes = _tally(f"{facts.width}x{facts.height}" for facts in known)
            lines.append(
                f"videos {len(known)} decode: {frames.min()} to {frames.max()} frames (mean {frames.mean():.1f})"
            )
            lines += [f"rates  {rates} frames/s", f"sizes  {sizes} px"]
        lines.append(f"others {self.unlisted} videos in no list")
        found = [kind for kind in PROBLEMS if self.problems.get(kind)]
        lines.append("no problems" if not found else "problems")
        for kind in found:
            clips = self.problems[kind]
            more = f" and {len(clips) - most} more" if len(clips) > most else ""
            lines.append(f"  {kind} ({len(clips)}): {PROBLEMS[kind]}: {', '.join(clips[:most])}{more}")
            if kind in ("unreadable", "partial"):
                told = [self.videos[clip] for clip in clips[:most]]
                lines += [f"    {facts.file}: {facts.outcome}: {facts.message}" for facts in told if facts]
        return "\n".join(lines)


def audit_folder(folder: DivingFolder, workers: int | None = 1) -> Audit:
    """Read all lists, then decode and hash every listed video once, ``workers`` at a time in processes of their own.

    Raises DataError for a damaged list, and UnitsFailed naming the videos that end a process; damaged videos are
    findings, not errors.
    """
    require_av()
    lists = {split: folder.entries(split) for split in folder.splits}
    clips = sorted({entry.clip_id for entries in lists.values() for entry in entries})
    paths = {clip: folder.find_video(clip) for clip in clips}
    there = [(clip, path) for clip, path in paths.items() if path is not None]
    videos: dict[str, VideoFacts | None] = dict.fromkeys(clips)
    finished = run_units(Work(_examine), there, EngineOptions(workers=workers))
    examined = results(finished, lambda unit: unit[0])
    for (clip, _), facts in tqdm(examined, total=len(there), unit="video", disable=None):
        videos[clip] = facts
    listed = {path.name for _, path in there}
    on_disk = {path.name for path in (folder.root / VIDEO_FOLDER).iterdir() if path.suffix in VIDEO_SUFFIXES}
    return Audit(folder.root, lists, videos, find_problems(lists, videos), len(on_disk - listed))


def examine(path: Path) -> VideoFacts:
    """Decode one video without converting a frame. Damage is told in ``outcome`` and ``message``, not raised."""
    facts = functools.partial(VideoFacts, path.name, path.stat().st_size, sha256_file(path))
    try:
        video = read_frames(path, (), on_damage="keep")
    except DamagedVideo as problem:
        return facts(problem.reason, problem.detail, 0, 0.0, 0, 0, 0.0)
    height, width = video.size
    steps = np.diff(video.times_s)
    middle = float(np.median(steps)) if len(steps) else 0.0
    jitter = float(np.abs(steps / middle - 1).max()) if middle > 0 else 0.0
    return facts(video.outcome, video.message, video.num_frames, video.fps, height, width, jitter)


def find_problems(
    lists: dict[str, tuple[ClipEntry, ...]], videos: dict[str, VideoFacts | None]
) -> dict[str, tuple[str, ...]]:
    """A key of PROBLEMS -> the clips it holds for, sorted; keys without clips are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    by_hash: dict[str, list[str]] = defaultdict(list)
    decoded = {clip: facts for clip, facts in videos.items() if facts and facts.num_frames}
    sizes = Counter((facts.height, facts.width) for facts in decoded.values())
    usual_size = sizes.most_common(1)[0][0] if sizes else (0, 0)
    for clip, facts in videos.items():
        if facts is None:
            found["missing"].add(clip)
        elif not facts.num_frames:
            found["unreadable"].add(clip)
        if facts:
            by_hash[facts.sha256].append(clip)
    for clip, facts in decoded.items():
        is_usual = any(abs(facts.fps / rate - 1) <= RATE_TOLERANCE for rate in USUAL_RATES)
        holds = {
            "partial": facts.outcome != "ok",
            "short": facts.num_frames < FRAMES_PER_CLIP,
            "odd rate": not is_usual,
            "variable rate": facts.jitter > JITTER_LIMIT,
            "other size": (facts.height, facts.width) != usual_size,
        }
        for kind, is_so in holds.items():
            if is_so:
                found[kind].add(clip)
    found["duplicate"] = {clip for clips in by_hash.values() if len(clips) > 1 for clip in clips}
    times = Counter(entry.clip_id for entries in lists.values() for entry in entries)
    found["in several lists"] = {clip for clip, count in times.items() if count > 1}
    train = _groups(lists.get("train", ()))
    for split, entries in lists.items():
        for entry in entries:
            facts = decoded.get(entry.clip_id)
            # Whether the last frame of a list is meant to be included is not documented: both are right.
            length = entry.end_frame - entry.start_frame
            if length and facts and facts.outcome == "ok" and facts.num_frames not in (length, length + 1):
                found["other count"].add(entry.clip_id)
            if split != "train" and source_id(entry.clip_id) in train:
                found["spanning group"].add(entry.clip_id)
    return {kind: tuple(sorted(found[kind])) for kind in PROBLEMS if found[kind]}


def _examine(clip: tuple[str, Path]) -> VideoFacts:
    return examine(clip[1])


def _groups(entries: Iterable[ClipEntry]) -> set[str]:
    return {source_id(entry.clip_id) for entry in entries}


def _tally(values: Iterable[str], most: int = 6) -> str:
    """The commonest values with their counts."""
    counts = Counter(values).most_common()
    shown = ", ".join(f"{value} ({count})" for value, count in counts[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
