from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from benchmark.config import make_config
from benchmark.predictions import Predictions, read_predictions, write_predictions
from benchmark.scoring import score
from benchmark.table import render
from tsgen.common.errors import DataError

CLASSES = ("circle", "spiral", "line", "rectangle", "arc")


def predictions(domain="2dot", split="val", seed=42, n=50, hits=40, **changes):
    label = np.arange(n) % 5
    logits = np.full((n, 5), -1.0, np.float32)
    logits[np.arange(n), (label + (np.arange(n) >= hits)) % 5] = 1.0
    fields = {
        "class_names": CLASSES,
        "content_hash": "ab" * 32,
        "digits_source": None,
        "digits_sha256": None,
        "clip_id": np.arange(n),
        "label": label,
        "logits": logits,
    }
    return Predictions(domain=domain, split=split, seed=seed, **{**fields, **changes})


def test_round_trip(tmp_path):
    path = tmp_path / "seed42" / "2dot.h5"
    write_predictions(path, predictions())
    back = read_predictions(path)
    assert back.correct.sum() == 40
    for field in dataclasses.fields(Predictions):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(predictions(), field.name))


def nan_logits():
    logits = predictions().logits.copy()
    logits[3, 1] = np.nan
    return logits


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"logits": nan_logits()}, "NaN or infinity"),
        ({"logits": np.zeros((50, 4), np.float32)}, r"\(50, 4\); expected \(50, 5\)"),
        ({"logits": np.zeros((50, 5))}, "expected int64, int64, float32"),
        ({"clip_id": np.zeros(50, np.int64)}, "a clip_id occurs twice"),
        ({"label": np.arange(49)}, r"label \(49,\) are not both"),
        ({"label": np.full(50, 5)}, "labels outside 0..4"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        predictions(**changes)
    path = tmp_path / "p.h5"
    write_predictions(path, predictions())
    with h5py.File(path, "a") as file:
        for name, values in changes.items():
            del file[name]
            file[name] = values
    with pytest.raises(DataError, match=message):
        read_predictions(path)


@pytest.mark.parametrize(
    "attribute, value, message",
    [("format", "x", "not a predictions file"), ("schema_version", 2, "schema version"), ("seed", "x", "damaged")],
)
def test_wrong_attributes_are_refused(tmp_path, attribute, value, message):
    path = tmp_path / "p.h5"
    write_predictions(path, predictions())
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "p.h5"
    write_predictions(path, predictions())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="damaged"):
        read_predictions(path)


def a_run(seeds=(42,), **of_mnist):
    config = make_config("quick", seeds=seeds)
    group = {}
    for number, seed in enumerate(seeds):
        group[seed, "2dot"] = predictions(seed=seed, n=1000, hits=800 + number)
        for domain, hits in (("5dot", 400), ("mnist", 200), ("mnist-bg", 0)):
            changes = of_mnist if (domain, number) == ("mnist", len(seeds) - 1) else {}
            group[seed, domain] = predictions(domain, "test", seed, n=500, hits=hits + number, **changes)
    return config, group


def test_score_and_table():
    card = score(*a_run())
    rr = {row.domain: row.rr and row.rr.value for row in card.rows}
    assert rr == {"2dot": None, "5dot": 1.0, "mnist": 0.5, "mnist-bg": 0.0}
    assert card.rows[2].rr_chance_corrected == pytest.approx(1 / 3)
    assert card.valid
    text = render(card)
    assert "0.774 .. 0.824" in text  # Clopper-Pearson of 800 in 1000
    assert max(map(len, text.splitlines())) <= 110
    assert "one seed says nothing" in text
    assert "WARNING" not in text


def test_groups_of_seeds_say_so():
    card = score(*a_run((42, 61, 47, 53, 57)))
    assert {row.rr.variance for row in card.rows if row.rr} == {"seeds+clips"}
    assert card.rows[0].hits == (800, 801, 802, 803, 804)
    assert "intervals carry seeds and clips" in render(card)
    assert "take these intervals as 90%" in render(score(*a_run((1, 2))))


def test_training_at_chance_is_flagged():
    config, group = a_run()
    group[42, "2dot"] = predictions(n=1000, hits=210)
    card = score(config, group)
    assert not card.valid
    assert "WARNING: V is not above guessing" in render(card)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"content_hash": "cd" * 32}, "seeds 42 and 61 were evaluated on different mnist clips"),
        ({"clip_id": np.arange(500)[::-1].copy()}, "seeds 42 and 61 have other clips or labels for mnist"),
    ],
)
def test_seeds_must_have_answered_the_same_questions(changes, message):
    with pytest.raises(DataError, match=message):
        score(*a_run((42, 61), **changes))


def test_files_in_each_others_place_are_refused():
    config, group = a_run()
    group[42, "5dot"] = group[42, "mnist"]
    with pytest.raises(DataError, match="seed 42 on 5dot say they are of seed 42 on mnist"):
        score(config, group)
