"""Several processes that train one model together, one a GPU (or a CPU in the tests), started by torchrun.

They compute what one process would with the whole batch: each takes its share of every batch, gradients are averaged,
and batch statistics are those of all shares together. Without torchrun there is one rank and nothing here happens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tsgen.common.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """``number`` of this process among ``size``."""

    number: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.number == 0

    def check_batch(self, batch_size: int) -> None:
        if batch_size % self.size:
            raise UsageError(
                f"a batch of {batch_size} clips cannot be shared by {self.size} processes; "
                f"give a --batch-size that is a multiple of {self.size}."
            )

    def sum_(self, values: Tensor) -> Tensor:
        """``values`` summed over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """In one message, as small ones cost their latency each."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.sum_(flat).div_(self.size)
        for gradient, averaged in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(averaged.view_as(gradient))

    def wait(self) -> None:
        """Until every rank has come here."""
        if self.size > 1:
            dist.barrier()

    def share_norms(self, model: nn.Module) -> None:
        """Batch normalisation over the clips of all ranks. torch's own SyncBatchNorm has no CPU."""
        if self.size == 1:
            return
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = MethodType(_normalise_over_ranks, module)  # type: ignore[method-assign]


ONE_RANK = Ranks()


def leave_ranks() -> None:
    """At the end of a process: one that just exits can take the others' last messages with it."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def check_shared_batch(batch_size: int) -> None:
    """UsageError unless the processes that torchrun started can share a batch; joins none of them."""
    Ranks(0, int(os.environ.get("WORLD_SIZE", "1"))).check_batch(batch_size)


def is_first_rank() -> bool:
    """Whether this process writes files and talks to the user, also after :func:`leave_ranks`."""
    return os.environ.get("RANK", "0") == "0"


def join_ranks(device: torch.device) -> Ranks:
    """The ranks that torchrun's environment describes; on GPUs each takes the one of its local number."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ONE_RANK
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # The others wait while the first one evaluates, which takes longer than the ten minutes that are the default.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
    return Ranks(dist.get_rank(), size)


def _normalise_over_ranks(norm: _BatchNorm, x: Tensor) -> Tensor:
    """(B, C, ...) as torch's BatchNorm would the batch of all ranks; its running statistics too."""
    if not norm.training:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    kind, x = x.dtype, x.float()  # as torch's: statistics of bfloat16 values are float32
    axes = [axis for axis in range(x.ndim) if axis != 1]
    local = x.numel() // x.shape[1]
    total = local * dist.get_world_size()  # every rank has an equal share of the batch
    mean = _sum_over_ranks(x.sum(axes)) / total
    shape = [1, -1] + [1] * (x.ndim - 2)
    centred = x - mean.view(shape)
    variance = _sum_over_ranks(centred.square().sum(axes)) / total
    if norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None:
        with torch.no_grad():
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
            unbiased = variance * (total / max(1, total - 1))
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.weight is None:
        return (centred * scale.view(shape)).to(kind)
    return (centred * (scale * norm.weight).view(shape) + norm.bias.view(shape)).to(kind)


class _Sum(torch.autograd.Function):
    """Sum over the ranks; so is the gradient, because every rank's loss depends on every rank's values."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def _sum_over_ranks(values: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(values)
    return summed
