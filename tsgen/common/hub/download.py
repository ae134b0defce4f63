"""A release from the Hub into the cache: every byte checked against SHA256SUMS, all of it there or nothing.

Layout of the cache: ``releases/USER--NAME/v1.0.0/`` the release, ``releases/USER--NAME/v1.0.0.json`` the commit it
came from and the hash of its SHA256SUMS, ``releases/USER--NAME/.partial-COMMIT/`` what an interrupted download has
brought so far.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_folder, check_free_space, locked, sha256_file, write_json_atomic
from tsgen.common.hub.client import LIBRARY, RemoteFile, Repo, Say, open_repo
from tsgen.common.hub.fetch import Wanted, fetch
from tsgen.common.hub.reference import check_repo, check_revision, is_commit, is_tag, newest, parse_reference
from tsgen.common.sums import SUMS_FILE, check_sums, read_sums

MAX_SUMS_BYTES = 16 << 20


def cache_folder() -> Path:
    """Where releases are kept when no other place is named."""
    import platformdirs

    return platformdirs.user_cache_path(LIBRARY) / "releases"


def resolve(text: str, *, offline: bool = False, say: Say) -> Path:
    """The verified folder that ``hf:USER/NAME@vX`` means, downloaded when the cache does not have it."""
    reference = parse_reference(text)
    return download_release(reference.repo, reference.revision, offline=offline, say=say)


def download_release(
    repo: str,
    revision: str | None = None,
    cache: Path | None = None,
    *,
    offline: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    say: Say,
    wait_factor: float = 1.0,
) -> Path:
    """The folder of a release in ``cache``, every file equal to what its SHA256SUMS lists.

    ``revision``: a tag as v1.0.0 or a full commit; None means the highest version there is. A release that is in the
    cache is checked and returned; the Hub is then asked for nothing but the commit of the tag and the hash of its
    SHA256SUMS, with ``offline``, under HF_HUB_OFFLINE and for a full commit not even that. UsageError when there is no
    such release or the Hub cannot be reached; DataError when what it holds is not what it lists.
    """
    from huggingface_hub import constants

    home = (cache or cache_folder()) / check_repo(repo).replace("/", "--")
    if revision is not None:
        check_revision(revision)
    if offline or constants.is_offline_mode():
        return _cached(home, repo, revision)
    known = _with_commit(home, revision)
    if known and not _damage(known):
        return known
    remote = open_repo(repo, endpoint=endpoint, token=token, wait_factor=wait_factor)
    name, commit = (known.name, str(revision)) if known else _resolved(remote, revision)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home, wait=True):
        return _ensure(remote, home, name, commit, say)


def copy_release(folder: Path, out: Path) -> None:
    """What a checked release lists as the new folder ``out``; one that is there already is left alone when it is the
    same."""
    check_copy(out)
    if out.exists():
        if sha256_file(out / SUMS_FILE) != sha256_file(folder / SUMS_FILE):
            raise UsageError(f"--out {out} exists and is not this release; give another name.")
        _refuse_damage(out, check_sums(out))
        return
    names = [*read_sums(folder / SUMS_FILE), SUMS_FILE]
    check_free_space(out.parent, sum((folder / name).stat().st_size for name in names), f"--out {out}")
    with atomic_folder(out) as partial:
        for name in names:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, partial / name)


def check_copy(out: Path) -> None:
    """UsageError when no release can be copied to ``out``; to be asked before it is downloaded."""
    if (out.exists() or out.is_symlink()) and not (out / SUMS_FILE).is_file():
        raise UsageError(f"--out {out} exists and is not this release; give another name.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: {out.parent} is no folder that can be written to; give another.")


def _ensure(remote: Repo, home: Path, name: str, commit: str, say: Say) -> Path:
    """The folder ``home``/``name`` with the files of ``commit``; the caller has the lock."""
    folder = home / name
    recorded = _recorded_commit(folder)
    if folder.is_dir() and recorded not in (None, commit):
        raise DataError(
            f"{remote.name}: {name} is commit {commit[:12]} on the Hub, but {folder} came from commit "
            f"{str(recorded)[:12]}; a release must not change. Ask its authors, and remove that folder to take what "
            "the Hub has now."
        )
    if folder.is_dir() and recorded:
        listed = _listed_sums(remote, commit, remote.tree(commit))
        damage = _damage(folder) if listed.is_in(folder / SUMS_FILE) else [f"{SUMS_FILE}: not that of the Hub."]
        if not damage:
            return folder
        say(f"{folder} is damaged ({damage[0]}); fetching what is wrong again.")
    partial = home / f".partial-{commit}"
    parts, files = partial / "parts", partial / "files"
    parts.mkdir(parents=True, exist_ok=True)
    if folder.is_dir():
        shutil.rmtree(files, ignore_errors=True)
        folder.rename(files)
    files.mkdir(exist_ok=True)
    _bring(remote, commit, files, parts, say)
    record = {"repo": remote.name, "revision": name, "commit": commit, "sums_sha256": sha256_file(files / SUMS_FILE)}
    write_json_atomic(_record(folder), record)
    files.rename(folder)
    for stale in home.glob(".partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    say(f"{remote.name} {name} (commit {commit[:12]}) is complete and checked: {folder}")
    return folder


def _bring(remote: Repo, commit: str, files: Path, parts: Path, say: Say) -> None:
    """Every file of the release into ``files``, SHA256SUMS last; what is there and right is not fetched again."""
    from tqdm import tqdm

    tree = remote.tree(commit)
    sums_file = _bring_sums(remote, commit, tree, parts, say)
    wanted = _wanted(remote.name, commit, read_sums(sums_file), tree)
    for path in sorted(files.rglob("*"), reverse=True):
        name = path.relative_to(files).as_posix()
        if path.is_symlink() or (path.is_file() and name not in wanted):
            path.unlink()
        elif path.is_dir() and name in wanted:
            shutil.rmtree(path)
    missing = [file for file in wanted.values() if not file.is_in(files / file.name)]
    total = sum(file.size for file in missing)
    check_free_space(files, total, f"{remote.name} at {commit[:12]}")
    if missing:
        say(f"{remote.name} at {commit[:12]}: fetching {len(missing)} of {len(wanted)} files, {total / 1e6:.1f} MB")
    with tqdm(total=total, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for file in missing:
            part = parts / file.digest
            bar.update(part.stat().st_size if part.exists() else 0)
            fetch(remote, commit, file, part, say, bar.update)
            (files / file.name).parent.mkdir(parents=True, exist_ok=True)
            part.replace(files / file.name)
    sums_file.replace(files / SUMS_FILE)


def _bring_sums(remote: Repo, commit: str, tree: dict[str, RemoteFile], parts: Path, say: Say) -> Path:
    """The list of all hashes, itself checked against the one hash the Hub gives for it."""
    part = parts / SUMS_FILE
    part.unlink(missing_ok=True)
    fetch(remote, commit, _listed_sums(remote, commit, tree), part, say, lambda n: None)
    return part


def _listed_sums(remote: Repo, commit: str, tree: dict[str, RemoteFile]) -> Wanted:
    entry = tree.get(SUMS_FILE)
    if entry is None:
        raise DataError(f"{remote.name} at {commit[:12]} has no {SUMS_FILE}, so it is no release of this project.")
    if entry.size > MAX_SUMS_BYTES:
        raise DataError(f"{remote.name} at {commit[:12]}: a {SUMS_FILE} of {entry.size} bytes; no release has.")
    return Wanted(SUMS_FILE, entry.size, entry.sha256 or entry.git_sha1)


def _wanted(repo: str, commit: str, sums: dict[str, str], tree: dict[str, RemoteFile]) -> dict[str, Wanted]:
    """Name -> what to fetch: all that SHA256SUMS lists. DataError when the commit cannot be that release.

    Every name is one of ``tree``, and those are checked.
    """
    missing = [name for name in sums if name not in tree]
    if missing:
        raise DataError(f"{repo} at {commit[:12]} lacks {len(missing)} files of its {SUMS_FILE}, as {missing[0]}.")
    for name, sha256 in sums.items():
        if tree[name].sha256 not in (None, sha256):
            raise DataError(f"{repo} at {commit[:12]}, {name}: the Hub and {SUMS_FILE} state different hashes.")
    return {name: Wanted(name, tree[name].size, sha256) for name, sha256 in sums.items()}


def _resolved(remote: Repo, revision: str | None) -> tuple[str, str]:
    """Name of the folder and commit of a revision."""
    if revision is not None and is_commit(revision):
        return revision, revision
    refs = remote.refs()
    if refs is None:
        raise UsageError(
            f"{remote.api.endpoint} has no dataset {remote.name}, or it is private and your token does not open it."
        )
    name = newest(list(refs.tags)) if revision is None else revision
    if name is None:
        raise UsageError(f"{remote.name} has no release yet: no tag as v1.0.0.")
    if name not in refs.tags:
        versions = ", ".join(tag for tag in refs.tags if is_tag(tag)) or "none"
        raise UsageError(f"{remote.name} has no release {name}. Released: {versions}.")
    commit = refs.tags[name]
    if not is_commit(commit):
        raise DataError(f"{remote.name}: the Hub says {name} is {commit[:60]!r}, which is no commit.")
    return name, commit


def _cached(home: Path, repo: str, revision: str | None) -> Path:
    """A release of the cache, without the network."""
    there = [path.name for path in home.iterdir() if path.is_dir() and is_tag(path.name)] if home.is_dir() else []
    known = _with_commit(home, revision)
    name = newest(there) if revision is None else revision
    folder = known or (home / name if name else None)
    if folder is None or not folder.is_dir():
        raise UsageError(
            f"{repo} {revision or 'of any version'} is not in the cache {home.parent} "
            f"(there: {', '.join(there) or 'nothing'}); "
            "download it once without --offline."
        )
    _refuse_damage(folder, _damage(folder))
    return folder


def _refuse_damage(folder: Path, damage: list[str]) -> None:
    if damage:
        raise DataError(f"{folder} is damaged: {damage[0]} Download it again.")


def _damage(folder: Path) -> list[str]:
    """Every difference between a folder of the cache, its SHA256SUMS, and what was noted of that when it came."""
    try:
        problems = check_sums(folder)
    except DataError as problem:
        return [str(problem)]
    if sha256_file(folder / SUMS_FILE) != _recorded(folder, "sums_sha256"):
        problems.append(f"{SUMS_FILE}: not the one that was downloaded.")
    return problems


def _with_commit(home: Path, commit: str | None) -> Path | None:
    """The folder of the cache that holds ``commit``, under whatever name; None for a revision that is no commit."""
    if commit is None or not is_commit(commit) or not home.is_dir():
        return None
    folders = [path for path in home.iterdir() if path.is_dir() and (is_tag(path.name) or is_commit(path.name))]
    return next((folder for folder in sorted(folders) if _recorded_commit(folder) == commit), None)


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _recorded_commit(folder: Path) -> str | None:
    commit = _recorded(folder, "commit")
    return commit if commit and is_commit(commit) else None


def _recorded(folder: Path, key: str) -> str | None:
    try:
        value = json.loads(_record(folder).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None
