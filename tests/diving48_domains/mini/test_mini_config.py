"""The recipe of a mini data set: what it refuses, how labels and venues are drawn, what the dial does."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from diving48_domains.mini.config import (
    CLASS_SETS,
    SPLITS,
    VENUE_KEYS,
    MiniConfig,
    bound_venue,
    default_labels,
    label_at,
    venue_at,
    venue_keys,
    venues_in_use,
)
from diving48_domains.vocabulary import DIVE_CLASSES, EMPTY_IN_V2
from tsgen.common.errors import DataError, UsageError


def test_class_sets_are_real_classes_that_have_clips():
    assert CLASS_SETS["mini8"] == (8, 15, 17, 19, 25, 34, 39, 41)
    assert [len(classes) for classes in CLASS_SETS.values()] == [8, 12, 47]
    for classes in CLASS_SETS.values():
        assert len(set(classes)) == len(classes) and EMPTY_IN_V2 not in classes
        assert {DIVE_CLASSES[label].takeoff for label in classes} == {"Back", "Forward", "Inward", "Reverse"}
        assert {DIVE_CLASSES[label].position for label in classes} >= {"FREE", "PIKE", "TUCK"}
    assert set(CLASS_SETS["mini8"]) < set(CLASS_SETS["mini12"]) < set(CLASS_SETS["full47"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": "mini9"}, "Did you mean 'mini8'"),
        ({"venue_by": "takeof"}, "Did you mean 'takeoff'"),
        ({"rho": 1.01}, "0 .no bias. to 1"),
        ({"rho": float("nan")}, "0 .no bias. to 1"),
        ({"train": -1}, "0..99999"),
        ({"train": 1.5}, "a whole number"),
        ({"seed": True}, "a whole number"),
        ({"seed": -1}, r"2\*\*63-1"),
        ({"width": 161}, "even sides"),
        ({"height": 30}, "32 to 1920"),
        ({"train": 20}, "need 31 training clips"),
        ({"train": 1, "labels_train": 1, "labels_val": 1}, "need 2 training clips"),
        ({"labels_val": -1}, "0 or more"),
        (dict.fromkeys((*SPLITS, "labels_train", "labels_val"), 0), "at least one clip"),
    ],
)
def test_impossible_recipes_are_refused(change, told):
    with pytest.raises(UsageError, match=told):
        MiniConfig(**change)


def test_the_recipe_survives_json_and_refuses_other_versions():
    config = MiniConfig(classes="mini12", rho=1, seed=2**63 - 1)
    value = config.to_json()
    assert MiniConfig.from_json(value) == config and isinstance(config.rho, float)
    for damaged in (None, [], {}, value | {"stream_version": 0}, value | {"rho": "x"}, value | {"more": 1}):
        with pytest.raises(DataError, match="recipe"):
            MiniConfig.from_json(damaged)


@pytest.mark.parametrize("train", [0, 1, 2, 3, 15, 16, 30, 31, 32, 400])
def test_default_labels_are_possible_and_as_published_where_clips_suffice(train):
    labels = default_labels(train)
    MiniConfig(train=train, labels_train=labels[0], labels_val=labels[1])
    assert labels == (290, 13) or train < 31
    assert all(labels) or train < 2


@pytest.mark.parametrize("classes", list(CLASS_SETS))
def test_labels_are_balanced_shuffled_and_independent_between_splits(classes):
    config = MiniConfig(classes=classes)
    run = len(config.class_ids)
    labels = {split: [label_at(config, split, index) for index in range(4 * run)] for split in SPLITS}
    for one in labels.values():
        runs = [one[start : start + run] for start in range(0, 4 * run, run)]
        assert all(sorted(part) == list(config.class_ids) for part in runs)
        assert len({tuple(part) for part in runs}) == 4
    assert len({tuple(one) for one in labels.values()}) == len(SPLITS)


def bound_share(config, split, clips=600):
    return np.mean(
        [
            venue_at(config, split, index) == bound_venue(config, split, label_at(config, split, index))
            for index in range(clips)
        ]
    )


@pytest.mark.parametrize("venue_by", VENUE_KEYS)
def test_rho_is_the_share_of_clips_whose_venue_follows_the_class(venue_by):
    config = MiniConfig(venue_by=venue_by, rho=0.5)
    by_chance = 1 / len(venues_in_use(config))
    # 600 clips: 4 standard deviations are 0.08.
    for split in ("train", "test", "swap"):
        assert abs(bound_share(config, split) - (0.5 + 0.5 * by_chance)) < 0.08
    assert abs(bound_share(config, "shift") - by_chance) < 0.08
    for split in ("train", "val", "test", "swap"):
        assert bound_share(dataclasses.replace(config, rho=1.0), split, 40) == 1
        assert abs(bound_share(dataclasses.replace(config, rho=0.0), split) - by_chance) < 0.08


@pytest.mark.parametrize("classes", list(CLASS_SETS))
@pytest.mark.parametrize("venue_by", VENUE_KEYS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_swapping_takes_every_class_to_another_venue_in_use(classes, venue_by, seed):
    config = MiniConfig(classes=classes, venue_by=venue_by, seed=seed)
    used = set(venues_in_use(config).tolist())
    for label in config.class_ids:
        usual, swapped = bound_venue(config, "train", label), bound_venue(config, "swap", label)
        assert usual != swapped and {usual, swapped} <= used
        assert all(bound_venue(config, split, label) == usual for split in ("val", "test", "shift"))
    assert len(used) == min(16, len(venue_keys(config)))


def test_with_an_attribute_the_venue_is_the_same_for_all_classes_that_share_it():
    config = MiniConfig(classes="full47", venue_by="takeoff")
    venues = {(DIVE_CLASSES[label].takeoff, bound_venue(config, "train", label)) for label in config.class_ids}
    assert len(venues) == 4 == len({venue for _, venue in venues})


def test_turning_the_dial_only_ever_adds_bound_clips():
    shares = (0.0, 0.3, 0.7, 1.0)
    venues = np.array([[venue_at(MiniConfig(rho=rho), "train", index) for index in range(200)] for rho in shares])
    usual = np.array(
        [bound_venue(MiniConfig(), "train", label_at(MiniConfig(), "train", index)) for index in range(200)]
    )
    for lower, higher in itertools.pairwise(venues):
        assert ((lower == higher) | (higher == usual)).all() and (lower != higher).any()


def test_with_rho_0_venue_and_class_are_independent():
    config = MiniConfig(classes="mini8", rho=0.0)
    table = np.zeros((8, 16))
    for index in range(1600):
        table[config.class_ids.index(label_at(config, "train", index)), venue_at(config, "train", index)] += 1
    table = table[:, table.any(axis=0)]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    # Chi square with 49 degrees of freedom: 99.9 % lie below 85.4.
    assert ((table - expected) ** 2 / expected).sum() < 85.4
