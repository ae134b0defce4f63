"""The follow camera: where points appear, how it lags, and what it may be."""

from __future__ import annotations

import numpy as np
import pytest

from diving48_domains.mini.camera import (
    MAX_YAW_DEG,
    REFRACTION,
    VIEW_HEIGHT_M,
    Camera,
    draw_camera,
    follow,
    project,
    refract,
)
from tsgen.common.errors import UsageError

HERE = np.array([0.5, 3.0, 0.2])


@pytest.mark.parametrize("yaw", [-28, 0, 17])
def test_the_point_looked_at_is_in_the_middle_at_the_stated_scale(yaw):
    camera = Camera(yaw=np.radians(yaw), zoom=1.1)
    pixels, scale, nearness = project(HERE, camera, HERE, 120, 160)
    assert pixels.tolist() == [80, 60]
    assert scale == pytest.approx(1.1 * 120 / VIEW_HEIGHT_M)
    assert nearness == 0


def test_axes_are_a_right_handed_frame():
    axes = Camera(yaw=0.4, pitch=0.2).axes()
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.cross(axes[0], axes[1]) == pytest.approx(axes[2])


def test_directions_in_the_picture():
    camera = Camera(yaw=0.0, pitch=0.1)
    points = HERE + np.array([[1, 0, 0], [0, 1, 0], [0, 0, 2.0], [0, 0, -2.0]])
    pixels, scale, nearness = project(points, camera, HERE, 120, 160)
    assert pixels[0, 0] > 80 and pixels[1, 1] < 60  # right over the pool, up is up
    assert pixels[2, 1] > 60 > pixels[3, 1]  # it looks down: what is nearer lies lower
    assert scale[2] > scale[0] > scale[3] and nearness[2] > 0 > nearness[3]


def test_projection_against_a_pinhole_written_out():
    """The same pixels from the textbook's way: eye, view ray, plane of the sensor."""
    camera = Camera(yaw=0.3, pitch=0.15, zoom=0.9, distance_m=17)
    rng = np.random.default_rng(0)
    points = HERE + rng.uniform(-2, 2, (20, 3))
    right, up, near = camera.axes()
    eye = HERE + 17 * near
    seen = points - eye
    depth = -(seen @ near)
    focal = 17 * 0.9 * 240 / VIEW_HEIGHT_M
    expected = np.stack([160 + focal * (seen @ right) / depth, 120 - focal * (seen @ up) / depth], axis=1)
    assert project(points, camera, HERE, 240, 320)[0] == pytest.approx(expected)


def test_mirror_reflects_about_the_middle_column():
    points = HERE + np.random.default_rng(1).uniform(-1, 1, (9, 3))
    plain = project(points, Camera(yaw=0.2), HERE, 120, 160)[0]
    mirrored = project(points, Camera(yaw=0.2, mirror=True), HERE, 120, 160)[0]
    assert mirrored[:, 0] == pytest.approx(160 - plain[:, 0])
    assert mirrored[:, 1] == pytest.approx(plain[:, 1])


def test_geometry_scales_with_the_height():
    points = HERE + np.random.default_rng(2).uniform(-1, 1, (9, 3))
    small = project(points, Camera(yaw=0.2), HERE, 120, 160)[0]
    large = project(points, Camera(yaw=0.2), HERE, 480, 640)[0]
    assert large == pytest.approx(4 * small)


def test_water_lifts_what_lies_in_it():
    seen = refract(np.array([[1.0, -1.0, 2.0], [1.0, 1.0, 2.0]]))
    assert seen.tolist() == [[1.0, -REFRACTION, 2.0], [1.0, 1.0, 2.0]]


def test_a_diver_at_rest_is_looked_at_from_the_start():
    camera = Camera(aim_m=(0.1, -0.2))
    centres = follow(camera, np.tile(HERE, (50, 1)), np.linspace(0, 1, 50))
    assert centres == pytest.approx(np.tile([0.6, 2.8, 0.2], (50, 1)))


@pytest.mark.parametrize("steps", [60, 400])
def test_lag_behind_steady_motion(steps):
    """In the steady state the follower is (1 - lead) * lag_s * speed behind, however finely time is cut."""
    camera = Camera(lag_s=0.2, lead=0.7)
    times = np.linspace(0, 4, steps)
    targets = np.stack([1.5 * times, np.full(steps, 5.0), np.zeros(steps)], axis=1)
    behind = (targets - follow(camera, targets, times))[-1]
    assert behind == pytest.approx([0.3 * 0.2 * 1.5, 0, 0], rel=1e-3, abs=1e-6)


def test_it_stays_with_the_surface_when_the_diver_goes_under():
    camera = Camera(floor_m=0.6)
    times = np.linspace(0, 3, 200)
    targets = np.stack([times, 4 - 6 * times, np.zeros(200)], axis=1)
    assert follow(camera, targets, times)[-1, 1] == pytest.approx(0.6, abs=0.01)


def test_drawn_cameras_fill_their_ranges():
    cameras = [draw_camera(np.random.default_rng(seed)) for seed in range(400)]
    yaws = np.degrees([camera.yaw for camera in cameras])
    zooms = np.array([camera.zoom for camera in cameras])
    assert np.abs(yaws).max() <= MAX_YAW_DEG and yaws.min() < -26 and yaws.max() > 26
    assert 0.85 <= zooms.min() < 0.87 and 1.13 < zooms.max() <= 1.15
    assert 0.4 < np.mean([camera.mirror for camera in cameras]) < 0.6


def test_options_change_nothing_else_about_a_drawn_camera():
    drawn = draw_camera(np.random.default_rng(3))
    fixed = draw_camera(np.random.default_rng(3), mirror=not drawn.mirror)
    assert fixed.mirror != drawn.mirror and fixed.zoom == drawn.zoom and fixed.aim_m == drawn.aim_m
    turned = [draw_camera(np.random.default_rng(seed), least_yaw_deg=15).yaw for seed in range(200)]
    assert np.degrees(np.abs(turned)).min() >= 15
    assert min(turned) < 0 < max(turned)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"yaw": 0.6}, "yaw lies in"),
        ({"zoom": 1.2}, r"zoom lies in 0\.85\.\.1\.15, got 1\.2"),
        ({"lag_s": 0.0}, "lag_s"),
    ],
)
def test_impossible_cameras_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        Camera(**change)


def test_bad_arguments_are_refused():
    with pytest.raises(UsageError, match=r"least yaw lies in 0\.\.28 deg, got 40"):
        draw_camera(np.random.default_rng(0), least_yaw_deg=40)
    with pytest.raises(UsageError, match="got \\(4, 3\\)"):
        follow(Camera(), np.zeros((4, 3)), np.zeros(5))
