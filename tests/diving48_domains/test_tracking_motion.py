"""Tracking where bodies and spectators move as in Mini-Diving48: its divers, camera and bystanders, without pixels.

Detections are the projected boxes of divers and of every second bystander, jittered, with a tenth of them missing.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.mini.camera import follow, project
from diving48_domains.mini.clip import draw_clip
from diving48_domains.mini.config import MiniConfig
from diving48_domains.mini.skeleton import center_of_mass
from diving48_domains.sampling import uniform_indices
from diving48_domains.tracking import TrackOptions, track

HEIGHT, WIDTH = 480, 640
FRAME = np.array([WIDTH, HEIGHT] * 2)
DIVER, PERSON = 200, 10  # the masks' values tell them apart
CLIPS = 60


def box_of(points, margin):
    """The box around points (N, 2) px cut by the frame; None when a quarter or less of it is inside."""
    box = np.concatenate([points.min(axis=0) - margin, points.max(axis=0) + margin])
    area = np.prod(box[2:] - box[:2])
    box = np.clip(box, 0, FRAME)
    sides = box[2:] - box[:2]
    return None if sides.min() < 4 or sides.prod() < area / 4 else box


def detected(box, mark, rng):
    if box is None or rng.random() < 0.1:
        return None
    box = np.clip(box + rng.normal(0, 0.04, 4) * np.tile(box[2:] - box[:2], 2), 0, FRAME)
    if (box[2:] - box[:2]).min() < 2:
        return None
    return Instance(box, float(np.clip(rng.normal(0.85, 0.08), 0.5, 0.999)), np.full((28, 28), mark, np.uint8))


def clip_with_spectators(number, rng):
    plan = draw_clip(MiniConfig(classes="full47"), "test", number)
    times = plan.shutter_times_s()[:, 0]
    joints = plan.joints_m(times)
    centres = follow(plan.camera, center_of_mass(joints).mean(axis=0), times)
    people = [person for person in plan.scene.people if rng.random() < 0.5]
    rows = []
    indices = np.unique(uniform_indices(plan.num_frames))
    for index in indices:
        boxes = [
            (box_of(project(one[index], plan.camera, centres[index], HEIGHT, WIDTH)[0], 12), DIVER)
            for one in joints
            if one[index, 0, 1] > -1  # deeper under water nobody is seen
        ]
        for person in people:
            feet = np.array([0, plan.dives[0].board_m if person.where == "board" else 0, 0])
            points = project(person.joints() + feet, plan.camera, centres[index], HEIGHT, WIDTH)[0]
            boxes.append((box_of(points, 6), PERSON))
        found = [detected(box, mark, rng) for box, mark in boxes]
        rows.append(tuple(sorted((one for one in found if one is not None), key=lambda one: -one.score)))
    return ClipInstances(plan.clip_id, HEIGHT, WIDTH, indices, tuple(rows))


def marks(frame):
    return [int(one.mask[0, 0]) for one in frame]


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    return [clip_with_spectators(number, rng) for number in range(CLIPS)]


def shares(clips, options):
    """Of the frames with a detected diver, the share that shows none after tracking; the share of spectators kept."""
    sums = Counter()
    for clip in clips:
        tracks = track(clip, options)
        for before, after in zip(clip.frames, tracks.divers, strict=True):
            sums["frames"] += DIVER in marks(before)
            sums["lost"] += DIVER in marks(before) and DIVER not in marks(after)
            sums["people"] += marks(before).count(PERSON)
            sums["kept"] += marks(after).count(PERSON)
    assert sums["people"] > 300
    return sums["lost"] / sums["frames"], sums["kept"] / sums["people"]


def test_nearly_all_spectators_go_and_nearly_no_diver_does(clips):
    lost, kept = shares(clips, TrackOptions())
    assert lost < 0.03
    assert kept < 0.15


@pytest.mark.parametrize("options", [TrackOptions(drop_spectators=False), TrackOptions(linked=False)])
def test_without_the_rules_most_spectators_stay(clips, options):
    assert shares(clips, options)[1] > 0.6


def test_without_spectators_no_frame_loses_its_diver(clips):
    alone = [
        ClipInstances(
            clip.clip_id,
            HEIGHT,
            WIDTH,
            clip.frame_indices,
            tuple(tuple(one for one in frame if one.mask[0, 0] == DIVER) for frame in clip.frames),
        )
        for clip in clips
    ]
    lost = sum(
        bool(before) and not after
        for clip in alone
        for before, after in zip(clip.frames, track(clip).divers, strict=True)
    )
    assert lost == 0
