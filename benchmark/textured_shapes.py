"""Temporal Shape in colour over textures that follow the class with probability rho: a texture bias that is known.

What mini-Diving48 is for dives, small enough that a CPU teaches the models the motion as well. Each clip of ``5dot``
(section 3.2) moves over a still texture, of one of five kinds; the dot plays the diver: its exact pixels are the mask
from which S1, S2, T and the controls are composed as those of Diving48 are (section 3.3). ``O-swap`` are clips whose
textures are those of the next class. A recipe is written ``shapes:rho=0.5,train=1500``; clips are uint8
(20, size, size, 3).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.config import VIDEO_TARGETS
from benchmark.data_folder import SHAPES_PREFIX
from tsgen.common.errors import UsageError, unknown_name
from tsgen.common.files import locked, write_json_atomic
from tsgen.vocabulary import CLASS_NAMES

STREAM_VERSION = 1
DOMAIN = "5dot"
SPLITS = {"train": "train", "val": "val", "test": "test", "swap": "test"}
"""Split -> that of tsgen; ``swap`` are the test clips after those of ``test``."""
DONE_FILE = "study.json"
MAX_CLIPS = 50_000
SIDE = 64
SIZES = (32, 64)

# Grain in px and the two colours between which a texture lies; all darker than the dot.
TEXTURES: tuple[tuple[float, tuple[int, int, int], tuple[int, int, int]], ...] = (
    (1.0, (20, 40, 90), (60, 90, 160)),
    (2.0, (90, 30, 20), (160, 80, 50)),
    (3.0, (20, 80, 40), (60, 150, 80)),
    (5.0, (70, 30, 90), (140, 80, 150)),
    (8.0, (80, 70, 20), (150, 140, 60)),
)


@dataclass(frozen=True)
class TexturedShapes:
    """Numbers of clips of each split, ``rho`` from 0 to 1, ``seed``; ``size``: one of SIZES, px, 32 the mean of squares
    of four pixels; ``blur_sigma_px`` of the background in S1 and S2.
    """

    train: int = 1500
    val: int = 300
    test: int = 300
    swap: int = 300
    rho: float = 0.8
    seed: int = 0
    size: int = 32
    blur_sigma_px: float = 3.0

    def __post_init__(self) -> None:
        for split in SPLITS:
            if not 1 <= getattr(self, split) <= MAX_CLIPS:
                raise UsageError(f"{split} = {getattr(self, split)} clips is not possible; allowed: 1..{MAX_CLIPS}.")
        if not 0 <= self.rho <= 1:  # also catches nan
            raise UsageError(f"rho = {self.rho} is not possible; allowed: 0 (no bias) to 1 (the texture is the class).")
        if self.size not in SIZES:
            raise UsageError(f"size {self.size} is not possible; allowed: {' or '.join(map(str, SIZES))} px.")
        if not 0 < self.blur_sigma_px <= 100:
            raise UsageError(f"blur_sigma_px = {self.blur_sigma_px} is not possible; allowed: above 0, up to 100 px.")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed {self.seed} is not possible; allowed: 0..2**31-1.")

    def to_json(self) -> dict[str, Any]:
        return {"stream_version": STREAM_VERSION, "domain": DOMAIN, **asdict(self)}

    @property
    def name(self) -> str:
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        return f"shapes-rho{self.rho:g}-{digest[:12]}"


def parse_shapes(text: str) -> TexturedShapes:
    """``"rho=0.5,train=1500"``, with or without ``shapes:`` before it. UsageError for anything else."""
    kinds: dict[str, Any] = {one.name: type(one.default) for one in fields(TexturedShapes)}
    given: dict[str, Any] = {}
    for part in filter(None, text.removeprefix(SHAPES_PREFIX).split(",")):
        key, _, value = part.partition("=")
        name = key.strip().replace("-", "_")
        name = "blur_sigma_px" if name == "blur_sigma" else name  # as mini: has it
        if name not in kinds:
            raise unknown_name(f"key of {SHAPES_PREFIX}", key.strip(), sorted(kinds))
        if name in given:
            raise UsageError(f"{SHAPES_PREFIX} {key.strip()} is given twice.")
        try:
            given[name] = kinds[name](value)
        except ValueError:
            raise UsageError(f"{SHAPES_PREFIX} {part.strip()} is not possible; give a number, as in rho=0.5.") from None
    return TexturedShapes(**given)


def make_shapes(what: TexturedShapes, cache: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """The data folder of ``what`` (:mod:`benchmark.video_data`), found in ``cache`` or made there."""
    cache.mkdir(parents=True, exist_ok=True)
    out = cache / what.name
    if (out / DONE_FILE).is_file():
        return out
    with locked(cache, wait=True):
        if not (out / DONE_FILE).is_file():
            say(f"making Temporal Shape over textures, once: {out}")
            for split in SPLITS:
                _write(what, split, out)
            write_json_atomic(out / DONE_FILE, what.to_json())
    return out


def textures_of(what: TexturedShapes, split: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (N,): the kind of texture of each clip."""
    draws = _uniform(what.seed, split, "kind", 2 * len(labels)).reshape(-1, 2)
    bound = (labels + 1) % len(TEXTURES) if split == "swap" else labels
    return np.where(draws[:, 0] < what.rho, bound, (draws[:, 1] * len(TEXTURES)).astype(np.int64))


