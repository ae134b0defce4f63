"""The subcommands of ``d48dom``."""

from __future__ import annotations

import json

import click

from diving48_domains.vocabulary import ATTRIBUTES, DIVE_CLASSES, EMPTY_IN_V2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def classes(as_json: bool) -> None:
    """List the 48 dive classes in index order with their attributes."""
    if as_json:
        rows = [
            {"id": index, **dive._asdict(), "in_v2": index != EMPTY_IN_V2} for index, dive in enumerate(DIVE_CLASSES)
        ]
        click.echo(json.dumps(rows))
        return
    click.echo("id  " + "".join(f"{name:<12}" for name in ATTRIBUTES).rstrip())
    for index, dive in enumerate(DIVE_CLASSES):
        note = "(no clip in V2)" if index == EMPTY_IN_V2 else ""
        click.echo(f"{index:>2}  {''.join(f'{value:<12}' for value in dive)}{note}".rstrip())
