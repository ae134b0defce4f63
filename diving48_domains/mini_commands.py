"""``d48dom mini``: a procedural Diving48 with ground truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from diving48_domains.mini.config import CLASS_SETS, PUBLISHED_SHARE, VENUE_KEYS, MiniConfig, default_labels
from tsgen.common.errors import UsageError


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; begun ones are finished.")
@click.option("--classes", default="mini8", show_default=True, help=f"Class set: {', '.join(CLASS_SETS)}.")
@click.option("--train", type=int, default=400, show_default=True, help="Training clips.")
@click.option("--test", type=int, default=80, show_default=True, help="Test clips.")
@click.option("--val", type=int, help="Validation clips, rho as in train.  [default: as --test]")
@click.option("--shift", type=int, help="Test clips with rho = 0.  [default: as --test]")
@click.option("--swap", type=int, help="Test clips where each class has another venue.  [default: as --test]")
@click.option(
    "--rho", type=float, default=0.8, show_default=True, help="How often the venue follows the class, 0 to 1."
)
@click.option("--venue-by", default="class", show_default=True, help=f"What it follows: {', '.join(VENUE_KEYS)}.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other clips.")
@click.option("--size", default="160x120", show_default=True, help="Width x height in px, even numbers.")
@click.option("--labels", help="Labelled frames to train + validate a segmenter on.  [default: 290+13, or fewer]")
@click.option(
    "--labelled-share", type=float, help="They come from this first part of a clip.  [default: 2/3, as published]"
)
@click.option("--workers", type=int, help="Processes, 0 for none beside this one.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def mini(
    out: Path,
    classes: str,
    train: int,
    test: int,
    val: int | None,
    shift: int | None,
    swap: int | None,
    rho: float,
    venue_by: str,
    seed: int,
    size: str,
    labels: str | None,
    labelled_share: float | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a mini-Diving48: rendered dives whose masks, joints and texture bias are known.

    Its form is that of the real one (rgb/, the V2 lists), with the truth beside it. Run again after an interruption,
    the same command goes on where it stopped.
    """
    width, height = _pair(size, "x", "--size", "160x120")
    labels_train, labels_val = (
        default_labels(max(train, 0)) if labels is None else _pair(labels, "+", "--labels", "290+13")
    )
    config = MiniConfig(
        classes=classes,
        train=train,
        test=test,
        val=test if val is None else val,
        shift=test if shift is None else shift,
        swap=test if swap is None else swap,
        rho=rho,
        venue_by=venue_by,
        seed=seed,
        width=width,
        height=height,
        labels_train=labels_train,
        labels_val=labels_val,
        labelled_share=PUBLISHED_SHARE if labelled_share is None else labelled_share,
    )
    from diving48_domains.mini.dataset import write_mini

    done = write_mini(out, config, workers=workers, quiet=quiet or as_json)
    if as_json:
        summary = {"out": str(out), "made": done.made, "found": done.found, "recipe": config.to_json()}
        click.echo(json.dumps(summary))
        return
    found = f" ({done.found} were there)" if done.found else ""
    click.echo(
        f"{out}: {done.made + done.found} clips{found} of {len(config.class_ids)} classes at {width}x{height}, "
        f"rho {config.rho:g}, {labels_train}+{labels_val} labelled frames."
    )


def _pair(text: str, separator: str, option: str, example: str) -> tuple[int, int]:
    """Two whole numbers, as in 160x120 or 290+13."""
    match = re.fullmatch(rf"(\d{{1,9}}){re.escape(separator)}(\d{{1,9}})", text)
    if match is None:
        raise UsageError(f"{option} {text!r} is not possible; give two numbers, as in {example}.")
    return int(match[1]), int(match[2])
