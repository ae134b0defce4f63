"""The recurrence of a ConvLSTM block over all frames, the part that runs one frame after the other.

Gates lie along the channels as i, f, o, g (input, forget, output, candidate), h channels each; every implementation
and every checkpoint uses this order.

The cell works in place in the buffers that backward needs, and backward computes one gradient of the weight for all
frames at once instead of a sum of one a frame. Images are channels-last, in which convolutions ran faster on a
CPU (h = 2, 8 and 24); each gate is stored whole, (B, H, W, members, h), because elementwise work on slices of h
channels would run h numbers at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_input, conv2d_weight


def convlstm_recurrence(gates: Tensor, weight: Tensor) -> Tensor:
    """Hidden states (T, B, h, H, W) of a ConvLSTM that starts from zeros.

    ``gates`` (T, B, 4h, H, W): what the input convolution adds to the gates before their nonlinearity, both biases
    included. ``weight`` (4h, h, k, k) with k odd: the recurrent convolution. Convolutions run in the dtype of
    ``gates``, which is also that of the result; cell states and all elementwise work are at least float32, so that
    bf16 autocast never rounds the cell state. The result is channels-last, and channels-last ``gates`` are read
    fastest. Differentiable once. Under ``torch.vmap`` the members become groups of one convolution.
    """
    hidden: Tensor = _Recurrence.apply(gates, weight, 1)[0]
    return hidden


def _triton(gates: Tensor, weight: Tensor) -> Tensor:
    from benchmark.models import recurrence_triton

    return recurrence_triton.convlstm_recurrence(gates, weight)


RECURRENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"eager": convlstm_recurrence, "triton": _triton}
"""Implementations of one function, by name; "triton" needs CUDA and is imported by its first call."""


class _Recurrence(torch.autograd.Function):
    """(gates, weight, members) to hidden states, activated gates and cell states.

    An ensemble is one wide cell with ``members`` groups: channel axes of the arguments and of the hidden states are
    then (members, channels) flattened; activated gates are (T, 4, B, H, W, members, h), cell states lack the 4.
    """

    @staticmethod
    def forward(gates: Tensor, weight: Tensor, members: int) -> tuple[Tensor, Tensor, Tensor]:
        frames, batch, channels, height, width = gates.shape
        wide = torch.promote_types(gates.dtype, torch.float32)
        weight = weight.to(gates.dtype, memory_format=torch.channels_last)
        padding = weight.shape[-1] // 2
        states = (frames, batch, height, width, members, channels // (4 * members))
        activations = gates.new_empty((frames, 4, *states[1:]), dtype=wide)
        cells = gates.new_empty(states, dtype=wide)
        hidden = gates.new_empty(states)
        for t in range(frames):
            if t == 0:
                activations[0].copy_(_by_gate(gates[0], members))
            else:
                recurrent = F.conv2d(_channels_second(hidden[t - 1]), weight, padding=padding, groups=members)
                torch.add(_by_gate(recurrent.to(wide), members), _by_gate(gates[t], members), out=activations[t])
            activations[t, :3].sigmoid_()
            i, f, o, g = activations[t].unbind()
            _tanh_(g)
            torch.mul(i, g, out=cells[t])
            if t > 0:
                cells[t].addcmul_(f, cells[t - 1])
            torch.mul(o, _tanh_(cells[t].clone()), out=hidden[t])
        return _channels_second(hidden), activations, cells

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        _, weight, ctx.members = inputs  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # no zeros as large as the gates
        ctx.save_for_backward(weight, *output)

    @staticmethod
    def backward(ctx: Any, grad_hidden: Tensor | None, *_: None) -> tuple[Tensor | None, Tensor | None, None]:
        if grad_hidden is None:
            return None, None, None
        grad_gates, grad_weight = _RecurrenceBackward.apply(grad_hidden, *ctx.saved_tensors, ctx.members)
        return grad_gates, grad_weight, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], gates: Tensor, weight: Tensor, members: int) -> Any:
        size = info.batch_size
        folded = _fold(gates, in_dims[0], size, 2), _fold(weight, in_dims[1], size, 0)
        outputs = _Recurrence.apply(*folded, members * size)
        axes = (2, -2, -2)
        return tuple(x.unflatten(axis, (size, -1)) for x, axis in zip(outputs, axes, strict=True)), (2, 5, 4)


class _RecurrenceBackward(torch.autograd.Function):
    """A function of its own, so that it folds members too when the gradient is taken inside ``vmap``."""

    @staticmethod
    def forward(
        grad_hidden: Tensor, weight: Tensor, hidden: Tensor, activations: Tensor, cells: Tensor, members: int
    ) -> tuple[Tensor, Tensor]:
        frames, batch, _, height, width = hidden.shape
        filters = weight.to(hidden.dtype, memory_format=torch.channels_last)
        padding = weight.shape[-1] // 2
        by_member = (frames, batch, height, width, members, weight.shape[0] // members)
        grad_gates = _channels_second(hidden.new_empty(by_member))
        grads = torch.empty_like(activations[0])  # of one frame, gate by gate
        grad_i, grad_f, grad_o, grad_g = grads.unbind()
        grad_cell = torch.zeros_like(cells[0])
        for t in reversed(range(frames)):
            into_hidden = grad_hidden[t].to(cells.dtype)
            if t < frames - 1:
                into_hidden = into_hidden + conv2d_input(  # type: ignore[no-untyped-call]
                    list(hidden[t].shape), filters, grad_gates[t + 1], padding=padding, groups=members
                )
            into_hidden = torch.unflatten(into_hidden.permute(0, 2, 3, 1), -1, (members, -1))
            i, f, o, g = activations[t].unbind()
            squashed = _tanh_(cells[t].clone())
            torch.mul(into_hidden, squashed, out=grad_o)
            grad_cell += torch.ops.aten.tanh_backward(into_hidden * o, squashed)
            torch.mul(grad_cell, g, out=grad_i)
            torch.mul(grad_cell, i, out=grad_g)
            if t > 0:
                torch.mul(grad_cell, cells[t - 1], out=grad_f)
            else:
                grad_f.zero_()
            grad_cell *= f
            torch.ops.aten.sigmoid_backward(grads[:3], activations[t, :3], grad_input=grads[:3])
            torch.ops.aten.tanh_backward(grad_g, g, grad_input=grad_g)
            # Gate by gate: one copy of all four would walk through memory in an order that takes twice as long.
            for target, grad in zip(_by_gate(grad_gates[t], members), grads, strict=True):
                target.copy_(grad)
        if frames == 1:
            return grad_gates, torch.zeros_like(weight)
        before, after = hidden[:-1].flatten(0, 1), grad_gates[1:].flatten(0, 1)
        grad_weight: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            before, list(weight.shape), after, padding=padding, groups=members
        )
        return grad_gates, grad_weight.to(weight.dtype)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: FunctionCtx, *_: Tensor) -> Any:
        raise NotImplementedError("the ConvLSTM recurrence is differentiable once")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
        size = info.batch_size
        *tensors, members = inputs
        axes = (2, 0, 2, 5, 4)
        folded = [_fold(x, dim, size, axis) for x, dim, axis in zip(tensors, in_dims[:-1], axes, strict=True)]
        grad_gates, grad_weight = _RecurrenceBackward.apply(*folded, members * size)
        return (grad_gates.unflatten(2, (size, -1)), grad_weight.unflatten(0, (size, -1))), (2, 0)


def _fold(x: Tensor, dim: int | None, size: int, axis: int) -> Tensor:
    """The members along ``dim`` become the outer part of ``axis``: (..., members * channels, ...)."""
    by_member = (
        x.unsqueeze(axis).expand(*x.shape[:axis], size, *x.shape[axis:]) if dim is None else x.movedim(dim, axis)
    )
    return by_member.flatten(axis, axis + 1)


def _by_gate(frame: Tensor, members: int) -> Tensor:
    """(B, members * 4h, H, W) to its view (4, B, H, W, members, h): each gate whole, channels last."""
    return torch.unflatten(frame, 1, (members, 4, -1)).permute(2, 0, 4, 5, 1, 3)


def _channels_second(x: Tensor) -> Tensor:
    """(..., H, W, members, c) to its view (..., members * c, H, W)."""
    return x.flatten(-2).movedim(-1, -3)


def _tanh_(x: Tensor) -> Tensor:
    """In place. 2 sigmoid(2x) - 1 on CPUs, where torch's tanh takes ten times as long as its sigmoid."""
    return x.tanh_() if x.is_cuda else x.mul_(2).sigmoid_().mul_(2).sub_(1)
