from __future__ import annotations

import copy
import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timesformer_pytorch
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmark.experiments import DIVING48_CLASSES, DIVING48_EXPERIMENTS
from benchmark.models import MODELS, build_model, count_parameters, timesformer, trainable_parameters
from benchmark.models.specs import DIVING48, TEMPORAL_SHAPE, ClipShape, TimeSformerSpec
from benchmark.models.timesformer import TimeSformer
from tsgen.common.errors import UsageError

TABLE8 = Path(__file__).parents[1] / "oracles" / "table8.csv"
SMALL = ClipShape(5, 2, 32, 48)
"""Frames that are not square, with more than one channel: patches in a wrong order would show."""

LARGE = ClipShape(70, 2, 144, 144)


def make(head_dim=4, heads=2, depth=2, shape=SMALL, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return TimeSformer(TimeSformerSpec(head_dim, heads, depth), shape, 5).to(dtype)


def clips_and_labels(shape=SMALL, n=3, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.rand(n, shape.frames, shape.channels, shape.height, shape.width, generator=generator, dtype=dtype)
    return clips, torch.arange(n) % 5


def assert_same(mine, theirs, atol=1e-10):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("head_dim", [2, 4, 6, 8])
@pytest.mark.parametrize("heads, depth", [(1, 1), (8, 2)])
def test_fast_path_equals_the_package_over_training_steps(head_dim, heads, depth):
    fast = make(head_dim, heads, depth)
    plain = copy.deepcopy(fast)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-5) for m in (fast, plain)]
    for step in range(3):
        clips, labels = clips_and_labels(seed=step)
        outputs = []
        for forward, optimizer in zip((fast, plain.plain), optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(forward(clips))
            F.cross_entropy(outputs[-1], labels).backward()
            optimizer.step()
        assert_same(*outputs)
        for (name, mine), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
            assert theirs.grad is not None and theirs.grad.abs().max() > 0, name
            assert_same(mine.grad, theirs.grad)
            assert_same(mine, theirs)


def test_gradients_of_the_clips_are_those_of_the_package():
    model, (clips, labels) = make(), clips_and_labels()
    clips.requires_grad_()
    mine, theirs = (torch.autograd.grad(F.cross_entropy(f(clips), labels), clips)[0] for f in (model, model.plain))
    assert_same(mine, theirs)


def test_any_number_of_frames_and_frame_size_after_building():
    model = make()
    for shape in (ClipShape(1, 2, 16, 16), ClipShape(7, 2, 16, 16), ClipShape(7, 2, 16, 32)):
        clips, _ = clips_and_labels(shape)
        assert_same(model(clips), model.plain(clips))


def test_clips_that_are_not_contiguous():
    model, (clips, _) = make(), clips_and_labels()
    turned = clips.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert_same(model(turned), model.plain(clips))


def test_single_precision_stays_near_double():
    model, (clips, _) = make(8, 8), clips_and_labels()
    exact = model(clips)
    assert_same(model.float()(clips.float()).double(), exact, atol=1e-5)
    assert_same(model.double()(clips).shape, exact.shape)


def test_state_and_first_weights_are_those_of_the_package():
    torch.manual_seed(3)
    theirs = timesformer_pytorch.TimeSformer(
        dim=16, num_frames=20, num_classes=5, image_size=64, channels=1, depth=3, heads=8, dim_head=2
    )
    torch.manual_seed(3)
    mine = build_model("timesf-8", 2)
    assert list(mine.state_dict()) == [f"net.{name}" for name in theirs.state_dict()]
    for name, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[f"net.{name}"], value), name


@pytest.mark.parametrize("model, hidden, expected", [("timesf-8", 10, 409285), ("timesf-1", 10, 9165)])
def test_counts_not_printed_in_table_8(model, hidden, expected):
    assert count_parameters(MODELS[model].spec_of(hidden)) == expected


@pytest.mark.parametrize("model, heads", [("timesf-1", "timesf1"), ("timesf-8", "timesf8")])
def test_counts_of_table_8(model, heads):
    misprints = {("timesf8", 2): ("20451", "20421")}  # the paper's own timesf-1 at h = 16 has the identical shape
    with TABLE8.open() as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 9
    for row in rows:
        printed, right = misprints.get((heads, int(row["hidden"])), (row[heads], row[heads]))
        assert row[heads] == printed
        assert count_parameters(MODELS[model].spec_of(int(row["hidden"]))) == int(right)


