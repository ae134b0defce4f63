"""The domains: how the moving entity and its background look. The motion is the same in all of them (section 3.2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tsgen.common.errors import UsageError, unknown_name
from tsgen.vocabulary import FRAME_SIZE_PX, NUM_FRAMES

ENTITIES = ("square", "digit")
BACKGROUNDS = ("black", "flicker", "static")
MAX_SIGMA = 32


@dataclass(frozen=True)
class Domain:
    """Everything about the look of a clip, and the geometry of its frames.

    ``width_px`` side of the square, or of the cell a digit stands in. ``background``: "black", or Perlin noise drawn
    anew for every frame ("flicker") or once a clip ("static"). ``sigma_low``..``sigma_high`` the grain: lattice cells
    across the frame, drawn once a clip, both ends included. ``intensity`` scales noise in [-1, 1] to grey level
    255 * intensity * noise, the negative half black. ``spiral_reach`` radians a spiral turns, and its clearance in px.
    ``stream`` names the stream of random choices: domains that share it show the same motion, clip by clip.
    """

    name: str
    entity: str
    width_px: int
    background: str = "black"
    sigma_low: int = 1
    sigma_high: int = 10
    intensity: float = 0.5
    spiral_reach: int = 10
    num_frames: int = NUM_FRAMES
    size_px: int = FRAME_SIZE_PX
    profile: str = "paper"
    stream: str = ""

    def __post_init__(self) -> None:
        if not self.stream:
            object.__setattr__(self, "stream", self.name)
        _require(self.entity in ENTITIES, "entity", self.entity, f"one of {ENTITIES}")
        _require(self.background in BACKGROUNDS, "background", self.background, f"one of {BACKGROUNDS}")
        _require(1 <= self.num_frames <= 1000, "frames", self.num_frames, "1..1000")
        _require(16 <= self.size_px <= 512, "size", self.size_px, "16..512 px")
        _require(1 <= self.width_px <= self.size_px // 2, "width", self.width_px, f"1..{self.size_px // 2} px")
        _require(
            1 <= self.sigma_low <= self.sigma_high <= min(MAX_SIGMA, self.size_px),
            "sigma",
            (self.sigma_low, self.sigma_high),
            f"1 <= low <= high <= {min(MAX_SIGMA, self.size_px)}",
        )
        _require(0.0 <= self.intensity <= 1.0, "intensity", self.intensity, "0..1")
        _require(1 <= self.spiral_reach <= 20, "spiral_reach", self.spiral_reach, "1..20")

    @property
    def has_digits(self) -> bool:
        return self.entity == "digit"

    @property
    def has_noise(self) -> bool:
        return self.background != "black"

    def with_dials(self, **dials: Any) -> Domain:
        """The same domain with some dials turned; it keeps its stream, so its clips move alike."""
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


def get_domain(name: str) -> Domain:
    if name not in DOMAINS:
        raise unknown_name("domain", name, DOMAINS)
    return DOMAINS[name]
