"""From a clip file to a folder that other tools read: the loop, the table of forms, and all or nothing on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tsgen
from tsgen.clipfile import COLUMNS
from tsgen.clipset import ClipSet, open_clips
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import atomic_folder
from tsgen.export_forms import (
    Batch,
    ExportOptions,
    write_frames,
    write_gifs,
    write_parquet,
    write_videos,
    write_webdataset,
)

FACTS_FILE = "_export.json"  # readers of Parquet folders skip names that begin so
FORMAT = "tsgen-export"
BATCH_CLIPS = 256


@dataclass(frozen=True)
class Exported:
    clips: int
    files: int
    size_bytes: int


FormWriter = Callable[[Iterator[Batch], Path, dict[str, Any], ExportOptions], None]
"""Writes all batches into an empty folder: (batches, folder, facts of the file, options)."""

FORMS: dict[str, FormWriter] = {
    "parquet": write_parquet,
    "webdataset": write_webdataset,
    "mp4": write_videos,
    "gif": write_gifs,
    "jpeg": write_frames("JPEG"),
    "png": write_frames("PNG"),
}


def export_clips(
    source: Path | str,
    out: Path | str,
    form: str,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    quiet: bool = False,
) -> Exported:
    """Write the clips of ``source`` into the folder ``out`` as one of ``FORMS``, a batch at a time.

    The folder appears when it is complete. An existing one is refused; with ``force`` it is replaced if it is an
    earlier export, which its ``_export.json`` shows. Raises DataError when the file does not match its content hash.
    """
    out = Path(out)
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    _check_out(out, force)
    with open_clips(source) as clip_set:
        clip_set.check_content()
        facts = file_facts(clip_set)
        with atomic_folder(out) as folder:
            try:
                FORMS[form](_batches(clip_set, form, quiet), folder, facts, options or ExportOptions())
                text = json.dumps({"format": FORMAT, "form": form, **facts}, indent=1)
                (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")
            except OSError as problem:
                raise DataError(f"writing {out} failed: {problem}. Is the disk full? Nothing was kept.") from problem
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        return Exported(len(clip_set), len(sizes), sum(sizes))


def file_facts(clip_set: ClipSet) -> dict[str, Any]:
    """Everything a clip file says about itself as a whole, as JSON values."""
    return {
        "clips": len(clip_set),
        "clip_shape": list(clip_set.clip_shape),
        "domain": clip_set.domain,
        "profile": clip_set.profile,
        "split": clip_set.split,
        "seed": clip_set.seed,
        "class_names": list(clip_set.class_names),
        "digits_source": clip_set.digits_source,
        "digits_sha256": clip_set.digits_sha256,
        "content_hash": clip_set.content_hash,
        "generator_version": clip_set.generator_version,
        "exporter_version": tsgen.__version__,
        "recipe": clip_set.recipe,
    }


def _batches(clip_set: ClipSet, form: str, quiet: bool) -> Iterator[Batch]:
    from tqdm import tqdm

    _ = clip_set.labels, clip_set.clip_id  # checked on the way: files and classes are named after them
    with tqdm(total=len(clip_set), desc=form, unit="clip", unit_scale=True, disable=True if quiet else None) as bar:
        for start, clips in clip_set.blocks(BATCH_CLIPS):
            stop = start + len(clips)
            yield Batch(start, clips, {name: clip_set.column(name, start, stop) for name in COLUMNS})
            bar.update(len(clips))


def _check_out(out: Path, force: bool) -> None:
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out}: no permission to write in {out.parent}.")
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise UsageError(f"--out {out} exists; give another name or add --force to replace it.")
    if out.is_symlink() or not _is_export(out):
        raise UsageError(f"--out {out} is not an earlier export of tsgen, so it is not replaced; remove it yourself.")


def _is_export(folder: Path) -> bool:
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("format") == FORMAT
