"""Published frames against our profiles ``paper`` and ``dataverse``: where do they differ, measure by measure."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tsgen.clipset import open_clips
from tsgen.common.dataverse import RECORD_FILE
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import atomic_folder
from tsgen.common.mirror import check_folder, read_record
from tsgen.common.names import printable
from tsgen.domains import DOMAINS, get_domain
from tsgen.framesource import IMAGE_FORMATS, MAX_IMAGE_BYTES, MAX_SIDE_PX, is_below, open_source
from tsgen.importer import import_published
from tsgen.originals.archive import PublishedSet, find_sets
from tsgen.originals.measures import MEASURES, Measure, Sight, difference, look_at, nearest_classes
from tsgen.published import IMAGE_SUFFIXES, some
from tsgen.vocabulary import CLASS_NAMES

PROFILES = ("paper", "dataverse")
FALSE_ALARM = 1e-3  # of a report of one set, if everything had one law; shared among its rows (Bonferroni)
SAMPLED_FILES = 50
DEFAULT_CLIPS = 2000
ALL = "all"

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Against:
    """One cell of the report: what a profile of ours has, how far that is from the published (0..1, NaN where no such
    number makes sense), and whether that is more than chance."""

    value: str
    distance: float
    differs: bool


@dataclass(frozen=True)
class Row:
    """``what`` is measured of the clips of a class, or of all; ``against`` by profile."""

    what: str
    of: str
    published: str
    against: dict[str, Against]


@dataclass(frozen=True)
class SetReport:
    """One published set against clips of ours: as many, drawn with seed 0, sent through JPEG of the same quality."""

    name: str
    domain: str
    split: str
    clips: int
    compared: int
    frames: str
    digits: str | None
    rows: tuple[Row, ...]

    def differing(self, profile: str) -> list[Row]:
        return [row for row in self.rows if row.against[profile].differs]


@dataclass(frozen=True)
class Comparison:
    """``notes``: what was not verified, not named, or not compared, and why."""

    sets: tuple[SetReport, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self)
        for row in (row for one in facts["sets"] for row in one["rows"]):
            for cell in row["against"].values():
                cell["distance"] = None if np.isnan(cell["distance"]) else round(cell["distance"], 4)
        return facts


def compare_original(
    folder: Path,
    *,
    clips: int = DEFAULT_CLIPS,
    digits: str | None = None,
    domain: str | None = None,
    keep: Path | None = None,
    say: Callable[[str], object] = lambda text: None,
    quiet: bool = False,
) -> Comparison:
    """Verify ``folder``, import every set of published frames in it, and compare each with our profiles.

    ``clips`` a set at most, evenly spread; ``digits`` those ours show (:func:`tsgen.digits.load_digits`); ``domain``
    what sets are whose path does not say; ``keep`` a new folder for the imported clip files, there once all are.
    Raises UsageError, or DataError for damaged frames and for a folder without any.
    """
    if clips < 10:
        raise UsageError(f"--clips {clips} are too few to compare; give 10 or more.")
    if domain is not None and domain not in DOMAINS:
        raise unknown_name("domain", domain, DOMAINS)
    if keep is not None and (keep.exists() or keep.is_symlink() or not keep.parent.is_dir()):
        raise UsageError(f"--keep {keep}: give the name of a new folder in one that exists.")
    notes = _verify(folder)
    reports = []
    with contextlib.nullcontext() if keep is None else atomic_folder(keep) as kept:
        for number, one in enumerate(find_sets(folder)):
            named = one.domain or domain
            if named is None:
                notes.append(f"{one.name}: its name tells no domain; say --domain NAME")
                continue
            file_name = f"{number}-{named}-{one.split}.h5"
            with tempfile.TemporaryDirectory() as scratch:
                path = (kept or Path(scratch)) / file_name
                say(f"import {one.name} as {named}" + (f": {keep / file_name}" if keep else ""))
                import_published(one.source, path, domain=named, split=one.split, labels=one.table, quiet=quiet)
                say(f"compare {one.name} with {' and '.join(PROFILES)}")
                reports.append(_compare_set(one, named, path, clips, digits))
        if not reports:
            raise DataError(f"nothing in {folder} could be compared: {'; '.join(notes)}.")
    return Comparison(tuple(reports), tuple(notes))


def _verify(folder: Path) -> list[str]:
    """What is to be noted of the files. DataError when one has changed."""
    if not (folder / RECORD_FILE).exists():
        return [f"no {RECORD_FILE}, so the files were not verified"]
    problems = check_folder(folder)
    changed = [problem for problem in problems if problem.endswith("has changed")]
    if changed:
        raise DataError(f"{folder}: {some(changed)}; download again into this folder.")
    record = read_record(folder)
    if record.get("complete") is not True:
        problems.append(f"{len(record['files'])} of the {record['listed']} files of the data set are here")
    return problems


def _compare_set(one: PublishedSet, domain: str, path: Path, most: int, digits: str | None) -> SetReport:
    quality, frames = _image_facts(one)
    with open_clips(path) as clip_set:
        n, labels = len(clip_set), clip_set.labels
        chosen = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
        pixels = clip_set.rows(chosen.tolist())
    rows, source = compare_clips(
        pixels, labels[chosen], domain, one.split, quality=quality, digits=digits, all_labels=labels
    )
    return SetReport(one.name, domain, one.split, n, len(chosen), frames, source, rows)


def compare_clips(
    clips: Frames,
    labels: NDArray[np.int64],
    domain: str,
    split: str,
    *,
    quality: int | None = None,
    digits: str | None = None,
    all_labels: NDArray[np.int64] | None = None,
) -> tuple[tuple[Row, ...], str | None]:
    """The rows for ``clips`` uint8 (N, T, H, W) with ``labels`` int64 (N,), and the digits ours show.

    ``quality`` of the JPEGs they come from, None for lossless ones; ``all_labels`` of the set they are taken from.
    """
    theirs = look_at(clips, labels)
    ours, shapes, source = {}, {}, None
    for profile in PROFILES:
        pixels, our_labels, source = _our_clips(domain, profile, len(clips), split, digits)
        shapes[profile] = _times(pixels.shape[1:])
        ours[profile] = look_at(pixels if quality is None else through_jpeg(pixels, quality), our_labels)
    rows = (
        _exact("frames x height x width", _times(clips.shape[1:]), shapes),
        _balance(labels if all_labels is None else all_labels, {name: sight.labels for name, sight in ours.items()}),
        *_mapping(theirs, ours),
        *_measured(theirs, ours),
    )
    return rows, source


def _our_clips(
    domain: str, profile: str, n: int, split: str, digits: str | None
) -> tuple[Frames, NDArray[np.int64], str | None]:
    from tsgen.generate import Generator  # numba
    from tsgen.recipe import make_recipe

    recipe, digit_set = make_recipe(get_domain(domain, profile), n, seed=0, split=split, digits=digits)
    bitmaps, digit_labels = (None, None) if digit_set is None else (digit_set.bitmaps, digit_set.labels)
    frames, columns = Generator(recipe, bitmaps, digit_labels).clips(np.arange(n))
    return frames, columns["labels"].astype(np.int64), None if digit_set is None else digit_set.source


def through_jpeg(clips: Frames, quality: int) -> Frames:
    """Every frame of uint8 (N, T, H, W) written as JPEG and read again: the loss the published frames have."""
    out = np.empty_like(clips)
    for frame, kept in zip(clips.reshape(-1, *clips.shape[2:]), out.reshape(-1, *clips.shape[2:]), strict=True):
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "JPEG", quality=quality)
        kept[:] = np.asarray(Image.open(data))
    return out


@cache
def _quality_of_table() -> dict[tuple[int, ...], int]:
    """The first quantisation table that libjpeg writes for each quality."""
    tables: dict[tuple[int, ...], int] = {}
    for quality in range(1, 101):
        data = io.BytesIO()
        Image.new("L", (8, 8)).save(data, "JPEG", quality=quality)
        tables.setdefault(tuple(Image.open(data).quantization[0]), quality)  # type: ignore[attr-defined]
    return tables


def _image_facts(one: PublishedSet) -> tuple[int | None, str]:
    """The JPEG quality (None: no JPEG) of most frames, and words about the form of some of them."""
    seen: Counter[tuple[str, str, int | None]] = Counter()
    with open_source(one.source) as files:
        root = PurePosixPath(one.table).parent
        names = [
            name
            for name in files.sizes()
            if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and is_below(name, root)
        ]
        for at in np.unique(np.linspace(0, len(names) - 1, SAMPLED_FILES).astype(int)):
            seen[_form(files.read(names[at], MAX_IMAGE_BYTES), names[at])] += 1
    told = [
        f"{form} {mode}" + ("" if quality is None else f" quality {quality}" if quality else " of unknown quality")
        for form, mode, quality in sorted(seen, key=str)
    ]
    quality = seen.most_common(1)[0][0][2]
    return (quality if quality else None), ", ".join(told)


def _form(data: bytes, name: str) -> tuple[str, str, int | None]:
    name = printable(name)
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            if max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{name} is {image.width}x{image.height} px; allowed: up to {MAX_SIDE_PX} px a side.")
            tables = getattr(image, "quantization", {})
            quality = None if image.format != "JPEG" else _quality_of_table().get(tuple(tables.get(0, ())), 0)
            return str(image.format), "grey" if image.mode == "L" else str(image.mode), quality
    except (OSError, SyntaxError, ValueError) as problem:
        raise DataError(f"{name} is not a readable JPEG or PNG image: {problem}") from problem


def _measured(theirs: Sight, ours: dict[str, Sight]) -> list[Row]:
    groups = [(ALL, -1), *((name, class_id) for class_id, name in enumerate(CLASS_NAMES))]
    tests = len(PROFILES) * sum(len(groups) if measure.by_class else 1 for measure in MEASURES.values())
    rows = []
    for what, measure in MEASURES.items():
        published = measure.of(theirs)
        other = {profile: measure.of(sight) for profile, sight in ours.items()}
        for name, class_id in groups if measure.by_class else groups[:1]:
            mine = published if class_id < 0 else published[theirs.labels == class_id]
            against = {}
            for profile, sight in ours.items():
                values = other[profile] if class_id < 0 else other[profile][sight.labels == class_id]
                if len(mine) and len(values):
                    distance, chance = difference(measure, mine, values)
                else:  # a class without clips: its row of "clips a class" says so
                    distance, chance = float("nan"), 1.0
                against[profile] = Against(_told(measure, values), distance, chance < FALSE_ALARM / tests)
            rows.append(Row(what, name, _told(measure, mine), against))
    return rows


def _told(measure: Measure, values: NDArray[np.float64]) -> str:
    """Median and the middle 90 %, or a share."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    if measure.share:
        return f"{100 * values.mean():.1f} %"
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:.3g} ({low:.3g}..{high:.3g}) {measure.unit}".strip()


