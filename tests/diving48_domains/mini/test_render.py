"""What is drawn: exact masks, joints, light, water, splash, noise; and what must not depend on the dive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mini_stage import STAND, TUCK, film, posed, still

from diving48_domains.mini.camera import Camera, follow, project
from diving48_domains.mini.render import render_clip
from diving48_domains.mini.scene import draw_scene
from diving48_domains.mini.skeleton import BODIES, BONES, JOINTS, center_of_mass
from tsgen.common.errors import UsageError

AIR = (0.8, 5.0, 0.0)


def shares_by_hand(joints, camera, height, width, body="tall", fine=5):
    """The share of each pixel that lies inside some capsule: points on a grid of ``fine`` x ``fine`` a pixel."""
    centre = follow(camera, center_of_mass(joints)[0], np.arange(joints.shape[1]) / 25.0)[0]
    pixels, scale, _ = project(joints[0, 0], camera, centre, height, width)
    y, x = np.mgrid[0 : height * fine, 0 : width * fine] / fine + 0.5 / fine
    inside = np.zeros(x.shape, dtype=bool)
    for bone in BONES:
        a, b = JOINTS.index(bone.joint_a), JOINTS.index(bone.joint_b)
        along = pixels[b] - pixels[a]
        t = ((x - pixels[a, 0]) * along[0] + (y - pixels[a, 1]) * along[1]) / max(along @ along, 1e-9)
        t = np.clip(t, 0, 1)
        ra, rb = BODIES[body].radii[bone.radius_a] * scale[a], BODIES[body].radii[bone.radius_b] * scale[b]
        inside |= np.hypot(x - pixels[a, 0] - t * along[0], y - pixels[a, 1] - t * along[1]) <= ra + t * (rb - ra)
    return inside.reshape(height, fine, width, fine).mean(axis=(1, 3))


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def grown(mask, by=2):
    """The mask and everything within ``by`` pixels of it."""
    padded = np.pad(mask, by)
    rows = range(2 * by + 1)
    return np.any([padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in rows for j in rows], axis=0)


@pytest.mark.parametrize(("pose", "yaw"), [(STAND, 0.0), (TUCK, 0.4)])
@pytest.mark.parametrize(("height", "width"), [(120, 160), (240, 320)])
def test_masks_are_the_pixels_half_covered_by_capsules(pose, yaw, height, width):
    camera = Camera(yaw=yaw)
    joints = still(pose, AIR, 1)
    mask = film(joints, camera=camera, height=height, width=width).masks[0, 0]
    shares = shares_by_hand(joints, camera, height, width)
    assert overlap(mask, shares >= 0.5) > 0.97
    assert mask[shares > 0.75].all() and not mask[shares < 0.25].any()


def test_shapes_types_and_repetition():
    joints = np.concatenate([still(TUCK, (0.8, 5, 0.8), 6), still(TUCK, (0.8, 5, -0.8), 6, "compact")])
    options = {"bodies": ["tall", "compact"], "substeps": 3, "people": 5, "camera": Camera(yaw=0.4)}
    clip, again = film(joints, **options), film(joints, **options)
    assert (clip.frames.shape, clip.frames.dtype) == ((2, 120, 160, 3), np.uint8)
    assert (clip.masks.shape, clip.masks.dtype) == ((2, 2, 120, 160), np.bool_)
    assert (clip.joints_px.shape, clip.joints_px.dtype) == ((2, 2, 21, 2), np.float32)
    assert (clip.frames == again.frames).all() and (clip.masks == again.masks).all()
    assert (film(joints, seed=4, **options).frames != clip.frames).any()


def test_joints_lie_in_the_mask():
    clip = film(still(STAND, AIR, 1), camera=Camera(yaw=0.3, mirror=True))
    for name in ("pelvis", "spine", "chest", "head", "knee_l", "elbow_r"):
        x, y = clip.joints_px[0, 0, JOINTS.index(name)]
        assert clip.masks[0, 0, int(y), int(x)], name


def test_the_near_diver_hides_the_far_one():
    joints = np.concatenate([still(STAND, (0.8, 5, -0.7), 1), still(STAND, (0.9, 5, 0.7), 1)])
    far, near = film(joints, camera=Camera(yaw=0.0, pitch=0.1)).masks[:, 0]
    alone = film(joints[1:], camera=Camera(yaw=0.0, pitch=0.1)).masks[0, 0]
    assert not (far & near).any()
    assert near.sum() > 0.98 * alone.sum()  # nothing of the near one is hidden
    assert 0 < far.sum() < 0.8 * near.sum()
    swapped = film(joints[::-1], camera=Camera(yaw=0.0, pitch=0.1)).masks[:, 0]
    # A pixel of which both have exactly half is the first one's.
    assert overlap(swapped[0], near) > 0.95 and overlap(swapped[1], far) > 0.95


def test_a_mask_is_the_mean_over_the_shutter():
    """A body at one place for two of five substeps belongs to no mask there, for three it does."""
    here, there = posed(STAND, (0.3, 5, 0)), posed(STAND, (1.3, 5, 0))
    path = np.stack([here, here, there, there, there], axis=1)
    slow = {"camera": Camera(lag_s=1.0, lead=0.0), "fps": 1e5}  # too slow to follow
    seen = film(path, substeps=5, **slow).masks[0, 0]
    only_here, only_there = film(np.stack([here, there], axis=1), **slow).masks[0]
    assert not (seen & ~only_there).any() and not (seen & only_here).any()
    assert seen.sum() > 0.8 * only_there.sum()  # at its edge, three fifths of less than 5/6 of a pixel are under a half


def test_bystanders_hide_nothing_and_belong_to_no_mask():
    joints = still(STAND, (0.5, 0.9, 0), 1)
    empty, crowded = (film(joints, people=count, board_m=1.0) for count in (0, 7))
    assert (empty.masks == crowded.masks).all()
    changed = (empty.frames != crowded.frames).any(axis=-1)[0]
    assert changed.sum() > 200
    inside = empty.masks[0, 0] & ~grown(~empty.masks[0, 0], 1)
    assert not changed[inside].any()


def test_away_from_the_divers_nothing_depends_on_the_pose():
    """The same path of the centre of mass, other poses: the background is the same to the byte, noise included."""
    scene = draw_scene(5, np.random.default_rng(5))
    one, other = (film(still(pose, AIR, 10), scene=scene, substeps=5) for pose in (STAND, TUCK))
    for frame in range(2):
        outside = ~grown(one.masks[0, frame]) & ~grown(other.masks[0, frame])
        assert outside.mean() > 0.8
        assert (one.frames[frame][outside] == other.frames[frame][outside]).all()
    assert (one.frames != other.frames).any()


def test_mirroring_flips_the_masks():
    joints = still(TUCK, AIR, 1)
    plain, mirrored = (film(joints, camera=Camera(yaw=0.3, mirror=flag)) for flag in (False, True))
    assert overlap(plain.masks[0, 0], mirrored.masks[0, 0, :, ::-1]) > 0.97
    same = plain.frames[0].astype(int) - mirrored.frames[0, :, ::-1]
    assert np.abs(same).mean() < 10  # the noise is not mirrored, the places are


@pytest.mark.parametrize("factor", [2, 4])
def test_larger_frames_show_the_same_picture(factor):
    joints, scene = still(STAND, (0.8, 1.2, 0), 4), draw_scene(3, np.random.default_rng(2))
    small = film(joints, scene=scene, substeps=4)
    large = film(joints, scene=scene, substeps=4, height=120 * factor, width=160 * factor)
    means = large.frames[0].reshape(120, factor, 160, factor, 3).mean(axis=(1, 3))
    assert np.abs(means - small.frames[0]).mean() < 9
    shares = large.masks[0, 0].reshape(120, factor, 160, factor).mean(axis=(1, 3))
    assert overlap(shares >= 0.5, small.masks[0, 0]) > 0.90


def test_under_water_the_diver_fades_out_of_picture_and_mask():
    depths = [0.0, -0.5, -1.0, -2.5]
    areas = [int(film(still(STAND, (0.8, depth, 0), 1), board_m=1.0).masks.sum()) for depth in depths]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 200 and areas[-1] == 0


def test_an_entry_makes_foam_and_drops_and_only_afterwards():
    times = np.arange(30) / 25
    path = np.stack([posed(STAND, (0.8, 2.6 - 4.5 * time, 0))[0] for time in times])[None]
    entry = int(np.argmax(path[0, :, :, 1].min(axis=1) < 0))
    one, other = (film(path, seed=seed, board_m=1.0, scene=quiet(4)) for seed in (1, 2))
    differ = (one.frames != other.frames).any(axis=(1, 2, 3))  # without noise the seed shows in the splash alone
    assert not differ[: entry + 1].any()
    assert differ[entry + 3 : entry + 12].all()
    white = (one.frames.min(axis=-1) > 150).sum(axis=(1, 2))
    assert white[entry + 8] > white[entry] + 30


def quiet(venue):
    return replace(draw_scene(venue, np.random.default_rng(0), people=0), noise=0.0)


def test_noise_has_the_stated_deviation_and_is_new_in_every_frame():
    joints, scene = still(TUCK, AIR, 2), replace(quiet(3), noise=4.0)
    noisy = film(joints, scene=scene).frames.astype(float)
    clean = film(joints, scene=quiet(3)).frames.astype(float)
    inside = ((clean > 30) & (clean < 225)).all(axis=0)
    noise = (noisy - clean)[:, inside]
    assert noise.std() == pytest.approx(4.0, rel=0.06)
    assert abs(noise.mean()) < 0.1
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05


def test_water_moves_and_walls_do_not():
    clip = film(still(STAND, (0.8, 1.2, 0), 5), scene=quiet(0), board_m=1.0, fps=10)
    moved = np.abs(np.diff(clip.frames.astype(int), axis=0)).max(axis=(0, 3))
    assert (moved[-20:] > 8).mean() > 0.3
    assert moved[:20].max() <= 1


def test_the_light_comes_from_one_side():
    """The brick baths are lit from the right, the open air's sun too; mirrored frames from the left."""
    joints = still(STAND, AIR, 1)
    for mirror, sign in ((False, 1), (True, -1)):
        clip = film(joints, scene=quiet(1), camera=Camera(yaw=0.0, mirror=mirror), height=240, width=320)
        y = int(clip.joints_px[0, 0, JOINTS.index("knee_l"), 1])
        row = clip.frames[0, y + 12].sum(axis=-1).astype(int)
        columns = np.flatnonzero(clip.masks[0, 0, y + 12])
        third = max(1, len(columns) // 3)
        assert sign * (row[columns[-third:]].mean() - row[columns[:third]].mean()) > 20


def test_impossible_arguments_are_refused():
    joints, scene = still(STAND, AIR, 4), draw_scene(0, np.random.default_rng(0))

    steps = np.arange(4.0)

    def render(joints=joints, bodies=("tall",), size=(120, 160), times=steps, **options):
        options = {"board_m": 3.0, "substeps": 2, **options}
        return render_clip(joints, bodies, scene, Camera(), *size, 0, times=times, **options)

    for change, words in (
        ({"joints": joints[0]}, r"joints are \(1 or 2 divers, S, 21, 3\)"),
        ({"joints": np.concatenate([joints] * 3)}, "1 or 2 divers"),
        ({"substeps": 3}, "S is a multiple of substeps = 3, got S = 4"),
        ({"times": steps[::-1]}, "times are S = 4 rising"),
        ({"times": steps[:3]}, "times are S = 4 rising"),
        ({"bodies": ("giant",)}, "one body of tall, compact a diver"),
        ({"board_m": 0.0}, "0 to 20 m above the water, got 0.0"),
        ({"size": (8, 8)}, "at least 16x16 px"),
        ({"size": (32, 400)}, "at most 3 times as wide"),
        ({"joints": joints * np.nan}, "finite metres"),
    ):
        with pytest.raises(UsageError, match=words):
            render(**change)
