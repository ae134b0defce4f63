"""The audit of one or more files: the record, its JSON form, and the text with its verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tsgen
from tsgen.audit.duplicates import Overlap, conflicting, overlap, repeats
from tsgen.audit.marginals import Marginal, measure_marginals
from tsgen.audit.reach import Reach, measure_reach, require_sklearn
from tsgen.audit.view import View, read_view
from tsgen.clipset import ClipSet, open_clips
from tsgen.common.errors import UsageError
from tsgen.profiles import PROFILES

MAX_FITTED_CLIPS = 5000
SHARED_SHARE = 0.01
"""Share of the clips of a class in another file from which it counts as a leak."""
MAP_CELLS = 16


@dataclass(frozen=True)
class ClassFacts:
    """One class of a file. ``repeated_*``: clips that equal an earlier one of the file; ``blank_*``: no entity seen."""

    name: str
    clips: int
    repeated_frames: int
    repeated_paths: int
    blank_clips: int
    blank_frames: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class FileAudit:
    """Everything about one file. ``reach`` is a reason in words where it could not be measured or was not asked for."""

    file: str
    domain: str
    profile: str
    split: str
    content_hash: str
    clips: int
    corner_source: str
    other_label: int
    classes: tuple[ClassFacts, ...]
    marginals: tuple[Marginal, ...]
    reach: Reach | str
    start_map: NDArray[np.int64] = field(repr=False)
    """(C, 16, 16): where clips of each class start, counts on a grid over the frame, (class, row, column)."""

    def to_json(self) -> dict[str, Any]:
        facts = {
            name: getattr(self, name)
            for name in ("file", "domain", "profile", "split", "content_hash", "clips", "corner_source", "other_label")
        }
        return {
            **facts,
            "classes": [row.to_json() for row in self.classes],
            "marginals": [row.to_json() for row in self.marginals],
            "reach": self.reach if isinstance(self.reach, str) else self.reach.to_json(),
        }


@dataclass(frozen=True)
class Leak:
    """A way to the class that needs no temporal order. ``kind``: "static", "order-free" or "duplicates"."""

    kind: str
    file: str
    says: str


@dataclass(frozen=True)
class Promise:
    """A row of the audit that the profile of a file promises to tell nothing about the class, and whether it does."""

    file: str
    row: str
    kept: bool


@dataclass(frozen=True)
class Audit:
    files: tuple[FileAudit, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def leaks(self) -> list[Leak]:
        found = []
        for file in self.files:
            if isinstance(file.reach, Reach):
                found += [
                    Leak(row.kind, file.file, f"{row.name} reaches {row.accuracy:.1%} ({row.says})")
                    for row in file.reach.rows
                    if row.verdict == "leak"
                ]
        for pair in self.overlaps:
            shares = [
                f"{name} {count / pair.clips[name]:.1%}"
                for name, count in pair.same_frames.items()
                if count > SHARED_SHARE * pair.clips[name]
            ]
            if shares:
                found.append(Leak("duplicates", pair.of, f"same frames as clips of {pair.within}: {', '.join(shares)}"))
        return found

    @property
    def promises(self) -> list[Promise]:
        """Of every file whose profile makes any; those that were not measured are left out."""
        found = []
        for file in self.files:
            promised = PROFILES[file.profile].promises if file.profile in PROFILES else ()
            telling = {marginal.name: marginal.differs for marginal in file.marginals if marginal.p is not None}
            if isinstance(file.reach, Reach):
                telling |= {row.name: row.verdict == "leak" for row in file.reach.rows}
            splits = {one.file: one.split for one in self.files if one.profile == file.profile}
            shared = [pair for pair in self.overlaps if pair.of == file.file and pair.within in splits]
            shared = [pair for pair in shared if splits[pair.within] != file.split]
            if shared:
                telling["splits"] = any(count for pair in shared for count in pair.same_path.values())
            found += [Promise(file.file, row, not telling[row]) for row in promised if row in telling]
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "tsgen-audit",
            "tsgen": tsgen.__version__,
            "files": [file.to_json() for file in self.files],
            "overlaps": [pair.to_json() for pair in self.overlaps],
            "leaks": [dict(vars(leak)) for leak in self.leaks],
            "promises": [dict(vars(promise)) for promise in self.promises],
        }

    def text(self) -> str:
        """For the terminal, ending with the verdict."""
        parts = [_file_text(file) for file in self.files]
        if self.overlaps:
            parts.append(_overlap_text(self.overlaps))
        return "\n\n".join([*parts, self._verdict()])

    def _verdict(self) -> str:
        lines = ["Verdict"]
        lines += [f"  leak ({leak.kind}): {leak.file}: {leak.says}" for leak in self.leaks]
        for file in self.files:
            if isinstance(file.reach, str):
                lines.append(f"  not measured: {file.file}: {file.reach}")
            else:
                unclear = [row.name for row in file.reach.rows if row.verdict == "open"]
                if unclear:
                    lines.append(f"  open: {file.file}: too few clips to tell about {', '.join(unclear)}")
                if not any(leak.file == file.file for leak in self.leaks) and not unclear:
                    lines.append(f"  no leak found: {file.file}")
            kept = [promise.row for promise in self.promises if promise.file == file.file and promise.kept]
            if kept:
                lines.append(f"  profile {file.profile} keeps its promises: {file.file}: {', '.join(kept)}")
        lines += [f"  BROKEN promise: {promise.file}: {promise.row}" for promise in self.promises if not promise.kept]
        kinds = {leak.kind for leak in self.leaks}
        if "static" in kinds:
            lines.append("A static leak lets a model do better than chance without seeing any motion.")
        if "order-free" in kinds:
            lines.append("With an order-free leak, high accuracy on the file does not prove use of temporal order.")
        return "\n".join(lines)


def audit_files(paths: Sequence[Path | str], *, max_clips: int = MAX_FITTED_CLIPS, reach: bool = True) -> Audit:
    """Audit clip files one by one, and every later one against every earlier one (so: the training file first).

    Classifiers are fitted on at most ``max_clips`` clips of each file; duplicates and marginals are of all clips.
    ``reach=False`` leaves the classifiers out, and with them the need of scikit-learn. Raises DataError for files that
    are not intact clip files, UsageError without scikit-learn.
    """
    if max_clips < 1:
        raise UsageError(f"{max_clips} clips to fit on is not possible; allowed: 1 or more.")
    if reach:
        require_sklearn()
    files, overlaps = [], []
    seen: list[tuple[str, View]] = []
    for path in paths:
        with open_clips(path) as clip_set:
            view = read_view(clip_set, max_clips)
            files.append(audit_view(view, clip_set, reach))
            overlaps += [overlap(view, earlier, (str(path), name), clip_set.class_names) for name, earlier in seen]
        seen.append((str(path), view))
    return Audit(tuple(files), tuple(overlaps))


def audit_view(view: View, clip_set: ClipSet, reach: bool) -> FileAudit:
    """The audit of one open file from what was seen of it."""
    names, labels = clip_set.class_names, view.labels
    counts = {
        "clips": np.bincount(labels, minlength=len(names)),
        "repeated_frames": repeats(view.frame_digest, labels, len(names)),
        "repeated_paths": repeats(view.path_digest, labels, len(names)),
        "blank_clips": np.bincount(labels[view.blank.any(axis=1)], minlength=len(names)),
        "blank_frames": np.bincount(labels, weights=view.blank.sum(axis=1), minlength=len(names)),
    }
    _, height, width = clip_set.clip_shape
    start_map = np.zeros((len(names), MAP_CELLS, MAP_CELLS), dtype=np.int64)
    column, row = (np.clip(view.corner[:, 0].T * MAP_CELLS // [[width], [height]], 0, MAP_CELLS - 1)).tolist()
    np.add.at(start_map, (labels, row, column), 1)
    return FileAudit(
        file=str(clip_set.path),
        domain=clip_set.domain,
        profile=clip_set.profile,
        split=clip_set.split,
        content_hash=clip_set.content_hash,
        clips=len(view),
        corner_source=view.corner_source,
        other_label=conflicting(view.frame_digest, labels),
        classes=tuple(
            ClassFacts(name, **{key: int(values[class_id]) for key, values in counts.items()})
            for class_id, name in enumerate(names)
        ),
        marginals=tuple(measure_marginals(view, names)),
        reach=measure_reach(view) if reach else "not asked for",
        start_map=start_map,
    )


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns aligned by spaces; the first ``left`` of them to the left, the others to the right."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _file_text(file: FileAudit) -> str:
    lines = [f"{file.file}: {file.clips} clips of {file.domain} ({file.split}, profile {file.profile})"]
    if file.corner_source == "pixels":
        lines.append("  (the file stores no boxes: places are those of the bright pixels)")
    if file.other_label:
        lines.append(f"  {file.other_label} clips occur under another label too")
    classes = [
        (c.name, *map(str, (c.clips, c.repeated_frames, c.repeated_paths, c.blank_clips, c.blank_frames)))
        for c in file.classes
    ]
    header = ("class", "clips", "same frames", "same path", "clips with blank frames", "blank frames")
    lines += ["", table_text(header, classes)]
    names = [c.name for c in file.classes if c.clips]
    marginals = [
        (
            m.name,
            m.unit,
            *(" ".join(f"{value:.1f}" for value in m.means[name]) for name in names),
            "-" if m.v is None else f"{m.v:.2f}",
            "-" if m.p is None else f"{m.p:.1g}",
            "differs" if m.differs else "",
        )
        for m in file.marginals
    ]
    lines += ["", table_text(("mean of", "unit", *names, "V", "p", ""), marginals, left=2)]
    if isinstance(file.reach, str):
        lines += ["", f"  classifiers: {file.reach}"]
        return "\n".join(lines)
    reach = file.reach
    rows = [
        (row.name, row.kind, f"{row.accuracy:.1%}", f"{row.low:.1%} .. {row.high:.1%}", row.verdict, row.says)
        for row in reach.rows
    ]
    width = max(len(row[-1]) for row in rows)
    padded = [(*row[:-1], f"{row[-1]:<{width}}") for row in rows]
    lines += [
        "",
        f"  fitted on {reach.fitted} clips, measured on {reach.held_out} others; "
        f"chance {reach.chance:.1%}, majority {reach.majority:.1%}",
        table_text(("seen", "kind", "accuracy", "95 % interval", "leak", f"{'':<{width}}"), padded, left=2),
    ]
    return "\n".join(lines)


def _overlap_text(overlaps: Sequence[Overlap]) -> str:
    blocks = []
    for pair in overlaps:
        rows = [
            (name, str(clips), *(f"{same[name]} ({same[name] / max(clips, 1):.1%})" for same in _sames(pair)))
            for name, clips in pair.clips.items()
        ]
        blocks.append(
            f"Clips of {pair.of} that occur in {pair.within}\n"
            + table_text(("class", "clips", "same frames", "same path"), rows)
        )
    return "\n\n".join(blocks)


def _sames(pair: Overlap) -> tuple[dict[str, int], dict[str, int]]:
    return pair.same_frames, pair.same_path