def _balance(labels: NDArray[np.int64], ours: dict[str, NDArray[np.int64]]) -> Row:
    """Classes are dealt out evenly, or drawn one by one: then exactly even counts are unlikely, uneven ones not."""
    from scipy import stats

    def even(labels: NDArray[np.int64]) -> bool:
        counts = np.bincount(labels, minlength=len(CLASS_NAMES))
        return bool(np.ptp(counts) <= 1)

    def told(labels: NDArray[np.int64]) -> str:
        counts = np.bincount(labels, minlength=len(CLASS_NAMES))
        return "/".join(map(str, counts)) + (" even" if even(labels) else "")

    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    lopsided = float(stats.chisquare(counts).pvalue) < FALSE_ALARM
    against = {
        profile: Against(told(other), float("nan"), even(other) != even(labels) or lopsided)
        for profile, other in ours.items()
    }
    return Row("clips a class", ALL, told(labels), against)


def _mapping(theirs: Sight, ours: dict[str, Sight]) -> list[Row]:
    nearest = {profile: nearest_classes(theirs, sight, len(CLASS_NAMES)) for profile, sight in ours.items()}
    rows = []
    for class_id, name in enumerate(CLASS_NAMES):
        against = {}
        for profile, found in nearest.items():
            like = CLASS_NAMES[found[class_id]] if found[class_id] >= 0 else "-"
            against[profile] = Against(like, float("nan"), found[class_id] not in (-1, class_id))
        rows.append(Row("moves most like our", name, f"class {class_id}", against))
    return rows


def _exact(what: str, published: str, ours: dict[str, str]) -> Row:
    cells = {profile: Against(value, float("nan"), value != published) for profile, value in ours.items()}
    return Row(what, ALL, published, cells)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
