"""What ``d48dom build`` works on when no data is given: a mini-Diving48 and a tiny segmenter trained on it, made once.

Everything stays in the user's cache, in folders named by what they were made from, so that later builds only compose.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diving48_domains.annotations import DivingFolder, open_folder
from diving48_domains.mini.config import MiniConfig
from tsgen.common.errors import UsageError
from tsgen.common.files import locked

CACHE_VARIABLE = "D48DOM_CACHE"
SPLIT = "test"


@dataclass(frozen=True)
class Embedded:
    """``config`` of the clips; ``epochs`` of the segmenter, None for its recipe's, 0 for the true masks instead."""

    config: MiniConfig
    epochs: int | None = None

    @property
    def name(self) -> str:
        digest = hashlib.sha256(json.dumps(self.config.to_json(), sort_keys=True).encode()).hexdigest()
        return f"{self.config.classes}-{digest[:12]}"


FULL = Embedded(MiniConfig(train=160, val=16, test=32, shift=0, swap=0, labelled_share=1.0))
QUICK = Embedded(MiniConfig(train=0, val=0, test=8, shift=0, swap=0, labels_train=0, labels_val=0), epochs=0)


def cache_folder() -> Path:
    """$D48DOM_CACHE, else the user's cache; created if need be."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("d48dom")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(
            f"{folder} cannot be created: {problem}; set ${CACHE_VARIABLE} to another folder."
        ) from problem
    return folder


def ensure_embedded(
    what: Embedded, say: Callable[[str], None], *, workers: int | None = None, quiet: bool = False
) -> tuple[DivingFolder, Path]:
    """The folder of clips and the instances of its test split, found or true; made where they are missing.

    A segmenter needs the extra diving48. After an interruption the next call goes on where this one stopped.
    """
    cache = cache_folder()
    with locked(cache, wait=True):  # a second build waits for the first one's clips and segmenter
        return _ensure(what, cache, say, workers, quiet)


def _ensure(
    what: Embedded, cache: Path, say: Callable[[str], None], workers: int | None, quiet: bool
) -> tuple[DivingFolder, Path]:
    from diving48_domains.build import truth_path
    from diving48_domains.mini.dataset import write_mini

    if what.epochs == 0:
        data = cache / what.name
        say(f"no --data: a mini-Diving48 of {what.config.classes} with its true masks, in {data}")
        write_mini(data, what.config, workers=workers, quiet=quiet)
        return open_folder(data), truth_path(open_folder(data))
    data, found = cache / what.name, cache / f"{_tiny(what, cache).name}-{SPLIT}.h5"
    if found.is_file():
        say(f"reusing {data}, {_tiny(what, cache).name} and {found.name} of {cache}")
        return open_folder(data), found
    say(f"no --data: making a mini-Diving48 of {what.config.classes} in {data}")
    tiny = _ensure_segmenter(what, cache, say, workers, quiet)
    from diving48_domains.segment import SegmentOptions, segment

    say(f"finding the divers of the {SPLIT} split: {found}")
    segment(data, tiny, found, SegmentOptions(split=SPLIT))
    return open_folder(data), found


def segment_with_embedded(
    data: Path,
    split: str,
    num_frames: int,
    say: Callable[[str], None],
    *,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """What the embedded segmenter finds in ``num_frames`` of each clip of another folder; beside it, made once."""
    cache = cache_folder()
    with locked(cache, wait=True):
        tiny = _ensure_segmenter(FULL, cache, say, workers, quiet)
    from diving48_domains.segment import SegmentOptions, segment

    found = data.with_name(f"{data.name}-{split}-{num_frames}-{tiny.name}.h5")
    if not found.is_file():
        say(f"finding the divers of the {split} split: {found}")
        segment(data, tiny, found, SegmentOptions(split=split, frames=num_frames))
    return found


def _tiny(what: Embedded, cache: Path) -> Path:
    return cache / f"{what.name}-tiny{what.epochs or ''}"


def _ensure_segmenter(
    what: Embedded, cache: Path, say: Callable[[str], None], workers: int | None, quiet: bool
) -> Path:
    """The folder of the tiny segmenter, trained on the labelled frames of its own mini-Diving48."""
    from diving48_domains.mini.dataset import write_mini
    from diving48_domains.segmenter import require_torchvision

    require_torchvision()
    from diving48_domains.segmenter.checkpoint import CARD_NAME
    from diving48_domains.segmenter.session import LabelSource, train_segmenter
    from diving48_domains.segmenter.train import make_options

    data, tiny = cache / what.name, _tiny(what, cache)
    write_mini(data, what.config, workers=workers, quiet=quiet)
    if not (tiny / CARD_NAME).exists():
        say(f"training a tiny segmenter on its {what.config.labels_train} labelled frames, some minutes, once: {tiny}")
        options = make_options("tiny", epochs=what.epochs)
        train_segmenter(LabelSource(data / "labels"), tiny, options, resume=True, device="auto", quiet=quiet)
    return tiny
