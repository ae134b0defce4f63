"""``tsgen import`` and ``tsgen export``: to and from what other tools read."""

from __future__ import annotations

from pathlib import Path

import click

from tsgen.common.errors import UsageError
from tsgen.vocabulary import CLASS_NAMES, SPLITS


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HDF5 file to write.")
@click.option("--domain-name", metavar="TEXT", help="What to call the domain. Default: the name of the source.")
@click.option("--split", default="train", show_default=True, metavar="NAME", help=f"One of {', '.join(SPLITS)}.")
@click.option("--frames", type=int, help="Frames a clip. Default: what the files say.")
@click.option(
    "--classes",
    default=",".join(CLASS_NAMES),
    show_default=True,
    metavar="NAMES",
    help="Class names in the order of their ids.",
)
@click.option("--labels", metavar="NAME", help="The table of labels, where the source holds several.")
@click.option("--columns", nargs=2, metavar="CLIP LABEL", help="Its columns, where they are not found by themselves.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def import_(
    source: Path,
    out: Path,
    domain_name: str | None,
    split: str,
    frames: int | None,
    classes: str,
    labels: str | None,
    columns: tuple[str, str] | None,
    force: bool,
) -> None:
    """Read published frames into a clip file: SOURCE is a folder or a zip of JPEGs with labels.csv or labels.tab.

    \b
    tsgen import dataverse_files.zip --domain-name 5dot --split test --out 5dot.h5

    Read are frames numbered through (<clip * T + t>.jpg, as published), a folder a clip, and <clip>_<frame>.jpg.
    """
    from tsgen.importer import import_published

    facts = import_published(
        source,
        out,
        domain=source.resolve().stem if domain_name is None else domain_name,
        split=split,
        class_names=[name.strip().lower() for name in classes.split(",")],
        labels=labels,
        columns=columns,
        num_frames=frames,
        force=force,
    )
    num_frames, height, width = facts.clip_shape
    layout = facts.recipe["imported"]["layout"]
    click.echo(
        f"wrote {out}: {facts.n} clips of {num_frames} frames, {width}x{height} px, domain {facts.domain} ({split}), "
        f"frames laid out as {layout!r}"
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "form", required=True, metavar="FORM", help="parquet, webdataset, mp4, gif, jpeg or png.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--shard-clips", default=1000, show_default=True, type=int, help="Clips a file of parquet, webdataset.")
@click.option("--scale", default=1, show_default=True, type=int, help="Enlarge mp4 and gif by a whole factor.")
@click.option("--fps", default=10, show_default=True, type=int, help="Frames a second of mp4 and gif.")
@click.option("--quality", default=75, show_default=True, type=int, help="Of jpeg, 1..95.")
@click.option("--force", is_flag=True, help="Replace an existing export.")
def export(file: Path, form: str, out: Path, shard_clips: int, scale: int, fps: int, quality: int, force: bool) -> None:
    """Write the clips of FILE in another form, after checking every value against its content hash.

    \b
    parquet     rows = clips with all columns; lossless         datasets, pandas, polars
    webdataset  tar shards of .npy and .json; lossless          webdataset
    mp4         a video a clip, lossless H.264; needs PyAV      video loaders
    gif         an animation a clip
    jpeg        the published form: numbered frames and labels.csv
    png         the same without loss; `tsgen import` reads both
    """
    from tsgen.export_forms import ExportOptions
    from tsgen.exporter import export_clips

    for name, value, allowed in (
        ("--shard-clips", shard_clips, range(1, 10**6 + 1)),
        ("--scale", scale, range(1, 65)),
        ("--fps", fps, range(1, 51)),
        ("--quality", quality, range(1, 96)),
    ):
        if value not in allowed:
            raise UsageError(f"{name} {value} is not possible; allowed: {allowed.start}..{allowed.stop - 1}.")
    written = export_clips(file, out, form, ExportOptions(shard_clips, scale, fps, quality), force=force)
    click.echo(
        f"wrote {out}: {written.clips} clips as {form}, {written.files} files, {written.size_bytes / 1e6:.1f} MB"
    )
