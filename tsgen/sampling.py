"""Every random choice of a clip, drawn from (seed, domain, split, clip index) alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgen import strict
from tsgen.common.errors import UsageError
from tsgen.domains import Domain
from tsgen.motion import SUBPIXEL_BITS, integrate, start_limits, to_subpixels
from tsgen.philox import STREAM_CLASS_ORDER, STREAM_CLIP, derive_key, random_words, scale_to_range
from tsgen.trajectories import HEADING_STEPS, TRAJECTORIES, Trajectory
from tsgen.vocabulary import CLASS_NAMES

# The random words of a clip and their uses. New uses get new words; the old ones keep theirs.
(
    WORD_START_X,
    WORD_START_Y,
    WORD_SPEED,
    WORD_DIRECTION,
    WORD_HEADING,
    WORD_ROTATION,
    WORD_SIGMA,
    WORD_DIGIT,
    WORD_DRIFT,
    WORD_LABEL,
) = range(10)
WORD_BLOCKS = 3  # counter blocks of four words; strict.py draws from its own
DRIFTS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])


@dataclass(frozen=True)
class ClipSpecs:
    """The drawn parameters of N clips and the motion that follows from them (structure of arrays).

    Where a class or domain has no such parameter: -1, for ``direction`` and ``drift`` 0. In the profiles ``strict`` and
    ``order`` heading is the angle and direction the mirror of the path, speed its mean.
    """

    index: NDArray[np.int64]  # (N,) place in the stream, = clip_id
    label: NDArray[np.int64]  # (N,) class id
    start_px: NDArray[np.int64]  # (N, 2) upper left corner in the first frame, (x, y)
    speed: NDArray[np.float64]  # (N,) px/frame; spiral: px/frame per radian
    heading: NDArray[np.int64]  # (N,) turns / 65536, 0 = leftwards (-pi)
    direction: NDArray[np.int64]  # (N,) +1, or -1 for the reversed order of velocities
    rotation: NDArray[np.int64]  # (N,) frames by which the velocities are shifted cyclically
    sigma: NDArray[np.int64]  # (N,) lattice cells of the noise across the frame
    drift: NDArray[np.int64]  # (N, 2) px/frame by which the noise moves on, (x, y); 0 unless it drifts
    digit_index: NDArray[np.int64]  # (N,) row of the digit set
    corner: NDArray[np.int32]  # (N, T, 2) exact upper left corner in 1/65536 px
    visible: NDArray[np.bool_]  # (N, T) whether the entity is drawn

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> ClipSpecs:
        """The clips start..stop-1, as views."""
        return ClipSpecs(**{field.name: getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)})

    @property
    def corner_px(self) -> NDArray[np.int32]:
        """The drawn corner: the exact one truncated to whole pixels. int32 (N, T, 2)."""
        return self.corner >> SUBPIXEL_BITS

    @property
    def heading_rad(self) -> NDArray[np.float64]:
        """Heading in [-pi, pi), NaN where the class has none."""
        return np.where(self.heading >= 0, heading_to_radians(self.heading), np.nan)


def heading_to_radians(heading: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(heading * (2 * np.pi / HEADING_STEPS) - np.pi, dtype=np.float64)


def stream_key(domain: Domain, split: str, seed: int) -> tuple[int, int]:
    """The Philox key of a stream; train, val and test of one seed are independent streams."""
    return derive_key("tsgen", domain.profile, domain.stream, split, seed)


def sample_clips(domain: Domain, split: str, seed: int, index: NDArray[np.int64], num_digits: int) -> ClipSpecs:
    """Draw the clips at ``index`` (int64 (N,), any order) of a stream. ``num_digits`` rows in the digit set, else 0."""
    key = stream_key(domain, split, seed)
    profile = domain.motion_profile
    draw_id = index // profile.clips_per_draw
    words = random_words(draw_id, STREAM_CLIP, 0, WORD_BLOCKS, key)
    n, num_classes = len(index), len(profile.class_names)
    drift = np.zeros((n, 2), dtype=np.int64)
    if domain.background == "drift":
        drift = DRIFTS[scale_to_range(words[:, WORD_DRIFT], len(DRIFTS))]
    label = class_of(index, key, num_classes)
    if not profile.balanced_classes:
        label = scale_to_range(words[:, WORD_LABEL], num_classes)
    specs = ClipSpecs(
        index=index,
        label=label,
        start_px=np.zeros((n, 2), dtype=np.int64),
        speed=np.zeros(n),
        heading=np.full(n, -1, dtype=np.int64),
        direction=np.zeros(n, dtype=np.int64),
        rotation=np.full(n, -1, dtype=np.int64),
        sigma=_draw_or_none(domain.has_noise, words[:, WORD_SIGMA], domain.sigma_low, domain.sigma_high),
        drift=drift,
        digit_index=_draw_or_none(domain.has_digits, words[:, WORD_DIGIT], 0, num_digits - 1),
        corner=np.zeros((n, domain.num_frames, 2), dtype=np.int32),
        visible=np.ones((n, domain.num_frames), dtype=bool),
    )
    MOTIONS[profile.motion](specs, domain, words, draw_id, key, split)
    if not domain.has_digits and profile.dots_are_transposed:
        specs.corner[...] = specs.corner[..., ::-1].copy()
        specs.start_px[...] = specs.start_px[:, ::-1].copy()
    if not domain.has_digits and profile.dots_vanish:
        specs.visible[...] = (specs.corner_px > 0).all(axis=-1)
    return specs


def class_of(index: NDArray[np.int64], key: tuple[int, int], num_classes: int = len(CLASS_NAMES)) -> NDArray[np.int64]:
    """Labels int64 (N,): each run of consecutive clips, one a class, holds every class once, in an order drawn for it.

    So the classes of the first n clips differ in number by at most one for every n, and the label of a clip does not
    depend on n.
    """
    run, place = np.divmod(index, num_classes)
    runs, which = np.unique(run, return_inverse=True)
    words = random_words(runs, STREAM_CLASS_ORDER, 0, 2, key)
    order = np.tile(np.arange(num_classes), (len(runs), 1))
    rows = np.arange(len(runs))
    for last in range(num_classes - 1, 0, -1):  # Fisher-Yates
        other = scale_to_range(words[:, last], last + 1)
        order[rows, last], order[rows, other] = order[rows, other], order[rows, last]
    return order[which, place]


def check_domain_fits(domain: Domain) -> None:
    """Refuse a frame too small for some class to have a start position."""
    if domain.motion_profile.motion != "published":
        strict.check_fits(domain.num_frames, domain.size_px, domain.width_px)
        return
    for name, trajectory in TRAJECTORIES.items():
        clearance = trajectory.clearances(domain.spiral_reach, domain.num_frames, domain.speed_factor)
        low, high = start_limits(clearance, domain.width_px, domain.size_px).T
        if (high <= low).any():
            raise UsageError(
                f"a frame of {domain.size_px} px leaves no start position for class {name!r} with a "
                f"{domain.width_px} px entity over {domain.num_frames} frames; "
                f"at least {2 * int(low.max()) + 1} px are needed."
            )


def _draw_or_none(wanted: bool, words: NDArray[np.uint32], low: int, high: int) -> NDArray[np.int64]:
    if not wanted:
        return np.full(len(words), -1, dtype=np.int64)
    return low + scale_to_range(words, high - low + 1)


def _published_motion(
    specs: ClipSpecs,
    domain: Domain,
    words: NDArray[np.uint32],
    draw_id: NDArray[np.int64],
    key: tuple[int, int],
    split: str,
) -> None:
    """The kinematics of the published data, which the paper describes: profiles ``paper`` and ``dataverse``."""
    for class_id, name in enumerate(CLASS_NAMES):
        rows = np.flatnonzero(specs.label == class_id)
        if len(rows):
            _draw_trajectory(specs, rows, TRAJECTORIES[name], domain, words[rows])


def _draw_trajectory(
    specs: ClipSpecs, rows: NDArray[np.int64], trajectory: Trajectory, domain: Domain, words: NDArray[np.uint32]
) -> None:
    """Fill the motion of the clips ``rows``, which all belong to one class."""
    num_frames = domain.num_frames
    which_speed = scale_to_range(words[:, WORD_SPEED], len(trajectory.speeds))
    speed = np.array(trajectory.speeds)[which_speed] * domain.speed_factor
    clearance = trajectory.clearances(domain.spiral_reach, num_frames, domain.speed_factor)[which_speed]
    low, high = start_limits(clearance, domain.width_px, domain.size_px).T
    start = low[:, None] + scale_to_range(words[:, [WORD_START_X, WORD_START_Y]], (high - low)[:, None])

    heading = np.full(len(rows), -1, dtype=np.int64)
    if trajectory.draws_heading:
        heading = scale_to_range(words[:, WORD_HEADING], HEADING_STEPS)
    exact = trajectory.velocities(speed, heading_to_radians(heading), num_frames, domain.spiral_reach)
    velocities = np.broadcast_to(to_subpixels(exact), (len(rows), num_frames, 2))
    if trajectory.draws_direction:
        direction = 1 - 2 * scale_to_range(words[:, WORD_DIRECTION], 2)
        velocities = np.where(direction[:, None, None] < 0, velocities[:, ::-1], velocities)
        specs.direction[rows] = direction
    if trajectory.draws_rotation:
        rotation = scale_to_range(words[:, WORD_ROTATION], num_frames)
        frame = (np.arange(num_frames)[None] - rotation[:, None]) % num_frames
        velocities = np.take_along_axis(velocities, frame[:, :, None], axis=1)
        specs.rotation[rows] = rotation

    specs.start_px[rows] = start
    specs.speed[rows] = speed
    specs.heading[rows] = heading
    specs.corner[rows] = integrate(start, velocities, domain.size_px - domain.width_px)


def _shapes_motion(
    specs: ClipSpecs,
    domain: Domain,
    words: NDArray[np.uint32],
    draw_id: NDArray[np.int64],
    key: tuple[int, int],
    split: str,
) -> None:
    """Profile ``strict``: each class its canonical path."""
    paths = strict.canonical_paths(domain.num_frames)[specs.label]
    _place_paths(specs, *strict.draw_paths(draw_id, paths, key, split, domain.size_px, domain.width_px))


def _order_motion(
    specs: ClipSpecs,
    domain: Domain,
    words: NDArray[np.uint32],
    draw_id: NDArray[np.int64],
    key: tuple[int, int],
    split: str,
) -> None:
    """Profile ``order``: one path, forwards for class 0 and backwards for class 1."""
    path = strict.order_path(domain.num_frames)
    paths = np.broadcast_to(path, (len(specs), *path.shape))
    corner, angle, mirror = strict.draw_paths(draw_id, paths, key, split, domain.size_px, domain.width_px)
    _place_paths(specs, np.where(specs.label[:, None, None] == 1, corner[:, ::-1], corner), angle, mirror)


def _place_paths(
    specs: ClipSpecs, corner: NDArray[np.int32], angle: NDArray[np.int64], mirror: NDArray[np.int64]
) -> None:
    specs.corner[...] = corner
    specs.start_px[...] = specs.corner_px[:, 0]
    specs.heading[...] = angle
    specs.direction[...] = mirror
    steps = np.diff(corner, axis=1) / (1 << SUBPIXEL_BITS)
    specs.speed[...] = np.hypot(steps[..., 0], steps[..., 1]).mean(axis=1) if corner.shape[1] > 1 else 0.0


MOTIONS = {"published": _published_motion, "shapes": _shapes_motion, "order": _order_motion}
