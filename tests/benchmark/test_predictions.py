from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from benchmark.config import make_config
from benchmark.predictions import Predictions, read_predictions, write_predictions
from benchmark.scoring import Entry, score
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
    return Entry.of_run(config), group


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
    entry, group = a_run()
    group[42, "2dot"] = predictions(n=1000, hits=210)
    card = score(entry, group)
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
    entry, group = a_run()
    group[42, "5dot"] = group[42, "mnist"]
    with pytest.raises(DataError, match="seed 42 on 5dot say they are of seed 42 on mnist"):
        score(entry, group)


DIVES = tuple(f"dive{number}" for number in range(48))


def dives(domain, split, labels, ranked, **changes):
    """Top-5 answers on clips of 48 classes."""
    n = len(labels)
    return predictions(
        domain, split, n=n, hits=n, class_names=DIVES, label=np.asarray(labels), logits=None, top5=ranked, **changes
    )


def a_diving_entry():
    # Three classes of 48 have clips: 60 of class 0 (answered 7, 0, ...), 30 of class 1 (right), 10 of class 2 (wrong).
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    ranked = np.array([[7, 0, 3, 4, 5], [1, 0, 3, 4, 5], [9, 8, 3, 4, 5]])[labels]
    right = np.column_stack([labels, *(labels + 3 + k for k in range(4))])
    entry = Entry("a model", "V", ("S1", "T"), (42,), "the last epoch")
    group = {(42, "V"): dives("V", "val", labels, right), (42, "S1"): dives("S1", "test", labels, ranked)}
    group[42, "T"] = dives("T", "test", labels, ranked[:, ::-1].copy())
    return entry, group


def test_other_domains_and_classes_with_top5_and_balanced_accuracy():
    card = score(*a_diving_entry())
    assert card.chance == 1 / 48
    V, S1, T = card.rows
    assert (V.accuracy.value, S1.accuracy.value, T.accuracy.value) == (1.0, 0.3, 0.0)
    assert (S1.top5.value, T.top5.value) == (0.9, 0.9)
    assert S1.populated_classes == 3
    assert S1.balanced_accuracy == pytest.approx(1 / 3)
    assert S1.to_json()["top5_accuracy"]["value"] == 0.9
    text = render(card)
    assert [word for word in text.splitlines()[2].split() if word in ("top-5", "balanced")] == ["top-5", "balanced"]
    assert "Checkpoint, as the submission says: the last epoch" in text
    assert max(map(len, text.splitlines())) <= 110


def test_logits_and_their_ranking_score_alike():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 4, (200, 48)).astype(np.float32)  # many ties
    labels = rng.integers(0, 48, 200)
    one = predictions(n=200, class_names=DIVES, label=labels, logits=logits)
    other = dives("2dot", "val", labels, one.ranked)
    np.testing.assert_array_equal(one.correct, other.correct)
    np.testing.assert_array_equal(one.correct_in_top5, other.correct_in_top5)
    np.testing.assert_array_equal(one.predicted, one.ranked[:, 0])
    by_hand = [label in sorted(range(48), key=lambda c: (-row[c], c))[:5] for label, row in zip(labels, logits)]  # noqa: B905
    np.testing.assert_array_equal(one.correct_in_top5, by_hand)


def test_five_classes_have_no_top5():
    assert predictions().correct_in_top5 is None
    assert all(row.top5 is None for row in score(*a_run()).rows)
    assert "top-5" not in render(score(*a_run()))


@pytest.mark.parametrize(
    "top5, message",
    [
        (np.zeros((50, 5), np.int64), "repeats a class"),
        (np.tile(np.arange(1, 6), (50, 1)), "outside 0..4"),
        (np.tile(np.arange(4), (50, 1)), r"top5 are \(50, 4\); expected \(50, 5\)"),
        (None, "either logits or top5"),
    ],
)
def test_bad_rankings_are_refused(top5, message):
    with pytest.raises(DataError, match=message):
        predictions(logits=None, top5=top5)


def test_domains_with_other_classes_are_not_compared():
    entry, group = a_run()
    group[42, "mnist"] = predictions("mnist", "test", n=500, class_names=CLASSES[::-1])
    with pytest.raises(DataError, match="mnist has other classes than 2dot"):
        score(entry, group)