@pytest.mark.parametrize("experiment, expected", [("a", 84_795_440), ("e", 14_675_760)])
def test_counts_of_the_diving48_models(experiment, expected):
    spec = DIVING48_EXPERIMENTS[experiment].models["TimeSformer"]
    assert count_parameters(spec, DIVING48, DIVING48_CLASSES) == expected


def test_the_models_page_shows_the_counts(run_cli):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert f"```\n{run_cli('rac-bench', 'params').stdout}```" in page


def stacked(models):
    base = copy.deepcopy(models[0]).to("meta")
    return base, *stack_module_state(models)


def test_ensemble_equals_its_members():
    models = [make(seed=seed) for seed in range(3)]
    base, parameters, buffers = stacked(models)
    clips, labels = clips_and_labels()
    outputs = vmap(lambda p, b: functional_call(base, (p, b), (clips,)))(parameters, buffers)
    sum(F.cross_entropy(each, labels) for each in outputs).backward()
    for i, model in enumerate(models):
        alone = model(clips)
        assert_same(outputs[i], alone)
        F.cross_entropy(alone, labels).backward()
        for name, parameter in model.named_parameters():
            assert_same(parameters[name].grad[i], parameter.grad)


def test_ensemble_by_vmap_of_grad_with_clips_of_its_own_and_again():
    """A table kept from inside a transform must not be a tensor of that transform."""
    models = [make(seed=seed) for seed in range(3)]
    base, parameters, buffers = stacked(models)
    batches = [clips_and_labels(seed=seed) for seed in range(3)]
    clips, labels = (torch.stack(each) for each in zip(*batches, strict=True))

    def loss(p, b, clips, labels):
        return F.cross_entropy(functional_call(base, (p, b), (clips,)), labels)

    for _ in range(2):
        gradients = vmap(grad(loss))(parameters, buffers, clips, labels)
    for i, model in enumerate(models):
        F.cross_entropy(model(clips[i]), labels[i]).backward()
        for name, parameter in model.named_parameters():
            assert_same(gradients[name][i], parameter.grad)
    with torch.no_grad():
        members = torch.stack([functional_call(base, models[i].state_dict(), (clips[i],)) for i in range(3)])
    assert_same(members, torch.stack([model.plain(c) for model, c in zip(models, clips, strict=True)]).detach())


def test_training_after_inference_mode():
    model, (clips, labels) = make(), clips_and_labels()
    with torch.inference_mode():
        model(clips)
    F.cross_entropy(model(clips), labels).backward()


def test_bfloat16_autocast_trains_and_stays_near():
    model = make(8, 8, shape=TEMPORAL_SHAPE, dtype=torch.float32)
    clips, labels = clips_and_labels(TEMPORAL_SHAPE, dtype=torch.float32)
    exact = model(clips)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips)
    F.cross_entropy(logits.float(), labels).backward()
    assert logits.dtype == torch.bfloat16
    assert 0 < (logits - exact).abs().max() < 0.1
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_same_bytes_twice_with_deterministic_algorithms():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            model, (clips, labels) = make(dtype=torch.float32), clips_and_labels(dtype=torch.float32)
            F.cross_entropy(model(clips), labels).backward()
            runs.append([p.grad for p in model.parameters()])
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("head_dim, order, seen", [
    (2, (1, 0, 2), False),  # no place at all
    (4, (1, 0, 2), True),
    (10, (2, 1, 0), False),  # the outer columns are at -pi and pi, times 1 and 5: one place
    (12, (2, 1, 0), True),
])  # fmt: skip
def test_quirk_what_the_package_sees_of_space(head_dim, order, seen):
    """The columns of patches in another order: the answer of a model that knows the places of both changes."""
    model, (clips, _) = make(head_dim), clips_and_labels()
    moved = clips.unflatten(-1, (3, 16))[..., order, :].flatten(-2)
    assert ((model.plain(moved) - model.plain(clips)).abs().max() > 1e-6) == seen


def gradients(forward, shape, dtype, device="cpu"):
    clips, labels = clips_and_labels(shape, n=2, dtype=dtype)
    model = getattr(forward, "__self__", forward)
    return torch.autograd.grad(F.cross_entropy(forward(clips.to(device)), labels.to(device)), list(model.parameters()))


