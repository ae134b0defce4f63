"""What the authors published of Diving48 (sections 3.3, 4.2), brought from Harvard Dataverse and looked over.

The videos of Diving48 themselves are in no such set and are not downloaded by this project.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diving48_domains.annotations import source_id
from diving48_domains.labels import read_labels
from tsgen.common.dataverse import LATEST, Listing, list_files
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.mirror import Summary, check_folder, download, pinned_version, read_record

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
PACKED_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl")
DOMAIN_WORDS = ("S1", "S2", "T")
LISTED = 5

VIDEOS_FROM = """\
The videos of Diving48 come from its makers alone: the RESOUND page of UCSD,
http://www.svcl.ucsd.edu/projects/resound/dataset.html (lists V2, archive of clips).
The dataset states no licence, so this project never downloads, ships or passes on its frames.
What to put where: docs/diving48_data.md. Without it: d48dom mini --help."""


@dataclass(frozen=True)
class Original:
    """A data set of the authors: its ``doi``, ``what`` it holds, and what to do ``then``."""

    doi: str
    what: str
    then: str


ORIGINALS: dict[str, Original] = {
    "labelled": Original(
        "doi:10.7910/DVN/OXKE6E",
        "the 303 labelled frames of divers and the authors' segmenter (a pickle: never loaded here)",
        "d48dom train --labels FOLDER, the folder that holds images/ and masks/",
    ),
    "domains": Original(
        "doi:10.7910/DVN/MXJPIZ",
        "the clips of S1, S2 and T as the authors rendered them",
        "watch them beside `d48dom build --preset faithful`",
    ),
}


@dataclass(frozen=True)
class Survey:
    """What a downloaded folder holds: ``files`` of the ``listed`` of its data set.

    ``kinds``: files by folder and suffix; ``labelled``: (folder, frames, divers) of every readable ``images/`` with
    ``masks/``; ``videos`` by domain (named by a part of their path, "?" where none is), and of how many source videos;
    ``packed`` archives to unpack; ``pickles`` that nothing here loads; ``problems`` with the files.
    """

    files: int
    listed: int
    kinds: dict[str, int]
    labelled: tuple[tuple[str, int, int], ...]
    videos: dict[str, int]
    source_videos: int
    packed: tuple[str, ...]
    pickles: tuple[str, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def get_original(name: str) -> Original:
    if name not in ORIGINALS:
        raise unknown_name("set", name, ORIGINALS)
    return ORIGINALS[name]


def list_original(name: str, *, out: Path | None = None, server: str | None = None) -> Listing:
    """The files of a set: of the version that ``out`` was begun with, else the newest."""
    original = get_original(name)
    version = pinned_version(out, original.doi) if out is not None else None
    return list_files(original.doi, server, version or LATEST)


def download_original(
    name: str,
    out: Path,
    *,
    only: str | None = None,
    server: str | None = None,
    say: Callable[[str], object] = lambda text: None,
    quiet: bool = False,
) -> Summary:
    """Bring a set of ``ORIGINALS`` into the folder ``out``, which may hold an unfinished earlier download.

    ``only`` files whose path fits this pattern (``*`` and ``?``, "/" included). Raises UsageError and DataError as
    :func:`tsgen.common.mirror.download` does.
    """
    from fnmatch import fnmatchcase

    if only is not None and not only.strip():
        raise UsageError("--only '' fits no file; give a pattern such as '*.png'.")
    listing = list_original(name, out=out, server=server)
    return download(
        listing, out, wanted=lambda file: only is None or fnmatchcase(file.path, only), say=say, quiet=quiet
    )


def survey(folder: Path) -> Survey:
    """Verify a downloaded folder and say what it holds. Labelled frames are decoded; videos and pickles not."""
    record = read_record(folder)
    names = [PurePosixPath(name) for name in record["files"]]
    problems = check_folder(folder)
    labelled = []
    for parent in sorted({path.parent.parent for path in names if path.parent.name == "images"}, key=str):
        try:
            frames = read_labels(folder / parent)
            labelled.append((str(parent), len(frames), sum(len(frame.masks) for frame in frames)))
        except (DataError, UsageError) as problem:
            problems.append(f"{parent}: {problem}")
    videos = [path for path in names if path.suffix.lower() in VIDEO_SUFFIXES]
    return Survey(
        files=len(names),
        listed=record["listed"],
        kinds=dict(sorted(Counter(f"{path.parent}/*{path.suffix}" for path in names).items())),
        labelled=tuple(labelled),
        videos=dict(sorted(Counter(_domain_of(path) for path in videos).items())),
        source_videos=len({source_id(_clip_of(path)) for path in videos}),
        packed=_with(names, PACKED_SUFFIXES),
        pickles=_with(names, PICKLE_SUFFIXES),
        problems=tuple(problems),
    )


def _domain_of(path: PurePosixPath) -> str:
    words = [word for part in reversed((*path.parent.parts, path.stem)) for word in part.replace("-", "_").split("_")]
    return next((word.upper() for word in words if word.upper() in DOMAIN_WORDS), "?")


def _clip_of(path: PurePosixPath) -> str:
    """The stem without the domain that may stand at its end."""
    stem, _, last = path.stem.rpartition("_")
    return stem if last.upper() in DOMAIN_WORDS else path.stem


def _with(names: list[PurePosixPath], suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(path) for path in names if path.suffix.lower() in suffixes)
