"""The domains: how the moving entity and its background look. The motion is the same in all of them (section 3.2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tsgen.common.errors import UsageError, unknown_name
from tsgen.profiles import Profile, get_profile
from tsgen.vocabulary import FRAME_SIZE_PX, NUM_FRAMES

ENTITIES = ("square", "digit")
BACKGROUNDS = ("black", "flicker", "static", "drift")
MAX_SIGMA = 32


@dataclass(frozen=True)
class Domain:
    """Everything about the look of a clip, and the geometry of its frames; ``profile`` names the law of its motion.

    ``width_px`` side of the square, or of the cell a digit stands in; ``contrast`` scales its grey levels.
    ``background``: "black", or Perlin noise: drawn anew for every frame ("flicker"), once a clip ("static"), or once a
    clip and moving on by a pixel a frame in one of eight directions ("drift"). ``sigma_low``..``sigma_high`` its grain:
    lattice cells across the frame, drawn once a clip, both ends included. ``intensity`` scales noise in [-1, 1] to grey
    level 255 * intensity * noise, the negative half black. ``spiral_reach`` radians a spiral turns, and its clearance
    in px. ``speed_factor`` scales all speeds. ``stream`` names the stream of random choices: domains of one profile
    that share it show the same motion, clip by clip.
    """

    name: str
    entity: str
    width_px: int
    contrast: float = 1.0
    background: str = "black"
    sigma_low: int = 1
    sigma_high: int = 10
    intensity: float = 0.5
    spiral_reach: int = 10
    speed_factor: float = 1.0
    num_frames: int = NUM_FRAMES
    size_px: int = FRAME_SIZE_PX
    profile: str = "paper"
    stream: str = ""

    def __post_init__(self) -> None:
        if not self.stream:
            object.__setattr__(self, "stream", self.name)
        for dial, value in dataclasses.asdict(self).items():
            kinds = {"int": (int,), "float": (int, float), "str": (str,)}[str(self.__dataclass_fields__[dial].type)]
            _require(
                isinstance(value, kinds) and not isinstance(value, bool),
                dial,
                value,
                f"a value of type {kinds[-1].__name__}",
            )
        motion = get_profile(self.profile).motion
        most_sigma = min(MAX_SIGMA, self.size_px)
        _require(self.entity in ENTITIES, "entity", self.entity, f"one of {ENTITIES}")
        _require(self.background in BACKGROUNDS, "background", self.background, f"one of {BACKGROUNDS}")
        _require(1 <= self.num_frames <= 1000, "frames", self.num_frames, "1..1000")
        _require(16 <= self.size_px <= 512, "size", self.size_px, "16..512 px")
        _require(1 <= self.width_px <= self.size_px // 2, "width", self.width_px, f"1..{self.size_px // 2} px")
        _require(
            1 <= self.sigma_low <= self.sigma_high <= most_sigma,
            "sigma",
            (self.sigma_low, self.sigma_high),
            f"1 <= low <= high <= {most_sigma}",
        )
        _require(0.0 <= self.intensity <= 1.0, "intensity", self.intensity, "0..1")
        _require(0.0 < self.contrast <= 1.0, "contrast", self.contrast, "above 0, up to 1")
        _require(1 <= self.spiral_reach <= 20, "spiral_reach", self.spiral_reach, "1..20")
        _require(0.1 <= self.speed_factor <= 4.0, "speed", self.speed_factor, "0.1..4")
        _require(
            motion == "published" or self.speed_factor == 1.0,
            "speed",
            self.speed_factor,
            f"1 in profile {self.profile!r}, whose paths have a fixed extent",
        )

    @property
    def has_digits(self) -> bool:
        return self.entity == "digit"

    @property
    def has_noise(self) -> bool:
        return self.background != "black"

    @property
    def motion_profile(self) -> Profile:
        return get_profile(self.profile)

    def with_dials(self, **dials: Any) -> Domain:
        """The same domain with some dials turned; it keeps its stream, so its clips move alike."""
        unknown = [name for name in dials if name not in self.__dataclass_fields__]
        if unknown:
            raise unknown_name("dial", unknown[0], self.__dataclass_fields__)
        return dataclasses.replace(self, **dials)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _require(holds: bool, dial: str, received: object, allowed: str) -> None:
    if not holds:
        raise UsageError(f"{dial} {received!r} is not possible; allowed: {allowed}.")


DOMAINS: dict[str, Domain] = {
    "2dot": Domain("2dot", entity="square", width_px=2),
    "5dot": Domain("5dot", entity="square", width_px=5),
    "mnist": Domain("mnist", entity="digit", width_px=14, spiral_reach=8),
    "mnist-bg": Domain("mnist-bg", entity="digit", width_px=14, spiral_reach=8, background="flicker"),
}
"""The four domains of the paper. A new one is one row."""

PROFILE_DIALS: dict[tuple[str, str], dict[str, Any]] = {
    ("dataverse", "2dot"): {"width_px": 3},
    ("dataverse", "mnist-bg"): {"sigma_high": 9},
}
"""Where a profile draws a domain differently."""


def get_domain(name: str, profile: str = "paper") -> Domain:
    """The built-in domain of this name in a profile."""
    if name not in DOMAINS:
        raise unknown_name("domain", name, DOMAINS)
    return DOMAINS[name].with_dials(profile=profile, **PROFILE_DIALS.get((profile, name), {}))
