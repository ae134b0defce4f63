from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, stack_module_state

from benchmark.experiments import DIVING48_CLASSES, DIVING48_EXPERIMENTS
from benchmark.models import MODELS, build_model, count_parameters
from benchmark.models.cnn3d import CNN3D
from benchmark.models.convlstm import ConvLSTM, head_inputs, least_side_px
from benchmark.models.reference import PlainCNN3D, PlainConvLSTM
from benchmark.models.specs import DIVING48, ClipShape, CNN3DSpec, ConvLSTMSpec, TimeSformerSpec
from tsgen.common.errors import UsageError

TABLE8 = Path(__file__).parents[1] / "oracles" / "table8.csv"
MISPRINTS = {("timesf8", 2): 20421}

POOLED = CNN3DSpec((3, 2), (3, 5), (True, True)), ClipShape(5, 1, 9, 8)
PADDED = CNN3DSpec((3, 2, 2), (5, 3, 3), (True, False, True), pool_padding=1), ClipShape(4, 3, 7, 6)
RECURRENT = ConvLSTMSpec((3, 2), (3, 3)), ClipShape(4, 1, 12, 8)
STRIDED = ConvLSTMSpec((3, 2), (5, 3), stride=2, readout="all"), ClipShape(3, 3, 21, 20)


def table8(model):
    column = model.replace("-", "")
    with TABLE8.open() as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        return [(int(row["hidden"]), MISPRINTS.get((column, int(row["hidden"])), int(row[column]))) for row in rows]


@pytest.mark.parametrize("model, hidden, expected", [(m, h, n) for m in MODELS for h, n in table8(m)])
def test_parameter_counts_are_those_of_table_8(model, hidden, expected):
    assert count_parameters(MODELS[model].spec_of(hidden)) == expected


@pytest.mark.parametrize(
    "model, expected", [("3dcnn", 12165), ("convlstm", 21865), ("timesf-8", 409285), ("timesf-1", 9165)]
)
def test_parameter_counts_not_printed_in_table_8(model, expected):
    assert count_parameters(MODELS[model].spec_of(10)) == expected


@pytest.mark.parametrize(
    "experiment, family, expected",
    [
        ("a", "3D CNN", 10_651_824),
        ("a", "ConvLSTM", 14_367_280),
        ("d", "3D CNN", 39_888_816),
        ("d", "ConvLSTM", 14_367_280),
        ("e", "3D CNN", 14_613_424),
    ],
)
def test_parameter_counts_on_diving48(experiment, family, expected):
    spec = DIVING48_EXPERIMENTS[experiment].models[family]
    assert count_parameters(spec, DIVING48, DIVING48_CLASSES) == expected


def test_the_printed_count_of_experiment_d_is_its_encoder():
    with torch.device("meta"):
        model = CNN3D(DIVING48_EXPERIMENTS["d"].models["3D CNN"], DIVING48, DIVING48_CLASSES)
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head")) == 23_299_968


@pytest.mark.parametrize("fast, plain, case", [(CNN3D, PlainCNN3D, PADDED), (ConvLSTM, PlainConvLSTM, STRIDED)])
def test_fast_and_plain_models_start_from_the_same_weights(fast, plain, case):
    states = []
    for model in (fast, plain):
        torch.manual_seed(3)
        states.append(model(*case, 5).state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


def assert_equal(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def clips_of(shape, *leading):
    size = (*leading, shape.frames, shape.channels, shape.height, shape.width)
    return torch.rand(size, dtype=torch.float64)


@pytest.mark.parametrize("spec, shape", [POOLED, PADDED])
def test_fast_cnn_equals_the_plain_one_over_several_steps(spec, shape):
    torch.manual_seed(0)
    plain, fast = models = PlainCNN3D(spec, shape, 5).double(), CNN3D(spec, shape, 5).double()
    fast.load_state_dict(plain.state_dict())
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-5) for model in models]
    for _ in range(3):
        clips, outputs = clips_of(shape, 6), []
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(model(clips))
            F.cross_entropy(outputs[-1], torch.arange(6) % 5).backward()
            optimizer.step()
        assert_equal(outputs[1], outputs[0])
        for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
            assert_equal(mine.grad, theirs.grad)
            assert_equal(mine, theirs)
    assert_equal(fast.state_dict(), plain.state_dict())
    plain.eval(), fast.eval()
    assert_equal(fast(clips), plain(clips))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradient", ["outside vmap", "inside vmap"])
