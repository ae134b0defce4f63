"""Divers in poses of the test's choosing, for the tests of what is drawn."""

from __future__ import annotations

import numpy as np

from diving48_domains.mini.camera import Camera
from diving48_domains.mini.render import render_clip
from diving48_domains.mini.scene import draw_scene
from diving48_domains.mini.skeleton import BODIES, Angles, center_of_mass, pose_joints

# Spine, hip, knee, shoulder, elbow, abduction, inward, ankle, skew in degrees.
STAND = Angles(0, 0, 0, 20, 5, 6, 0, 0, 0)
TUCK = Angles(42, 118, 138, 48, 62, 8, 0, 0, 0)


def posed(angles, place, body="tall"):
    """Joints (1, 21, 3) of a body whose centre of mass is at ``place``."""
    joints = pose_joints(BODIES[body], np.array([angles], dtype=float))
    return joints - center_of_mass(joints)[:, None] + np.array(place, dtype=float)


def still(angles, place, steps, body="tall"):
    """The same for ``steps`` times, float64 (1, steps, 21, 3)."""
    return np.repeat(posed(angles, place, body), steps, axis=0)[None]


def film(joints, *, venue=0, people=0, seed=3, camera=None, height=120, width=160, scene_seed=5, fps=25.0, **options):
    """Render with a plain camera and, unless asked for, nobody standing about."""
    options = {"substeps": 1, "board_m": 3.0, **options}
    scene = options.pop("scene", None) or draw_scene(venue, np.random.default_rng(scene_seed), people=people)
    bodies = options.pop("bodies", ["tall"] * len(joints))
    times = np.arange(joints.shape[1]) / fps / options["substeps"]
    return render_clip(joints, bodies, scene, camera or Camera(), height, width, seed, times=times, **options)
