"""One clip of a mini-Diving48: drawn from its place in the recipe's streams, then rendered.

A clip depends on (seed, split, index) and the recipe's classes, rho, venue key and size, never on how many clips there
are or on who makes them: the label, the venue, the dive, the camera, the scene and the noise each have a stream.
"""

from __future__ import annotations

import hashlib
import math
import string
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini.camera import Camera, draw_camera
from diving48_domains.mini.choreography import Dive, draw_dive, filmed_path, flight_s, joints_at
from diving48_domains.mini.config import SPLITS, MiniConfig, label_at, stream, venue_at
from diving48_domains.mini.poses import SOMERSAULTS
from diving48_domains.mini.render import SUBSTEPS, render_clip
from diving48_domains.mini.scene import Scene, draw_scene
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import UsageError

SOURCE_RUN = 64
"""Among so many clips in index order, those of one venue were cut from one source video."""
SOURCE_LETTERS = string.ascii_letters + string.digits
SYNCHRONIZED_SHARE = 0.15
APART_DEG = 12.0
"""Two divers stand beside each other across the board: seen right from the side one would hide the other."""
SYNCHRONIZED_GAP_M = (1.3, 1.9)
SYNCHRONIZED_LAG_S = 0.03
DURATION_S = (1.5, 4.0)
SHUTTER = 0.5
"""The part of a frame's time that the shutter is open: motion blur of an ordinary camera."""

