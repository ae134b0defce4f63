"""Frames, exact instance masks and joints of one clip (design of Mini-Diving48).

A pixel belongs to a diver if it has at least half of the pixel's sample points, eight in space times the shutter's
substeps: those at which the first thing in sight that is at least half opaque is that diver. In front may be the other
diver, drops of the splash, and water, under which a body fades with its depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diving48_domains.mini import kernels
from diving48_domains.mini.camera import Camera, follow, project, refract
from diving48_domains.mini.palette import Look
from diving48_domains.mini.scene import Scene
from diving48_domains.mini.setting import Drops, Rods, draw_drops, faces, people_rods, tower_rods, waiting_rods
from diving48_domains.mini.skeleton import BODIES, BONES, JOINTS, Bone, center_of_mass
from diving48_domains.mini.venue import WALLS, Venue, venue
from diving48_domains.mini.walls import paint_wall
from tsgen.common.errors import UsageError

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

SUBSTEPS = 5  # odd, so that one of them is the middle of the shutter
WIDEST = 3.0  # width over height: further out a turned camera would look past the wall's end
TEXELS_PER_PIXEL = 1.2  # of the wall, where it is seen smallest
COPING = (0.88, 0.89, 0.88)


@dataclass(frozen=True, slots=True)
class Rendered:
    """``frames`` uint8 (T, H, W, 3) RGB; ``masks`` bool (D, T, H, W), disjoint; ``joints_px`` float32 (D, T, 21, 2).

    Joints are those at the middle of the shutter, seen through the surface where they are under water; they may lie
    outside the frame.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    joints_px: Float32Array


