"""From the published form (frame images and a table of labels, in a folder or a zip) to a clip file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tsgen.clipfile import COLUMNS, COMPRESSION_LEVEL, ClipWriter, ContentHash, FileFacts
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import atomic_path, check_free_space, check_output_file
from tsgen.common.h5write import create_hdf5
from tsgen.framesource import MAX_IMAGE_BYTES, MAX_TABLE_BYTES, FrameSource, decode_frame, is_below, open_source
from tsgen.published import IMAGE_SUFFIXES, LABEL_SUFFIXES, Plan, parse_labels, plan_clips, some
from tsgen.vocabulary import CLASS_NAMES, SPLITS

BLOCK_CLIPS = 1024
PROFILE = "imported"
NO_SEED = -1


def import_published(
    source: Path | str,
    out: Path | str,
    *,
    domain: str,
    split: str = "train",
    class_names: Sequence[str] = CLASS_NAMES,
    labels: str | None = None,
    columns: tuple[str, str] | None = None,
    num_frames: int | None = None,
    force: bool = False,
    quiet: bool = False,
) -> FileFacts:
    """Write a clip file from published frames. Grey levels are kept as decoded, with the noise of the JPEGs.

    ``source`` a folder or a zip; ``domain`` what to call it, free text; ``labels`` the name of the table inside the
    source and ``columns`` its (clip, label) columns, where they are not found by themselves; ``num_frames`` T.
    The file has no drawn parameters: positions and boxes are NaN, the others as for classes that have none.

    Raises DataError naming every missing frame or label and every file that is damaged or not to be trusted.
    """
    source, out = Path(source), Path(out)
    check_output_file(out, force)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if not domain.strip() or len(domain) > 100:
        raise UsageError(f"domain name {domain!r} is not possible; allowed: 1 to 100 characters.")
    if len(class_names) < 2 or len(set(class_names)) < len(class_names) or not all(class_names):
        raise UsageError(
            f"classes {', '.join(class_names)!r} are not possible; at least two different names are needed."
        )
    with open_source(source) as files:
        table = _find_table(files, source, labels)
        text = _decoded(files.read(table, MAX_TABLE_BYTES), table)
        root = PurePosixPath(table).parent
        images = {
            str(PurePosixPath(name).relative_to(root)): name
            for name in files.sizes()
            if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and is_below(name, root)
        }
        plan = plan_clips(images, parse_labels(text, table, class_names, columns), num_frames)
        shape = _frame_shape(files, [images[name] for name in plan.frames[0]])
        facts = FileFacts(
            n=len(plan.frames),
            clip_shape=(len(plan.frames[0]), *shape),
            domain=domain,
            profile=PROFILE,
            split=split,
            seed=NO_SEED,
            class_names=tuple(class_names),
            recipe=_recipe(files, images, plan, text, domain, split, class_names),
        )
        check_free_space(out.parent, facts.n * int(np.prod(facts.clip_shape)) // 4, f"{facts.n} clips")
        with atomic_path(out) as partial:
            try:
                _write(partial, files, images, plan, facts, quiet)
            except (OSError, RuntimeError) as problem:
                raise DataError(f"writing {out} failed: {problem}. Is the disk full? Nothing was kept.") from problem
    return facts


def absent_columns(labels: NDArray[np.int64], clip_ids: NDArray[np.int64], num_frames: int) -> dict[str, NDArray[Any]]:
    """The columns of clips whose drawn parameters nobody recorded: NaN, -1, for ``direction`` 0."""
    known = {"labels": labels, "clip_id": clip_ids}
    columns = {}
    for name, column in COLUMNS.items():
        dtype = np.dtype(column.dtype)
        absent = np.nan if dtype.kind == "f" else 0 if name == "direction" else -1
        columns[name] = known.get(name, np.full((len(labels), *column.shape(num_frames)), absent)).astype(dtype)
    return columns


def _write(
    partial: Path, files: FrameSource, images: dict[str, str], plan: Plan, facts: FileFacts, quiet: bool
) -> None:
    from tqdm import tqdm

    with (
        create_hdf5(partial) as (file, sink),
        tqdm(total=facts.n, desc="import", unit="clip", disable=True if quiet else None) as progress,
    ):
        writer = ClipWriter(file, facts)
        for start in range(0, facts.n, BLOCK_CLIPS):
            stop = min(start + BLOCK_CLIPS, facts.n)
            compressed, leaves = [], []
            for clip in _clips(files, images, plan, start, stop, facts.clip_shape):
                compressed.append(isal_zlib.compress(clip, COMPRESSION_LEVEL))
                leaves.append(ContentHash.leaf(clip))
                progress.update()
            labels = np.array(plan.class_ids[start:stop], dtype=np.int64)
            clip_ids = np.array(plan.clip_ids[start:stop], dtype=np.int64)
            writer.write(compressed, leaves, absent_columns(labels, clip_ids, facts.clip_shape[0]))
            sink.check()
        writer.finish()


def _clips(
    files: FrameSource, images: dict[str, str], plan: Plan, start: int, stop: int, shape: tuple[int, int, int]
) -> Iterator[NDArray[np.uint8]]:
    for names in plan.frames[start:stop]:
        clip = np.empty(shape, dtype=np.uint8)
        for t, name in enumerate(names):
            frame = decode_frame(files.read(images[name], MAX_IMAGE_BYTES), name)
            if frame.shape != shape[1:]:
                height, width = frame.shape
                raise DataError(
                    f"{name} is {width}x{height} px, the first frame {shape[2]}x{shape[1]}; sizes must agree."
                )
            clip[t] = frame
        yield clip


def _frame_shape(files: FrameSource, names: list[str]) -> tuple[int, int]:
    height, width = decode_frame(files.read(names[0], MAX_IMAGE_BYTES), names[0]).shape
    return height, width


def _find_table(files: FrameSource, source: Path, wanted: str | None) -> str:
    names = list(files.sizes())
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"--labels {wanted}: {source} holds no such file; it holds {some(names)}.")
        return wanted
    tables = [name for name in names if PurePosixPath(name).suffix.lower() in LABEL_SUFFIXES]
    called_labels = [name for name in tables if "label" in PurePosixPath(name).stem.lower()]
    found = called_labels or tables
    if not found:
        raise DataError(
            f"{source} holds no table of labels (labels.csv or labels.tab); it holds {some(names) or 'nothing'}."
        )
    if len(found) > 1:
        raise UsageError(f"{source} holds {len(found)} tables: {some(found)}. Choose one with --labels NAME.")
    return found[0]


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{name} is not UTF-8 text: {problem}.") from problem


def _recipe(
    files: FrameSource,
    images: dict[str, str],
    plan: Plan,
    table: str,
    domain: str,
    split: str,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """What the clips were made from. The digest covers the table and every frame, so a folder and its zip agree."""
    digest = hashlib.sha256(hashlib.sha256(table.encode()).digest())
    for names in plan.frames:
        for name in names:
            digest.update(hashlib.sha256(files.read(images[name], MAX_IMAGE_BYTES)).digest())
    return {
        "imported": {
            "form": "published frames",
            "layout": plan.layout,
            "files_sha256": digest.hexdigest(),
            "n": len(plan.frames),
            "domain": domain,
            "split": split,
            "class_names": list(class_names),
        }
    }
