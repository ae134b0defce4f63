"""Mini-Diving48 as the data folder of a study: rendered, packed and built in every domain, once, in the user's cache.

A recipe is written ``mini:rho=0.5,train=640``. Beside the paper's domains of the test list there are ``O-shift`` and
``O-swap``, the clips whose venue is drawn anew (rho = 0), and permuted over the classes: what a model loses there it
owes to the venue. With masks ``predicted`` the edited domains are built a second time, from what the small segmenter
finds: ``S1-predicted``, ``S2-predicted``, ``T-predicted``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from diving48_domains.build_options import BuildOptions
from diving48_domains.mini.config import MiniConfig
from tsgen.common.errors import UsageError, unknown_name
from tsgen.common.files import locked, write_json_atomic

MINI_PREFIX = "mini:"
FOLDER = "studies"
DONE_FILE = "study.json"
EDITED = ("S1", "S2", "T")
OTHER_VENUES = ("shift", "swap")
MASKS = ("truth", "predicted")
CLIPS = MiniConfig(labels_train=0, labels_val=0)

Say = Callable[[str], None]


@dataclass(frozen=True)
class MiniStudy:
    """``clips`` to render; ``size`` (height, width) px and ``num_frames`` of the stored clips; ``blur_sigma_px`` of the
    background in S1 and S2; ``masks`` "truth", or "predicted" for those of a segmenter beside them.
    """

    clips: MiniConfig = CLIPS
    size: tuple[int, int] = (48, 48)
    num_frames: int = 16
    blur_sigma_px: float = 5.0
    masks: str = "truth"

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            if not self.clips.count(split):
                raise UsageError(f"{MINI_PREFIX} {split}=0 leaves a study without {split} clips; allowed: 1 or more.")
        if self.masks not in MASKS:
            raise unknown_name("kind of masks", self.masks, MASKS)
        self.options()  # checks the rest

    def options(self, domains: tuple[str, ...] | None = None) -> BuildOptions:
        """Of ``d48dom build`` for these stores; all domains where none are named."""
        from diving48_domains.blur import size_for_sigma

        base = BuildOptions(size=self.size, num_frames=self.num_frames)
        composition = replace(
            base.composition, blur_sigma_px=self.blur_sigma_px, blur_size_px=size_for_sigma(self.blur_sigma_px)
        )
        return replace(base, domains=domains or base.domains, composition=composition)

    def to_json(self) -> dict[str, Any]:
        """The whole recipe, for records and for the names of folders."""
        return {**asdict(self), "clips": self.clips.to_json(), "size": list(self.size)}

    @property
    def name(self) -> str:
        return f"{self.clips.classes}-rho{self.clips.rho:g}-{_digest(self.to_json())}"


def parse_mini_study(text: str) -> MiniStudy:
    """``"rho=0.5,train=640,size=48x48"``, with or without ``mini:`` before it. UsageError for anything else.

    Keys: those of ``d48dom mini`` but the labelled frames, and ``size``, ``frames``, ``blur-sigma`` and ``masks``.
    """
    clips = {one.name for one in fields(MiniConfig)} - {"width", "height", "labels_train", "labels_val"}
    clips -= {"labelled_share"}
    own = {"size": "size", "frames": "num_frames", "blur_sigma": "blur_sigma_px", "masks": "masks"}
    of_clips: dict[str, Any] = {}
    of_study: dict[str, Any] = {}
    for part in filter(None, text.removeprefix(MINI_PREFIX).split(",")):
        key, equals, value = part.partition("=")
        name = key.strip().replace("-", "_")
        if name in clips | set(own) and not equals:
            raise UsageError(f"{MINI_PREFIX} {key.strip()} has no value; give it as in rho=0.5.")
        if name not in clips | set(own):
            raise unknown_name("key of mini:", key.strip(), sorted(each.replace("_", "-") for each in clips | set(own)))
        if name in of_clips or own.get(name) in of_study:
            raise UsageError(f"{MINI_PREFIX} {key.strip()} is given twice.")
        if name in own:
            of_study[own[name]] = _size(value) if name == "size" else _typed(own[name], value.strip(), MiniStudy())
        else:
            of_clips[name] = _typed(name, value.strip(), CLIPS)
    return MiniStudy(clips=replace(CLIPS, **of_clips), **of_study)


def make_mini_study(
    what: MiniStudy, *, say: Say = lambda line: None, workers: int | None = None, quiet: bool = False
) -> Path:
    """The data folder of ``what``, found in the cache or made there; after an interruption the next call goes on.

    Section 4.2 on clips with a known answer. ``predicted`` masks need the extra diving48.
    """
    from diving48_domains.embedded import cache_folder
    from diving48_domains.segmenter import require_torchvision

    if what.masks == "predicted":
        require_torchvision()
    cache = cache_folder() / FOLDER
    cache.mkdir(exist_ok=True)
    out = cache / what.name
    if (out / DONE_FILE).is_file():
        return out
    with locked(cache, wait=True):  # another study may need the same clips
        if not (out / DONE_FILE).is_file():
            say(f"making a study on mini-Diving48, once: {out}")
            _make(what, cache, out, say, workers, quiet)
    return out


def _make(what: MiniStudy, cache: Path, out: Path, say: Say, workers: int | None, quiet: bool) -> None:
    from diving48_domains.annotations import open_folder
    from diving48_domains.build import build, truth_path
    from diving48_domains.mini.dataset import write_mini
    from diving48_domains.pack import pack
    from diving48_domains.pack_options import PackOptions
    from tsgen.common.engine import EngineOptions

    count: dict[str, Any] = {"workers": workers, "quiet": quiet}
    videos = cache / f"clips-{_digest(what.clips.to_json())}"
    write_mini(videos, what.clips, **count)
    folder = open_folder(videos)
    truth = truth_path(folder)
    how: dict[str, Any] = {"engine": EngineOptions(workers=workers), "quiet": quiet}
    pack(folder, out, PackOptions(size=what.size, num_frames=what.num_frames), **how)
    build(folder, "test", truth, out, what.options(), **how)
    for split in OTHER_VENUES:
        if what.clips.count(split):
            build(folder, split, truth, out, what.options(("O",)), **how)
    if what.masks == "predicted":
        from diving48_domains.embedded import segment_with_embedded

        found = segment_with_embedded(videos, "test", what.num_frames, say, **count)
        beside = out.with_name(f".{out.name}.predicted")
        build(folder, "test", found, beside, what.options(EDITED), **how)
        shutil.rmtree(out / "predicted", ignore_errors=True)
        (beside / "test").rename(out / "predicted")
        beside.rmdir()
    write_json_atomic(out / DONE_FILE, what.to_json())


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _typed(name: str, text: str, like: Any) -> Any:
    """``text`` as the type that the field ``name`` of ``like`` has."""
    kind = type(getattr(like, name))
    try:
        return kind(text)
    except ValueError:
        words = {int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"{MINI_PREFIX} {name.replace('_', '-')}={text} is not possible; give {words}.") from None


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,5})x(\d{1,5})\s*", text)
    if match is None:
        raise UsageError(f"{MINI_PREFIX} size={text} is not possible; give width x height in px, as in 64x64.")
    return int(match[2]), int(match[1])
