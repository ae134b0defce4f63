"""``d48dom release``: write a release folder, or verify one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from tsgen.common.errors import DataError, UsageError, unknown_name

KIND_HELP = {
    "domains": "recipe and masks of the shape and texture domains, never a frame",
    "frames": "the labelled frames of a mini-Diving48",
    "mini": "a mini-Diving48 with its truth",
}
PATH = click.Path(path_type=Path)
NEEDED = {"domains": ("build", "instances"), "frames": ("data",), "mini": ("data",)}
BUILD_OPTIONS = ("kind", "builds", "instances", "version", "force")
VERIFY_OPTIONS = ("rebuild", "workers")
ALL = "all"


@click.command()
@click.option(
    "--kind", metavar="KIND", help=f"What to release: {'; '.join(f'{k}: {v}' for k, v in KIND_HELP.items())}."
)
@click.option("--out", type=PATH, metavar="DIR", help="Write the release to this new folder.")
@click.option("--build", "builds", multiple=True, metavar="[NAME=]FILE", help="A manifest.jsonl of `d48dom build`.")
@click.option("--instances", type=PATH, metavar="FILE", help="The instances file it was built with.")
@click.option("--data", type=PATH, metavar="DIR", help="A mini-Diving48; with --rebuild of domains: your videos.")
@click.option("--version", metavar="X.Y.Z", help="Of the release.  [default: 1.0.0]")
@click.option("--force", is_flag=True, help="Replace a release that is in the folder.")
@click.option("--verify", type=PATH, metavar="DIR", help="Check the release in this folder.")
@click.option("--rebuild", metavar="N", help=f"Also make so many clips again, or `{ALL}`, and compare.")
@click.option("--workers", type=int, help="Processes of a rebuild, 0 for none beside this one.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def release(
    ctx: click.Context,
    kind: str | None,
    out: Path | None,
    builds: tuple[str, ...],
    instances: Path | None,
    data: Path | None,
    version: str | None,
    force: bool,
    verify: Path | None,
    rebuild: str | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a folder that `d48dom publish` sends, or check one down to every mask.

    \b
    d48dom release --kind domains --build out/test/manifest.jsonl --instances instances.h5 --out d48-release
    d48dom release --kind mini --data mini --out mini-release
    d48dom release --verify mini-release --rebuild 3      # exit code 3 when anything differs

    Several manifests: those of several splits, or of all shards, go together; another build of the same split takes a
    name of its own, as in --build t02=t02/test/manifest.jsonl.
    """
    if (out is None) == (verify is None):
        raise UsageError("give either --out DIR to write a release or --verify DIR to check one.")
    _refuse(ctx, VERIFY_OPTIONS if verify is None else BUILD_OPTIONS, "--verify" if verify is None else "--out")
    if verify is not None:
        _verify(verify, rebuild, data, workers, as_json, quiet)
        return
    assert out is not None
    _write(kind, out, builds, instances, data, version, force, as_json)


def _write(
    kind: str | None,
    out: Path,
    builds: tuple[str, ...],
    instances: Path | None,
    data: Path | None,
    version: str | None,
    force: bool,
    as_json: bool,
) -> None:
    if kind is None:
        raise UsageError(f"--kind says what to release: {', '.join(KIND_HELP)}.")
    if kind not in KIND_HELP:
        raise unknown_name("kind", kind, KIND_HELP)
    given = {"build": bool(builds), "instances": instances is not None, "data": data is not None}
    for name, is_given in given.items():
        if is_given != (name in NEEDED[kind]):
            needed = " and ".join(f"--{one}" for one in NEEDED[kind])
            raise UsageError(f"--kind {kind} takes {needed}; --{name} is {'of no use' if is_given else 'missing'}.")
    from diving48_domains.release import frames, masks, mini
    from diving48_domains.release.build import build_release

    if kind == "domains":
        assert instances is not None
        parts = [_part(text, masks.DEFAULT_CONFIG) for text in builds]
        sources = [instances, *(path for _, path in parts)]
        for path in sources:
            if not path.is_file():
                raise UsageError(f"{path}: no such file.")
        needed_bytes = sum(path.stat().st_size for path in sources)
        file = instances
        summary = build_release(
            kind,
            out,
            lambda folder: masks.collect(folder, file, parts),
            needed_bytes=needed_bytes,
            version=version,
            force=force,
        )
    else:
        assert data is not None
        if not data.is_dir():
            raise UsageError(f"--data {data}: no such folder.")
        root, collect = data, {"frames": frames.collect, "mini": mini.collect}[kind]
        needed_bytes = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        summary = build_release(
            kind, out, lambda folder: collect(folder, root), needed_bytes=needed_bytes, version=version, force=force
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
        return
    click.echo(
        f"wrote {summary.out}: {kind} {summary.version}, {summary.rows} rows, {summary.files} files, "
        f"{summary.size_bytes / 1e6:.1f} MB"
    )
    frames_option = "" if kind == "domains" else " --with-frames"
    click.echo(f"next: d48dom release --verify {out}; d48dom publish {out} --repo USER/NAME{frames_option} --dry-run")


def _verify(
    folder: Path, rebuild: str | None, data: Path | None, workers: int | None, as_json: bool, quiet: bool
) -> None:
    if rebuild is None and workers is not None:
        raise UsageError("--workers goes with --rebuild only.")
    number = None
    if rebuild is not None and rebuild != ALL:
        if not rebuild.isascii() or not rebuild.isdigit() or int(rebuild) < 1:
            raise UsageError(f"--rebuild {rebuild!r} is not possible; give a number of clips, 1 or more, or `{ALL}`.")
        number = int(rebuild)
    from diving48_domains.release.verify import verify_release

    report = verify_release(
        folder, rebuild=rebuild is not None, number=number, data=data, workers=workers, quiet=quiet or as_json
    )
    click.echo(json.dumps(report.to_json()) if as_json else report.to_text())
    if not report.is_proven:
        raise click.exceptions.Exit(DataError.exit_code)


def _part(text: str, default: str) -> tuple[str, Path]:
    """(configuration, path) of a --build; a path may hold '=' where it has a folder before it."""
    name, mark, rest = text.partition("=")
    return (name, Path(rest)) if mark and "/" not in name and "\\" not in name else (default, Path(text))


def _refuse(ctx: click.Context, names: tuple[str, ...], needed: str) -> None:
    """Options that would do nothing are a mistake."""
    for name in names:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = {"builds": "build"}.get(name, name)
            raise UsageError(f"--{option} goes with {needed} DIR only.")
