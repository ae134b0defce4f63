"""What ``tsgen publish`` and ``d48dom publish`` share: their options and their words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from tsgen.common.hub.publish import PublishPlan, publish_folder

MAX_NAMES_SHOWN = 20


def run_publish(
    folder: Path,
    repo: str,
    *,
    version: str | None,
    private: bool,
    allow_departures: bool,
    dry_run: bool,
    token_env: str | None,
    as_json: bool,
) -> None:
    """Publish ``folder`` and print what was done, or with ``dry_run`` what would be."""
    from tsgen.common.hub.client import token_from

    plan = publish_folder(
        folder,
        repo,
        version,
        private=private,
        allow_departures=allow_departures,
        dry_run=dry_run,
        token=token_from(token_env),
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps({**plan.to_json(), "dry_run": dry_run}, indent=1))
    else:
        click.echo(describe(plan, dry_run=dry_run))


def describe(plan: PublishPlan, *, dry_run: bool) -> str:
    """The plan in lines."""
    where = f"{plan.repo} {plan.tag} at {plan.endpoint}"
    if plan.published:
        return f"already published: {where} (commit {str(plan.commit)[:12]}) has exactly these files."
    if not dry_run:
        return (
            f"published {where}, commit {str(plan.commit)[:12]}: {len(plan.send)} files new or changed "
            f"({plan.send_bytes / 1e6:.1f} MB), {len(plan.unchanged)} unchanged, {len(plan.delete)} removed; every "
            f"hash was read back. Use it as hf:{plan.repo}@{plan.tag}"
        )
    lines = [f"dry run, nothing is sent: {where}"]
    if plan.creates_repo:
        lines.append("the repo does not exist, or is private and needs a token to be seen; it would be created")
    lines += _listed(f"would send {len(plan.send)} files, {plan.send_bytes / 1e6:.1f} MB", plan.send)
    lines += _listed(f"would remove {len(plan.delete)} files that are not of the release", plan.delete)
    lines.append(f"would leave {len(plan.unchanged)} files as they are, then set the tag {plan.tag}")
    return "\n".join(lines)


def _listed(title: str, names: tuple[str, ...]) -> list[str]:
    if not names:
        return [title]
    rest = [f"  and {len(names) - MAX_NAMES_SHOWN} more"] if len(names) > MAX_NAMES_SHOWN else []
    return [f"{title}:", *(f"  {name}" for name in names[:MAX_NAMES_SHOWN]), *rest]


def publish_options(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of both commands, FOLDER first."""
    for option in reversed(
        (
            click.argument("folder", type=click.Path(path_type=Path)),
            click.option("--repo", required=True, metavar="USER/NAME", help="The dataset repo on the Hub."),
            click.option("--dry-run", is_flag=True, help="Tell what would be sent and removed; send nothing."),
            click.option("--private", is_flag=True, help="Create the repo for you alone; refused for a public one."),
            click.option("--version", metavar="X.Y.Z", help="Of a folder whose release.json states none."),
            click.option(
                "--allow-departures", is_flag=True, help="Publish a build that is smaller or other than the release."
            ),
            click.option(
                "--token-env",
                metavar="VARIABLE",
                help="Environment variable with the token. Default: HF_TOKEN, else the login of `hf auth login`.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON."),
        )
    ):
        command = option(command)
    return command