@pytest.mark.parametrize("model, case", [(CNN3D, POOLED), (CNN3D, PADDED), (ConvLSTM, RECURRENT), (ConvLSTM, STRIDED)])
def test_ensemble_through_vmap_equals_separate_models(model, case, gradient, training):
    torch.manual_seed(0)
    members = [model(*case, 5).double().train(training) for _ in range(3)]
    parameters, buffers = stack_module_state(members)
    clips, labels = clips_of(case[1], 3, 4), torch.arange(4)

    def loss_of(parameters, buffers, clips):
        logits = functional_call(members[0], (parameters, buffers), (clips,))
        return F.cross_entropy(logits, labels), logits

    if gradient == "inside vmap":
        gradients, logits = torch.vmap(torch.func.grad(loss_of, has_aux=True))(parameters, buffers, clips)
    else:
        losses, logits = torch.vmap(loss_of)(parameters, buffers, clips)
        losses.sum().backward()
        gradients = {name: p.grad for name, p in parameters.items()}

    for m, member in enumerate(members):
        alone = member(clips[m])
        F.cross_entropy(alone, labels).backward()
        assert_equal(logits[m], alone)
        for name, p in member.named_parameters():
            assert_equal(gradients[name][m], p.grad)
        for name, statistics in member.named_buffers():
            assert_equal(buffers[name][m], statistics)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("3dcnn-4l", ClipShape(16, 3, 16, 16)),
        ("3dcnn-6l", ClipShape(1, 3, 1, 1)),
        ("3dcnn-11l", ClipShape(1, 3, 1, 1)),
        ("convlstm-4l", ClipShape(1, 3, 171, 171)),
        ("convlstm-4l-small", ClipShape(1, 3, 16, 16)),
    ],
)
def test_the_smallest_clips_a_model_takes(model, least):
    """And one frame or pixel less, which is refused when the model is built, with what is allowed."""
    net = build_model(model, 4, 3, least).eval()
    assert net(torch.rand(2, least.frames, 3, least.height, least.width)).shape == (2, 3)
    for name in ("frames", "height", "width"):
        less = dataclasses.replace(least, **{name: getattr(least, name) - 1})
        if getattr(less, name) and (name != "frames" or model == "3dcnn-4l"):
            with pytest.raises(UsageError, match=f"{least.height} px or more"):
                build_model(model, 4, 3, less)


def test_the_least_side_is_the_first_that_leaves_something():
    for kernels in ((7, 7, 5, 3), (4, 3), (2,), (1, 6, 3)):
        for stride in (1, 2, 3):
            spec = ConvLSTMSpec((2,) * len(kernels), kernels, stride=stride)
            sides = [side for side in range(1, 2000) if head_inputs(spec, ClipShape(2, 1, side, side))]
            assert sides[0] == least_side_px(spec)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("hidden", [1, 3])
def test_any_possible_hidden_works(model, hidden):
    if isinstance(MODELS[model].spec_of(hidden), TimeSformerSpec):
        hidden *= 2
    assert build_model(model, hidden)(torch.rand(2, 20, 1, 64, 64)).shape == (2, 5)


def test_bf16_gradients_where_a_kernel_is_larger_than_the_map():
    """Of the last layer: 2 frames under a kernel of 3, in experiments e-h at any size of frames."""
    torch.manual_seed(0)
    model = CNN3D(CNN3DSpec((4,) * 3, (3,) * 3, (True,) * 3), ClipShape(8, 3, 16, 16), 3).eval()
    clips, found = torch.rand(8, 8, 3, 16, 16), []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = model(clips)
        loss = F.cross_entropy(logits.float(), torch.arange(8) % 3)
        found.append(torch.autograd.grad(loss, model.convs[2].weight)[0])
    assert (found[1] - found[0]).norm() < 0.3 * found[0].norm()
