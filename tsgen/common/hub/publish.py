"""A release folder to a dataset repo on the Hub: one commit, read back and compared, and the tag last of all.

A tag therefore always names a complete release. A run that was interrupted is simply run again: large files that
arrived are not sent a second time, and what is in the repo already is not sent at all.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import sha256_file
from tsgen.common.hub.card import check_card
from tsgen.common.hub.client import ADDED_BY_THE_HUB, LOGIN, Refs, RemoteFile, Repo, Say, open_repo
from tsgen.common.hub.fetch import git_sha1
from tsgen.common.hub.reference import tag_of
from tsgen.common.names import check_names, printable
from tsgen.common.sums import SUMS_FILE, check_sums, read_sums

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

CARD_NAME, MANIFEST_NAME = "README.md", "release.json"
FILES_A_REQUEST = 16


@dataclass(frozen=True)
class LocalFile:
    """A file of the release: its size in bytes and its SHA-256, hex."""

    path: Path
    size: int
    sha256: str

    def equals(self, remote: RemoteFile | None) -> bool:
        if remote is None or remote.size != self.size:
            return False
        return remote.sha256 == self.sha256 if remote.sha256 else remote.git_sha1 == git_sha1(self.path)


@dataclass(frozen=True)
class PublishPlan:
    """What publishing does, or did: names of files, sorted; ``send_bytes`` together.

    ``published``: the tag exists and names exactly these files, so that there is nothing to do.
    """

    repo: str
    tag: str
    endpoint: str
    creates_repo: bool
    published: bool
    send: tuple[str, ...]
    send_bytes: int
    unchanged: tuple[str, ...]
    delete: tuple[str, ...]
    commit: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def publish_folder(
    folder: Path,
    repo: str,
    version: str | None = None,
    *,
    private: bool = False,
    allow_departures: bool = False,
    dry_run: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    say: Say,
    wait_factor: float = 1.0,
) -> PublishPlan:
    """Make ``repo`` hold the files of ``folder`` and nothing else, and name that ``v<version>``.

    ``version``: None takes the one in release.json, another is refused. ``private``: refused for a repo that is there
    and public. ``allow_departures``: a folder whose release.json states departures from the release is published all
    the same. ``dry_run`` sends nothing and needs no token for a public repo. UsageError: one of these, the folder is
    unfinished, the card would be refused, the version is published with other files, or the Hub does not let us.
    DataError: the folder is damaged, or what the
    Hub then holds is not what was sent (no tag is set).
    """
    remote = open_repo(repo, endpoint=endpoint, token=token, wait_factor=wait_factor)
    files = read_release(folder)
    tag = tag_of(version_of(folder, version))
    _tell_departures(folder, tag, allow_departures, say)
    refs = remote.refs()
    if private and refs is not None and not remote.is_private():
        raise UsageError(
            f"{repo} exists and is public, which --private does not change. Make it private in its settings on the "
            "Hub, give another repo, or leave --private out."
        )
    plan = _plan(remote, refs, files, tag)
    if dry_run or plan.published:
        return plan
    if not remote.secret:
        raise UsageError(f"publishing needs a token: {LOGIN}.")
    if refs is None:
        refs = _create(remote, private, say)
    commit = _commit(remote, refs.head, files, plan, say)
    wrong = _differences(files, remote.tree(commit))
    if wrong:
        raise DataError(f"{repo} at {commit[:12]} is not what was sent, so it gets no tag: {wrong[0]}. Run again.")
    _tag(remote, tag, commit)
    return PublishPlan(**{**vars(plan), "commit": commit})


def read_release(folder: Path) -> dict[str, LocalFile]:
    """Name -> file of a finished release, every hash checked. UsageError or DataError when it cannot be published."""
    sums_file = folder / SUMS_FILE
    if not sums_file.is_file():
        raise UsageError(f"{folder} has no {SUMS_FILE}, so it is no finished release; make it with `tsgen release`.")
    sums = read_sums(sums_file)
    check_names([*sums, SUMS_FILE], str(sums_file))
    problems = check_sums(folder)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"{folder} is not what its {SUMS_FILE} lists: {problems[0]}{more}. Make it again.")
    if CARD_NAME not in sums:
        raise UsageError(f"{folder} has no {CARD_NAME}; a dataset without a card is not published.")
    try:
        card = (folder / CARD_NAME).read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{folder / CARD_NAME} is not UTF-8 text: {problem}. Write it again.") from problem
    refused = check_card(card, sums)
    if refused:
        raise UsageError(f"the Hub would refuse the card of {folder}: {'; '.join(refused)}.")
    hashes = {**sums, SUMS_FILE: sha256_file(sums_file)}
    return {
        name: LocalFile(folder / name, (folder / name).stat().st_size, sha256)
        for name, sha256 in sorted(hashes.items())
    }


def version_of(folder: Path, given: str | None = None) -> str:
    """The version that release.json states; ``given`` where it states none, and else only if it is the same."""
    stated = _manifest(folder).get("version")
    if stated is not None and given not in (None, stated):
        raise UsageError(
            f"--version {given}: {folder / MANIFEST_NAME} states version {stated!r}, and a tag names what it "
            "holds. Leave --version out, or build the release anew with that version."
        )
    version = given or stated
    if not isinstance(version, str):
        raise UsageError(f"{folder / MANIFEST_NAME} states no version; give --version MAJOR.MINOR.PATCH.")
    return version


def _tell_departures(folder: Path, tag: str, allowed: bool, say: Say) -> None:
    departures = _manifest(folder).get("departures") or []
    told = (
        [printable(str(departure)[:300]) for departure in departures]
        if isinstance(departures, list)
        else [printable(repr(departures)[:300])]
    )
    if told and not allowed:
        raise UsageError(
            f"{folder} is not the release {tag[1:]} itself ({'; '.join(told)}), and a tag is for ever. Publish the "
            "full release, or say --allow-departures, best in a repo of your own name."
        )
    for departure in told:
        say(f"note: {folder} is not the release {tag[1:]} itself: {departure}")


def _manifest(folder: Path) -> dict[str, Any]:
    """What release.json holds, whatever it is; nothing where it is absent or no JSON object."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _plan(remote: Repo, refs: Refs | None, files: Mapping[str, LocalFile], tag: str) -> PublishPlan:
    released = refs.tags.get(tag) if refs else None
    at = released or (refs.head if refs else None)
    there = remote.tree(at) if at else {}
    if released:
        wrong = _differences(files, there)
        if wrong:
            raise UsageError(
                f"{remote.name} {tag} is published, with other files: {wrong[0]}"
                + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
                + ". A tag does not move: raise the version (MAJOR data changed, MINOR added, PATCH repackaged)."
            )
    send = tuple(name for name, file in files.items() if not file.equals(there.get(name)))
    delete = tuple(sorted(name for name in there if name not in files and name != ADDED_BY_THE_HUB))
    if delete and SUMS_FILE not in there:
        raise UsageError(
            f"{remote.name} holds {len(delete)} other files, as {delete[0]}, and no {SUMS_FILE}: it is no release, and "
            "publishing would remove them. Give another repo, or empty this one first."
        )
    return PublishPlan(
        repo=remote.name,
        tag=tag,
        endpoint=remote.api.endpoint,
        creates_repo=refs is None,
        published=released is not None,
        send=send,
        send_bytes=sum(files[name].size for name in send),
        unchanged=tuple(name for name in files if name not in send),
        delete=delete,
        commit=released,
    )