def render_clip(
    joints: FloatArray,
    bodies: Sequence[str],
    scene: Scene,
    camera: Camera,
    height: int,
    width: int,
    seed: int,
    *,
    times: FloatArray,
    board_m: float,
    targets: FloatArray | None = None,
    substeps: int = SUBSTEPS,
) -> Rendered:
    """Render T frames of ``height`` x ``width`` px.

    ``joints`` float64 (D, S, 21, 3) m: one or two divers at the S = T * ``substeps`` shutter times ``times`` (S,) s,
    rising, those of a frame one after another. ``targets`` float64 (S, 3) m: what the camera follows, None for the
    divers' centre of mass. ``bodies``: D names in BODIES. ``board_m``: the board's height above the
    water. ``seed`` is that of splash and sensor noise. The same arguments give the same bytes. UsageError for shapes or
    values that are not possible.
    """
    _check(joints, times, bodies, board_m, height, width, substeps)
    num_divers, num_times = joints.shape[:2]
    place = venue(scene.venue_index)
    noise_seed = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    # Not the pelvis: it circles the centre of mass, which would write the somersaults into the background's motion.
    centres = follow(camera, center_of_mass(joints).mean(axis=0) if targets is None else targets, times)
    near = camera.axes()[2]
    lanes = [float(z) for z in joints[:, 0, JOINTS.index("pelvis"), 2]]
    rng = np.random.default_rng(seed)
    entries, drops = _splashes(joints, times, rng)
    behind = _rod_shapes(people_rods(scene), camera, centres, height, width)
    tower = [tower_rods(place, board_m, lanes), waiting_rods(scene, board_m, min(lanes))]
    bodies_px, nearness = _body_shapes(joints, bodies, scene.looks, camera, centres, height, width)
    order = np.argsort(nearness, axis=1, kind="stable")[:, :, None]
    shapes = np.concatenate(
        [
            behind,
            *(_rod_shapes(rods, camera, centres, height, width) for rods in tower),
            np.take_along_axis(bodies_px, order, axis=1),
            *(_drop_shapes(one, times, centres, camera, height, width) for one in drops),
        ],
        axis=1,
    )
    quads_m, quad_colours = faces(scene, board_m, lanes, near)
    quads = project(quads_m[None], camera, centres[:, None, None], height, width)[0].astype(np.float32)
    wall, origin = _wall(scene, place, camera, centres, height, width)
    sun = np.array(place.sun) / np.linalg.norm(place.sun)
    sun[0] *= -1 if camera.mirror else 1
    ground = np.array([(place.wall_m, place.pool_m, 0.0), place.deck, *place.water, COPING])
    view = np.array([camera.pixels_per_metre(height), camera.distance_m, -1.0 if camera.mirror else 1.0])
    frames = np.empty((num_times // substeps, height, width, 3), dtype=np.uint8)
    masks = np.empty((num_divers, len(frames), height, width), dtype=np.bool_)
    kernels.render_frames(
        substeps, view, camera.axes(), centres, times + scene.water_s, _jitters(substeps), wall, origin, ground,
        water_slopes(), entries + np.array([0, 0, scene.water_s, 0]), shapes, behind.shape[1], quads,
        quad_colours.astype(np.float32), sun.astype(np.float32), np.float32(place.contrast),
        np.array(place.water[1], dtype=np.float32), np.array(scene.gain) * place.light, scene.vignette,
        scene.noise, noise_seed, frames, masks,
    )  # fmt: skip
    middle = slice(substeps // 2, None, substeps)
    joints_px = project(refract(joints[:, middle]), camera, centres[middle, None], height, width)[0]
    return Rendered(frames, masks, joints_px.astype(np.float32))


def _check(
    joints: FloatArray, times: FloatArray, bodies: Sequence[str], board_m: float, height: int, width: int, substeps: int
) -> None:
    if joints.ndim != 4 or joints.shape[0] not in (1, 2) or joints.shape[2:] != (len(JOINTS), 3):
        raise UsageError(f"joints are (1 or 2 divers, S, {len(JOINTS)}, 3), got {joints.shape}.")
    if substeps < 1 or not joints.shape[1] or joints.shape[1] % substeps:
        raise UsageError(f"S is a multiple of substeps = {substeps}, got S = {joints.shape[1]}.")
    if times.shape != (joints.shape[1],) or not (np.diff(times) >= 0).all():
        raise UsageError(f"times are S = {joints.shape[1]} rising seconds, got {times.shape}.")
    if len(bodies) != joints.shape[0] or any(name not in BODIES for name in bodies):
        raise UsageError(f"one body of {', '.join(BODIES)} a diver, got {list(bodies)} for {joints.shape[0]}.")
    if not 0 < board_m <= 20:
        raise UsageError(f"a board lies 0 to 20 m above the water, got {board_m}.")
    if min(height, width) < 16 or width > WIDEST * height:
        raise UsageError(
            f"frames are at least 16x16 px and at most {WIDEST:g} times as wide as high, got {width}x{height}."
        )
    if not np.isfinite(joints).all():
        raise UsageError("joints are finite metres, got nan or infinity.")


def _jitters(substeps: int) -> FloatArray:
    """Sample places inside the pixel (substeps, 2), spread evenly (the R2 sequence)."""
    step = np.arange(substeps)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    places: FloatArray = (0.5 + step) % 1.0
    return places


@lru_cache(maxsize=1)
def water_slopes() -> Float32Array:
    """The periodic field of slopes that moves over the water: float32 (256, 256), mean 0, deviation 1."""
    size = kernels.TILE
    rng = np.random.default_rng(48)
    along, across = np.meshgrid(np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size)
    waves = np.hypot(0.55 * along, across)  # crests longer from left to right than from front to back
    spectrum = np.exp(-(((waves - 7) / 5) ** 2)) + 0.25 * np.exp(-(((waves - 22) / 12) ** 2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * spectrum).real
    slopes: Float32Array = ((field - field.mean()) / field.std()).astype(np.float32)
    return slopes


def _wall(
    scene: Scene, place: Venue, camera: Camera, centres: FloatArray, height: int, width: int
) -> tuple[NDArray[np.uint8], FloatArray]:
    """The part of the wall that the clip sees, directly or in the water.

    uint8 (h, w, 3), and its left and upper edge in metres and texels per metre, float64 (3,).
    """
    axes = camera.axes()
    focal = camera.pixels_per_metre(height) * camera.distance_m
    u, v = np.meshgrid([-width / 2 / focal, width / 2 / focal], [-height / 2 / focal, height / 2 / focal])
    rays = (-axes[2] + u[..., None] * axes[0] + v[..., None] * axes[1]).reshape(-1, 3)
    eyes = centres + camera.distance_m * axes[2]
    far = (-place.wall_m - eyes[:, None, 2]) / rays[None, :, 2]
    x = eyes[:, None, 0] + far * rays[None, :, 0]
    y = eyes[:, None, 1] + far * rays[None, :, 1]
    # A reflected ray that left the wall's foot behind rises as far as the direct one would have sunk below it.
    left, right = x.min() - 0.2, x.max() + 0.2
    low, high = 0.0, max(y.max() + 0.2, min(3.0 - y.min(), 9.0))
    nearness = -place.wall_m * axes[2, 2]
    scale = camera.pixels_per_metre(height) * camera.distance_m / (camera.distance_m - nearness)
    per_metre = TEXELS_PER_PIXEL * scale
    shape = max(1, int(np.ceil((high - low) * per_metre))), max(1, int(np.ceil((right - left) * per_metre)))
    wall = np.empty((*shape, 3), dtype=np.uint8)
    banners = np.array([(low, tall, *first, *second) for low, tall, first, second in place.banners]).reshape(-1, 8)
    kind, colours, tiers = WALLS.index(place.wall), np.array(place.wall_colours), np.array(place.tiers).reshape(-1, 2)
    bricks = 17 + scene.venue_index  # a venue's own, the same in all its clips
    paint_wall(
        kind, colours, tiers, place.crowd, banners, place.pillars,
        left + scene.shift_m, low, per_metre, bricks, scene.wall_seed, wall,
    )  # fmt: skip
    return wall, np.array([left, low + shape[0] / per_metre, per_metre])


def _shapes(steps: int, count: int) -> Float32Array:
    shapes = np.zeros((steps, count, kernels.COLUMNS), dtype=np.float32)
    shapes[..., kernels.OWNER] = -1
    shapes[..., kernels.ALPHA] = 1
    return shapes


def _place(
    shapes: Float32Array,
    ends: FloatArray,
    radii: FloatArray,
    camera: Camera,
    centres: FloatArray,
    height: int,
    width: int,
) -> FloatArray:
    """Write where capsules with ``ends`` (S or 1, n, 2, 3) m lie in the picture; returns their nearness (S, n)."""
    seen = refract(ends)
    pixels, scale, nearness = project(seen, camera, centres[:, None, None], height, width)
    shapes[..., kernels.AX : kernels.AY + 1] = pixels[:, :, 0]
    shapes[..., kernels.BX : kernels.BY + 1] = pixels[:, :, 1]
    shapes[..., kernels.RA] = radii[:, 0] * scale[:, :, 0]
    shapes[..., kernels.RB] = radii[:, 1] * scale[:, :, 1]
    shapes[..., kernels.HEIGHT_A], shapes[..., kernels.HEIGHT_B] = seen[..., 0, 1], seen[..., 1, 1]
    shapes[..., kernels.SCALE] = scale.mean(axis=-1)
    return np.asarray(nearness.mean(axis=-1))


def _camera_way(directions: FloatArray, camera: Camera) -> FloatArray:
    """World directions (..., 3) in the camera's axes, mirrored as the picture is."""
    seen = directions @ camera.axes().T
    seen[..., 0] *= -1 if camera.mirror else 1
    return np.asarray(seen)


def _rod_shapes(rods: Rods, camera: Camera, centres: FloatArray, height: int, width: int) -> Float32Array:
    shapes = _shapes(len(centres), len(rods.ends))
    _place(shapes, rods.ends[None], rods.radii, camera, centres, height, width)
    shapes[..., kernels.RED : kernels.RED + 3] = rods.colours
    shapes[..., kernels.KIND] = np.where(rods.heads, kernels.HEAD, kernels.LIT)
    shapes[..., kernels.HAIR_X : kernels.HAIR_X + 3] = _camera_way(rods.hair[:, :3], camera)
    shapes[..., kernels.HAIR_RED : kernels.HAIR_RED + 3] = rods.hair[:, 3:]
    return shapes


def _body_shapes(
    joints: FloatArray,
    bodies: Sequence[str],
    looks: Sequence[Look],
    camera: Camera,
    centres: FloatArray,
    height: int,
    width: int,
) -> tuple[Float32Array, FloatArray]:
    """All divers' capsules (S, D * bones, COLUMNS), not yet in order, and how near each is (S, D * bones) m."""
    first = [JOINTS.index(bone[0]) for bone in BONES]
    second = [JOINTS.index(bone[1]) for bone in BONES]
    parts, nearness = [], []
    for diver, (body, look) in enumerate(zip(bodies, looks, strict=False)):
        shapes = _shapes(joints.shape[1], len(BONES))
        ends = np.stack([joints[diver][:, first], joints[diver][:, second]], axis=2)
        radii = np.array([(BODIES[body].radii[bone.radius_a], BODIES[body].radii[bone.radius_b]) for bone in BONES])
        nearness.append(_place(shapes, ends, radii, camera, centres, height, width))
        colours = {"skin": look.skin, "suit": look.suit, "hair": look.skin}
        shapes[..., kernels.RED : kernels.RED + 3] = [colours[_part(body, bone)] for bone in BONES]
        shapes[..., kernels.KIND] = [kernels.HEAD if bone.part == "hair" else kernels.LIT for bone in BONES]
        shapes[..., kernels.HAIR_X : kernels.HAIR_X + 3] = _camera_way(_hair_way(joints[diver]), camera)[:, None]
        shapes[..., kernels.HAIR_RED : kernels.HAIR_RED + 3] = look.hair
        shapes[..., kernels.OWNER] = diver
        parts.append(shapes)
    return np.concatenate(parts, axis=1), np.concatenate(nearness, axis=1)


def _part(body: str, bone: Bone) -> str:
    """What covers a bone: the compact body wears a one-piece suit."""
    return "suit" if body == "compact" and bone.joint_b in ("spine", "chest") else bone.part


def _hair_way(joints: FloatArray) -> FloatArray:
    """Where the hair of a head points, (S, 3): up and back. Shows which way a diver faces, and so the twist."""
    at = JOINTS.index
    up = joints[:, at("head")] - joints[:, at("neck")]
    across = joints[:, at("shoulder_r")] - joints[:, at("shoulder_l")]
    forward = np.cross(up, across)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    return np.asarray(0.75 * up - 0.66 * forward)


def _drop_shapes(
    drops: Drops, times: FloatArray, centres: FloatArray, camera: Camera, height: int, width: int
) -> Float32Array:
    places, alive = drops.at(times)
    shapes = _shapes(*alive.shape)
    radii = np.stack([drops.radius, drops.radius], axis=1)
    _place(shapes, np.stack([places, places], axis=2), radii, camera, centres, height, width)
    # Drops smaller than a pixel cover a part of one.
    small = np.minimum(shapes[..., kernels.RA], 0.5) / 0.5
    shapes[..., [kernels.RA, kernels.RB]] = np.maximum(shapes[..., [kernels.RA, kernels.RB]], 0.5)
    shapes[..., kernels.HEIGHT_A] = shapes[..., kernels.HEIGHT_B] = 1.0
    shapes[..., kernels.RED : kernels.RED + 3] = (0.90, 0.94, 0.96)
    shapes[..., kernels.KIND] = kernels.FLAT
    shapes[..., kernels.ALPHA] = np.where(alive, 0.8 * small * small, 0)
    return shapes


def _splashes(joints: FloatArray, times: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, list[Drops]]:
    """Where and when each diver meets the water: (D', 4) of x, z, time, strength; and the drops it throws up."""
    entries, drops = [], []
    for diver in range(len(joints)):
        strength = 0.5 + 0.7 * float(rng.random())
        lowest = joints[diver, :, :, 1].min(axis=1)
        under = np.flatnonzero(lowest < 0)
        if not under.size:
            continue
        step = int(under[0])
        joint = int(joints[diver, step, :, 1].argmin())
        x, _, z = joints[diver, step, joint].tolist()
        entries.append((x, z, float(times[step]), strength))
        drops.append(draw_drops(x, z, float(times[step]), strength, rng))
    return np.array(entries).reshape(-1, 4), drops
