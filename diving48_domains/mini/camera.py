"""The follow camera of Mini-Diving48: it looks at the divers from the side, lags behind them, and projects points.

World: x metres from the board's tip over the pool, y metres above the water, z metres towards the camera (at yaw 0).
Pixels: origin upper left, pixel (i, j) covers ``[j, j + 1) x [i, i + 1)``; all lengths scale with the frame's height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsgen.common.errors import UsageError

FloatArray = NDArray[np.float64]

VIEW_HEIGHT_M = 3.4  # metres of the divers' plane that a frame's height spans at zoom 1
MAX_YAW_DEG = 28.0
MAX_ZOOM = 0.15  # zoom lies in 1 -+ this
REFRACTION = 0.72  # apparent over true depth below the surface: water lifts what lies in it
MAX_STEP_S = 0.004  # of the integration of the camera's motion


@dataclass(frozen=True, slots=True)
class Camera:
    """How one clip is filmed. Angles in radians, lengths in metres, times in seconds.

    ``yaw`` turns about the vertical, +-28 deg; ``pitch`` > 0 looks down; ``zoom`` 0.85 to 1.15; ``mirror`` swaps left
    and right; ``lag_s`` is the time constant of the follow motion and ``lead`` the part of the divers' velocity it
    anticipates, 0 to 1; ``floor_m`` is the lowest point looked at, so that the camera stays with the surface after the
    entry; ``aim_m`` (2,) is how far right of and above the divers it looks.
    """

    yaw: float = 0.0
    pitch: float = 0.13
    zoom: float = 1.0
    mirror: bool = False
    lag_s: float = 0.15
    lead: float = 0.75
    floor_m: float = 0.5
    distance_m: float = 18.0
    aim_m: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        limits = {
            "yaw": (-np.radians(MAX_YAW_DEG) - 1e-9, np.radians(MAX_YAW_DEG) + 1e-9),
            "pitch": (0.02, 0.5),
            "zoom": (1 - MAX_ZOOM, 1 + MAX_ZOOM),
            "lag_s": (0.01, 1.0),
            "lead": (0.0, 1.0),
            "floor_m": (0.1, 2.0),
            "distance_m": (8.0, 60.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"a camera's {name} lies in {low:.4g}..{high:.4g}, got {value}.")

    def axes(self) -> FloatArray:
        """Right, up and towards the camera, as rows in world coordinates, float64 (3, 3); mirroring not included."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        sin_pitch, cos_pitch = np.sin(self.pitch), np.cos(self.pitch)
        return np.array(
            [
                [cos_yaw, 0.0, -sin_yaw],
                [-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch],
                [sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch],
            ]
        )

    def pixels_per_metre(self, height: int) -> float:
        """Scale in the plane looked at, for frames of ``height`` pixels."""
        return height / VIEW_HEIGHT_M * self.zoom


def draw_camera(rng: np.random.Generator, *, mirror: bool | None = None, least_yaw_deg: float = 0.0) -> Camera:
    """A camera of the family; ``mirror`` None draws that too. The number of draws never depends on the arguments.

    ``least_yaw_deg``, 0 to 28, keeps away from the pure side view, in which one of two divers hides the other.
    """
    if not 0 <= least_yaw_deg <= MAX_YAW_DEG:
        raise UsageError(f"the least yaw lies in 0..{MAX_YAW_DEG:g} deg, got {least_yaw_deg}.")
    yaw, pitch, zoom, lag, lead, floor, distance, aim_x, aim_y, coin = rng.random(10).tolist()
    turn = 2 * yaw - 1
    return Camera(
        yaw=float(np.radians(np.sign(turn) * (least_yaw_deg + (MAX_YAW_DEG - least_yaw_deg) * abs(turn)))),
        pitch=0.09 + 0.1 * pitch,
        zoom=1 + MAX_ZOOM * (2 * zoom - 1),
        mirror=coin < 0.5 if mirror is None else mirror,
        lag_s=0.08 + 0.14 * lag,
        lead=0.65 + 0.3 * lead,
        floor_m=0.45 + 0.35 * floor,
        distance_m=15 + 8 * distance,
        aim_m=(0.7 * aim_x - 0.35, 0.4 * aim_y - 0.2),
    )


def follow(camera: Camera, targets: FloatArray, times: FloatArray) -> FloatArray:
    """The points looked at, float64 (S, 3), for divers at ``targets`` (S, 3) m at ``times`` (S,) s, rising.

    A critically damped follower of the targets, not let below ``floor_m``; z stays at the first target's.
    """
    if targets.shape != (len(times), 3):
        raise UsageError(f"targets are (S, 3) for S = {len(times)} times, got {targets.shape}.")
    aimed = np.empty((len(times), 2))
    aimed[:, 0] = targets[:, 0] + camera.aim_m[0]
    aimed[:, 1] = np.maximum(targets[:, 1] + camera.aim_m[1], camera.floor_m)
    followed = np.full((len(times), 3), targets[0, 2])
    _follow(aimed, np.asarray(times, dtype=np.float64), 2 / camera.lag_s, camera.lead, followed)
    followed[:, 1] = np.maximum(followed[:, 1], 0.1)
    return followed


@njit(cache=True, nogil=True)
def _follow(aimed, times, omega, lead, followed):  # type: ignore[no-untyped-def]
    for axis in range(2):
        place, speed = aimed[0, axis], 0.0
        followed[0, axis] = place
        for s in range(1, len(times)):
            span = times[s] - times[s - 1]
            steps = max(1, int(np.ceil(span / MAX_STEP_S)))
            dt = span / steps
            velocity = (aimed[s, axis] - aimed[s - 1, axis]) / max(span, 1e-9)
            for step in range(steps):
                goal = aimed[s - 1, axis] + velocity * dt * step
                speed += dt * (omega * omega * (goal - place) + 2 * omega * (lead * velocity - speed))
                place += dt * speed
            followed[s, axis] = place


def refract(points: FloatArray) -> FloatArray:
    """Where points (..., 3) m seem to lie: what is under water is lifted towards the surface."""
    seen = points.copy()
    seen[..., 1] = np.where(points[..., 1] < 0, REFRACTION * points[..., 1], points[..., 1])
    return seen


def project(
    points: FloatArray, camera: Camera, centre: FloatArray, height: int, width: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points (..., 3) m to pixels (..., 2), pixels per metre there (...), and nearness (...) m, larger is nearer.

    ``centre`` (..., 3) m is the point looked at (:func:`follow`), shaped to broadcast with ``points``. No refraction:
    give :func:`refract`'s points for what is seen.
    """
    right, up, near = camera.axes()
    offset = points - centre
    nearness = offset @ near
    scale = camera.pixels_per_metre(height) * camera.distance_m / np.maximum(camera.distance_m - nearness, 1.0)
    pixels = np.empty((*offset.shape[:-1], 2))
    pixels[..., 0] = width / 2 + (-1 if camera.mirror else 1) * scale * (offset @ right)
    pixels[..., 1] = height / 2 - scale * (offset @ up)
    return pixels, scale, nearness
