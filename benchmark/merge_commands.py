"""``rac-bench merge``: what machines did apart becomes what one machine does alone."""

from __future__ import annotations

from pathlib import Path

import click

from tsgen.common.errors import DataError, UsageError


@click.command("merge")
@click.argument("paths", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the submission or the sweep.")
def merge(paths: tuple[Path, ...], out: Path) -> None:
    """Join the parts of rac-bench predict --shard to one submission, or sweeps of one protocol to one sweep.

    Everything is verified first: parts of one model on the same clips, none missing or twice; every job with one
    result, on the same clips. --out is new; of sweeps also one that is begun. No sweep knows how many there are: look
    whether every model and h has its seeds, and let rac-bench sweep --out OUT, without --shard, do what is missing.
    """
    from benchmark.submission.parts import PART_NAME

    kinds = {_kind(path, PART_NAME) for path in paths}
    if len(kinds) > 1:
        raise UsageError("these are parts of a prediction and sweeps; merge one kind at a time.")
    if kinds == {PART_NAME}:
        from benchmark.submission.parts import merge_parts

        submission = merge_parts(paths, out)
        files = len(submission.seeds) * len(submission.domains)
        click.echo(f"Written to {out}: submission.json and {files} files of answers.")
        return
    from benchmark.sweep.merge import jobs_of_each, merge_sweeps
    from benchmark.sweep.store import SweepDirectory

    states = merge_sweeps(paths, out, lambda line: click.echo(line, err=True))
    counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    click.echo(f"Written to {out}: jobs: {counts or 'none'}. The table: rac-bench sweep --summary --out {out}")
    for line in jobs_of_each(SweepDirectory(out).begun_jobs()):
        click.echo(line)
    click.echo(f"What a forgotten folder held is not known; the shards' command with --out {out}, no --shard, adds it.")


def _kind(path: Path, part_name: str) -> str:
    for name in (part_name, "sweep.json"):
        if (path / name).is_file():
            return name
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give those that predict --shard or sweep wrote.")
    raise DataError(f"{path} is neither a part of a prediction, with {part_name}, nor a sweep, with sweep.json.")
