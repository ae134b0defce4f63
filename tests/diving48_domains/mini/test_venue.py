"""Venues can be told apart; scenes are drawn from nothing but the venue and their own stream."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from mini_stage import STAND, film, still

from diving48_domains.mini.camera import draw_camera
from diving48_domains.mini.palette import HAIR, SKIN, SUIT, draw_look
from diving48_domains.mini.scene import PERSON_JOINTS, POSES, Scene, draw_scene
from diving48_domains.mini.venue import NUM_VENUES, VENUES, WALLS, venue
from tsgen.common.errors import UsageError


def test_there_are_enough_venues_and_all_walls_are_in_use():
    assert NUM_VENUES == len(VENUES) >= 12
    assert len({one.name for one in VENUES}) == NUM_VENUES
    assert {one.wall for one in VENUES} == set(WALLS)


@pytest.mark.parametrize("index", [-1, NUM_VENUES])
def test_no_other_venues(index):
    with pytest.raises(UsageError, match=rf"0\.\.{NUM_VENUES - 1}, got {index}"):
        venue(index)
    with pytest.raises(UsageError, match="got"):
        draw_scene(index, np.random.default_rng(0))


def test_venues_refuse_what_cannot_be_built():
    with pytest.raises(UsageError, match="a wall is one of panels"):
        replace(VENUES[0], wall="hedge")
    with pytest.raises(UsageError, match="must end before the wall"):
        replace(VENUES[0], pool_m=20.0)


def _background(index: int, seed: int) -> np.ndarray:
    """Mean and spread of the colours of one clip's frames beside the diver, with a camera and people of the seed."""
    rng = np.random.default_rng(1000 * index + seed)
    height_m = float(rng.choice([1.2, 4.5, 8.0]))
    joints = still(STAND, (0.8, height_m, 0.0), 2)
    camera, scene = draw_camera(rng), draw_scene(index, rng)
    clip = film(joints, camera=camera, scene=scene, height=60, width=80, board_m=max(1.0, height_m - 1))
    pixels = clip.frames[~clip.masks[0]].astype(float)
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def test_venues_can_be_told_apart_by_their_colours_alone():
    """Nearest neighbours over six numbers: far above the chance of 1 in 16, with other cameras, heights and people."""
    train = np.array([[_background(index, seed) for seed in range(8)] for index in range(NUM_VENUES)])
    test = np.array([[_background(index, 100 + seed) for seed in range(3)] for index in range(NUM_VENUES)])
    scale = train.reshape(-1, 6).std(axis=0)
    distance = np.linalg.norm((test[:, :, None, None] - train[None, None]) / scale, axis=-1)
    guess = distance.min(axis=-1).argmin(axis=-1)
    assert (guess == np.arange(NUM_VENUES)[:, None]).mean() > 0.6


def test_scenes_repeat_and_differ():
    scene = draw_scene(4, np.random.default_rng(7))
    assert scene == draw_scene(4, np.random.default_rng(7))
    assert scene != draw_scene(4, np.random.default_rng(8))


def test_the_venue_does_not_change_what_else_is_drawn():
    """Two venues, one stream: the same day, the same divers. Nothing beside the venue can speak of the class."""
    one, other = (draw_scene(index, np.random.default_rng(7)) for index in (2, 9))
    same = {field.name for field in fields(Scene) if getattr(one, field.name) == getattr(other, field.name)}
    assert same == {field.name for field in fields(Scene)} - {"venue_index", "wall_seed", "people"}
    assert [person.look for person in one.people] == [person.look for person in other.people]


def test_bystanders():
    scenes = [draw_scene(seed % NUM_VENUES, np.random.default_rng(seed)) for seed in range(120)]
    people = [person for scene in scenes for person in scene.people]
    assert {len(scene.people) for scene in scenes} == set(range(2, 8))
    assert {person.where for person in people} == {"deck", "gallery", "board"}
    assert {person.pose for person in people} == set(POSES)
    bare = [person for person in people if not person.dressed]
    assert 0.4 < len(bare) / len(people) < 0.8  # many show as much skin as a diver
    for person in people:
        assert person.joints()[:, 1].min() == pytest.approx(person.place[1] + 0.05, abs=0.02)  # feet on the ground
    assert draw_scene(0, np.random.default_rng(0), people=0).people == ()
    with pytest.raises(UsageError, match="0 or more bystanders, got -1"):
        draw_scene(0, np.random.default_rng(0), people=-1)


def test_poses_have_the_same_joints_in_one_order():
    assert all(tuple(pose) == PERSON_JOINTS for pose in POSES.values())


def test_divers_and_bystanders_share_their_tones():
    rng = np.random.default_rng(0)
    for look in [draw_look(rng) for _ in range(50)] + [draw_look(rng, dressed=True) for _ in range(50)]:
        assert min(np.abs(np.subtract(look.skin, tone)).max() for tone in SKIN) < 0.1
        assert min(np.abs(np.subtract(look.hair, tone)).max() for tone in HAIR) < 0.1
    look = draw_look(rng)
    assert look.legs == look.skin
    assert min(np.abs(np.subtract(look.suit, tone)).max() for tone in SUIT) < 0.1


def test_a_synchronized_pair_wears_one_suit():
    first, second = draw_scene(3, np.random.default_rng(1)).looks
    assert first.suit == second.suit and first.skin != second.skin
