"""``d48dom truth``: instances against the ground truth of Mini-Diving48."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diving48_domains.build_commands import data_and_instances
from diving48_domains.build_options import PRESETS
from tsgen.common.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    from diving48_domains.truth import TruthReport


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A folder of Mini-Diving48.")
@click.option("--instances", help="The instances to measure; `truth` measures what boxes and masks cost by themselves.")
@click.option("--split", default="test", show_default=True, help="Which list.")
@click.option("--preset", default="default", show_default=True, help=f"One of {', '.join(PRESETS)}.")
@click.option("--score-threshold", type=float, help="Detections below are no divers.  [default: 0.5]")
@click.option("--box-expand", type=float, help="Boxes grow by this share a side.  [default: 1/28]")
@click.option("--thresholds", help="Mask thresholds with commas, each in [0, 1).  [default: 0 to 0.95]")
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw the curves into this SVG file.")
@click.option("--force", is_flag=True, help="Replace a plot that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def truth(
    data: Path | None,
    instances: str | None,
    split: str,
    preset: str,
    score_threshold: float | None,
    box_expand: float | None,
    thresholds: str | None,
    plot: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """How much of the diver leaks into T and is missing from S1 and S2, in pixels, for each mask threshold."""
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    options = PRESETS[preset]
    if score_threshold is not None:
        chosen = {
            name: dataclasses.replace(getattr(options, name), score_threshold=score_threshold)
            for name in ("shown", "filled")
        }
        options = dataclasses.replace(options, **chosen)
    if box_expand is not None:
        composition = dataclasses.replace(options.composition, box_expand=box_expand)
        options = dataclasses.replace(options, composition=composition)
    from diving48_domains.build import truth_path
    from diving48_domains.instance_file import InstanceFile
    from diving48_domains.truth import THRESHOLDS, measure
    from diving48_domains.truth_plot import truth_svg
    from tsgen.common.files import check_output_file, write_text_atomic

    values = THRESHOLDS if thresholds is None else _thresholds(thresholds)
    if plot is not None:
        if plot.suffix.lower() != ".svg":
            raise UsageError(f"--plot {plot}: the plot is an SVG file; give such a name.")
        check_output_file(plot, force)
    folder, source = data_and_instances(data, instances)
    clip_ids = [one.clip_id for one in folder.entries(split)]
    with InstanceFile(truth_path(folder)) as known, InstanceFile(source) as found:
        for file in (known, found):
            lacking = [clip_id for clip_id in clip_ids if clip_id not in file]
            if lacking:
                raise DataError(
                    f"{len(lacking)} of {len(clip_ids)} clips of {split} are not in {file.path}, the first is "
                    f"{lacking[0]}."
                )
        report = measure(known, found, clip_ids, options, values, quiet=quiet or as_json)
    if plot is not None:
        write_text_atomic(plot, truth_svg(report, f"{split}, {report.num_clips} clips, {source.name}"))
    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    click.echo(table(report))
    if plot is not None:
        click.echo(f"drawn: {plot}")


def table(report: TruthReport) -> str:
    """The report for a terminal: shares in percent with their intervals."""
    from diving48_domains.truth import MEASURES, Share

    def told(share: Share) -> str:
        return f"{100 * share.value:6.2f} [{100 * share.low:5.2f}, {100 * share.high:5.2f}]"

    names = list(next(iter(report.by_threshold.values())))
    lines = [
        f"{report.num_clips} clips, {report.num_frames} frames; percent of pixels [95 % interval over clips]",
        "",
        "   t  " + "".join(f"{name:>24}" for name in names),
    ]
    for t, row in report.by_threshold.items():
        lines.append(f"{t:5.2f} " + "".join(f"{told(row[name]):>24}" for name in names))
    lines.append("")
    lines += [f"{name:<20}{told(share):>24}   {MEASURES[name]}" for name, share in report.fixed.items()]
    lines.append("")
    for name, (share, leak) in report.by_status.items():
        lines.append(f"{name:<13}{share:8.2%} of all diver pixels, of which T leaks {leak:.2%}")
    if report.worst and report.worst[0][1] > 0:
        worst = ", ".join(f"{clip_id} {leak:.1%}" for clip_id, leak in report.worst if leak > 0)
        lines.append(f"largest leaks into T: {worst}")
    return "\n".join(lines)


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(one) for one in text.split(","))
    except ValueError:
        raise UsageError(f"--thresholds {text!r}: give numbers in [0, 1) with commas, as 0,0.2,0.4.") from None
    return values
