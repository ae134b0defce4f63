"""One file over HTTP: resumed where it was cut, and believed only by its own SHA-256.

The client's downloads are not used: over plain HTTP they check the size alone, and since 2.x a download that was
killed begins anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError
from tsgen.common.fetch import MAX_TRIES, Pace
from tsgen.common.files import sha256_file
from tsgen.common.hub.client import Repo, Say, is_transient

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
GIT_SHA1_DIGITS = 40
MAX_CUTS = 5  # in a row, with no byte between them


@dataclass(frozen=True)
class Wanted:
    """A file of a commit: its size in bytes and its hash in hex, SHA-256 or the SHA-1 git knows it by."""

    name: str
    size: int
    digest: str

    def is_in(self, path: Path) -> bool:
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return self.digest == (git_sha1(path) if len(self.digest) == GIT_SHA1_DIGITS else sha256_file(path))


def git_sha1(path: Path) -> str:
    """The hash by which git, and so the Hub, knows a file that is not stored as a large one."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fetch(repo: Repo, commit: str, wanted: Wanted, part: Path, say: Say, advance: Callable[[int], object]) -> None:
    """Bring ``wanted`` into the file ``part``, which may hold its beginning from an earlier try.

    Fetched a second time from its first byte when the content is not what was promised; DataError when it is not then
    either. ``advance`` takes the bytes as they come.
    """
    for fresh in (False, True):
        if fresh:
            advance(-_length(part))
            part.unlink()
        _fill(repo, commit, wanted, part, advance)
        if wanted.is_in(part):
            return
        say(f"{wanted.name}: what came is not what the release lists" + ("." if fresh else "; fetching it again."))
    part.unlink()
    raise DataError(
        f"{repo.name} at {commit[:12]}, {wanted.name}: fetched twice, and both times its hash was not the "
        "listed one; a proxy or the release itself is broken. Nothing of it is used."
    )


def _fill(repo: Repo, commit: str, wanted: Wanted, part: Path, advance: Callable[[int], object]) -> None:
    """Until ``part`` has all bytes; a cut is followed by a request for the rest."""
    if _length(part) > wanted.size:
        advance(-_length(part))
        part.unlink()
    part.touch()
    cuts = 0
    for _ in range(MAX_TRIES):
        had = _length(part)
        if had == wanted.size:
            return
        try:
            _request(repo, commit, wanted, part, advance)
            problem: Exception = ConnectionError(f"the answer ended after {_length(part)} of {wanted.size} bytes")
        except Exception as caught:
            problem = caught
            if not is_transient(caught):
                repo.explain(caught, f"fetching {wanted.name}")
        cuts = 0 if _length(part) > had else cuts + 1
        if cuts >= MAX_CUTS:
            repo.explain(problem, f"fetching {wanted.name}")
        if cuts:
            time.sleep(2.0 ** (cuts - 1) * repo.wait_factor)
    if _length(part) < wanted.size:
        raise DataError(
            f"{repo.name}, {wanted.name}: given up after {MAX_TRIES} answers that ended too soon or came too slowly; "
            "run again to go on."
        )


def _request(repo: Repo, commit: str, wanted: Wanted, part: Path, advance: Callable[[int], object]) -> None:
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # a lazy module

    had = _length(part)
    url = hf_hub_url(repo.name, wanted.name, repo_type="dataset", revision=commit, endpoint=repo.api.endpoint)
    headers = {**build_hf_headers(token=repo.api.token), "Accept-Encoding": "identity", "Range": f"bytes={had}-"}
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as answer:
        hf_raise_for_status(answer)
        goes_on = answer.status_code == 206 and _first_byte(answer.headers) == had
        if had and not goes_on:
            advance(-had)
            had = 0
        pace = Pace(TIMEOUT_S)
        with part.open("ab" if had else "wb") as file:
            for chunk in answer.iter_bytes():
                had += len(chunk)
                if had > wanted.size:
                    raise DataError(f"{repo.name}, {wanted.name}: more bytes come than the {wanted.size} announced.")
                file.write(chunk)
                advance(len(chunk))
                if pace.is_too_slow(len(chunk)):
                    return


def _first_byte(headers: Mapping[str, Any]) -> int | None:
    """Of a part of a file, from ``Content-Range: bytes 5-9/10``."""
    start = str(headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isascii() and start.isdecimal() and len(start) < 19 else None


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
