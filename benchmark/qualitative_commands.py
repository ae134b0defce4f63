"""``rac-bench qualitative``: five clips of a class and what the models made of them. No torch."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.reproduce_commands import aligned
from tsgen.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.qualitative.answers import Answered
    from benchmark.qualitative.frames import ClipStores
    from benchmark.qualitative.tables import ClassTables

ALL = "all"


@click.command("qualitative")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--class", "label", help="Number of a class, or all. [one drawn by --seed]")
@click.option("--clips", type=int, help="How many are drawn of the class. [5]")
@click.option("--seed", default=0, show_default=True, help="Of the draws of clips and class.")
@click.option("--run-seed", type=int, help="The training seed to read. [the first of each PATH]")
@click.option("--data", help="What the runs were given as --data: pages get frames. Needs --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for class-<id>.html and its picture.")
@click.option("--force", is_flag=True, help="Replace pages that exist in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def qualitative(
    paths: tuple[Path, ...],
    label: str | None,
    clips: int | None,
    seed: int,
    run_seed: int | None,
    data: str | None,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Answers to a few random clips of a class: accuracies on S1, S2, T, and which attributes wrong answers share.

    The paper's Tables 6 and 7. A PATH is a run on videos, the folder of a level (OUT/<model>/level-0.3), or the OUT of
    rac-bench run --experiment. All models must have answered the same clips.
    """
    from benchmark.data_folder import data_folder
    from benchmark.qualitative.answers import read_answered
    from benchmark.qualitative.tables import CLIPS, check_class, class_tables, draw_class

    number = _number(label)
    if data is not None and out is None:
        raise UsageError("--data is for the pictures of pages; say where with --out DIR.")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    answered = read_answered(paths, run_seed)
    if number is None and label is None:
        number = draw_class(answered.populated, seed)
    if number is not None:
        check_class(answered, number)
    labels = answered.populated if number is None else (number,)
    every = [class_tables(answered, each, clips=CLIPS if clips is None else clips, seed=seed) for each in labels]
    written = None
    if out is not None:
        folder = None if data is None else data_folder(data, lambda line: click.echo(line, err=True))
        written = _write(out, every, answered, folder, force, with_index=number is None)
    if as_json:
        click.echo(json.dumps(_record(every, answered), indent=1))
    else:
        click.echo(render(every, answered))
    if written is not None:
        click.echo(f"Written to {written}.", err=True)


def _number(label: str | None) -> int | None:
    """None for all classes, and where none is given."""
    if label is None or label == ALL:
        return None
    try:
        return int(label)
    except ValueError:
        raise UsageError(f"--class {label!r} is not possible; give the number of a class, or {ALL}.") from None


def _record(every: Sequence[ClassTables], answered: Answered) -> dict[str, object]:
    models = [
        {
            "title": model.title,
            "family": model.family,
            "hidden": model.hidden,
            "origin": model.origin,
            "training_seed": model.seed,
            "selection": model.selection,
            "source_accuracy": model.source_hits / model.source_clips,
        }
        for model in answered.models
    ]
    classes = [tables.to_json() for tables in every]
    return {
        "models": models,
        "content_hashes": answered.hashes,
        "left_out": list(answered.left_out),
        "classes": classes,
    }


def render(every: Sequence[ClassTables], answered: Answered) -> str:
    """Both tables of each class, then the models and how to read it; plain text, no trailing newline."""
    from benchmark.qualitative.cells import READ_SET, models_of, read_accuracy

    blocks = [_render_class(tables) for tables in every]
    blocks.append("\n".join(models_of(answered)))
    blocks.append("\n".join(_wrapped([read_accuracy(every[0]), *([READ_SET] if every[0].dives is not None else [])])))
    return _printable("\n\n".join(blocks))


def _render_class(tables: ClassTables) -> str:
    from benchmark.qualitative.cells import accuracy_cells, all_clips_cells, notes, set_cells

    heads, lines = accuracy_cells(tables)
    accuracies: list[Sequence[str]] = [("model", "clips", *heads)]
    last = ""
    for model, which, pairs in lines:
        accuracies.append((model if model != last else "", which, *(value for value, _ in pairs)))
        if any(interval for _, interval in pairs):
            accuracies.append(("", "", *(interval for _, interval in pairs)))
        last = model
    answers, every = set_cells(tables), all_clips_cells(tables)
    n = len(tables.clip_ids)
    ids = ", ".join(map(str, tables.clip_ids))
    return "\n".join(
        [
            f"Class {tables.label}, {tables.name}: {n} of {tables.clips_of_class} test clips, seed {tables.seed}",
            *notes(tables),
            f"clip ids: {ids}",
            "",
            *aligned(accuracies, "<<" + ">" * len(heads)),
            "",
            *aligned(answers, "<<<<" + ">" * (len(answers[0]) - 4)),
            "",
            f"The same over all {tables.clips_of_class} clips of the class, S1 and S2 together",
            "",
            *aligned(every, "<" + ">" * (len(every[0]) - 1)),
        ]
    )


def _wrapped(texts: Sequence[str]) -> list[str]:
    import textwrap

    return [line for text in texts for line in textwrap.wrap(text, 110)]


def _printable(text: str) -> str:
    """Names come from files of anyone: none of them may command the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _write(
    out: Path, every: Sequence[ClassTables], answered: Answered, data: Path | None, force: bool, *, with_index: bool
) -> Path:
    """Pages, pictures and the index, each whole or not at all; nothing before all names are known to be free."""
    from tqdm import tqdm

    from benchmark.qualitative.frames import ClipStores
    from benchmark.qualitative.page import INDEX_NAME, class_page, index_page, links_between, page_name, picture_name
    from tsgen.common.files import check_output_file, write_text_atomic

    stores = None if data is None else ClipStores(data, answered)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"--out {out} cannot be written: {problem}.") from problem
    names = [name(tables.label) for tables in every for name in (page_name, picture_name)]
    for name in [*names, *([INDEX_NAME] if with_index else [])]:
        check_output_file(out / name, force)
    for place, tables in enumerate(tqdm(every, unit="class", disable=None, leave=False)):
        png: bytes | None = None
        clip_names: list[str] = []
        picture = out / picture_name(tables.label)
        if stores is None:
            picture.unlink(missing_ok=True)  # of other clips, maybe
        else:
            png, clip_names = _picture_of(stores, tables, picture)
        links = links_between(every, place) if with_index else []
        write_text_atomic(out / page_name(tables.label), class_page(tables, answered, png, clip_names, links))
    if with_index:
        write_text_atomic(out / INDEX_NAME, index_page(every, answered))
    return out / (INDEX_NAME if with_index else page_name(every[0].label))


def _picture_of(stores: ClipStores, tables: ClassTables, path: Path) -> tuple[bytes, list[str]]:
    """The PNG, also written to ``path``, and the names of its clips."""
    from benchmark.qualitative.picture import class_picture
    from tsgen.common.files import atomic_path

    clips = stores.read(tables.clip_ids)
    buffer = io.BytesIO()
    class_picture(tables, clips).save(buffer, "PNG", optimize=True)
    png = buffer.getvalue()
    with atomic_path(path) as partial:
        partial.write_bytes(png)
    return png, [clip.name for clip in clips]
