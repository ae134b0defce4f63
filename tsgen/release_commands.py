"""``tsgen release``: build the release folder, or verify one."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import click

from tsgen.commands import DIGITS_HELP
from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import ENGINE_HELP, engine_options
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard
from tsgen.release.plan import CONFIGS, RELEASE_VERSION, SIZES, Plan, parse_sizes, size_text

BUILD_OPTIONS = ("sizes", "configs", "seed", "force", "shard", "engine", "address")
VERIFY_OPTIONS = ("quick", "without_rebuild")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Build the release in this folder.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="DIR", help="Check the release in this folder.")
@click.option("--digits", metavar="SOURCE", help=DIGITS_HELP)
@click.option("--sizes", metavar="N,N,N", help=f"Clips of train, val and test. Default: {size_text(SIZES)}.")
@click.option("--configs", metavar="NAMES", help=f"Only some of {', '.join(CONFIGS)}. Default: all.")
@click.option("--seed", type=int, help="Of all streams. Default: that of the release, 0.")
@click.option(
    "--workers",
    type=int,
    help="Threads; with --engine files side by side. Default: one a core. No value depends on it.",
)
@click.option("--shard", metavar="I/N", help="Make only this share of the files; the command without it finishes.")
@engine_options(None, f"{ENGINE_HELP} Default: files in turn, in threads of this process.")
@click.option("--force", is_flag=True, help="Replace a release that is in the folder.")
@click.option("--quick", is_flag=True, help="Verify SHA256SUMS alone.")
@click.option("--without-rebuild", is_flag=True, help="Verify all but that the recipes give these values.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def release(
    ctx: click.Context,
    out: Path | None,
    verify: Path | None,
    digits: str | None,
    sizes: str | None,
    configs: str | None,
    seed: int | None,
    workers: int | None,
    shard: str | None,
    engine: str | None,
    address: str | None,
    force: bool,
    quick: bool,
    without_rebuild: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build the dataset release, or check one down to every value.

    \b
    tsgen release --out temporal-shape                    # all configurations and splits
    tsgen release --out small --sizes 40,10,10 --digits embedded
    tsgen release --verify temporal-shape                 # exit code 3 when anything differs

    The same command goes on with a build that was interrupted.

    \b
    On several machines that see one folder:
      tsgen release --out DIR --shard 2/8        # a task of an array job; several may run at once
      tsgen release --out DIR                    # when they have ended: checks all, makes what is missing, finishes
      tsgen release --out DIR --engine ray --address HOST:PORT
    """
    if (out is None) == (verify is None):
        raise UsageError("give either --out DIR to build a release or --verify DIR to check one.")
    _refuse(ctx, VERIFY_OPTIONS if verify is None else BUILD_OPTIONS, "--verify" if verify is None else "--out")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers} is not possible; allowed: 1 or more.")
    if verify is not None:
        _verify(verify, digits, workers, quick, without_rebuild, as_json, quiet)
        return
    assert out is not None
    plan = Plan(
        tuple(CONFIGS) if configs is None else tuple(name.strip() for name in configs.split(",")),
        dict(SIZES) if sizes is None else parse_sizes(sizes),
        0 if seed is None else seed,
    )
    begun = time.perf_counter()
    if shard is not None:
        if engine is not None or address is not None or force:
            raise UsageError("--shard does its share here, in a folder that others share: no engine, no --force.")
        _shard(out, Shard.parse(shard), plan, digits, workers, as_json, quiet)
        return
    chosen = None if engine is None and address is None else EngineOptions(engine or "serial", workers, address)
    from tsgen.release.build import build_release

    summary = build_release(
        out, plan, digits=digits, workers=workers, engine=chosen, force=force, say=_say, quiet=quiet
    )
    seconds = time.perf_counter() - begun
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(summary), "seconds": round(seconds, 3)}))
        return
    click.echo(
        f"wrote {summary.out}: version {summary.version}, {summary.clips} clips, {summary.files} files, "
        f"{summary.size_bytes / 1e6:.1f} MB, {seconds:.1f} s ({summary.made} clip files made, {summary.kept} kept)"
    )
    if summary.departures:
        click.echo(f"not the release {RELEASE_VERSION} itself: {'; '.join(summary.departures)}")


def _shard(
    out: Path, shard: Shard, plan: Plan, digits: str | None, workers: int | None, as_json: bool, quiet: bool
) -> None:
    begun = time.perf_counter()
    from tsgen.release.build import build_shard

    summary = build_shard(out, shard, plan, digits=digits, workers=workers, say=_say, quiet=quiet)
    seconds = time.perf_counter() - begun
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(summary), "seconds": round(seconds, 3)}))
        return
    click.echo(
        f"shard {shard} of {out}: {summary.made} clip files made, {summary.kept} kept, {summary.clips} clips, "
        f"{seconds:.1f} s. When all shards have ended, the command without --shard finishes the release."
    )


def _say(line: str) -> None:
    click.echo(line, err=True)


def _verify(
    folder: Path,
    digits: str | None,
    workers: int | None,
    quick: bool,
    without_rebuild: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    if quick and without_rebuild:
        raise UsageError("--quick does less than --without-rebuild; give one of them.")
    from tsgen.release.verify import verify_release

    report = verify_release(
        folder, quick=quick, rebuild=not without_rebuild, digits=digits, workers=workers, quiet=quiet
    )
    click.echo(json.dumps(report.to_json()) if as_json else report.to_text())
    if not report.is_proven:
        raise click.exceptions.Exit(DataError.exit_code)


def _refuse(ctx: click.Context, names: tuple[str, ...], needed: str) -> None:
    """Options that would do nothing are a mistake."""
    for name in names:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} goes with {needed} DIR only.")
