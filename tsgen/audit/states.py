"""How many different clips a class can show, and how often two samples share one (supplement 6.1).

A *state* is a drawn combination of start, speed, heading, direction and rotation: what the supplement counts. Different
states can be drawn as the same pixels (positions are truncated), so the number of different *paths* on the screen is
smaller. Both are computed exactly, the paths by enumerating every state: x and y move independently of each other, so
it is enough to follow every velocity from every start along each axis and to pair the results.

Paths, not frames: where a digit moves or noise flickers, a repeated path is not a repeated clip.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgen.common.errors import UsageError
from tsgen.domains import Domain
from tsgen.motion import SUBPIXEL_BITS, integrate, start_limits, to_subpixels
from tsgen.sampling import check_domain_fits, heading_to_radians
from tsgen.trajectories import HEADING_STEPS, TRAJECTORIES, Trajectory

VELOCITIES_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class ClassStates:
    """One class of a domain, and what is expected of independent samples with ``n_train`` and ``n_val`` clips of it.

    ``shared_linear``: n_train * n_val * sum of p**2, the estimate of the supplement (n_train * n_val / states where all
    are equally likely); it counts pairs. ``shared_states`` and ``shared_paths``: validation clips that occur in the
    training sample. ``repeated_paths``: training clips that repeat an earlier one.
    """

    name: str
    states: int
    paths: int
    n_train: float
    n_val: float
    shared_linear: float
    shared_states: float
    shared_paths: float
    repeated_paths: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Variants:
    """The ways a class can move: velocities, and for each its probability and where it may start.

    Starts are whole pixels ``low <= x, y < high``; rows that follow each other move alike (neighbouring headings).
    """

    velocities: NDArray[np.int32]  # (V, T, 2) in 1/65536 px
    low: NDArray[np.int64]  # (V,)
    high: NDArray[np.int64]  # (V,)
    probability: NDArray[np.float64]  # (V,) of this variant with one particular start


def count_states(domain: Domain, n_train: int, n_val: int) -> list[ClassStates]:
    """Every class of a domain with the motion of the paper. The sizes are of whole data sets with balanced classes."""
    if domain.motion_profile.motion != "published":
        raise UsageError(
            f"the profile {domain.profile!r} draws from a continuum whose states are not counted; allowed: "
            "the profiles 'paper' and 'dataverse'."
        )
    for name, size in (("training", n_train), ("validation", n_val)):
        if size < 1:
            raise UsageError(f"a {name} sample of {size} clips is not possible; allowed: 1 or more.")
    check_domain_fits(domain)
    classes = len(TRAJECTORIES)
    return [
        count_class(name, trajectory, domain, n_train / classes, n_val / classes)
        for name, trajectory in TRAJECTORIES.items()
    ]


def count_class(name: str, trajectory: Trajectory, domain: Domain, n_train: float, n_val: float) -> ClassStates:
    variants = enumerate_variants(trajectory, domain)
    starts = (variants.high - variants.low) ** 2
    share = variants.probability
    paths = path_probabilities(variants, domain)
    return ClassStates(
        name=name,
        states=int(starts.sum()),
        paths=len(paths),
        n_train=n_train,
        n_val=n_val,
        shared_linear=float(n_train * n_val * (starts * share**2).sum()),
        shared_states=float(n_val * (starts * share * seen(share, n_train)).sum()),
        shared_paths=float(n_val * (paths * seen(paths, n_train)).sum()),
        repeated_paths=float(max(0.0, n_train - seen(paths, n_train).sum())),
    )


def seen(probability: NDArray[np.float64], n: float) -> NDArray[np.float64]:
    """How likely something of this probability occurs among ``n`` draws: 1 - (1 - p)**n, exact for small p."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(n * np.log1p(-probability)))


def enumerate_variants(trajectory: Trajectory, domain: Domain) -> Variants:
    """Everything ``sampling.py`` can draw for a class, apart from the start."""
    num_frames = domain.num_frames
    headings = np.arange(HEADING_STEPS) if trajectory.draws_heading else np.array([-1])
    clearances = trajectory.clearances(domain.spiral_reach, num_frames, domain.speed_factor)
    blocks, lows, highs, probabilities = [], [], [], []
    for speed, clearance in zip(trajectory.speeds, clearances, strict=True):
        speeds = np.full(len(headings), speed) * domain.speed_factor
        exact = trajectory.velocities(speeds, heading_to_radians(headings), num_frames, domain.spiral_reach)
        velocities = np.broadcast_to(to_subpixels(exact), (len(headings), num_frames, 2))
        ways = [velocities, velocities[:, ::-1]] if trajectory.draws_direction else [velocities]
        if trajectory.draws_rotation:
            ways = [np.roll(way, shift, axis=1) for way in ways for shift in range(num_frames)]
        block = np.concatenate(ways)
        low, high = start_limits(np.array([clearance]), domain.width_px, domain.size_px)[0]
        blocks.append(block)
        lows.append(np.full(len(block), low))
        highs.append(np.full(len(block), high))
        probabilities.append(np.full(len(block), 1 / (len(trajectory.speeds) * len(block) * (high - low) ** 2)))
    return Variants(*(np.concatenate(parts) for parts in (blocks, lows, highs, probabilities)))


def path_probabilities(variants: Variants, domain: Domain) -> NDArray[np.float64]:
    """The probability of every different path on the screen, (P,).

    Along one axis, the variants fall into runs of neighbours that are drawn alike from a given start. A path is a pair
    of such runs, one in x and one in y, so only the borders of runs need to be looked at.
    """
    first, last = int(variants.low.min()), int(variants.high.max())
    total = np.concatenate([[0.0], np.cumsum(variants.probability)])
    walks = [_walks(variants, start, domain) for start in range(first, last)]  # of each start: (x, y)
    found = []
    for ids_x, borders_x in (walk[0] for walk in walks):
        for ids_y, borders_y in (walk[1] for walk in walks):
            borders = np.sort(np.concatenate([borders_x, borders_y]), kind="stable")  # repeats: runs of length 0
            probability = np.diff(total[np.append(borders, len(ids_x))])
            x, y = ids_x[borders], ids_y[borders]
            allowed = (x >= 0) & (y >= 0)
            key = x[allowed] * len(ids_x) + y[allowed]
            _, which = np.unique(key, return_inverse=True)
            found.append(np.bincount(which, weights=probability[allowed]))
    return np.concatenate(found)


def _walks(variants: Variants, start: int, domain: Domain) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The drawn walks from one start along x, then y: an id for each variant int64 (V,), equal where drawn alike and -1
    where a variant may not start there; and the first variant of each run with one id."""
    count, num_frames, _ = variants.velocities.shape
    drawn = np.empty((2, count, num_frames), dtype=np.int16)
    for at in range(0, count, VELOCITIES_AT_ONCE):
        some = variants.velocities[at : at + VELOCITIES_AT_ONCE]
        corner = integrate(np.full((len(some), 2), start), some, domain.size_px - domain.width_px)
        drawn[:, at : at + len(some)] = np.moveaxis(corner >> SUBPIXEL_BITS, -1, 0)
    drawn[:, (start < variants.low) | (start >= variants.high)] = -1
    walks = []
    for walk in drawn:
        borders = np.append(0, 1 + np.flatnonzero((walk[1:] != walk[:-1]).any(axis=1)))
        _, ids = np.unique(walk[borders], axis=0, return_inverse=True)
        ids = np.where(walk[borders, 0] < 0, -1, ids).astype(np.int64)
        walks.append((np.repeat(ids, np.diff(np.append(borders, count))), borders))
    return walks
