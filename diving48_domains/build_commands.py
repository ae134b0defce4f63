"""``d48dom build``, ``truth`` and ``preview``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from diving48_domains.build_options import FORMS, ON_BAD_CLIP, ON_EMPTY, PRESETS, BuildOptions
from diving48_domains.domains import DOMAINS, check_threshold
from diving48_domains.earlier import SHEET_FILE
from diving48_domains.video import ON_DAMAGE
from tsgen.common.engine import EngineOptions, UnitsFailed
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import UsageError, unknown_name
from tsgen.common.shards import Shard

EMBEDDED_SIZE = "native"
EMBEDDED_BLUR_PX = 5.0
"""On frames of 160 px as 15 px on the published ones of 492."""


def composition_options(blur_default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that decide how a frame is composed; ``build`` and ``preview`` share them.

    ``blur_default``: what the help of --blur-sigma gives as its default.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(_composition(blur_default)):
            command = option(command)
        return command

    return decorate


def _composition(blur_default: str) -> tuple[Callable[..., Any], ...]:
    return (
        click.option("--threshold", type=float, help="Mask threshold t in [0, 1); 0 keeps boxes.  [default: 0.4]"),
        click.option("--preset", default="default", show_default=True, help=f"One of {', '.join(PRESETS)}."),
        click.option("--domains", help=f"Names with commas, of {','.join(DOMAINS)}.  [default: all]"),
        click.option("--frames", help="Evenly spaced frames a clip, or `all` (videos only).  [default: 32]"),
        click.option("--score-threshold", type=float, help="Detections below are no divers.  [default: 0.5]"),
        click.option("--blur-sigma", type=float, help=f"Of the background's Gaussian, px.  [default: {blur_default}]"),
        click.option("--blur-size", type=int, help="Its kernel, odd px.  [default: 55, or 55/15 of sigma]"),
        click.option("--no-halo", is_flag=True, help="Leave what is shown out of the blur."),
        click.option("--fill", help="Colour of T's boxes, R,G,B.  [default: 124,117,104]"),
        click.option("--on-damage", help=f"Damaged videos: {', '.join(ON_DAMAGE)}.  [default: error]"),
        click.option("--box-expand", type=float, help="Boxes grow by this share a side.  [default: 1/28]"),
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A folder in Diving48's form.")
@click.option("--instances", help="An instances file of `d48dom segment`, or `truth` for Mini-Diving48's own masks.")
@click.option("--split", default="test", show_default=True, help="Which list; several with commas.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("d48_domains"), show_default=True, help="Folder.")
@composition_options("15; without --data: 5")
@click.option("--form", help=f"One of {', '.join(FORMS)}.  [default: hdf5]")
@click.option("--quality", type=int, help="crf of mp4, bits/s of mpeg4.")
@click.option("--size", help="Width x height, as 224x224, or native.  [default: 224x224]")
@click.option("--on-empty", help=f"Frames without a diver: {', '.join(ON_EMPTY)}.  [default: keep]")
@click.option("--max-empty", type=float, help="Share of such frames that flags or drops a clip.  [default: 0.5]")
@click.option("--on-bad-clip", help=f"No usable video or no instances: {', '.join(ON_BAD_CLIP)}.  [default: error]")
@click.option("--quick", is_flag=True, help="Without --data: a few clips with true masks, no segmenter.")
@click.option("--limit", type=int, help="So many clips, evenly spread over the list.")
@click.option("--shard", default="0/1", show_default=True, help="A part of the list: 2/8 is the third of eight.")
@click.option("--workers", type=int, help="Processes, 0 for none beside this one.  [default: one a core]")
@engine_options()
@click.option("--force", is_flag=True, help="Replace what an earlier build wrote there.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def build(
    data: Path | None,
    instances: str | None,
    split: str,
    out: Path,
    form: str | None,
    quality: int | None,
    size: str | None,
    on_empty: str | None,
    max_empty: float | None,
    on_bad_clip: str | None,
    quick: bool,
    limit: int | None,
    shard: str,
    workers: int | None,
    engine: str,
    address: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **composition: Any,
) -> None:
    """Write the domains S1, S2, T and the controls O, C, T_union, B of Diving48 clips.

    Without --data it makes a mini-Diving48 and a tiny segmenter of its own first, once, and works on those. Run again
    after an interruption, the same command goes on where it stopped and ends in the same bytes. `d48dom merge` joins
    shards. With --engine ray all machines need one common file system.
    """
    without_data = data is None and instances is None
    if quick and not without_data:
        raise UsageError("--quick is about the data of d48dom's own; leave out --data and --instances, or it.")
    if without_data:
        size = size or EMBEDDED_SIZE
        if composition["blur_sigma"] is None:
            composition["blur_sigma"] = EMBEDDED_BLUR_PX
    options = options_from(
        **composition,
        form=form,
        quality=quality,
        size=size,
        on_empty=on_empty,
        max_empty=max_empty,
        on_bad_clip=on_bad_clip,
    )
    part, where = Shard.parse(shard), EngineOptions(engine, workers, address)
    from diving48_domains.build import build as build_domains
    from diving48_domains.build import check_limit
    from diving48_domains.preview import contact_sheet, save_image

    check_limit(limit)
    splits = [one.strip() for one in split.split(",")]
    if without_data:
        from diving48_domains.embedded import FULL, QUICK, SPLIT, ensure_embedded

        _check_splits(splits, [SPLIT], "without --data the list")
        made = QUICK if quick else FULL
        folder, source = ensure_embedded(made, _say, workers=workers, quiet=quiet or as_json)
    else:
        folder, source = data_and_instances(data, instances)
        _check_splits(splits, folder.splits, f"the lists of {folder.root}")
    summaries, failed = [], []
    for name in splits:
        try:
            report = build_domains(
                folder,
                name,
                source,
                out,
                options,
                engine=where,
                limit=limit,
                shard=part,
                force=force,
                quiet=quiet or as_json,
            )
        except UnitsFailed as problem:  # the other lists need not wait for it
            failed.append(f"{name}: {problem}")
            continue
        totals = report.manifest.totals()
        sheet = report.folder / SHEET_FILE
        if totals["clips written"] and not sheet.exists():
            save_image(contact_sheet(report, options), sheet)
        if as_json:
            outputs = {domain: str(path) for domain, path in report.outputs.items()}
            summaries.append({"split": name, "outputs": outputs, "manifest": str(report.manifest_path), **totals})
            continue
        click.echo(f"{name}: {'was there already' if report.was_there else 'written'} in {report.folder}")
        for domain, path in report.outputs.items():
            click.echo(f"  {path.name:<12} {DOMAINS[domain].title}")
        click.echo(f"  {report.manifest_path.name}, {sheet.name}")
        click.echo(_told(totals))
    if as_json:
        click.echo(json.dumps(summaries))
    if failed:
        raise UnitsFailed("\n".join(failed))


def _check_splits(wanted: list[str], there: Iterable[str], whose: str) -> None:
    """Every name, before the first of them is built."""
    allowed = list(there)
    for name in wanted:
        if name not in allowed:
            raise UsageError(f"--split {','.join(wanted)}: {name!r} is not among {whose}: {', '.join(allowed)}.")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _told(totals: dict[str, int]) -> str:
    """The counts that may not go unseen."""
    clips = {name: totals[f"clips {name}"] for name in ("written", "dropped", "failed")}
    frames = {name: totals[f"frames {name}"] for name in ("detected", "interpolated", "empty", "leaked")}
    flags = {name.removeprefix("flag "): n for name, n in totals.items() if name.startswith("flag ") and n}
    lines = [
        "  clips: " + ", ".join(f"{count} {name}" for name, count in clips.items()),
        "  frames: " + ", ".join(f"{count} {name}" for name, count in frames.items()),
    ]
    if flags:
        lines.append("  flagged clips: " + ", ".join(f"{count} {name}" for name, count in flags.items()))
    return "\n".join(lines)


def data_and_instances(data: Path | None, instances: str | None) -> tuple[Any, Path]:
    """The folder and the instances file that --data and --instances name."""
    from diving48_domains.annotations import open_folder
    from diving48_domains.build import truth_path

    if data is None:
        raise UsageError("--data is needed: a folder in Diving48's form, or one that `d48dom mini --out DIR` wrote.")
    folder = open_folder(data)
    if instances == "truth":
        return folder, truth_path(folder)
    if instances is None:
        raise UsageError(
            "--instances is needed: a file that `d48dom segment` or `d48dom import-instances` wrote, or `truth` for "
            "Mini-Diving48's own masks."
        )
    if not Path(instances).is_file():
        raise UsageError(
            f"--instances {instances}: no such file; give a file, or `truth` for Mini-Diving48's own masks."
        )
    return folder, Path(instances)


def options_from(
    *,
    preset: str = "default",
    threshold: float | None = None,
    domains: str | None = None,
    frames: str | None = None,
    score_threshold: float | None = None,
    blur_sigma: float | None = None,
    blur_size: int | None = None,
    no_halo: bool = False,
    fill: str | None = None,
    box_expand: float | None = None,
    size: str | None = None,
    **given: Any,
) -> BuildOptions:
    """The preset's options with what was given on the command line in their place."""
    from diving48_domains.blur import size_for_sigma

    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    base = PRESETS[preset]
    if threshold is not None:
        check_threshold(threshold)
    composition: dict[str, Any] = {
        "mask_threshold": threshold,
        "blur_sigma_px": blur_sigma,
        "blur_size_px": size_for_sigma(blur_sigma) if blur_sigma and blur_size is None else blur_size,
        "blur_excludes_foreground": no_halo or None,
        "fill_rgb": tuple(_numbers(fill, ",", "--fill", "124,117,104")) if fill is not None else None,
        "box_expand": box_expand,
    }
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    values["composition"] = dataclasses.replace(base.composition, **_given(composition))
    if score_threshold is not None:
        for name in ("shown", "filled"):
            values[name] = dataclasses.replace(getattr(base, name), score_threshold=score_threshold)
    if domains is not None:
        values["domains"] = tuple(one.strip() for one in domains.split(",") if one.strip())
    if frames is not None:
        values["num_frames"] = None if frames == "all" else _numbers(frames, None, "--frames", "32")[0]
    if size is not None:
        width_height = None if size == "native" else _numbers(size, "x", "--size", "224x224")
        values["size"] = width_height and (width_height[1], width_height[0])
    if "form" in values and values["form"] != base.form:
        values.setdefault("quality", None)
    return dataclasses.replace(base, **values)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(text: str, separator: str | None, option: str, example: str) -> list[int]:
    """Whole numbers, as many as in the example."""
    pattern = (re.escape(separator) if separator else "").join([r"\s*(\d{1,9})\s*"] * len(re.findall(r"\d+", example)))
    match = re.fullmatch(pattern, text)
    if match is None:
        raise UsageError(f"{option} {text!r} is not possible; give it as in {example}.")
    return [int(one) for one in match.groups()]