def test_groups_too_large_to_write_attention_out():
    assert LARGE.frames > timesformer.SMALL_GROUP
    assert (LARGE.height // 16) * (LARGE.width // 16) > timesformer.SMALL_GROUP
    model = make(shape=LARGE)
    for mine, theirs in zip(*(gradients(f, LARGE, torch.float64) for f in (model, model.plain)), strict=True):
        assert_same(mine, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small groups", "large groups"])
@pytest.mark.parametrize("head_dim, heads", [(2, 1), (8, 8), (32, 8)])
def test_cuda_equals_the_package(head_dim, heads, shape):
    model = make(head_dim, heads, shape=shape, dtype=torch.float32).cuda()
    both = (gradients(f, shape, torch.float32, "cuda") for f in (model, model.plain))
    for mine, theirs in zip(*both, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec, shape, message", [
    (TimeSformerSpec(4, 1, 1), ClipShape(20, 1, 60, 64), "frames of 60x64 px cannot be cut into patches of 16x16"),
    (TimeSformerSpec(3, 1, 1), TEMPORAL_SHAPE, "head_dim 3 is odd"),
])  # fmt: skip
def test_what_cannot_be_built_is_said(spec, shape, message):
    with pytest.raises(UsageError, match=message):
        TimeSformer(spec, shape, 5)


VARIANT = TimeSformerSpec(4, 2, 2, attention_dropout=0.3, feed_forward_dropout=0.2, extra_linear=True)


def variant(**changes):
    torch.manual_seed(0)
    return TimeSformer(dataclasses.replace(VARIANT, **changes), SMALL, 5).double()


def test_an_extra_linear_layer_takes_the_predictions():
    plain, (clips, _) = variant(extra_linear=False), clips_and_labels()
    model = variant()
    assert set(model.state_dict()) - set(plain.state_dict()) == {"extra.weight", "extra.bias"}
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert trainable_parameters(model) == trainable_parameters(plain) + 5 * 5 + 5
    model.eval(), plain.eval()
    assert_same(model(clips), F.linear(plain(clips), model.extra.weight, model.extra.bias))
    assert_same(model(clips), model.plain(clips))


def test_dropout_is_for_training_alone_and_changes_no_weights():
    model, without = variant(), variant(attention_dropout=0.0, feed_forward_dropout=0.0)
    clips, _ = clips_and_labels()
    assert not torch.equal(model(clips), model(clips))
    assert_same(model.eval()(clips), without(clips))
    assert list(model.state_dict()) == list(without.state_dict())


def assert_trains_alike(model, begin):
    """Logits and all gradients of both forward passes, each after ``begin``."""
    clips, labels = clips_and_labels()
    found = []
    for forward in (model.plain, model):
        begin()
        logits = forward(clips)
        found.append((logits, *torch.autograd.grad(F.cross_entropy(logits, labels), list(model.parameters()))))
    for theirs, mine in zip(*found, strict=True):
        assert_same(mine, theirs)


def test_dropout_draws_like_the_package_up_to_the_last_layer():
    """With torch's own random numbers; the last layer draws for the cls token alone, so that is left out."""
    model = variant(depth=3)
    _, space, feed_forward = model.net.layers[-1]
    space.fn.to_out[1].p = feed_forward.fn.net[2].p = 0.0
    assert_trains_alike(model, lambda: torch.manual_seed(7))


def test_dropout_is_where_the_package_has_it(monkeypatch):
    """The masks that the package drew, in the last layer those of the cls token, give the same function."""
    drawn, given = [], []

    def draw(x, p, training, inplace=False):
        drawn.append((torch.rand_like(x) >= p) / (1 - p))
        given.append(drawn[-1])
        return x * drawn[-1]

    def again(x, p, training, inplace=False):
        return x * given.pop(0)[:, : x.shape[1]]

    runs = iter((draw, again))
    model = variant()
    assert_trains_alike(model, lambda: monkeypatch.setattr(F, "dropout", next(runs)))
    assert len(drawn) == 3 * VARIANT.depth and not given
    rates = [float((mask == 0).double().mean()) for mask in drawn]
    assert rates == pytest.approx([0.3, 0.3, 0.2] * VARIANT.depth, abs=0.05)


@pytest.mark.parametrize("name", ["attention_dropout", "feed_forward_dropout"])
@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_probabilities_that_are_none(name, p):
    with pytest.raises(ValueError, match=f"{name} .* is not possible"):
        dataclasses.replace(VARIANT, **{name: p})


def test_the_package_compiles_without_its_warning(tmp_path):
    """From a copy that has no bytecode yet: SyntaxWarnings come with the compilation."""
    source = Path(timesformer_pytorch.__file__).parent
    shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    imports = "import benchmark.models.timesformer, timesformer_pytorch; print(timesformer_pytorch.__file__)"
    command = [sys.executable, "-B", "-W", "error::SyntaxWarning", "-c", imports]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(str(tmp_path))
