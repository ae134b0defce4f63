"""Max pooling over disjoint windows with a backward that repeats bit for bit on CUDA.

torch's max-pool gradients add with atomics on CUDA, and ``torch.use_deterministic_algorithms`` refuses them. Where
windows do not overlap, every input belongs to one window, so its gradient is a select instead of a sum. CPUs keep
torch's pools, which are deterministic there and faster.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


def max_pool_2x2x2(x: Tensor, padding: int = 0) -> Tensor:
    """``F.max_pool3d(x, 2, padding=padding)`` of (B, C, T, H, W); sides that are left over are dropped."""
    return select_max_pool(x, padding) if x.is_cuda else F.max_pool3d(x, 2, padding=padding)


def max_pool_2x2(x: Tensor) -> Tensor:
    """``F.max_pool2d(x, 2)`` of (B, C, H, W); sides that are left over are dropped."""
    return select_max_pool(x) if x.is_cuda else F.max_pool2d(x, 2)


def select_max_pool(x: Tensor, padding: int = 0) -> Tensor:
    """torch's max-pool of size and stride 2 over all axes of ``x`` (B, C, ...) after the first two, 2 or 3 of them.

    The forward is torch's, so its choice among equal values is too. Differentiable once; works under ``torch.vmap``.
    """
    pooled: Tensor = _SelectMaxPool.apply(x, padding)[0]
    return pooled


class _SelectMaxPool(torch.autograd.Function):
    """(x, padding) to the maxima and their positions, each flat within its (T, H, W) or (H, W)."""

    @staticmethod
    def forward(x: Tensor, padding: int) -> tuple[Tensor, Tensor]:
        pool = F.max_pool3d_with_indices if x.ndim == 5 else F.max_pool2d_with_indices
        axes = x.ndim - 2
        pooled, positions = pool(x, [2] * axes, padding=[padding] * axes)
        return pooled, positions

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.padding = inputs  # type: ignore[attr-defined]
        ctx.sides = tuple(x.shape[2:])  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, None]:
        if grad is None:
            return None, None
        return _SelectMaxPoolBackward.apply(grad, *ctx.saved_tensors, ctx.sides, ctx.padding), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, padding: int) -> Any:
        outputs = _SelectMaxPool.apply(_fold(x, in_dims[0], info.batch_size), padding)
        return tuple(each.unflatten(0, (info.batch_size, -1)) for each in outputs), (0, 0)


class _SelectMaxPoolBackward(torch.autograd.Function):
    """A function of its own, so that members fold into the batch too when the gradient is taken inside ``vmap``."""

    @staticmethod
    def forward(grad: Tensor, chosen: Tensor, sides: tuple[int, ...], padding: int) -> Tensor:
        channels_last = grad.stride(1) == 1  # elementwise work keeps the order of memory only if the axes follow it
        if channels_last:
            grad, chosen = grad.movedim(1, -1), chosen.movedim(1, -1)
        first = 1 if channels_last else 2
        windows = grad.shape[first : first + len(sides)]
        position = torch.zeros((), dtype=chosen.dtype, device=chosen.device)
        for axis, (count, side) in enumerate(zip(windows, sides, strict=True)):
            along = torch.arange(2 * count, device=chosen.device) - padding
            shape = [1] * (2 * axis) + [count, 2] + [1] * (2 * (len(sides) - 1 - axis))
            position = position * side + along.view(shape)  # (T/2, 2, H/2, 2, W/2, 2) in the end
        if channels_last:
            position = position.unsqueeze(-1)
        for axis in range(len(sides)):
            grad, chosen = (each.unsqueeze(first + 2 * axis + 1) for each in (grad, chosen))
        spread = torch.where(chosen == position, grad, torch.zeros((), dtype=grad.dtype, device=grad.device))
        for axis in range(len(sides)):
            spread = spread.flatten(first + axis, first + axis + 1)
        if channels_last:
            spread = spread.movedim(-1, 1)
        # Windows may begin before the input (padding) and end before or after it.
        edges = [(-padding, side + padding - 2 * count) for side, count in zip(sides, windows, strict=True)]
        return F.pad(spread, [edge for pair in reversed(edges) for edge in pair]) if any(map(any, edges)) else spread

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: FunctionCtx, *_: Tensor) -> Any:
        raise NotImplementedError("the select max pool is differentiable once")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], grad: Tensor, chosen: Tensor, *rest: Any) -> Any:
        folded = [_fold(x, dim, info.batch_size) for x, dim in zip((grad, chosen), in_dims[:2], strict=True)]
        return _SelectMaxPoolBackward.apply(*folded, *rest).unflatten(0, (info.batch_size, -1)), 0


def _fold(x: Tensor, dim: int | None, size: int) -> Tensor:
    """The members along ``dim`` become the outer part of the batch."""
    by_member = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return by_member.flatten(0, 1)
