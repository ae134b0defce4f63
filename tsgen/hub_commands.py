"""``tsgen publish`` and ``tsgen download``: releases to and from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tsgen.common.hub.command import publish_options, run_publish


@click.command()
@publish_options
def publish(folder: Path, repo: str, **options: Any) -> None:
    """Publish the release in FOLDER as a dataset on the Hugging Face Hub.

    \b
    tsgen release --out release
    tsgen publish release --repo USER/NAME --dry-run
    tsgen publish release --repo USER/NAME

    FOLDER is checked first. One commit makes the repo hold its files and no others; then every hash is read back,
    and only then the tag of the version is set. A run that was interrupted is run again; nothing is sent twice.
    """
    run_publish(folder, repo, **options)


@click.command()
@click.option("--repo", metavar="USER/NAME", help="The dataset repo; there is no default yet.")
@click.option("--revision", metavar="vX.Y.Z", help="A tag or a full commit. Default: the highest version there is.")
@click.option("--out", type=click.Path(path_type=Path), help="Copy the release to this new folder, too.")
@click.option("--offline", is_flag=True, help="Take it from the cache; ask nobody.")
@click.option("--token-env", metavar="VARIABLE", help="Environment variable with a token, for private repos.")
@click.option("--original", is_flag=True, help="The authors' own frames from Harvard Dataverse, into --out.")
def download(
    repo: str | None, revision: str | None, out: Path | None, offline: bool, token_env: str | None, original: bool
) -> None:
    """Download a release from the Hugging Face Hub into the cache, and print its folder.

    \b
    tsgen download --repo USER/NAME --revision v1.0.0
    tsgen download --original --out ts-original

    Every file is checked against the release's SHA256SUMS; a download that was cut goes on where it stopped.
    """
    from tsgen.common.errors import UsageError
    from tsgen.common.hub.client import token_from
    from tsgen.common.hub.download import check_copy, copy_release, download_release

    if original:
        _download_original(out, repo=repo, revision=revision, offline=offline or None, token_env=token_env)
        return
    if repo is None:
        raise UsageError(
            "--repo USER/NAME is needed: this project has published no release of its own yet. "
            "`tsgen release --out DIR` makes the same data here; --original fetches the authors' frames."
        )
    if out is not None:
        check_copy(out)
    folder = download_release(repo, revision, offline=offline, token=token_from(token_env), say=_say)
    if out is not None:
        copy_release(folder, out)
        folder = out
    click.echo(folder)


def _download_original(out: Path | None, **given: object) -> None:
    from tsgen.common.errors import UsageError
    from tsgen.originals.archive import download_original

    extra = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if extra:
        raise UsageError(f"{', '.join(extra)}: not for --original, whose frames come from Harvard Dataverse.")
    if out is None:
        raise UsageError("--original needs --out DIR, the folder for the authors' frames.")
    click.echo(download_original(out, say=_say).text())


def _say(line: str) -> None:
    click.echo(line, err=True)
