"""Proof of a release: the sums, then all that it says of itself said again from its content, then clips made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diving48_domains.no_frames import frames_in
from diving48_domains.release.build import (
    CARD_FILE,
    LICENSE_FILE,
    RELEASE_FILE,
    SCHEMA_VERSION,
    TOP_FILES,
    manifest_of,
    render_card,
)
from diving48_domains.release.contents import Contents, made_with
from diving48_domains.release.kinds import KINDS, Kind
from diving48_domains.release.rebuild import Rebuilt
from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.card import check_card
from tsgen.common.hub.reference import is_tag
from tsgen.common.licence import licence_text
from tsgen.common.sums import SUMS_FILE, check_sums, read_sums
from tsgen.common.tables import require_pyarrow, table_problems

MAX_MANIFEST_BYTES = 16 << 20
OF_ITS_TIME = ("version", "generator_version", "made_with", "license", "about")
"""What release.json says of its making: its word alone."""


@dataclass(frozen=True)
class ReleaseReport:
    """What was checked and what is wrong, each of ``problems`` with the file's name.

    ``rebuilt``: clips that were made again; ``not_proven``: why what was asked for could not be shown, else empty.
    """

    folder: str
    kind: str
    version: str
    files: int
    rows: int
    rebuilt: int = 0
    problems: tuple[str, ...] = ()
    not_proven: str = ""

    @property
    def is_proven(self) -> bool:
        return not self.problems and not self.not_proven

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "proven": self.is_proven}

    def to_text(self) -> str:
        head = f"{self.folder}: {self.kind} {self.version}, {self.files} files, {self.rows} rows"
        if self.is_proven:
            again = f"; {self.rebuilt} clips were made again to the same values" if self.rebuilt else ""
            return _printable(
                f"{head}: every file has its SHA-256, index, card and manifest say what is in them{again}."
            )
        lines = [f"{head}: {len(self.problems)} problems.", *(f"  {problem}" for problem in self.problems)]
        lines += [f"  not shown: {self.not_proven}"] if self.not_proven else []
        return _printable("\n".join(lines))


def verify_release(
    folder: Path,
    *,
    rebuild: bool = False,
    number: int | None = None,
    data: Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> ReleaseReport:
    """Check a release folder of unknown origin and list what is wrong with it.

    ``rebuild``: make ``number`` clips of each part again (None: all) and compare; domains need ``data``, the folder
    with the videos. Raises UsageError when there is no such folder or a rebuild is not possible, DataError when it has
    no SHA256SUMS or no manifest of this version.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    require_pyarrow()
    problems = check_sums(folder)
    files = len(read_sums(folder / SUMS_FILE)) + 1
    manifest = read_manifest(folder)
    kind = KINDS[manifest["kind"]]
    if rebuild and kind.needs_data and data is None:
        raise UsageError(
            f"the videos of kind {manifest['kind']!r} are not in it; name the folder with yours, --data DIR."
        )
    if data is not None and not (rebuild and kind.needs_data):
        raise UsageError("--data goes with --rebuild of the kind 'domains' only.")
    if not kind.has_frames:
        problems += [f"{name}: may hold frames, which are never part of it." for name in frames_in(folder)]
    try:
        contents = kind.describe(folder)
    except (DataError, UsageError) as problem:
        return _report(folder, manifest, files, 0, [*problems, str(problem)])
    problems += _differences(folder, manifest, contents)
    rows = sum(table.num_rows for table in contents.tables.values())
    made = Rebuilt(0)
    if rebuild and not problems:
        made = kind.rebuild(folder, data, number, workers, quiet)
    return _report(folder, manifest, files, rows, [*problems, *made.problems], made)


def read_manifest(folder: Path) -> dict[str, Any]:
    """release.json of a kind and a schema that this version knows. DataError otherwise."""
    path = folder / RELEASE_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise DataError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes; refused.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {folder} is no release.") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem
    known = isinstance(value, dict) and isinstance(value.get("kind"), str) and value["kind"] in KINDS
    if not known or value.get("schema_version") != SCHEMA_VERSION or not is_tag(f"v{value.get('version')}"):
        raise DataError(
            f"{path} describes no release of this d48dom: kinds {', '.join(KINDS)}, schema {SCHEMA_VERSION}."
        )
    return dict(value)


def _differences(folder: Path, manifest: Mapping[str, Any], contents: Contents) -> list[str]:
    """What index, manifest, card and licence say otherwise than the content, and files that belong to none of them."""
    kind: Kind = KINDS[manifest["kind"]]
    problems = [
        f"{name}: {problem}"
        for name, table in contents.tables.items()
        for problem in (table_problems(folder / name, table) if (folder / name).is_file() else ["missing."])
    ]
    expected = manifest_of(manifest["kind"], contents, manifest["version"])
    plain = json.loads(json.dumps(expected))
    for name in sorted((set(plain) | set(manifest)) - set(OF_ITS_TIME)):
        if plain.get(name) != manifest.get(name):
            problems.append(
                f"{RELEASE_FILE}: {name} is {_short(manifest.get(name))}, by the files {_short(plain.get(name))}."
            )
    card = _text(folder / CARD_FILE)
    listed = set(read_sums(folder / SUMS_FILE))
    if card != render_card(plain):
        problems += [f"{CARD_FILE}: is not the card of this release, as this version of {kind.card} fills it."]
    problems += [f"{CARD_FILE}: {problem}." for problem in check_card(card, listed)]
    if _text(folder / LICENSE_FILE) != licence_text():
        problems.append(f"{LICENSE_FILE}: is another text.")
    strange = sorted(listed - set(contents.files) - set(contents.tables) - set(TOP_FILES))
    return problems + [f"{name}: belongs to no part of the release." for name in strange[:20]]


def _report(
    folder: Path,
    manifest: Mapping[str, Any],
    files: int,
    rows: int,
    problems: list[str],
    made: Rebuilt | None = None,
) -> ReleaseReport:
    made = made or Rebuilt(0)
    not_proven = ""
    if made.encoded:
        mine, theirs = made_with(), manifest.get("made_with")
        if mine == theirs:
            problems = problems + [f"{name}: comes out otherwise." for name in made.encoded]
        else:
            not_proven = (
                f"{len(made.encoded)} encoded files come out otherwise, as {made.encoded[0]}. The release was made "
                f"with other versions of libraries ({_versions(mine, theirs)}); all else came out as released."
            )
    version = str(manifest["version"])
    return ReleaseReport(str(folder), manifest["kind"], version, files, rows, made.clips, tuple(problems), not_proven)


def _versions(mine: Mapping[str, str], theirs: Any) -> str:
    theirs = theirs if isinstance(theirs, dict) else {}
    return ", ".join(
        f"{name} {_short(theirs.get(name))}, here {mine[name]}" for name in mine if mine[name] != theirs.get(name)
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[: 4 << 20].decode("utf-8", errors="replace")
    except OSError:
        return ""


def _short(value: Any) -> str:
    return ascii(value)[:80]


def _printable(text: str) -> str:
    """Names out of files of unknown origin must not reach the terminal as they are."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
