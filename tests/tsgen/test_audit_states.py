"""The number of states of a class, against the supplement, plain enumeration and what the sampler draws."""

from __future__ import annotations

import numpy as np
import pytest

from tsgen.audit.states import count_class, count_states, enumerate_variants, path_probabilities
from tsgen.common.errors import UsageError
from tsgen.domains import DOMAINS, get_domain
from tsgen.motion import SUBPIXEL_BITS, integrate
from tsgen.sampling import sample_clips
from tsgen.trajectories import TRAJECTORIES

CLASS_NAMES = tuple(TRAJECTORIES)


@pytest.mark.parametrize(("name", "states"), [("circle", 31_360), ("spiral", 7_200)])
def test_supplement_6_1(name, states):
    found = count_class(name, TRAJECTORIES[name], DOMAINS["2dot"], 800, 200)
    assert found.states == states
    assert found.shared_linear == pytest.approx(800 * 200 / states)


def test_22_spiral_clips():
    """800 / 7200 of the 200 spiral validation clips: counted in pairs; a clip can only be shared once, so 21."""
    found = count_class("spiral", TRAJECTORIES["spiral"], DOMAINS["2dot"], 800, 200)
    assert round(found.shared_linear) == 22
    assert found.shared_states == pytest.approx(200 * (1 - (1 - 1 / 7200) ** 800))
    assert round(found.shared_states) == 21


def plain_paths(name, domain):
    """Every state of a class with one heading, walked one by one."""
    variants = enumerate_variants(TRAJECTORIES[name], domain)
    probability = {}
    for velocity, low, high, share in zip(
        variants.velocities, variants.low, variants.high, variants.probability, strict=True
    ):
        starts = np.stack(np.meshgrid(np.arange(low, high), np.arange(low, high)), axis=-1).reshape(-1, 2)
        corner = (
            integrate(starts, np.repeat(velocity[None], len(starts), axis=0), domain.size_px - domain.width_px)
            >> SUBPIXEL_BITS
        )
        for path in corner.astype(np.int16):
            key = path.tobytes()
            probability[key] = probability.get(key, 0) + share
    return probability


@pytest.mark.parametrize("name", ["circle", "spiral", "rectangle"])
@pytest.mark.parametrize("frames", [3, 20])
def test_paths_against_plain_enumeration(name, frames):
    domain = DOMAINS["mnist"].with_dials(num_frames=frames)
    plain = plain_paths(name, domain)
    found = path_probabilities(enumerate_variants(TRAJECTORIES[name], domain), domain)
    assert len(found) == len(plain)
    np.testing.assert_allclose(np.sort(found), np.sort(list(plain.values())), rtol=1e-9)
    if frames == 3 and name == "spiral":
        assert len(found) < count_class(name, TRAJECTORIES[name], domain, 8, 2).states, "states that look alike"


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_the_sampler_repeats_as_often_as_expected(name):
    domain = DOMAINS["mnist"]
    if name == "line":  # counting its paths takes seconds in a whole frame
        domain = domain.with_dials(size_px=64, width_px=18, spiral_reach=5)
    specs = sample_clips(domain, "train", 0, np.arange(40_000), 10)
    drawn = specs.corner_px[specs.label == CLASS_NAMES.index(name)].astype(np.int16)
    repeated = len(drawn) - len(np.unique(drawn.reshape(len(drawn), -1), axis=0))
    expected = count_class(name, TRAJECTORIES[name], domain, len(drawn), 1).repeated_paths
    assert abs(repeated - expected) < 5 * max(1.0, expected**0.5)


def test_probabilities_sum_to_one():
    domain = DOMAINS["mnist"]
    for name in ("circle", "rectangle", "arc"):
        variants = enumerate_variants(TRAJECTORIES[name], domain)
        assert path_probabilities(variants, domain).sum() == pytest.approx(1.0)


def test_refusals():
    with pytest.raises(UsageError, match="profile 'strict'"):
        count_states(get_domain("2dot", "strict"), 10, 10)
    with pytest.raises(UsageError, match="training sample of 0"):
        count_states(DOMAINS["2dot"], 0, 10)
