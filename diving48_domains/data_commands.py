"""The command ``d48dom audit``. Heavy imports sit inside it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tsgen.common.errors import DataError, UsageError, unknown_name


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--workers", type=int, help="Videos decoded at a time, each in a process. [default: one a core]")
@click.option(
    "--fail-on",
    default="none",
    show_default=True,
    metavar="WHAT",
    help="Exit with code 3 on 'damage' (missing, unreadable, partial videos), on 'any' finding, or on 'none'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with the facts and hash of every video.")
def audit(folder: Path, workers: int | None, fail_on: str, as_json: bool) -> None:
    """Read the lists of DIR and decode each listed video once.

    DIR holds Diving48_V2_train.json, Diving48_V2_test.json and rgb/ (docs/diving48_data.md), or is one that
    `d48dom mini` wrote. Told are missing, damaged and short videos, odd frame rates and sizes, videos of equal bytes,
    clips and source videos that span the lists, and the number of clips a class. Needs PyAV
    (pip install 'recur-attend-convolve[diving48]').
    """
    from diving48_domains.annotations import open_folder
    from diving48_domains.audit import FAIL_ON, audit_folder

    if fail_on not in FAIL_ON:
        raise unknown_name("--fail-on", fail_on, FAIL_ON)
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: give 1 or more.")
    result = audit_folder(open_folder(folder), workers)
    click.echo(json.dumps(result.to_json(), allow_nan=False) if as_json else result.text())
    failing = result.failing(fail_on)
    if failing:
        counts = ", ".join(f"{kind} {len(result.problems[kind])}" for kind in failing)
        raise DataError(f"{folder}: {counts} (--fail-on {fail_on}).")
