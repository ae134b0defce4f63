"""One dataset repo on the Hub: its tags, its files, and what to tell the user when the service says no."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tsgen.common import VERSION
from tsgen.common.errors import DataError, RacError, UsageError
from tsgen.common.hub.reference import check_repo
from tsgen.common.names import check_names, printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Say = Callable[[str], None]
"""Takes a line for the user."""

LIBRARY = "recur-attend-convolve"
MAX_ENTRIES = 100_000
ADDED_BY_THE_HUB = ".gitattributes"  # written when a repo is created; says which files are stored as large ones
WAITS_S = (1.0, 4.0)
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token of huggingface.co/settings/tokens that may write"

ANSWERS: dict[int, str] = {
    400: "it does not take what was sent",
    401: f"it does not know who asks, or refuses the token: {LOGIN}",
    403: f"the token may not do this: {LOGIN} to this namespace",
    404: "it has nothing of this name, or keeps it private from this token",
    409: "it exists already, or another change is under way",
    412: "somebody else changed the repo meanwhile: look at what changed, then run the command again",
    413: "a file is too large for it",
    429: "too many requests: wait some minutes and run the command again",
}
"""Status -> what it means here, after "the Hub answered STATUS: "."""
TRANSIENT = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit: bytes, the SHA-1 git knows it by, and where it is stored as a large file its SHA-256."""

    size: int
    git_sha1: str
    sha256: str | None

    def __post_init__(self) -> None:
        hashes = (self.git_sha1,) if self.sha256 is None else (self.git_sha1, self.sha256)
        if type(self.size) is not int or self.size < 0 or not all(type(value) is str for value in hashes):
            raise ValueError(f"a file of {self.size!r} bytes with the hashes {hashes!r}")


@dataclass(frozen=True)
class Refs:
    """Where the branch ``main`` stands, None in an empty repo, and the commit of each tag."""

    head: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Repo:
    """A dataset repo ``name`` = USER/NAME. ``wait_factor`` scales the pauses before something is tried again."""

    name: str
    api: HfApi
    secret: str | None = field(default=None, repr=False)
    wait_factor: float = 1.0

    def refs(self) -> Refs | None:
        """None when there is no such repo, or it is private and this token may not see it."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        def ask() -> Refs | None:
            try:
                found = self.api.list_repo_refs(self.name, repo_type="dataset")
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
            heads = [branch.target_commit for branch in found.branches if branch.name == "main"]
            return Refs(heads[0] if heads else None, {tag.name: tag.target_commit for tag in found.tags})

        return self.persistently("reading the tags", ask)

    def is_private(self) -> bool:
        """Of a repo that is there."""

        def ask() -> bool:
            private = self.api.dataset_info(self.name).private
            if not isinstance(private, bool):
                raise ValueError(f"private is {private!r}")
            return private

        return self.persistently("asking who may see it", ask)

    def tree(self, commit: str) -> dict[str, RemoteFile]:
        """Every file of ``commit`` by its name; DataError when a name could leave a folder."""
        from huggingface_hub.hf_api import RepoFile

        with self.explained("listing the files"):  # the client itself tries again
            listed = self.api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type="dataset")
            entries = list(islice(listed, MAX_ENTRIES + 1))
            files = {
                entry.path: RemoteFile(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
                for entry in entries
                if isinstance(entry, RepoFile)
            }
        if len(entries) > MAX_ENTRIES:
            raise DataError(f"{self.name} lists more than {MAX_ENTRIES} files and folders; no release does.")
        check_names(files, f"{self.name} at {commit[:12]}")
        return files

    def persistently(self, doing: str, call: Callable[[], T]) -> T:
        """``call``, again after a pause when the service or the line is in trouble; then explained."""
        for wait_s in WAITS_S:
            try:
                return call()
            except Exception as problem:
                if not is_transient(problem):
                    self.explain(problem, doing)
                time.sleep(wait_s * self.wait_factor)
        with self.explained(doing):
            return call()

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """What the client raises inside leaves as UsageError or DataError; ``doing`` begins its line."""
        try:
            yield
        except Exception as problem:
            self.explain(problem, doing)

    def explain(self, problem: Exception, doing: str) -> NoReturn:
        """Raise what the user should read instead of ``problem``; no token and no control code is ever in it."""
        if isinstance(problem, RacError):
            raise problem
        kind, text = _meaning(problem, self.api.endpoint)
        if self.secret:
            text = text.replace(self.secret, "***")
        raise kind(f"{self.name}, {doing}: {printable(text)}") from None


def open_repo(name: str, *, endpoint: str | None = None, token: str | None = None, wait_factor: float = 1.0) -> Repo:
    """No request is sent. ``endpoint``: other than HF_ENDPOINT says; ``token``: other than the user's own."""
    from huggingface_hub import HfApi, get_token

    check_repo(name)
    api = HfApi(endpoint=endpoint, token=token, library_name=LIBRARY, library_version=VERSION)
    return Repo(name, api, token or get_token(), wait_factor)


def token_from(variable: str | None) -> str | None:
    """The token in an environment variable, None for the client's own; it is never taken from a command line."""
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UsageError(f"--token-env {variable}: this environment variable is not set.")
    return token


def _status(problem: BaseException) -> int | None:
    response = getattr(problem, "response", None)
    return getattr(response, "status_code", None)


def is_transient(problem: Exception) -> bool:
    """Whether the same request may do better in a moment: the service or the line is in trouble."""
    import httpx2

    return isinstance(problem, httpx2.TransportError) or _status(problem) in TRANSIENT


def _meaning(problem: BaseException, endpoint: str) -> tuple[type[RacError], str]:
    """Exit code and words for what the client raised."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(problem, RuntimeError) and problem.__cause__ is not None:  # how the client wraps failed uploads
        return _meaning(problem.__cause__, endpoint)
    if isinstance(problem, errors.OfflineModeIsEnabled):
        return UsageError, "HF_HUB_OFFLINE is set, so nothing is asked of the Hub; unset it, or use what is cached."
    status = _status(problem)
    if status is not None:
        said = " ".join(str(getattr(problem, "server_message", "") or "").split())[:300]
        meaning = ANSWERS.get(status, "it is in trouble: run the command again later" if status >= 500 else "")
        text = f"the Hub answered {status}: {meaning}." + (f" It says: {said}" if said else "")
        return (DataError if status >= 500 else UsageError), text
    if isinstance(problem, httpx2.TransportError | ConnectionError):
        return UsageError, f"{endpoint} cannot be reached ({type(problem).__name__}); check the network and run again."
    if isinstance(problem, ValueError | KeyError | TypeError | RuntimeError):
        return DataError, f"the Hub's answer makes no sense: {type(problem).__name__}: {str(problem)[:300]}"
    raise problem
