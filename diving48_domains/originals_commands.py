"""The command ``d48dom download``. Heavy imports sit inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsgen.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from diving48_domains.originals import Survey

MOST_LINES = 20


@click.command()
@click.option("--set", "name", metavar="NAME", help="labelled or domains. Without it: what there is, and where.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to fill, or to go on with.")
@click.option("--only", metavar="PATTERN", help="Only files whose path fits, such as '*/masks/*'.")
@click.option("--list", "list_only", is_flag=True, help="List the files and fetch none.")
@click.option("--check", is_flag=True, help="Verify what --out holds; ask nobody.")
@click.option("--server", metavar="URL", help="Another Dataverse. [https://dataverse.harvard.edu]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def download(
    name: str | None,
    out: Path | None,
    only: str | None,
    list_only: bool,
    check: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Fetch what the authors published of Diving48, verify it and say what it holds.

    \b
    d48dom download
    d48dom download --set labelled --out labelled
    d48dom download --set domains --out domains --only '*T*'

    A download that was cut goes on where it stopped, with the version it was begun with. The videos of Diving48 are
    not part of it: without --set the command says where they come from.
    """
    from diving48_domains.originals import download_original, get_original, survey

    if name is None and not check:
        _tell_sets(as_json)
        return
    if list_only and name is not None:
        _tell_files(name, out, server, as_json)
        return
    if out is None:
        raise UsageError("--out FOLDER is needed.")
    summary = None
    if not check and name is not None:
        summary = download_original(
            name, out, only=only, server=server, say=lambda text: click.echo(text, err=True), quiet=as_json
        )
    found = survey(out)
    if as_json:
        facts = None if summary is None else summary.to_json()
        click.echo(json.dumps({"download": facts, "survey": found.to_json()}))
    else:
        if summary is not None:
            click.echo(summary.text())
        click.echo(survey_text(found))
        if name is not None:
            click.echo(f"next: {get_original(name).then}")
    if found.problems:
        raise DataError(f"{out}: {'; '.join(found.problems[:5])}")


def _tell_sets(as_json: bool) -> None:
    from diving48_domains.originals import ORIGINALS, VIDEOS_FROM

    if as_json:
        sets = {name: {"doi": one.doi, "what": one.what} for name, one in ORIGINALS.items()}
        click.echo(json.dumps({"sets": sets, "videos": VIDEOS_FROM}))
        return
    for name, one in ORIGINALS.items():
        click.echo(f"--set {name:<9} {one.doi}: {one.what}")
    click.echo(f"\n{VIDEOS_FROM}")


def _tell_files(name: str, out: Path | None, server: str | None, as_json: bool) -> None:
    from diving48_domains.originals import list_original

    listing = list_original(name, out=out, server=server)
    if as_json:
        files = [{"path": file.path, "bytes": file.size, "restricted": file.restricted} for file in listing.files]
        click.echo(json.dumps({"doi": listing.doi, "version": listing.version, "files": files}))
        return
    click.echo(f"{listing.doi} version {listing.version}, licence as stated there: {listing.licence}")
    for file in listing.files:
        size = "      ?" if file.size is None else f"{file.size / 1e6:7.1f}"
        click.echo(f"{size} MB  {file.path}" + ("  (restricted)" if file.restricted else ""))


def survey_text(found: Survey) -> str:
    """A survey in lines: what lies where, and what can be done with it."""
    lines = [] if found.files == found.listed else [f"{found.files} of the {found.listed} files of the data set"]
    lines += [f"{count:7}  {kind}" for kind, count in list(found.kinds.items())[:MOST_LINES]]
    if len(found.kinds) > MOST_LINES:
        lines.append(f"         and {len(found.kinds) - MOST_LINES} more kinds")
    lines += [f"labelled frames in {folder}: {frames}, {divers} divers" for folder, frames, divers in found.labelled]
    if found.videos:
        told = ", ".join(f"{count} of {domain}" for domain, count in found.videos.items())
        lines.append(f"videos: {told}; {found.source_videos} source videos")
    if found.packed:
        lines.append(f"archives to unpack yourself: {', '.join(found.packed[:5])}")
    if found.pickles:
        lines.append(f"pickles, which can run code and are not loaded here: {', '.join(found.pickles[:5])}")
    return "\n".join(lines)