def texture(kind: int, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """A still background float64 (H, W, 3), 0 to 255, from uniform noise (H, W)."""
    from scipy.ndimage import gaussian_filter

    grain, low, high = TEXTURES[kind]
    field = gaussian_filter(noise, grain, mode="wrap")
    field = (field - field.min()) / np.ptp(field)
    colours: NDArray[np.float64] = np.array(low) + field[:, :, None] * (np.array(high) - np.array(low))
    return colours


def _write(what: TexturedShapes, split: str, out: Path) -> None:
    from diving48_domains.domains import DomainOptions, compose
    from diving48_domains.framestore import StorePlan
    from diving48_domains.instances import Instance
    from diving48_domains.manifest import ClipRecord
    from diving48_domains.storewriter import StoreWriter, write_clip

    clips, labels = _drawn(what, split)
    kinds = textures_of(what, split, labels)
    noise = _uniform(what.seed, split, "noise", len(clips) * what.size**2).reshape(-1, what.size, what.size)
    names: Sequence[str] = {"test": VIDEO_TARGETS, "swap": ("O",)}.get(split, (split,))
    folder = out if names == (split,) else out / split
    folder.mkdir(parents=True, exist_ok=True)
    options = DomainOptions(blur_sigma_px=what.blur_sigma_px, blur_size_px=2 * round(2 * what.blur_sigma_px) + 1)
    ids = tuple(f"{split}-{number:06d}" for number in range(len(clips)))
    settings = {**what.to_json(), "split": split, "class_names": list(CLASS_NAMES), "resize_rule": "none"}
    plan = StorePlan(ids, tuple(labels.tolist()), ids, clips.shape[1], what.size, what.size, settings)
    with StoreWriter({name: folder / f"{name}.h5" for name in names}, plan, folder / f"{split}.journal") as writer:
        for row in writer.todo():
            drawn = _shrunk(clips[row] / 255, what.size)[..., None]  # (T, H, W, 1): the dot's share of a pixel
            frames = np.rint(texture(int(kinds[row]), noise[row]) * (1 - drawn) + 255 * drawn).astype(np.uint8)
            if len(names) == 1:
                versions = {names[0]: frames}
            else:
                found = [Instance.of_pixels(frame[..., 0] > 0) for frame in drawn]
                divers = [[one] if one else [] for one in found]
                versions = compose(frames, divers, options, names)
            writer.record(
                ClipRecord(
                    ids[row],
                    int(labels[row]),
                    ids[row],
                    "written",
                    row=row,
                    num_frames=len(frames),
                    frame_indices=tuple(range(len(frames))),
                    status=("detected",) * len(frames),
                    outputs={name: write_clip(writer.slots[name], row, versions[name]) for name in names},
                )
            )
        writer.finish()
        writer.done()


def _shrunk(frames: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(T, 64, 64) to (T, size, size): means of squares."""
    step = SIDE // size
    means: NDArray[np.float64] = frames.reshape(len(frames), size, step, size, step).mean(axis=(2, 4))
    return means


def _drawn(what: TexturedShapes, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Clips uint8 (N, T, H, W) and labels int64 (N,) of tsgen; those of ``test`` and ``swap`` from one file."""
    import tsgen

    tests = what.test + what.swap
    rows = {"test": slice(what.test), "swap": slice(what.test, tests)}.get(split, slice(None))
    number = getattr(what, split) if split in ("train", "val") else tests
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "clips.h5"
        tsgen.make(DOMAIN, number, path, seed=what.seed, split=SPLITS[split], quiet=True)
        with tsgen.open_clips(path) as file:
            return file.clips()[rows], file.labels[rows]


def _uniform(seed: int, split: str, purpose: str, n: int) -> NDArray[np.float64]:
    """(N,) in [0, 1), the same with every NumPy: Philox's raw words."""
    stream = list(SPLITS).index(split) * 2 + ("kind", "noise").index(purpose)
    words = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(n)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
