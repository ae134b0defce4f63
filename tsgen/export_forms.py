"""One function a form: batches of clips to files in an empty folder. Bytes depend on the clips alone, never on the
time or the machine. Frames keep their grey levels in every form but ``jpeg``."""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgen.common.errors import UsageError

EXTRA = "pip install 'recur-attend-convolve[export]'"
ROW_GROUP_CLIPS = 256


@dataclass(frozen=True)
class ExportOptions:
    """``shard_clips`` clips a Parquet or tar file; ``scale`` and ``fps`` of videos and GIFs; ``quality`` of JPEGs."""

    shard_clips: int = 1000
    scale: int = 1
    fps: int = 10
    quality: int = 75


@dataclass(frozen=True)
class Batch:
    """Consecutive clips from row ``start`` on: uint8 (N, T, H, W), and the same rows of every column."""

    start: int
    clips: NDArray[np.uint8]
    columns: dict[str, NDArray[Any]]


def write_parquet(batches: Iterator[Batch], folder: Path, facts: dict[str, Any], options: ExportOptions) -> None:
    """Rows are clips. ``clips`` is a fixed-size binary of T*H*W bytes, frame by frame, row by row; file facts are in
    the schema's metadata under "tsgen"."""
    try:
        import pyarrow.parquet as pq
    except ImportError as problem:
        raise UsageError(f"Parquet needs pyarrow: {EXTRA}") from problem
    names = _shard_names(facts, options.shard_clips, "parquet")
    metadata = {"tsgen": json.dumps(facts, sort_keys=True)}
    for name, shard in zip(names, _sharded(batches, options.shard_clips), strict=True):
        writer = None
        for batch in shard:
            table = _arrow_table(batch).replace_schema_metadata(metadata)
            writer = writer or pq.ParquetWriter(folder / name, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=ROW_GROUP_CLIPS)
        if writer is not None:
            writer.close()


def write_webdataset(batches: Iterator[Batch], folder: Path, facts: dict[str, Any], options: ExportOptions) -> None:
    """Plain tar shards; a clip is ``<clip_id>.npy`` (uint8 (T, H, W)), ``.cls`` (class id) and ``.json`` (columns)."""
    names = _shard_names(facts, options.shard_clips, "tar")
    for name, shard in zip(names, _sharded(batches, options.shard_clips), strict=True):
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for batch in shard:
                for row, (clip, stem) in enumerate(zip(batch.clips, _stems(batch), strict=True)):
                    array = io.BytesIO()
                    np.save(array, clip, allow_pickle=False)
                    values = {column: _json_value(rows[row]) for column, rows in batch.columns.items()}
                    values["class_name"] = facts["class_names"][values["labels"]]
                    _add(tar, f"{stem}.npy", array.getvalue())
                    _add(tar, f"{stem}.cls", str(values["labels"]).encode())
                    _add(tar, f"{stem}.json", json.dumps(values, sort_keys=True, allow_nan=False).encode())


def write_videos(batches: Iterator[Batch], folder: Path, facts: dict[str, Any], options: ExportOptions) -> None:
    """``<clip_id>.mp4``, lossless H.264 in full range, so that every decoder gives the grey levels back."""
    try:
        import av
    except ImportError as problem:
        raise UsageError(f"MP4 needs PyAV: {EXTRA}") from problem

    def write(clip: NDArray[np.uint8], path: Path) -> None:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=options.fps)
            stream.height, stream.width = clip.shape[1:]
            stream.pix_fmt = "gray"
            stream.options = {"qp": "0"}
            stream.codec_context.thread_count = 1
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG
            for frame in clip:
                picture = av.VideoFrame.from_ndarray(frame, format="gray")
                picture.color_range = av.video.reformatter.ColorRange.JPEG
                container.mux(stream.encode(picture))
            container.mux(stream.encode())

    _write_each(batches, folder, facts, options, "mp4", write)


def write_gifs(batches: Iterator[Batch], folder: Path, facts: dict[str, Any], options: ExportOptions) -> None:
    """``<clip_id>.gif``, playing for ever. Equal frames in a row become one that stays longer, as GIF writers do."""

    def write(clip: NDArray[np.uint8], path: Path) -> None:
        pages = [Image.fromarray(frame) for frame in clip]
        duration = round(1000 / options.fps)
        with path.open("wb") as handle:
            pages[0].save(handle, "GIF", save_all=True, append_images=pages[1:], duration=duration, loop=0)

    _write_each(batches, folder, facts, options, "gif", write)


