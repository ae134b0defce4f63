"""The scorecard beyond accuracy and rr: what it says about texture, and rr after subtracting chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmark import statistics
from benchmark.predictions import Predictions
from benchmark.scoring import Entry, score
from benchmark.table import render

CLASSES = tuple(f"dive{number}" for number in range(10))
N = 400


def answers(domain, split, hits):
    """``hits`` of N clips right, the same first ones in every domain."""
    label = np.arange(N) % 10
    said = np.where(np.arange(N) < hits, label, (label + 1) % 10)
    logits = np.eye(10, dtype=np.float32)[said]
    facts = {"content_hash": domain, "digits_source": None, "digits_sha256": None}
    return Predictions(domain, split, 0, CLASSES, clip_id=np.arange(N), label=label, logits=logits, **facts)


def card(**hits):
    domains = {"V": "val", "S1": "test", "S2": "test", "T": "test"}
    entry = Entry("a diver", "V", tuple(name for name in hits if name != "V"), (0,))
    return score(entry, {(0, name): answers(name, domains[name], count) for name, count in hits.items()})


@pytest.mark.parametrize(
    "texture, verdict, words",
    [(60, "dropped", "little texture bias"), (180, "not dropped", "asterisk"), (121, "open", "question mark")],
)
def test_texture_is_judged_by_the_interval_of_t_over_s1(texture, verdict, words):
    found = card(V=300, S1=120, S2=100, T=texture)
    assert found.texture.value == pytest.approx(texture / 120)
    assert found.texture_verdict == found.to_json()["texture_verdict"] == verdict
    assert words in render(found)
    correct = [np.arange(N)[None] < hits for hits in (texture, 120)]
    paired = statistics.target_ratio(*correct, np.arange(N), np.arange(N))
    apart = statistics.target_ratio(*correct)
    assert found.texture == paired
    assert paired.high - paired.low < apart.high - apart.low


def test_without_both_domains_nothing_is_said_about_texture():
    found = card(V=300, T=100)
    assert found.texture is None
    assert found.texture_verdict is None
    assert "T/S1" not in render(found)


def test_chance_corrected_ratio_has_an_interval_where_v_is_above_chance():
    row = card(V=300, T=100).rows[1]
    low, high = row.rr_chance_corrected_interval
    assert row.rr_chance_corrected == pytest.approx((0.25 - 0.1) / (0.75 - 0.1))
    assert low < row.rr_chance_corrected < high
    unsure = card(V=45, T=40)
    assert unsure.rows[1].rr_chance_corrected_interval is None
    assert not unsure.valid


def test_table_has_the_interval_of_the_corrected_ratio():
    found = card(V=300, T=100)
    low, high = found.rows[1].rr_chance_corrected_interval
    line = next(line for line in render(found).splitlines() if line.startswith("T "))
    assert line.endswith(f"0.231  {low:.2f}..{high:.2f}")
    unsure = next(line for line in render(card(V=45, T=40)).splitlines() if line.startswith("T "))
    assert unsure.split()[-1] == "-"


def test_majority_is_shown_where_it_is_not_chance():
    assert "majority" not in render(card(V=300, T=100))
    label = np.where(np.arange(N) < 52, 0, np.arange(N) % 10)
    uneven = dataclasses.replace(answers("T", "test", 100), label=label)
    found = score(Entry("a diver", "V", ("T",), (0,)), {(0, "V"): answers("V", "val", 300), (0, "T"): uneven})
    text = render(found)
    line = next(line for line in text.splitlines() if line.startswith("majority"))
    assert line.split() == ["majority", f"{found.rows[1].majority:.3f}"]
    assert f"V 0.100, T {found.rows[1].majority:.3f}" in text
    assert max(map(len, text.splitlines())) <= 110
