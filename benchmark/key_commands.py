"""``rac-bench key``: the answer key of one domain as a file. No torch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tsgen.common.errors import UsageError


@click.command("key")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Key to write, a .json file. [only say what is in SOURCE]")
@click.option("--domain", help="Domain of a list: V, S1, S2, T, ... [what SOURCE says]")
@click.option("--split", help="val for the source, test for targets. [what SOURCE says]")
@click.option("--content-hash", help="Of the frames, where they have one. [that of SOURCE; of a list its SHA-256]")
@click.option("--force", is_flag=True, help="Replace a key that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def key(
    source: Path,
    out: Path | None,
    domain: str | None,
    split: str | None,
    content_hash: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the labels of one domain as an answer key, which --data of the scoring commands takes.

    SOURCE is a list of clips as Diving48's V2 (JSON; with --domain and --split), a store of frames of d48dom, a clip
    file of tsgen, predictions of a run, or another key, which is checked. Submissions name the content hash that is
    printed.
    """
    from tsgen.common.files import check_output_file

    if out is not None and out.parent.exists():
        check_output_file(out, force)
    from benchmark.statistics import majority_share
    from benchmark.submission.key_file import key_from, write_key

    found = key_from(source, domain, split, content_hash)
    if out is not None:
        _make_folder(out.parent)
        check_output_file(out, force)
        write_key(out, found)
    populated = len(set(found.label.tolist()))
    facts = {
        "domain": found.domain,
        "split": found.split,
        "n": len(found),
        "classes": len(found.class_names),
        "populated_classes": populated,
        "majority_baseline": majority_share(found.label),
        "content_hash": found.content_hash,
        "named_clips": found.clip_name is not None,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(
        f"{found.domain} {found.split}: {len(found)} clips of {populated} of {len(found.class_names)} classes; "
        f"the most frequent has {majority_share(found.label):.3f}.\ncontent hash {found.content_hash}"
    )
    if out is not None:
        click.echo(f"Written to {out}.", err=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"--out: the folder {folder} cannot be made: {problem}.") from problem
