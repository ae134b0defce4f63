"""``d48dom train`` and ``d48dom evaluate``: the segmenter from labelled frames, and how good it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from diving48_domains.segmenter import ARCHITECTURES, require_torchvision
from tsgen.common.errors import UsageError
from tsgen.common.files import check_output_file

DECIMALS = 3

_LABELS = click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with images/ and masks/, folder with train/ and val/ of such, or a COCO JSON.",
)
_IMAGES = click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of a COCO JSON's pictures. [the JSON's own]"
)
_DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
_THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [all cores]")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.command()
@_LABELS
@_IMAGES
@click.option("--val", type=click.Path(path_type=Path), help="Labelled frames to validate on. [a part of --labels]")
@click.option("--split", default="random", show_default=True, help="How --labels is divided: random or source (video).")
@click.option("--val-share", type=float, help="Share of --labels to validate on. [13 of 303, as published]")
@click.option("--arch", default="resnet50", show_default=True, help=f"Network: {', '.join(ARCHITECTURES)}.")
@click.option(
    "--weights", help="Start from: coco, none, or a file (.safetensors, .pt, .pth). [resnet50 coco, tiny none]"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the segmenter.")
@click.option("--seed", type=int, help="Seed of weights, order, augmentation and split. [0]")
@click.option("--epochs", type=int, help="At most so many epochs. [resnet50 100, tiny 30]")
@click.option("--patience", type=int, help="Stop after so many epochs without a better score. [resnet50 20, tiny 30]")
@click.option("--batch-size", type=int, help="Frames a step. [2]")
@click.option("--learning-rate", type=float, help="Greatest rate of the schedule. [resnet50 5e-3, tiny 1e-3]")
@click.option("--schedule", help="cosine or constant. [cosine]")
@_DEVICE
@_THREADS
@click.option("--resume", is_flag=True, help="Go on with the training in --out; start it if there is none.")
@_JSON
def train(
    labels: Path,
    images: Path | None,
    val: Path | None,
    split: str,
    val_share: float | None,
    arch: str,
    out: Path,
    device: str,
    threads: int | None,
    resume: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Train a segmenter on labelled frames (Section 4.2 of the paper)."""
    require_torchvision()
    from diving48_domains.segmenter.data import PUBLISHED_VAL_SHARE
    from diving48_domains.segmenter.session import LabelSource, train_segmenter
    from diving48_domains.segmenter.train import make_options

    card = train_segmenter(
        LabelSource(labels, images, val, split, PUBLISHED_VAL_SHARE if val_share is None else val_share),
        out,
        make_options(arch, **changes),
        resume=resume,
        device=device,
        threads=threads,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps(card, indent=1))
    else:
        click.echo(f"{out}: {card['network']['arch']}, validated on {card['frames']['val']} frames")
        click.echo(_table(card["validation"]))


@click.command()
@_LABELS
@_IMAGES
@click.option("--segmenter", required=True, type=click.Path(path_type=Path), help="Folder that d48dom train wrote.")
@click.option("--part", help="train or val, where --labels has such folders. [val]")
@click.option("--mask-threshold", default=0.5, show_default=True, help="A pixel is the diver's over this soft mask.")
@click.option("--score-threshold", default=0.5, show_default=True, help="A detection is kept from this score on.")
@click.option("--worst", type=click.Path(path_type=Path), help="Draw the worst frames into this PNG file.")
@click.option("--worst-count", type=click.IntRange(1, 400), default=16, show_default=True, help="How many of them.")
@click.option("--force", is_flag=True, help="Replace the file of --worst.")
@_DEVICE
@_THREADS
@_JSON
def evaluate(
    labels: Path,
    images: Path | None,
    segmenter: Path,
    part: str | None,
    mask_threshold: float,
    score_threshold: float,
    worst: Path | None,
    worst_count: int,
    force: bool,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure a segmenter on labelled frames: IoU, recall, false keeps, COCO AP, the paper's figure."""
    require_torchvision()
    from diving48_domains.metrics import ScoreOptions
    from diving48_domains.segmenter.data import read_labelled
    from diving48_domains.segmenter.predict import load_segmenter
    from diving48_domains.segmenter.session import evaluate_segmenter
    from diving48_domains.segmenter.worst import draw_worst

    options = ScoreOptions(mask_threshold, score_threshold)
    if worst is not None:
        if worst.suffix.lower() != ".png":
            raise UsageError(f"--worst {worst}: the picture is a PNG; give a name that ends in .png.")
        check_output_file(worst, force)
    first, second = read_labelled(labels, images)
    if part is not None and (part not in ("train", "val") or not second):
        raise UsageError(f"--part {part} does not go with {labels}; allowed: train or val, where it has such folders.")
    frames = second if second and part != "train" else first
    loaded = load_segmenter(segmenter, device=device, threads=threads)
    metrics, scores, detections = evaluate_segmenter(loaded, frames, options)
    if worst is not None:
        draw_worst(worst, frames, detections, scores, options, worst_count)
    if as_json:
        facts = {"segmenter": loaded.name, "mask_threshold": mask_threshold, "score_threshold": score_threshold}
        click.echo(json.dumps({**facts, **metrics.to_json()}, indent=1))
    else:
        click.echo(f"{loaded.name} on {len(frames)} frames of {labels}")
        click.echo(_table(metrics.to_json()))


def _table(metrics: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        return "-" if value is None else f"{value:.{DECIMALS}f}" if isinstance(value, float) else str(value)

    width = max(len(name) for name in metrics)
    return "\n".join(f"  {name.replace('_', ' '):<{width}}  {shown(value):>7}" for name, value in metrics.items())
