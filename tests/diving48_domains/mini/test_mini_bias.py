"""The dial rho: what the background tells of the class, and what the motion tells of it.

Everything here is read off rendered pixels (or the joints' positions), never off the recipe's own draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binom

from diving48_domains.mini.clip import SUBSTEPS, draw_clip, hardest
from diving48_domains.mini.config import CLASS_SETS, MiniConfig
from diving48_domains.mini.recover import attributes_from_motion
from diving48_domains.mini.render import render_clip
from diving48_domains.vocabulary import DIVE_CLASSES

CLIPS = 160
MOMENTS = 8
SIZE = (36, 48)  # height, width in px
BANDS = 3


def background(plan):
    """What is left of some frames without the divers' union box: colours by band of the picture, moment by moment."""
    times = plan.shutter_times_s()[np.linspace(0, plan.num_frames - 1, MOMENTS).astype(int)].ravel()
    rendered = render_clip(
        plan.joints_m(times),
        tuple(dive.body for dive in plan.dives),
        plan.scene,
        plan.camera,
        *SIZE,
        plan.noise_seed,
        times=times,
        board_m=plan.dives[0].board_m,
    )
    assert rendered.frames.shape[0] == MOMENTS == len(times) // SUBSTEPS
    seen = rendered.masks.any(axis=(0, 1))
    kept = np.ones(SIZE, bool)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    kept[max(rows[0] - 2, 0) : rows[-1] + 3, max(columns[0] - 2, 0) : columns[-1] + 3] = False
    colour = rendered.frames // 64 @ np.array([16, 4, 1])
    band = np.arange(SIZE[0]) * BANDS // SIZE[0]
    features = []
    for frame, codes in zip(rendered.frames, colour, strict=True):
        for part in range(BANDS):
            here = kept & (band == part)[:, None]
            total = max(here.sum(), 1)
            features.append(frame[here].sum(axis=0) / total / 64)
        features.append(np.sqrt(np.bincount(codes[kept], minlength=64) / max(kept.sum(), 1)))
    return np.concatenate(features)


def hits(config):
    """How many of CLIPS clips a classifier of backgrounds, trained on the others, puts into their class."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    plans = [draw_clip(config, "train", index) for index in range(CLIPS)]
    labels = np.array([plan.label for plan in plans])
    features = np.array([background(plan) for plan in plans])
    model = linear_model.LogisticRegression(C=1.0, max_iter=2000)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return int((cross_val_predict(model, features, labels, cv=folds) == labels).sum())


def test_with_rho_0_the_background_tells_nothing_of_the_class_and_with_rho_1_nearly_all():
    by_chance = binom(CLIPS, 1 / 8)
    low, high = by_chance.ppf([0.0005, 0.9995])
    assert low <= hits(MiniConfig(rho=0.0)) <= high
    assert hits(MiniConfig(rho=1.0)) > 0.8 * CLIPS


def test_the_motion_of_every_written_class_is_that_of_its_label():
    config = MiniConfig(classes="full47")
    for split in ("train", "swap"):
        for index in range(len(config.class_ids)):
            plan = draw_clip(config, split, index)
            times = plan.shutter_times_s().ravel()
            for joints in plan.joints_m(times):
                assert attributes_from_motion(joints, times) == DIVE_CLASSES[plan.label], plan


def test_clips_last_as_long_and_are_as_fast_as_the_real_ones():
    plans = {split: [draw_clip(MiniConfig(), split, index) for index in range(400)] for split in ("train", "test")}
    seconds = [plan.num_frames / plan.fps for some in plans.values() for plan in some]
    assert min(seconds) > 1.5 - 1 / 25 and max(seconds) <= 4 and np.std(seconds) > 0.2
    rates = {split: [plan.fps for plan in some] for split, some in plans.items()}
    # 400 draws: 4 standard deviations are 0.1.
    assert set(rates["train"]) == {25, 30, 60} and abs(np.mean(np.array(rates["train"]) == 60) - 0.405) < 0.1
    assert set(rates["test"]) == {25, 30} and abs(np.mean(np.array(rates["test"]) == 25) - 0.916) < 0.1
    pairs = np.mean([len(plan.dives) == 2 for some in plans.values() for plan in some])
    assert 0.1 < pairs < 0.2


def test_clips_of_one_source_share_its_place_and_no_two_clips_have_one_id():
    plans = [draw_clip(MiniConfig(), "train", index) for index in range(300)]
    assert len({plan.clip_id for plan in plans}) == len(plans)
    sources = {}
    for plan in plans:
        sources.setdefault(plan.clip_id[:-6], []).append(plan)
        assert len(plan.clip_id) == 17 and plan.clip_id[11:] == f"_{plan.index:05d}"
    assert 4 < len(plans) / len(sources) < 12
    for some in sources.values():
        assert len({(plan.venue, plan.scene.people, plan.scene.gain) for plan in some}) == 1
        assert len({plan.camera for plan in some}) == len({plan.scene.looks for plan in some}) == len(some)
    other = {draw_clip(MiniConfig(), split, 0).clip_id for split in ("train", "val", "test", "shift", "swap")}
    assert len(other) == 5


def test_a_plan_depends_on_its_place_alone():
    plan = draw_clip(MiniConfig(train=400), "test", 5)
    assert plan == draw_clip(MiniConfig(train=900, test=6), "test", 5)
    assert plan != draw_clip(MiniConfig(seed=1), "test", 5)
    brighter = draw_clip(MiniConfig(rho=0.0), "test", 5)
    assert (plan.label, plan.dives, plan.camera, plan.fps) == (
        brighter.label,
        brighter.dives,
        brighter.camera,
        brighter.fps,
    )


@pytest.mark.parametrize("classes", list(CLASS_SETS))
def test_boards_and_durations_do_not_tell_the_class(classes):
    config = MiniConfig(classes=classes)
    plans = [draw_clip(config, "train", index) for index in range(40 * len(config.class_ids))]
    assert hardest(config) == {"mini8": 2.5, "mini12": 3.5, "full47": 4.5}[classes]
    for quantity in ("board_m", "jump_m_s", "lead_in_s", "tail_s"):
        values = np.array([getattr(plan.dives[0], quantity) for plan in plans])
        groups = [values[[plan.label == label for plan in plans]] for label in config.class_ids]
        between = len(groups[0]) * np.var([group.mean() for group in groups], ddof=1)
        # An F ratio of (47 or fewer) x 40 draws: beyond 3.5 once in a thousand for eight classes, rarer for more.
        assert between / np.mean([group.var(ddof=1) for group in groups]) < 3.5


def test_plans_are_records():
    with pytest.raises(dataclasses.FrozenInstanceError):
        draw_clip(MiniConfig(), "test", 0).label = 3