def _differences(files: Mapping[str, LocalFile], there: Mapping[str, RemoteFile]) -> list[str]:
    """Every way in which a commit is not the release."""
    absent = [f"{name} is not there" for name in files if name not in there]
    present = [name for name in files if name in there]
    other = [f"{name} has another hash" for name in present if not files[name].equals(there[name])]
    extra = [f"{name} is not of the release" for name in there if name not in files and name != ADDED_BY_THE_HUB]
    return absent + other + extra


def _create(remote: Repo, private: bool, say: Say) -> Refs:
    def ask() -> None:
        remote.api.create_repo(remote.name, repo_type="dataset", private=private or None, exist_ok=True)

    remote.persistently("creating the repo", ask)
    say(f"created {'the private' if private else 'the public'} dataset {remote.name}")
    refs = remote.refs()
    if refs is None:
        raise DataError(f"{remote.name} was created, but the Hub does not find it; run the command again.")
    if private and not remote.is_private():
        raise DataError(f"{remote.name} was to be private, but the Hub says it is public; nothing was sent.")
    return refs


def _commit(remote: Repo, head: str | None, files: Mapping[str, LocalFile], plan: PublishPlan, say: Say) -> str:
    """One commit on top of ``head`` with all that differs; the commit that then holds the release."""
    if not plan.send and not plan.delete and head:
        return head
    from huggingface_hub import CommitOperationDelete

    additions = _upload(remote, files, plan)
    deletions = [CommitOperationDelete(name, is_folder=False) for name in plan.delete]
    say(f"sent {len(additions)} files, {plan.send_bytes / 1e6:.1f} MB; committing")

    def once() -> str:
        # An answer that was lost on the way may have been a success.
        refs = remote.refs()
        if refs and refs.head and refs.head != head and not _differences(files, remote.tree(refs.head)):
            return refs.head
        info = remote.api.create_commit(
            remote.name,
            [*additions, *deletions],
            commit_message=f"Release {plan.tag}",
            repo_type="dataset",
            parent_commit=head,
        )
        return info.oid

    with _quiet_client(say):
        return remote.persistently("committing", once)


