"""The subcommands of ``tsgen``: options to records, results to text. Heavy imports sit inside each command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from tsgen.common.errors import UsageError
from tsgen.domains import DOMAINS, Domain, get_domain
from tsgen.vocabulary import FRAME_SIZE_PX, NUM_FRAMES, SPLITS

DOMAIN_NAMES = ", ".join(DOMAINS)


@click.command()
@click.option("--domain", required=True, metavar="NAME", help=f"One of {DOMAIN_NAMES}.")
@click.option("--n", "n", required=True, type=int, metavar="CLIPS", help="How many clips.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HDF5 file to write.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=int,
    help="Any whole number from 0; 0 is a seed like any other.",
)
@click.option("--split", default="train", show_default=True, metavar="NAME", help=f"One of {', '.join(SPLITS)}.")
@click.option(
    "--digits",
    metavar="SOURCE",
    help="Digit bitmaps: a folder of MNIST IDX files, 'embedded' (UCI 8x8 digits, no download), or 'auto'. "
    "Default: TSGEN_MNIST_DIR, else the cache, else download MNIST.",
)
@click.option("--frames", type=int, default=NUM_FRAMES, show_default=True, help="Frames a clip.")
@click.option("--size", type=int, default=FRAME_SIZE_PX, show_default=True, help="Side of a frame, px.")
@click.option("--width", type=int, help="Side of the dot or the digit's cell, px. Default: the domain's.")
@click.option(
    "--background",
    metavar="KIND",
    help="Of noise domains: 'flicker' (new noise every frame, the default) or 'static' (once a clip).",
)
@click.option("--sigma", nargs=2, type=int, metavar="LOW HIGH", help="Range of the noise's grain. Default: 1 10.")
@click.option("--intensity", type=float, help="Strength of the noise, 0..1. Default: 0.5.")
@click.option("--threads", type=int, help="Worker threads. Default: one a core. The bytes do not depend on it.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def make(
    domain: str,
    n: int,
    out: Path,
    seed: int,
    split: str,
    digits: str | None,
    frames: int,
    size: int,
    width: int | None,
    background: str | None,
    sigma: tuple[int, int] | None,
    intensity: float | None,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write CLIPS clips of a domain to an HDF5 file.

    Clip i is a function of (seed, domain, split, i) alone: the same bytes on every machine, whatever the number of
    clips or threads. Classes are balanced; train, val and test of one seed are independent streams.
    """
    begun = time.perf_counter()
    record = _turn_dials(get_domain(domain), frames, size, width, background, sigma, intensity)
    from tsgen.generate import make as make_file

    recipe = make_file(record, n, out, seed=seed, split=split, digits=digits, force=force, threads=threads)
    seconds = time.perf_counter() - begun
    from tsgen.clipfile import open_clips

    with open_clips(out) as clip_set:
        content_hash = clip_set.content_hash
    size_bytes = out.stat().st_size
    if as_json:
        facts = {
            "out": str(out),
            "bytes": size_bytes,
            "seconds": round(seconds, 3),
            "content_hash": content_hash,
        }
        click.echo(json.dumps({**facts, "recipe": recipe.to_json()}))
        return
    click.echo(f"wrote {out}: {n} clips of {record.name} ({split}, seed {seed}), {_size(size_bytes)}, {seconds:.1f} s")
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
    from tsgen.clipfile import open_clips

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
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The PNG to write.")
@click.option("--per-class", default=1, show_default=True, type=int, help="Clips of each class, a row each.")
@click.option("--every", default=2, show_default=True, type=int, help="Show every k-th frame.")
@click.option("--scale", default=1, show_default=True, type=int, help="Enlarge by a whole factor.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def show(file: Path, out: Path, per_class: int, every: int, scale: int, force: bool) -> None:
    """Draw a contact sheet of FILE: a row a clip, its frames from left to right, then its path in one picture."""
    from tsgen.clipfile import open_clips
    from tsgen.common.files import atomic_path, check_output_file
    from tsgen.preview import contact_sheet

    for name, value in (("--per-class", per_class), ("--every", every), ("--scale", scale)):
        if value < 1:
            raise UsageError(f"{name} {value} is not possible; allowed: 1 or more.")
    check_output_file(out, force)
    with open_clips(file) as clip_set:
        sheet = contact_sheet(clip_set, per_class=per_class, every=every, scale=scale)
    with atomic_path(out) as partial:
        sheet.save(partial, format="PNG", optimize=True)
    click.echo(f"wrote {out}: {sheet.width}x{sheet.height} px")


def _turn_dials(
    domain: Domain,
    frames: int,
    size: int,
    width: int | None,
    background: str | None,
    sigma: tuple[int, int] | None,
    intensity: float | None,
) -> Domain:
    dials: dict[str, Any] = {"num_frames": frames, "size_px": size}
    noise_dials = {"--background": background, "--sigma": sigma, "--intensity": intensity}
    given = [name for name, value in noise_dials.items() if value is not None]
    if given and not domain.has_noise:
        raise UsageError(
            f"{', '.join(given)} needs a noise background, but {domain.name} has a black one; use mnist-bg."
        )
    if width is not None:
        dials["width_px"] = width
    if background is not None:
        dials["background"] = background
    if sigma is not None:
        dials["sigma_low"], dials["sigma_high"] = sigma
    if intensity is not None:
        dials["intensity"] = intensity
    return domain.with_dials(**dials)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