FPS_MIX: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "train": ((25, 30, 60), (7073 / 15027, 1862 / 15027, 6092 / 15027)),
    "test": ((25, 30), (1805 / 1970, 165 / 1970)),
}
"""Frames a second of the V2 lists and their shares. val is mixed like train, shift and swap like test."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """All that is drawn for a clip before a pixel is.

    ``dives``: one, or two synchronized; ``offsets_m``: where each stands along z; ``lags_s``: how much later each
    starts. Frame f begins ``start_s + f / fps`` after the first diver's feet leave the board.
    """

    clip_id: str
    split: str
    index: int
    label: int
    venue: int
    fps: int
    num_frames: int
    start_s: float
    dives: tuple[Dive, ...]
    offsets_m: tuple[float, ...]
    lags_s: tuple[float, ...]
    camera: Camera
    scene: Scene
    noise_seed: int

    def joints_m(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joints of every diver in the world, float64 (D, len(times_s), 21, 3) m."""
        return np.stack(
            [
                joints_at(dive, times_s - lag) + np.array([0.0, 0.0, offset])
                for dive, lag, offset in zip(self.dives, self.lags_s, self.offsets_m, strict=True)
            ]
        )

    def filmed_m(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the camera follows, float64 (len(times_s), 3) m: nothing of it depends on the class."""
        paths = [
            filmed_path(dive, times_s - lag) + np.array([0.0, 0.0, offset])
            for dive, lag, offset in zip(self.dives, self.lags_s, self.offsets_m, strict=True)
        ]
        return np.asarray(np.mean(paths, axis=0))

    def shutter_times_s(self) -> NDArray[np.float64]:
        """When the frames are exposed, float64 (T, SUBSTEPS); the column SUBSTEPS // 2 is the middle of the shutter."""
        within = (np.arange(SUBSTEPS) + 0.5) / SUBSTEPS * SHUTTER
        return self.start_s + (np.arange(self.num_frames)[:, None] + within) / self.fps


@dataclass(frozen=True, slots=True, eq=False)
class MiniClip:
    """A rendered clip: ``frames`` uint8 (T, H, W, 3) RGB, ``masks`` bool (D, T, H, W), disjoint, ``joints_px`` float32
    (D, T, 21, 2) and ``joints_m`` float64 (D, T, 21, 3) of D divers at the middle of each frame's shutter."""

    plan: ClipPlan
    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    joints_px: NDArray[np.float32]
    joints_m: NDArray[np.float64]

    @property
    def clip_id(self) -> str:
        return self.plan.clip_id

    @property
    def label(self) -> int:
        return self.plan.label

    @property
    def venue(self) -> int:
        return self.plan.venue

    @property
    def fps(self) -> int:
        return self.plan.fps


def draw_clip(config: MiniConfig, split: str, index: int) -> ClipPlan:
    """The plan of clip ``index`` >= 0 of ``split``; it may lie beyond the number of clips the recipe asks for."""
    if not 0 <= index <= 99_999:
        raise UsageError(f"clip {index} is not possible; allowed: 0..99999.")
    label, venue = label_at(config, split, index), venue_at(config, split, index)
    timing = stream(config, split, "timing", index)
    rates, shares = FPS_MIX["train" if split in {"train", "val"} else "test"]
    fps = int(timing.choice(rates, p=shares))
    dives, offsets, lags = _draw_dives(label, hardest(config), stream(config, split, "dives", index))
    first, last = -dives[0].lead_in_s, flight_s(dives[0]) + dives[0].tail_s
    shortest, longest = DURATION_S
    num_frames = math.floor(min(max(last - first, shortest), longest) * fps)
    source = stream(config, split, "scene", venue, index // SOURCE_RUN)
    scene = replace(draw_scene(venue, source), looks=draw_scene(venue, stream(config, split, "scene", index)).looks)
    return ClipPlan(
        clip_id=f"{_source_name(config, split, venue, index // SOURCE_RUN)}_{index:05d}",
        split=split,
        index=index,
        label=label,
        venue=venue,
        fps=fps,
        num_frames=num_frames,
        start_s=first,
        dives=dives,
        offsets_m=offsets,
        lags_s=lags,
        camera=draw_camera(stream(config, split, "camera", index), least_yaw_deg=APART_DEG if len(dives) > 1 else 0.0),
        scene=scene,
        noise_seed=int(stream(config, split, "noise", index).integers(2**31)),
    )


def make_clip(config: MiniConfig, split: str, index: int) -> MiniClip:
    """Draw and render clip ``index`` of ``split``."""
    return render_plan(draw_clip(config, split, index), config.height, config.width)


def render_plan(plan: ClipPlan, height: int, width: int) -> MiniClip:
    """The clip of ``plan`` in frames of ``height`` x ``width`` px."""
    times = plan.shutter_times_s().ravel()
    joints = plan.joints_m(times)
    rendered = render_clip(
        joints,
        tuple(dive.body for dive in plan.dives),
        plan.scene,
        plan.camera,
        height,
        width,
        plan.noise_seed,
        times=times,
        board_m=plan.dives[0].board_m,
        targets=plan.filmed_m(times),
    )
    return MiniClip(plan, rendered.frames, rendered.masks, rendered.joints_px, joints[:, SUBSTEPS // 2 :: SUBSTEPS])


def hardest(config: MiniConfig) -> float:
    """The largest number of somersaults among the recipe's classes: what boards and flight times are drawn for."""
    return max(SOMERSAULTS[DIVE_CLASSES[label].somersault] for label in config.class_ids)


def _draw_dives(
    label: int, most_somersaults: float, random: np.random.Generator
) -> tuple[tuple[Dive, ...], tuple[float, ...], tuple[float, ...]]:
    """One diver, or two beside each other who do the same dive almost at the same time."""
    coin, gap, lag, side = random.random(4).tolist()
    first = draw_dive(label, random, hardest=most_somersaults)
    if coin >= SYNCHRONIZED_SHARE:
        return (first,), (0.0,), (0.0,)
    low, high = SYNCHRONIZED_GAP_M
    half = (low + (high - low) * gap) / 2 * (1 if side < 0.5 else -1)
    other = replace(first, body=draw_dive(label, random, hardest=most_somersaults).body)
    return (first, other), (half, -half), (0.0, SYNCHRONIZED_LAG_S * (2 * lag - 1))


def _source_name(config: MiniConfig, split: str, venue: int, run: int) -> str:
    """11 characters, as the real source ids have, without the underscore that ends them."""
    key = f"mini {config.seed} {SPLITS.index(split)} {venue} {run}"
    number = int.from_bytes(hashlib.sha256(key.encode()).digest())
    letters = []
    for _ in range(11):
        number, place = divmod(number, len(SOURCE_LETTERS))
        letters.append(SOURCE_LETTERS[place])
    return "".join(letters)
