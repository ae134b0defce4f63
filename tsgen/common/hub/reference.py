"""Names of releases: ``hf:USER/NAME@v1.0.0``, repo ids and revisions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tsgen.common.errors import UsageError

PREFIX = "hf:"
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){2}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_REPO_LETTERS = 96


@dataclass(frozen=True)
class HubReference:
    """One release of one dataset repo. ``revision``: a tag as v1.0.0, or the 40 hex digits of a commit."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        check_repo(self.repo)
        check_revision(self.revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}@{self.revision}"


def is_reference(text: str) -> bool:
    """Whether ``text`` means a release on the Hub, not a path."""
    return text.startswith(PREFIX)


def parse_reference(text: str) -> HubReference:
    """``hf:USER/NAME@vX``. The version is not optional: a number must say which data it was computed on.

    UsageError when it is no such text.
    """
    if not is_reference(text):
        raise UsageError(f"{text!r} is no release on the Hub; write {PREFIX}USER/NAME@v1.0.0.")
    repo, at, revision = text.removeprefix(PREFIX).partition("@")
    if not at:
        raise UsageError(f"{text!r} names no version; write {text}@v1.0.0, so that it always means the same data.")
    return HubReference(repo, revision)


def check_repo(repo: str) -> str:
    """``repo`` itself when it is a repo id of the Hub; UsageError when not."""
    if (
        not _REPO.fullmatch(repo)
        or len(repo) > MAX_REPO_LETTERS
        or any(bad in repo for bad in ("--", ".."))
        or any(part.endswith(("-", ".", ".git")) for part in repo.split("/"))
    ):
        raise UsageError(
            f"{repo!r} is no repo of the Hub; write USER/NAME, in letters, digits, '-', '_' and '.', "
            f"at most {MAX_REPO_LETTERS} of them, with no '--' or '..'."
        )
    return repo


def check_revision(revision: str) -> str:
    """``revision`` itself when it is a release's tag or a full commit; UsageError when not."""
    if not (is_tag(revision) or is_commit(revision)):
        raise UsageError(
            f"revision {revision!r} is no release; allowed: a tag as v1.0.0, or the 40 hex digits of a commit."
        )
    return revision


def tag_of(version: str) -> str:
    """The tag of a version: v1.0.0 of 1.0.0."""
    if not _VERSION.fullmatch(version):
        raise UsageError(f"version {version!r} is not MAJOR.MINOR.PATCH, as 1.0.0.")
    return f"v{version}"


def is_tag(text: str) -> bool:
    return text.startswith("v") and _VERSION.fullmatch(text[1:]) is not None


def is_commit(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None


def newest(tags: list[str]) -> str | None:
    """The highest version among ``tags``; other tags do not count."""
    versions = [tag for tag in tags if is_tag(tag)]
    return max(versions, key=lambda tag: tuple(map(int, tag[1:].split("."))), default=None)
