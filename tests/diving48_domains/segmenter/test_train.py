"""Training: it learns, an interruption changes nothing, and what cannot be trained is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from diving48_domains.labels import LabelledFrame
from diving48_domains.segmenter.network import DetectOptions, NetworkSpec, build_network
from diving48_domains.segmenter.predict import Segmenter
from diving48_domains.segmenter.train import Epoch, fit, learning_rate, make_options
from tsgen.common.errors import DataError, UsageError

SPEC = NetworkSpec("tiny", "group")


def train(frames, options, **more):
    network = build_network(SPEC, options.seed)
    return network, fit(network, SPEC, frames[:10], frames[10:], options, quiet=True, **more)


@pytest.fixture(scope="module")
def options():
    return make_options("tiny", epochs=3, batch_size=2)


def test_it_learns(frames):
    _, fitted = train(frames, make_options("tiny", epochs=8, batch_size=2, learning_rate=2e-3))
    losses = [epoch.loss for epoch in fitted.history]
    assert losses[-1] < 0.75 * losses[0], losses
    assert fitted.best.metrics["mask_ap50"] > 0.05


class StopHereError(Exception):
    pass


def test_an_interrupted_training_ends_the_same(frames, options, tmp_path):
    _, whole = train(frames, options)
    state = tmp_path / "state.safetensors"

    def stop(epoch: Epoch):
        if epoch.number == 2:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(frames, options, state=state, identity="a", watch=stop)
    torch.manual_seed(99)  # the global generator has no part in it
    _, resumed = train(frames, options, state=state, identity="a")
    assert resumed.history == whole.history
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())


def test_a_state_of_other_options_or_frames_is_refused(frames, options, tmp_path):
    state = tmp_path / "state.safetensors"
    one = make_options("tiny", epochs=1, batch_size=2)
    train(frames, one, state=state, identity="a")
    with pytest.raises(UsageError, match=r"begun with other options \("):
        train(frames, options, state=state, identity="a")
    with pytest.raises(UsageError, match="begun with other labelled frames"):
        train(frames, one, state=state, identity="b")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DataError, match="no whole safetensors file"):
        train(frames, one, state=state, identity="a")


def test_seeds_differ_and_repeat(frames):
    one = make_options("tiny", epochs=1, batch_size=5)
    runs = [train(frames, make_options("tiny", epochs=1, batch_size=5, seed=seed))[1] for seed in (0, 0, 1)]
    assert one.seed == 0
    assert runs[0].history == runs[1].history != runs[2].history


def test_patience_and_the_first_of_equals(frames):
    """At a rate of next to nothing no epoch is better than the first."""
    still = make_options("tiny", epochs=9, patience=2, batch_size=5, learning_rate=1e-12)
    _, fitted = train(frames, still)
    assert (len(fitted.history), fitted.best.number) == (3, 1)


def test_frames_of_other_sizes_and_without_divers_can_be_trained_on(frames, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((80, 72, 3), np.uint8)).save(tmp_path / "empty.png")
    empty = LabelledFrame("empty", tmp_path / "empty.png", np.zeros((0, 80, 72), bool), "empty")
    network = build_network(SPEC)
    one = make_options("tiny", epochs=1, batch_size=4)
    fitted = fit(network, SPEC, [*frames[:3], empty], [frames[4], empty], one, quiet=True)
    assert np.isfinite(fitted.history[0].loss)
    with pytest.raises(DataError, match="none of the 1 training frames has a labelled diver"):
        fit(network, SPEC, [empty], [frames[0]], one, quiet=True)


def test_a_loss_that_is_not_finite_is_told(frames):
    with pytest.raises(DataError, match="not finite in epoch 1; use a smaller --learning-rate"):
        train(frames, make_options("tiny", epochs=1, optimizer="sgd", learning_rate=1e30, clip_norm=0.0))


def test_the_schedule():
    options = make_options("resnet50", epochs=11)
    rates = [learning_rate(options, step, 10) for step in range(110)]
    assert rates[0] == pytest.approx(5e-4) and rates[9] == rates[10] == pytest.approx(5e-3)
    assert all(after <= before for before, after in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(5e-5, rel=0.05)
    constant = make_options("resnet50", schedule="constant")
    assert learning_rate(constant, 900, 10) == 5e-3


def test_the_published_recipe():
    options = make_options("resnet50")
    assert (options.optimizer, options.learning_rate, options.momentum, options.weight_decay) == (
        "sgd",
        5e-3,
        0.9,
        5e-4,
    )
    assert (options.batch_size, options.epochs, options.patience, options.augment.flip) == (2, 100, 20, 0.5)
    assert options.clip_norm == 0 < make_options("resnet50", weights="none").clip_norm
    for bad in ({"epochs": 0}, {"learning_rate": float("nan")}, {"seed": -1}, {"schedule": "step"}):
        with pytest.raises(UsageError):
            make_options("tiny", **bad)


def test_instances_of_a_clip(frames):
    network, _ = train(frames, make_options("tiny", epochs=1, batch_size=5))
    segmenter = Segmenter(network.eval(), SPEC, torch.device("cpu"), "0" * 64, {}, DetectOptions(0.0, 3))
    clip = np.stack([frame.read_image() for frame in frames[:3]] * 15)  # more than one batch
    found = segmenter.instances(clip)
    assert len(found) == 45
    for instances in found:
        assert len(instances) == 3
        assert all(one.mask.shape == (28, 28) and one.mask.dtype == np.uint8 for one in instances)
        assert all(one.box.min() >= 0 and one.box[2] <= 96 and one.box[3] <= 64 for one in instances)
    again = segmenter.instances(clip)
    assert all(
        a.score == b.score and np.array_equal(a.box, b.box) and np.array_equal(a.mask, b.mask)
        for x, y in zip(found, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert segmenter.instances(clip[:0]) == ()
    with pytest.raises(DataError, match="uint8"):
        segmenter.instances(clip.astype(np.float32))
