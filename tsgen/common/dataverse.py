"""A data set of a Dataverse by its DOI: list the files of one version, bring them, prove that they are whole.

Written from the public guides of Dataverse 5 and 6; tried against a server of our own on loopback, never against a
real one. Three habits of Dataverse shape it: a file lies in the folder its ``directoryLabel`` names; a table that was
"ingested" is listed and served as ``.tab`` unless its original is asked for; and the checksum listed for such a table
is that of the original in some versions and that of neither form in others. So an ingested table counts as whole when
it has the listed checksum, or when two downloads of it are equal, and the record says which.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from tsgen.common.errors import DataError, UsageError
from tsgen.common.fetch import PATIENCE, Patience, RefusedError, check_url, get_json
from tsgen.common.names import check_names, problem_of

SERVER = "https://dataverse.harvard.edu"
LATEST = ":latest-published"
PAGE_FILES = 1000
MAX_FILES = 2_000_000
RECORD_FILE = "dataverse.json"
"""What a download writes beside the files."""
MAX_TABLE_BYTES = 1 << 30  # of an original whose length is not listed
DOI = re.compile(r"doi:10\.\d{4,9}/[\w.()/:-]{1,100}", re.ASCII)
VERSION_NUMBER = re.compile(r"\d{1,6}\.\d{1,6}", re.ASCII)
ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
ORIGINAL_SUFFIXES = {
    "text/csv": ".csv",
    "text/comma-separated-values": ".csv",
    "text/tsv": ".tsv",
    "text/tab-separated-values": ".tsv",
}


@dataclass(frozen=True)
class Checksum:
    """``algorithm`` a key of ``ALGORITHMS``; ``value`` in lower-case hexadecimal."""

    algorithm: str
    value: str

    def fits(self, digests: dict[str, str]) -> bool:
        return digests[self.algorithm] == self.value


@dataclass(frozen=True)
class RemoteFile:
    """One file of a listing.

    ``path`` where it goes, relative, checked, "/" between folders; ``size`` in bytes, None where the listing does not
    tell that of an original; ``checksum`` None where none is listed; ``ingested``: a table whose original is taken;
    ``restricted``: its authors give it on request only.
    """

    id: int
    path: str
    size: int | None
    checksum: Checksum | None
    ingested: bool = False
    restricted: bool = False


@dataclass(frozen=True)
class Listing:
    """All files of one ``version`` (such as "1.0") of the data set ``doi`` on ``server``; ``licence`` as stated."""

    server: str
    doi: str
    version: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def page(self) -> str:
        """The page for people, of this very version."""
        return f"{self.server}/dataset.xhtml?persistentId={self.doi}&version={self.version}"

    def url(self, file: RemoteFile) -> str:
        return f"{self.server}/api/access/datafile/{file.id}" + ("?format=original" if file.ingested else "")


def list_files(
    doi: str,
    server: str | None = None,
    version: str = LATEST,
    patience: Patience = PATIENCE,
) -> Listing:
    """The files of a version ("1.0"); the default is the newest published one, resolved once, so that the number is
    known and every later request names it.

    Raises UsageError for a DOI or version that cannot be, DataError for an answer that is not to be trusted.
    """
    server = check_url(server or SERVER)
    if not DOI.fullmatch(doi):
        raise UsageError(f"{doi!r} is not a DOI; one looks like doi:10.7910/DVN/EDVAIY.")
    if version != LATEST and not VERSION_NUMBER.fullmatch(version):
        raise UsageError(f"version {version!r} is not possible; give a number such as 1.0.")
    about = f"{server}/api/datasets/:persistentId/versions"
    query = f"persistentId={quote(doi, safe='')}"
    try:
        facts = _data(get_json(f"{about}/{version}?{query}&excludeFiles=true", patience), dict, doi)
        number = f"{_whole(facts, 'versionNumber')}.{_whole(facts, 'versionMinorNumber')}"
        if version not in (LATEST, number):
            raise DataError(f"{doi}: asked for version {version}, the server answers with {number}.")
        entries: list[Any] = []
        while True:
            pages = f"limit={PAGE_FILES}&offset={len(entries)}"
            page = _data(get_json(f"{about}/{number}/files?{query}&{pages}", patience), list, doi)
            entries += page
            if len(page) != PAGE_FILES:  # the last page, or all files at once from a server without pages
                break
            if len(entries) > MAX_FILES:
                raise DataError(f"{doi} lists more than {MAX_FILES} files; refused.")
    except RefusedError as problem:
        where = f"{server} does not give {doi} (version {version})"
        raise DataError(f"{where}: HTTP {problem.status}. Is the number right, and published?") from problem
    files = tuple(sorted((_file(entry) for entry in entries), key=lambda file: file.path))
    _check_together(files, doi)
    return Listing(server, doi, number, _licence(facts), files)


def digests_of(path: Any) -> dict[str, str]:
    """Every checksum of ``ALGORITHMS`` of a file, by algorithm, read once."""
    hashes = {name: hashlib.new(algorithm, usedforsecurity=False) for name, algorithm in ALGORITHMS.items()}
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            for digest in hashes.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def safe_path(folder: str, name: str) -> str:
    """``folder/name`` in normal form (NFC). DataError for what leads out of a folder, cannot be a file everywhere, or
    is where a download has files of its own."""
    path = unicodedata.normalize("NFC", f"{folder}/{name}" if folder else name)
    parts = path.split("/")
    problem = problem_of(path)
    if "/" in name:
        problem = "has a slash in its last part"
    elif any(part.startswith(".") for part in parts):  # .partial is ours
        problem = "has a part that begins with a dot"
    elif parts[0].casefold() == RECORD_FILE:
        problem = f"is the record of the download, {RECORD_FILE}"
    if problem:
        raise DataError(
            f"the listing names a file {path[:200]!r}, which {problem}: not a path to trust; nothing was taken."
        )
    return path


def _file(entry: Any) -> RemoteFile:
    data = entry.get("dataFile") if isinstance(entry, dict) else None
    if not isinstance(data, dict):
        raise DataError("the listing has an entry without a dataFile; is this a Dataverse?")
    label = _text(entry, "label") or _text(data, "filename")
    folder = _text(entry, "directoryLabel").strip("/")
    format_, original = _text(data, "originalFileFormat"), _text(data, "originalFileName")
    ingested = bool(format_ or original or data.get("tabularData") is True)
    if ingested:
        suffix = PurePosixPath(original).suffix or ORIGINAL_SUFFIXES.get(format_.partition(";")[0].strip())
        stem = label.removesuffix(".tab")
        label = original or (stem + suffix if suffix else label)
    size: int | None = _whole(data, "filesize")
    if ingested:
        size = None  # what is listed for originals is often that of another form
    return RemoteFile(
        id=_whole(data, "id"),
        path=safe_path(folder, label),
        size=size,
        checksum=_checksum(data),
        ingested=ingested,
        restricted=entry.get("restricted") is True or data.get("restricted") is True,
    )


def _checksum(data: dict[str, Any]) -> Checksum | None:
    listed = data.get("checksum")
    if isinstance(listed, dict):
        algorithm, value = _text(listed, "type").upper(), _text(listed, "value").lower()
    else:
        algorithm, value = "MD5", _text(data, "md5").lower()
    if algorithm not in ALGORITHMS or len(value) != 2 * hashlib.new(ALGORITHMS[algorithm]).digest_size:
        return None
    return Checksum(algorithm, value)


def _check_together(files: tuple[RemoteFile, ...], doi: str) -> None:
    if not files:
        raise DataError(f"{doi} lists no files.")
    if len({file.id for file in files}) < len(files):
        raise DataError(f"{doi} lists a file twice; is the server one that knows pages?")
    check_names((file.path for file in files), doi)


def _licence(facts: dict[str, Any]) -> str:
    stated = facts.get("license")
    text = _text(stated, "name") if isinstance(stated, dict) else _text(facts, "license")
    if text in ("", "NONE"):  # terms of its own instead of a licence
        text = _text(facts, "termsOfUse")
    words = " ".join(text[:300].split())
    return "".join(char for char in words if char.isprintable()) or "none stated"


def _data(answer: Any, kind: type, doi: str) -> Any:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, kind):
        raise DataError(f"the answer about {doi} is not that of a Dataverse.")
    return data


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _whole(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise DataError(f"the listing has {key} = {str(value)[:50]!r}, which is not a whole number.")
    return value
