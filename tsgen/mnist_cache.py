"""MNIST's files from two public mirrors, kept in the user's cache; every byte is pinned by its SHA-256.

The licence of MNIST is contested (MIT on one hub, CC BY-SA 3.0 elsewhere), which is why the user downloads it
and the package does not carry it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tsgen.common.errors import DataError
from tsgen.common.files import sha256_file

MIRRORS: tuple[str, ...] = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
SOCKET_TIMEOUT_S = 5.0  # for one address and for one read
OPEN_DEADLINE_S = 6.0  # for name look-up and all addresses together: two mirrors stay below 15 s without network
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file as the mirrors hold it: ``size_bytes`` and ``sha256`` are of the compressed bytes."""

    name: str
    size_bytes: int
    sha256: str


REMOTE_FILES: dict[str, tuple[RemoteFile, RemoteFile]] = {
    "train": (
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    "test": (
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}
"""Images and labels of each partition."""


def cache_directory() -> Path:
    """``mnist`` in the user's cache of tsgen (``$XDG_CACHE_HOME/tsgen/mnist`` on Linux); need not exist."""
    return Path(platformdirs.user_cache_dir("tsgen")) / "mnist"


def ensure_partition(partition: str) -> Path:
    """The cache directory, after the two files of ``partition`` ("train" or "test") are there and verified.

    Downloads what is missing or damaged; a broken download is resumed by the next call.

    Raises:
        DataError: no mirror delivered a file, or the cache cannot be written; says which and why.
    """
    cache = cache_directory()
    files = REMOTE_FILES[partition]
    try:
        if not all(_is_verified(cache / file.name, file) for file in files):  # a full cache may be read-only
            cache.mkdir(parents=True, exist_ok=True)
            with _locked(cache / ".lock"):  # two commands may start at once and must not append to one file
                for file in files:
                    if not _is_verified(cache / file.name, file):
                        _fetch(file, cache)
    except OSError as problem:
        raise DataError(f"the cache {cache} cannot be used ({problem}).") from problem
    return cache


def _is_verified(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_file(path) == file.sha256


def _fetch(file: RemoteFile, cache: Path) -> None:
    part = cache / f"{file.name}.part"
    failures = []
    for mirror in MIRRORS:
        failure = _try_mirror(mirror + file.name, file, part)
        if failure is None:
            part.replace(cache / file.name)
            return
        failures.append(failure)
    raise DataError(f"{file.name} is not in {cache} and cannot be downloaded: {'; '.join(failures)}.")


def _try_mirror(url: str, file: RemoteFile, part: Path) -> str | None:
    """Bring ``part`` to the pinned content or say why not; an incomplete one stays for the next attempt."""
    while True:
        resumed = part.exists()
        try:
            _download(url, file, part)
        except (OSError, http.client.HTTPException) as problem:
            if isinstance(problem, urllib.error.HTTPError):
                problem.close()
            return f"{url}: {problem or type(problem).__name__}"
        if _is_verified(part, file):
            return None
        part.unlink()
        if not resumed:  # else the beginning may have been the bad part: once more from zero
            return f"{url}: its content is not the pinned one (SHA-256)"


def _download(url: str, file: RemoteFile, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size_bytes:
        return
    from tqdm import tqdm

    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with _open(request) as response:
        continues = response.status == http.client.PARTIAL_CONTENT and (
            response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        )
        have = have if continues else 0  # a server that ignores Range begins again
        with (
            part.open("ab" if continues else "wb") as out,
            tqdm(total=file.size_bytes, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while have < file.size_bytes and (chunk := response.read(min(CHUNK_BYTES, file.size_bytes - have))):
                out.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())
    if have < file.size_bytes:
        raise ConnectionError(f"the connection ended after {have} of {file.size_bytes} bytes")


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    # The socket's time limit covers neither the name look-up nor a host's list of addresses as a whole, so
    # the attempt runs in a thread that can be left behind.
    outcomes: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            outcomes.put(urllib.request.urlopen(request, timeout=SOCKET_TIMEOUT_S))
        except Exception as problem:
            outcomes.put(problem)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=OPEN_DEADLINE_S)
    except queue.Empty:
        raise TimeoutError(f"no answer within {OPEN_DEADLINE_S:g} s") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        if os.name == "posix":  # elsewhere two simultaneous downloads are caught by the SHA-256
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
