from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmark.models.convlstm import ConvLSTM
from benchmark.models.recurrence import RECURRENCES, convlstm_recurrence
from benchmark.models.reference import PlainConvLSTM
from benchmark.models.specs import ClipShape, ConvLSTMSpec

SMALL = ConvLSTMSpec((3, 2), (3, 3)), ClipShape(4, 1, 16, 16)
WIDE = ConvLSTMSpec((1,), (5,)), ClipShape(3, 1, 9, 11)
STRIDED = ConvLSTMSpec((3, 2), (7, 5), stride=2, readout="all"), ClipShape(3, 3, 37, 40)
ONE_FRAME = ConvLSTMSpec((2,), (3,)), ClipShape(1, 3, 8, 8)


def assert_equal(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def pair(spec, shape):
    torch.manual_seed(0)
    plain, fast = PlainConvLSTM(spec, shape, 5).double(), ConvLSTM(spec, shape, 5).double()
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def clips_of(shape, batch, members=()):
    return torch.rand(*members, batch, shape.frames, shape.channels, shape.height, shape.width, dtype=torch.float64)


@pytest.mark.parametrize("spec, shape", [SMALL, WIDE, STRIDED, ONE_FRAME])
def test_fast_model_equals_the_plain_one_over_several_steps(monkeypatch, spec, shape):
    monkeypatch.setattr("benchmark.models.convlstm.CPU_GATES", 3 * 12 * 16 * 16)  # parts of 3 and 2 clips in SMALL
    plain, fast = models = pair(spec, shape)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-5) for model in models]
    for _ in range(3):
        clips, outputs = clips_of(shape, 5), []
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(model(clips))
            F.cross_entropy(outputs[-1], torch.arange(5)).backward()
            optimizer.step()
        assert_equal(outputs[1], outputs[0])
        for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
            assert_equal(mine.grad, theirs.grad)
            assert_equal(mine, theirs)
    assert_equal(fast.state_dict(), plain.state_dict())  # running statistics too
    plain.eval(), fast.eval()
    assert_equal(fast(clips), plain(clips))


@pytest.mark.parametrize("spec, shape", [SMALL, STRIDED])
def test_input_gradient_equals_that_of_the_plain_model(spec, shape):
    gradients = []
    clips = clips_of(shape, 3)
    for model in pair(spec, shape):
        leaf = clips.clone().requires_grad_()
        model(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    assert_equal(*gradients)


def test_every_recurrence_is_named_and_others_are_not():
    assert set(RECURRENCES) == {"eager", "triton"} and ConvLSTM(*SMALL, 5).recurrence == "eager"


def written_out(gates, weight):
    """The recurrence for autograd to differentiate, with gates cut in the documented order."""
    states, cell = [], None
    for frame in gates:
        recurrent = F.conv2d(states[-1], weight, padding=weight.shape[-1] // 2) if states else 0
        i, f, o, g = (frame + recurrent).chunk(4, dim=1)
        cell = i.sigmoid() * g.tanh() + (0 if cell is None else f.sigmoid() * cell)
        states.append(o.sigmoid() * cell.tanh())
    return torch.stack(states)


def example(frames=4, h=3, kernel=3, dtype=torch.float64):
    torch.manual_seed(1)
    gates = torch.randn(frames, 2, 4 * h, 6, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(4 * h, h, kernel, kernel, dtype=dtype) / (h * kernel)
    return gates, weight.requires_grad_()


@pytest.mark.parametrize("frames, h, kernel", [(4, 3, 3), (1, 2, 3), (2, 1, 7)])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_recurrence_and_gradients_are_those_of_the_formulas(frames, h, kernel, dtype, tolerance):
    gates, weight = example(frames, h, kernel, dtype)
    before = gates.detach().clone()
    results = []
    for recurrence in (convlstm_recurrence, written_out):
        hidden = recurrence(gates, weight)
        toward = torch.sin(torch.arange(hidden.numel(), dtype=dtype)).view_as(hidden)
        gradients = torch.autograd.grad(hidden, (gates, weight), toward, allow_unused=True, materialize_grads=True)
        results.append((hidden, *gradients))
    torch.testing.assert_close(*results, rtol=0, atol=tolerance)
    assert results[0][0].dtype == dtype
    assert torch.equal(gates, before)  # the arguments are left alone


def test_recurrence_repeats_bit_for_bit_with_deterministic_algorithms():
    gates, weight = example(dtype=torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [torch.autograd.grad(convlstm_recurrence(gates, weight).sum(), (gates, weight)) for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(*twice) for twice in zip(*runs, strict=True))


def test_bf16_gates_keep_cell_states_in_float32():
    """Open gates add 2^-9 a frame for 600 frames; a bf16 cell would stop growing at 1/2 or before."""
    frames = 600
    gates = torch.empty(frames, 1, 4, 1, 1, dtype=torch.bfloat16)
    gates[:, 0, :, 0, 0] = torch.tensor([20.0, 20.0, 20.0, 2.0**-9])
    hidden = convlstm_recurrence(gates, torch.zeros(4, 1, 1, 1))
    assert hidden.dtype == torch.bfloat16
    expected = torch.tanh(torch.tensor(frames * 2.0**-9))
    torch.testing.assert_close(hidden[-1].float().flatten(), expected.view(1), rtol=0.01, atol=0)


def test_bf16_gradients_stay_near_those_of_float32():
    gates, weight = example(dtype=torch.float32)
    exact = torch.autograd.grad(convlstm_recurrence(gates, weight).square().sum(), (gates, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = convlstm_recurrence(gates.bfloat16(), weight).float().square().sum()
    for rounded, wanted in zip(torch.autograd.grad(loss, (gates, weight)), exact, strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - wanted).norm() < 0.02 * wanted.norm()


def test_model_trains_under_bf16_autocast():
    plain, fast = pair(*SMALL)
    plain.float(), fast.float()
    clips = clips_of(SMALL[1], 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = fast(clips)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), plain(clips), rtol=0, atol=0.05)
    logits.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in fast.parameters())


def test_recurrence_refuses_a_second_derivative():
    gates, weight = example()
    (gradient,) = torch.autograd.grad(convlstm_recurrence(gates, weight).sum(), gates, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()
