"""The subcommands of ``tsgen``: options to records, results to text. Heavy imports sit inside each command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import ENGINE_HELP, engine_options
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard
from tsgen.domainfile import resolve_domain
from tsgen.domains import BACKGROUNDS, DOMAINS, Domain
from tsgen.profiles import PROFILES
from tsgen.vocabulary import SPLITS

# The dials of a domain on the command line: field of the record, type, help. Defaults are the domain's own.
DIALS: dict[str, tuple[str, Any, str]] = {
    "width": ("width_px", int, "Side of the dot or of the digit's cell, px."),
    "contrast": ("contrast", float, "Grey level of the dot or digit, 0..1."),
    "background": ("background", str, f"One of {', '.join(BACKGROUNDS)}; the last three are Perlin noise."),
    "intensity": ("intensity", float, "Strength of the noise, 0..1."),
    "speed": ("speed_factor", float, "Factor on all speeds."),
    "frames": ("num_frames", int, "Frames a clip."),
    "size": ("size_px", int, "Side of a frame, px."),
}
DIGITS_HELP = (
    "Digit bitmaps: a folder of MNIST IDX files, 'embedded' (UCI 8x8 digits, no download), or 'auto'. "
    "Default: TSGEN_MNIST_DIR, else the cache, else download MNIST."
)


def dial_options(command: Any) -> Any:
    for name, (_, kind, text) in reversed(DIALS.items()):
        command = click.option(f"--{name}", type=kind, help=f"{text} Default: the domain's.")(command)
    sigma_help = "Grain of the noise: cells across the frame, a range. Default: the domain's."
    return click.option("--sigma", nargs=2, type=int, metavar="LOW HIGH", help=sigma_help)(command)


@click.command()
@click.option("--domain", required=True, metavar="NAME", help=f"One of {', '.join(DOMAINS)}, or a TOML file.")
@click.option("--n", "n", required=True, type=int, metavar="CLIPS", help="How many clips.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HDF5 file to write.")
@click.option("--seed", default=0, show_default=True, type=int, help="A whole number from 0; 0 is one like any other.")
@click.option("--split", default="train", show_default=True, metavar="NAME", help=f"One of {', '.join(SPLITS)}.")
@click.option("--profile", metavar="NAME", help=f"One of {', '.join(PROFILES)}. Default: paper.")
@click.option("--digits", metavar="SOURCE", help=DIGITS_HELP)
@dial_options
@click.option(
    "--threads",
    type=int,
    help="Threads; with --engine slices side by side. Default: one a core. No value depends on it.",
)
@click.option("--shard", metavar="I/N", help="Make only slice I of N, counted from 0; `tsgen merge` joins them.")
@engine_options(None, f"{ENGINE_HELP} Default: threads of this process.")
@click.option("--shards", type=int, metavar="N", help="Slices that an engine makes. Default: one per 8192 clips.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def make(
    domain: str,
    n: int,
    out: Path,
    seed: int,
    split: str,
    profile: str | None,
    digits: str | None,
    threads: int | None,
    shard: str | None,
    engine: str | None,
    address: str | None,
    shards: int | None,
    force: bool,
    as_json: bool,
    **dials: Any,
) -> None:
    """Write CLIPS clips of a domain to an HDF5 file.

    Clip i is a function of (seed, domain, split, i) alone: the same bytes on every machine, whatever the number of
    clips or threads. Classes are balanced; train, val and test of one seed are independent streams.

    \b
    On several machines that see one folder:
      tsgen make ... --out ts.h5 --shard 2/8      # a task of an array job
      tsgen merge ts-*-of-00008.h5 --out ts.h5    # when all have ended
      tsgen make ... --out ts.h5 --engine ray --address HOST:PORT
    The same command goes on with what was interrupted or failed.
    """
    begun = time.perf_counter()
    record = _turn_dials(resolve_domain(domain, profile), dials)
    options: dict[str, Any] = {"seed": seed, "split": split, "digits": digits, "force": force, "threads": threads}
    chosen = _slice_or_engine(shard, engine, address, shards, threads)
    how: dict[str, Any] = {}
    if isinstance(chosen, Shard):
        from tsgen.slices import make_slice

        made_slice = make_slice(record, n, out, chosen, **options)
        out, recipe = made_slice.path, made_slice.recipe
        how = {"shard": str(chosen), "kept": not made_slice.made}
    elif chosen is not None:
        from tsgen.slices import make_in_slices

        made = make_in_slices(record, n, out, chosen, shards=shards, **options)
        recipe, how = made.recipe, {"engine": chosen.name, "slices_made": made.made, "slices_kept": made.kept}
    else:
        from tsgen.generate import make as make_file

        recipe = make_file(record, n, out, **options)
    seconds = time.perf_counter() - begun
    from tsgen.clipset import open_clips

    with open_clips(out) as clip_set:
        content_hash = clip_set.content_hash
    size_bytes = out.stat().st_size
    if as_json:
        facts = {"out": str(out), "bytes": size_bytes, "seconds": round(seconds, 3), "content_hash": content_hash}
        click.echo(json.dumps({**facts, **how, "recipe": recipe.to_json()}))
        return
    what = f"{n} clips of {record.name} ({record.profile}, {split}, seed {seed})"
    if "shard" in how:
        what = f"slice {shard}, clips {recipe.first}..{recipe.first + recipe.n - 1}, of {what}"
    elif "engine" in how:
        what += f", slices: {how['slices_made']} made by engine {how['engine']}, {how['slices_kept']} were there"
    if how.get("kept"):
        click.echo(f"{out} is finished already and left alone: {what}, {size_text(size_bytes)}")
    else:
        click.echo(f"wrote {out}: {what}, {size_text(size_bytes)}, {seconds:.1f} s")
    if recipe.digits_source:
        click.echo(f"digits: {recipe.digits_source}, sha256 {recipe.digits_sha256}")
    click.echo(f"content hash: {content_hash}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(file: Path, as_json: bool) -> None:
    """Tell what FILE holds, after checking every value against its content hash."""
    import numpy as np

    from tsgen.audit import count_repeated_clips
    from tsgen.clipset import open_clips

    with open_clips(file) as clip_set:
        clip_set.check_content()
        num_frames, height, width = clip_set.clip_shape
        counts = np.bincount(clip_set.labels, minlength=len(clip_set.class_names))
        facts: dict[str, Any] = {
            "file": str(file),
            "clips": len(clip_set),
            "frames": num_frames,
            "height_px": height,
            "width_px": width,
            "domain": clip_set.domain,
            "profile": clip_set.profile,
            "split": clip_set.split,
            "seed": clip_set.seed,
            **({} if clip_set.shard.is_whole else {"slice": str(clip_set.shard)}),
            "classes": dict(zip(clip_set.class_names, counts.tolist(), strict=True)),
            "repeated_clips": count_repeated_clips(clip_set),
            "digits_source": clip_set.digits_source,
            "digits_sha256": clip_set.digits_sha256,
            "generator_version": clip_set.generator_version,
            "content_hash": clip_set.content_hash,
        }
    if as_json:
        click.echo(json.dumps(facts))
        return
    facts["classes"] = ", ".join(f"{name} {count}" for name, count in facts["classes"].items())
    width_of_names = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<{width_of_names}}  {'-' if value is None else value}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--digits", metavar="SOURCE", help="Where the digits of the recipe are found. " + DIGITS_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(file: Path, digits: str | None, as_json: bool) -> None:
    """Make FILE again from the recipe it records, in memory, and compare every value.

    Exit code 3 when anything differs: a byte of a frame, a label, a parameter, the recipe or the recorded hash.
    """
    from tsgen.verify import verify_file

    outcome = verify_file(file, digits)
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    else:
        click.echo(outcome.to_text())
    if not outcome.is_identical:
        raise click.exceptions.Exit(DataError.exit_code)


def _turn_dials(domain: Domain, options: dict[str, Any]) -> Domain:
    sigma = options.pop("sigma")
    dials = {DIALS[name][0]: value for name, value in options.items() if value is not None}
    if sigma is not None:
        dials["sigma_low"], dials["sigma_high"] = sigma
    turned = domain.with_dials(**dials)
    noise_dials = [option for option, given in (("--sigma", sigma), ("--intensity", options["intensity"])) if given]
    if noise_dials and not turned.has_noise:
        raise UsageError(f"{', '.join(noise_dials)}: {domain.name} has no noise; add --background flicker.")
    return turned


def _slice_or_engine(
    shard: str | None, engine: str | None, address: str | None, shards: int | None, threads: int | None
) -> Shard | EngineOptions | None:
    """What a make is told about where it runs; None: threads of this process, all at once."""
    given = {"--engine": engine, "--address": address, "--shards": shards}
    names = [name for name, value in given.items() if value is not None]
    if shard is not None:
        if names:
            raise UsageError(f"--shard makes one slice here, with no engine; leave {', '.join(names)} out.")
        return Shard.parse(shard)
    if not names:
        return None
    return EngineOptions(EngineOptions().name if engine is None else engine, threads, address)


def size_text(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
