"""The authors' archive of Temporal Shape as a folder, and which sets of clips that folder holds.

What the archive's files are called was not known when this was written. The authors' training configurations call
their folders ``classification_2dot__bg0_5classes_5000seqs_20_per_seq`` and the like, so sets are found by what they
contain (a table of labels with frames below it, in folders or zip files) and named by what their path says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tsgen.common.dataverse import LATEST, RECORD_FILE, list_files
from tsgen.common.errors import DataError, unknown_name
from tsgen.common.mirror import Summary, download, pinned_version
from tsgen.common.names import printable
from tsgen.domains import DOMAINS
from tsgen.framesource import Folder, FrameSource, is_below, open_source
from tsgen.published import IMAGE_SUFFIXES, LABEL_SUFFIXES, some

DOI = "doi:10.7910/DVN/EDVAIY"
ARCHIVES = (".zip",)
UNREAD_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
DOMAIN_WORDS: dict[str, str] = {
    "mnist-bg": r"mnist.*(bg1|perlin|textur|noise)|mnist[-_ ]?bg(?!0)",
    "mnist": r"mnist",
    "2dot": r"(?<!\d)2[-_ ]?dots?",
    "5dot": r"(?<!\d)5[-_ ]?dots?",
}
"""Domain by the first pattern that a name fits."""

TEST_WORDS = r"test|(?<!\d)500[-_ ]?seq|target"
"""Names of target sets: 500 clips, test digits. Every other set is a source set (train and validation together)."""


@dataclass(frozen=True)
class PublishedSet:
    """One set of clips: ``table`` of labels within ``source``, its folder or a zip; ``name`` for people; ``domain``
    None where the path does not say; ``split`` "train" or "test", whose digits it shows."""

    source: Path
    table: str
    name: str
    domain: str | None
    split: str


def download_original(
    out: Path,
    *,
    domains: tuple[str, ...] = (),
    say: Callable[[str], object],
    server: str | None = None,
    quiet: bool = False,
) -> Summary:
    """Bring the authors' frames into the folder ``out``, which may hold an unfinished earlier download.

    ``domains`` limits it to files whose path names one of them, or none at all; ``server`` another Dataverse than
    Harvard's. A folder that was begun stays with its version. Raises UsageError and DataError as
    :func:`tsgen.common.mirror.download` does.
    """
    for name in domains:
        if name not in DOMAINS:
            raise unknown_name("domain", name, DOMAINS)
    listing = list_files(DOI, server, pinned_version(out, DOI) or LATEST)
    return download(
        listing,
        out,
        wanted=lambda file: not domains or named_domain(file.path) in (None, *domains),
        say=say,
        quiet=quiet,
    )


def named_domain(path: str) -> str | None:
    """The domain that a path names, the innermost folder first; None where none does."""
    for part in reversed(PurePosixPath(path.lower()).parts):
        for domain, words in DOMAIN_WORDS.items():
            if re.search(words, part):
                return domain
    return None


def find_sets(folder: Path) -> list[PublishedSet]:
    """The sets of clips below ``folder``, in the order of their names. DataError when there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    names = list(Folder(folder).sizes())
    sources = [folder, *(folder / name for name in names if name.lower().endswith(ARCHIVES))]
    found = []
    for source in sources:
        within = "" if source == folder else source.relative_to(folder).as_posix()
        with open_source(source) as files:
            for table in _tables(files):
                path = f"{within}/{table}".strip("/")
                name = printable(str(PurePosixPath(path).parent))
                split = "test" if re.search(TEST_WORDS, path.lower()) else "train"
                at, own = (source, table) if within else _split(folder, table)
                found.append(PublishedSet(at, own, name, named_domain(path), split))
    if not found:
        packed = [name for name in names if name.lower().endswith(UNREAD_ARCHIVES)]
        advice = f" Unpack {some(packed)} there first." if packed else ""
        holds = some(name for name in names if name != RECORD_FILE) or "nothing"
        raise DataError(printable(f"{folder} holds no table of labels with frames below it; it holds {holds}.{advice}"))
    return sorted(found, key=lambda one: one.name)


def _tables(files: FrameSource) -> list[str]:
    """Tables with frames below their folder. Where a folder has several, those called after labels."""
    names = list(files.sizes())
    images = {name.rpartition("/")[0] for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    tables = [
        name
        for name in names
        if name.lower().endswith(LABEL_SUFFIXES)
        and any(is_below(f"{below}/x".strip("/"), PurePosixPath(name).parent) for below in images)
    ]
    called = [name for name in tables if "label" in PurePosixPath(name).stem.lower()]
    return called or tables


def _split(folder: Path, table: str) -> tuple[Path, str]:
    """The folder of a table and its name there, so that reading a set lists none of the others' files."""
    above, _, name = table.rpartition("/")
    return folder / above, name