def write_frames(image_format: str) -> Callable[[Iterator[Batch], Path, dict[str, Any], ExportOptions], None]:
    """The published form: ``<clip * T + t>.jpg`` for all frames of all clips in one folder, and ``labels.csv`` with an
    unnamed column of clip numbers and a column ``class`` of class ids."""
    suffix = {"JPEG": "jpg", "PNG": "png"}[image_format]

    def write(batches: Iterator[Batch], folder: Path, facts: dict[str, Any], options: ExportOptions) -> None:
        settings: dict[str, Any] = {"quality": options.quality} if image_format == "JPEG" else {"optimize": False}
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
            table = csv.writer(handle, lineterminator="\n")
            table.writerow(["", "class"])
            for batch in batches:
                for clip_number, clip in enumerate(batch.clips, batch.start):
                    table.writerow([clip_number, batch.columns["labels"][clip_number - batch.start]])
                    for number, frame in enumerate(clip, clip_number * len(clip)):
                        Image.fromarray(frame).save(folder / f"{number}.{suffix}", image_format, **settings)

    return write


def _write_each(
    batches: Iterator[Batch],
    folder: Path,
    facts: dict[str, Any],
    options: ExportOptions,
    suffix: str,
    write: Callable[[NDArray[np.uint8], Path], None],
) -> None:
    """A file a clip, enlarged, and a table that says which class each shows."""
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(["file", "clip_id", "label", "class_name"])
        for batch in batches:
            labels, clip_ids = batch.columns["labels"].tolist(), batch.columns["clip_id"].tolist()
            for clip, stem, label, clip_id in zip(batch.clips, _stems(batch), labels, clip_ids, strict=True):
                enlarged = clip.repeat(options.scale, axis=1).repeat(options.scale, axis=2)
                write(enlarged, folder / f"{stem}.{suffix}")
                table.writerow([f"{stem}.{suffix}", clip_id, label, facts["class_names"][label]])


def _arrow_table(batch: Batch) -> Any:
    import pyarrow as pa

    n, clip_bytes = len(batch.clips), batch.clips[0].nbytes
    arrays = {"clips": pa.FixedSizeBinaryArray.from_buffers(pa.binary(clip_bytes), n, [None, _buffer(batch.clips)])}
    for name, values in batch.columns.items():
        array = pa.array(values.ravel())
        for extent in reversed(values.shape[1:]):
            array = pa.FixedSizeListArray.from_arrays(array, extent)
        arrays[name] = array
    return pa.table(arrays)


def _buffer(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.ascontiguousarray(values))


def _shard_names(facts: dict[str, Any], shard_clips: int, suffix: str) -> list[str]:
    """As the Hub and WebDataset name shards, so that ``datasets`` finds the split: train-00000-of-00005.parquet."""
    shards = math.ceil(facts["clips"] / shard_clips)
    return [f"{facts['split']}-{shard:05d}-of-{shards:05d}.{suffix}" for shard in range(shards)]


def _sharded(batches: Iterator[Batch], shard_clips: int) -> Iterator[Iterator[Batch]]:
    """The same clips cut into shards of equal size; take each shard to its end before the next."""
    waiting: list[Batch] = []

    def shard() -> Iterator[Batch]:
        room = shard_clips
        while room and waiting:
            batch = waiting.pop()
            now, later = _split(batch, room)
            if later is not None:
                waiting.append(later)
            else:
                waiting.extend([following] if (following := next(batches, None)) is not None else [])
            room -= len(now.clips)
            yield now

    waiting.extend([first] if (first := next(batches, None)) is not None else [])
    while waiting:
        yield shard()


def _split(batch: Batch, at: int) -> tuple[Batch, Batch | None]:
    if at >= len(batch.clips):
        return batch, None
    head = {name: values[:at] for name, values in batch.columns.items()}
    tail = {name: values[at:] for name, values in batch.columns.items()}
    return Batch(batch.start, batch.clips[:at], head), Batch(batch.start + at, batch.clips[at:], tail)


def _stems(batch: Batch) -> list[str]:
    return [f"{clip_id:08d}" for clip_id in batch.columns["clip_id"].tolist()]


def _json_value(value: Any) -> Any:
    """Plain JSON; null where a class has no such parameter (NaN)."""
    if isinstance(value, np.ndarray):
        return [_json_value(item) for item in value]
    plain = value.item()
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, time 0: the same bytes everywhere
    member.size = len(data)
    stream: IO[bytes] = io.BytesIO(data)
    tar.addfile(member, stream)
