"""Everything that decides what ``d48dom build`` writes, and the presets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diving48_domains.domains import FAITHFUL, DomainOptions, check_domains
from diving48_domains.sampling import FRAMES_PER_CLIP
from diving48_domains.tracking import TRACK_PRESETS, TrackOptions
from diving48_domains.video import CODECS, ON_DAMAGE, PUBLISHED_BIT_RATE, PUBLISHED_FPS, QUALITY_RANGE
from tsgen.common.errors import DataError, UsageError, unknown_name

ON_EMPTY = {
    "keep": "as published: S1 and S2 wholly blurred, T unfilled; counted, as 'leaked' where T likely shows a diver",
    "fill": "as keep, but T and T_union are filled wholly: nothing leaks, the background is lost too",
    "drop": "frames without a diver are left out of every domain, the others repeated in their place",
    "drop-clip": "clips with a larger share of such frames than max_empty are left out",
}
ON_BAD_CLIP = {
    "error": "stop at the first clip without a usable video or without instances",
    "drop": "leave such clips out; the manifest lists them with the reason",
}
FORMS: dict[str, tuple[str, str, int | None]] = {
    "hdf5": ("", ".h5", None),
    "ffv1": ("ffv1", ".mkv", None),
    "mp4": ("h264", ".mp4", 18),
    "mpeg4": ("mpeg4", ".mp4", PUBLISHED_BIT_RATE),
}
"""Form -> codec, suffix, quality unless another is asked for (crf of h264, bits/s of mpeg4)."""
RESIZE_RULE = "pillow bilinear, antialiased, stretched to the size"


def check_sampling(size: tuple[int, int] | None, num_frames: int | None, by: str, on_bad_clip: str) -> None:
    """UsageError for frames that no store or video can hold, or that cannot be chosen."""
    if size is not None and not all(1 <= side <= 8192 for side in size):
        raise UsageError(f"a frame's height and width are 1 to 8192 px, got {size}.")
    if num_frames is not None and not 1 <= num_frames <= 4096:
        raise UsageError(f"1 to 4096 frames a clip can be stored, got {num_frames}.")
    if by not in ("index", "time"):
        raise unknown_name("by", by, ("index", "time"))
    if on_bad_clip not in ON_BAD_CLIP:
        raise unknown_name("policy for bad clips", on_bad_clip, ON_BAD_CLIP)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Everything that decides what a build writes.

    ``domains``: names of DOMAINS; ``composition``; ``shown``, ``filled``: which instances S1 and S2 keep and T fills;
    ``form``: one of FORMS; ``quality``: None for the form's own; ``size``: (height, width) px, None for the video's;
    ``num_frames``: evenly spaced frames a clip, None for all (videos only); ``by``: evenly spaced by "index" or "time";
    ``fps``: of written videos, None keeps the clip's duration; ``on_empty``: one of ON_EMPTY; ``max_empty``: share of
    frames without a diver above which a clip is flagged, or dropped; ``on_bad_clip``: one of ON_BAD_CLIP;
    ``on_damage``: a key of ``video.ON_DAMAGE``. UsageError for what is not possible, before anything is decoded.
    """

    domains: tuple[str, ...] = ("O", "C", "S1", "S2", "T", "T_union", "B")
    composition: DomainOptions = field(default_factory=DomainOptions)
    shown: TrackOptions = TRACK_PRESETS["default"][0]
    filled: TrackOptions = TRACK_PRESETS["default"][1]
    form: str = "hdf5"
    quality: int | None = None
    size: tuple[int, int] | None = (224, 224)
    num_frames: int | None = FRAMES_PER_CLIP
    by: str = "index"
    fps: float | None = None
    on_empty: str = "keep"
    max_empty: float = 0.5
    on_bad_clip: str = "error"
    on_damage: str = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", check_domains(self.domains))
        if self.form not in FORMS:
            raise unknown_name("form", self.form, FORMS)
        if self.on_empty not in ON_EMPTY:
            raise unknown_name("policy for frames without a diver", self.on_empty, ON_EMPTY)
        check_sampling(self.size, self.num_frames, self.by, self.on_bad_clip)
        if self.on_damage not in ON_DAMAGE:
            raise unknown_name("policy for damaged videos", self.on_damage, ON_DAMAGE)
        if not 0 <= self.max_empty <= 1:
            raise UsageError(f"max_empty is a share from 0 to 1, got {self.max_empty}.")
        if self.form == "hdf5" and self.num_frames is None:
            raise UsageError("all frames of each clip go into videos only; give a number of frames, or --form ffv1.")
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise UsageError(f"videos are written at 1 to 240 frames/s, got {self.fps}.")
        self._check_quality()
        if self.size is not None:
            check_encodable(self, self.size)
        if self.on_empty == "fill":
            object.__setattr__(self, "composition", replace(self.composition, fill_empty=True))

    def _check_quality(self) -> None:
        codec, _, own = FORMS[self.form]
        meaning = CODECS[codec].quality if codec else ""
        if not meaning:
            if self.quality is not None:
                raise UsageError(f"form {self.form} is lossless; leave the quality out (got {self.quality}).")
            return
        low, high = QUALITY_RANGE[meaning]
        if self.quality is not None and not low <= self.quality <= high:
            raise UsageError(
                f"the quality of form {self.form} is a {meaning} of {low} to {high}, {own} by default; "
                f"got {self.quality}."
            )


def check_encodable(options: BuildOptions, size: tuple[int, int]) -> None:
    """UsageError when the form's codec cannot hold frames of ``size`` (height, width) px. O is never re-encoded."""
    odd = size[0] % 2 or size[1] % 2
    if odd and FORMS[options.form][0] == "h264" and set(options.domains) != {"O"}:
        raise UsageError(
            f"form {options.form} (h264, 4:2:0) needs an even width and height, got {size[1]}x{size[0]}; give another "
            "--size, or --form ffv1 or mpeg4."
        )


PRESETS: dict[str, BuildOptions] = {
    "default": BuildOptions(),
    "faithful": BuildOptions(
        composition=FAITHFUL,
        shown=TRACK_PRESETS["faithful"][0],
        filled=TRACK_PRESETS["faithful"][1],
        form="mpeg4",
        size=(369, 492),
        fps=float(PUBLISHED_FPS),
    ),
}
"""``faithful``: every choice of the published pipeline (docs/diving48_domains.md lists them)."""


def suffix_of(domain: str, options: BuildOptions) -> str:
    """O is never re-encoded: in lossy forms it is written as FFV1."""
    return ".mkv" if domain == "O" and options.form != "hdf5" else FORMS[options.form][1]


def options_of(parameters: Mapping[str, Any]) -> BuildOptions:
    """The options of a build as its manifest records them. DataError when they are not those of this version."""
    try:
        given = dict(parameters["options"])
        inner = {"composition": DomainOptions, "shown": TrackOptions, "filled": TrackOptions}
        given |= {name: record(**_tuples(given[name])) for name, record in inner.items()}
        return BuildOptions(**_tuples(given))
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as problem:
        raise DataError(f"the manifest records options that this d48dom does not know: {problem}") from problem


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