def _upload(remote: Repo, files: Mapping[str, LocalFile], plan: PublishPlan) -> list[CommitOperationAdd]:
    """The large files to where the Hub keeps them; those that arrived in an earlier run are not sent again."""
    from huggingface_hub import CommitOperationAdd
    from tqdm import tqdm

    additions = [CommitOperationAdd(name, str(files[name].path)) for name in plan.send]
    with _quiet_client(), tqdm(total=plan.send_bytes, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for start in range(0, len(additions), FILES_A_REQUEST):
            batch = additions[start : start + FILES_A_REQUEST]

            def send(batch: list[CommitOperationAdd] = batch) -> None:
                remote.api.preupload_lfs_files(remote.name, batch, repo_type="dataset", free_memory=False)

            remote.persistently(f"sending {batch[0].path_in_repo} and others", send)
            bar.update(sum(files[addition.path_in_repo].size for addition in batch))
    return additions


def _tag(remote: Repo, tag: str, commit: str) -> None:
    def once() -> None:
        refs = remote.refs()
        tagged = refs.tags.get(tag) if refs else None
        if tagged is None:
            remote.api.create_tag(remote.name, tag=tag, revision=commit, repo_type="dataset")
        elif tagged != commit:
            raise UsageError(f"{remote.name}: somebody else set {tag} meanwhile, on commit {tagged[:12]}.")

    remote.persistently(f"setting the tag {tag}", once)
    refs = remote.refs()
    if refs is None or refs.tags.get(tag) != commit:
        raise DataError(f"{remote.name}: the tag {tag} is not on commit {commit[:12]}; run the command again.")


@contextmanager
def _quiet_client(say: Say | None = None) -> Iterator[None]:
    """No bars of the client's own; the Hub's remarks on the card as plain lines."""
    from huggingface_hub import utils as hub

    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        were_off = hub.are_progress_bars_disabled()  # type: ignore[attr-defined]  # a lazy module
        hub.disable_progress_bars()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            if not were_off:
                hub.enable_progress_bars()  # type: ignore[attr-defined]
    for remark in remarks:
        if say and issubclass(remark.category, UserWarning):
            say(printable(" ".join(str(remark.message).split())))
