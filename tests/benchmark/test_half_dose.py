"""The half-robustness dose: known curves, and its coverage by simulation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from benchmark.probes.curve import half_doses, mode, unimodal
from benchmark.statistics import Estimate, robustness_ratio


def curve_of(values, spread=0.05):
    return [Estimate(value, value - spread, value + spread, "clips") for value in values]


def test_unimodal_fit_pools_what_goes_the_wrong_way():
    values = np.array([0.2, 0.6, 0.5, 0.9, 0.7, 0.8, 0.1])
    fit = unimodal(values, mode(values))
    assert fit == pytest.approx([0.2, 0.55, 0.55, 0.9, 0.75, 0.75, 0.1])
    for straight in (np.linspace(0, 1, 5), np.linspace(1, 0, 5)):
        assert unimodal(straight, mode(straight)) == pytest.approx(straight)


def test_half_dose_of_a_falling_line_and_of_its_mirror_image():
    rising, falling = half_doses([0, 1, 2, 4], curve_of([1.0, 0.8, 0.6, 0.2]))
    assert (falling.value, falling.low, falling.high) == pytest.approx((2.5, 2.25, 2.75))
    assert rising.value is None
    assert rising.not_reached == "rr is still 1.00 at 0"
    rising, falling = half_doses([1, 3, 4, 5], curve_of([0.2, 0.6, 0.8, 1.0]))
    assert (rising.value, rising.low, rising.high) == pytest.approx((2.5, 2.25, 2.75))
    assert falling.not_reached == "rr is still 1.00 at 5"


def test_a_peak_has_two_half_doses_and_a_flat_curve_none():
    rising, falling = half_doses([1, 2, 3, 5], curve_of([0.3, 0.9, 0.7, 0.3]))
    assert (rising.value, falling.value) == pytest.approx((1 + 1 / 3, 4))
    for low in half_doses([1, 2, 3], curve_of([0.3, 0.48, 0.4])):
        assert (low.value, low.not_reached) == (None, "rr is at most 0.48")
    open_ended = half_doses([1, 2], curve_of([0.9, 0.46]))[1]
    assert (open_ended.high, open_ended.low) == (None, pytest.approx(1 + 0.35 / 0.44))
    assert "beyond]" in open_ended.describe("width_px")


@pytest.mark.parametrize("seeds, seed_sd", [(1, 0.0), (5, 0.3)])
def test_half_dose_covers(seeds, seed_sd):
    """Clips shared by all doses and seeds, V = 0.8; the truth is the crossing of the true curve."""
    rng = np.random.default_rng(10 + seeds)
    doses, truth = np.array([1, 2, 3, 5, 8]), np.array([0.78, 0.70, 0.55, 0.33, 0.24])
    half = 3 + 2 * (0.55 - 0.4) / (0.55 - 0.33)

    def outcomes(p, n, seed, sd):
        noise = rng.normal(size=(seeds, len(p), n)) + rng.normal(size=n) + seed[:, None, None]
        return special.ndtri(p)[None, :, None] * math.sqrt(2 + sd**2) + noise > 0

    covered = []
    for _ in range(150):
        seed = rng.normal(0, seed_sd, seeds)
        val, target = outcomes(np.array([0.8]), 1000, 0 * seed, 0)[:, 0], outcomes(truth, 500, seed, seed_sd)
        found = half_doses(doses, [robustness_ratio(val, target[:, k]) for k in range(len(doses))])[1]
        covered.append((found.low or -9) <= half <= (found.high or 99))
    assert 0.88 <= np.mean(covered) < 1  # an interval that never misses says nothing


def test_the_example_in_the_docs_is_that_of_its_results():
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / "probes.md").read_text()
    controls, width = (
        json.loads((docs / "results" / "probes" / name).read_text()) for name in ("controls.json", "width.json")
    )
    for row in controls["domains"][0]["rows"]:
        drop = row["drop"]
        said = "" if drop is None else f"{drop['value']:.3f} ({drop['low']:.3f}..{drop['high']:.3f})"
        assert f"| `{row['probe']}` | {row['accuracy']['value']:.3f} | {said} |" in text
    for scale, key in (("rr", "rr"), ("rr*", "rr_chance_corrected")):
        ratios = [Estimate(**dose[key]) for dose in width["doses"]]
        for dose, ratio in zip(width["doses"], ratios, strict=True):
            line = next(line for line in text.splitlines() if line.split()[:1] == [f"{dose['dose']:g}"])
            assert f"{ratio.value:.3f}  {ratio.low:.3f} .. {ratio.high:.3f}" in line
        passages = half_doses([dose["dose"] for dose in width["doses"]], ratios)
        assert [passage.to_json() for passage in passages] == width["half_robustness_dose"][scale]
        for passage in passages:
            assert f"  {scale:3} {passage.describe('width_px')}" in text
